"""What the tests of the documentation need to know of Markdown: blocks, links, anchors."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
PAGES = sorted([PROJECT / "README.md", *PROJECT.glob("docs/**/*.md"), *PROJECT.glob("plugins/*/README.md")])
GUIDES = [page for page in PAGES if "adr" not in page.parts]
_FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"(?<![!`])\[(?:[^\]`]|`[^`]*`)+\]\(([^)\s]+)\)")


@dataclass(frozen=True)
class Block:
    """What stands between two fences."""

    page: Path
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(PROJECT)}:{self.line}"


def blocks(page: Path, *languages: str) -> list[Block]:
    """Return the fenced blocks of a page, of all languages or of some."""
    text = page.read_text(encoding="utf-8")
    found = [
        Block(page, text.count("\n", 0, match.start()) + 2, match[2], match[3])
        for match in _FENCE.finditer(text)
    ]
    return [block for block in found if not languages or block.language in languages]


def prose(page: Path) -> str:
    """Return a page without its blocks."""
    return _FENCE.sub("", page.read_text(encoding="utf-8"))


def links(page: Path) -> list[str]:
    """Return where the links of a page lead to."""
    return _LINK.findall(prose(page))


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub and mkdocs make them."""
    return set(map(slug, re.findall(r"^#{1,6} (.+)$", prose(page), re.MULTILINE)))


def slug(heading: str) -> str:
    """Return a heading's anchor."""
    words = re.sub(r"[^\w\- ]", "", heading.strip().lower())
    return re.sub(r"[\s-]+", "-", words).strip("-")


def commands(block: Block) -> Iterator[str]:
    """Yield the commands of a block, without prompts, output and comments."""
    for line in block.text.splitlines():
        prompt = "$ " if block.language == "console" else ""
        command = line.removeprefix(prompt).strip()
        if line.startswith(prompt) and command and not command.startswith("#"):
            yield command

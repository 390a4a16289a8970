"""What mkdocs needs for pages that are read in the source tree too: README.md, other links, diagrams."""

from __future__ import annotations

import logging
import posixpath
import re
from pathlib import Path
from typing import Any

import mermaidx
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

TREE = Path(__file__).parents[1]
README = "readme.md"
"""The page that README.md becomes."""
_FENCED = re.compile(r"(^ *```.*?^ *```$)", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"(?<![!`])\[((?:[^\]`]|`[^`]*`)+)\]\(([^)\s]+)\)")

_MERMAID = re.compile(r"\A```mermaid\n(.*)^```\Z", re.MULTILINE | re.DOTALL)

log = logging.getLogger("mkdocs.hooks.site")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """List the decisions, each a page."""
    pages = Path(config.docs_dir)
    decisions = [f"adr/{path.name}" for path in sorted(pages.glob("adr/*.md"))]
    config.nav = [*(config.nav or []), {"Decisions": decisions}]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add README.md, which is not among the pages."""
    text = (TREE / "README.md").read_text(encoding="utf-8")
    files.append(File.generated(config, README, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Let links lead to pages; of a file that is no page say where it is in the source tree."""
    here = page.file.src_uri
    directory = "" if here == README else posixpath.dirname(f"docs/{here}")

    def changed(match: re.Match[str]) -> str:
        text, link = match[1], match[2]
        path, hash_, anchor = link.partition("#")
        if "://" in link or not path:
            return match[0]
        target = posixpath.normpath(posixpath.join(directory, path))
        if not (TREE / target).exists():
            log.warning("%s: there is no %s", here, target)
        if target == "README.md":
            target = f"docs/{README}"
        if target.startswith("docs/") and target.endswith(".md"):
            to = posixpath.relpath(target, f"docs/{posixpath.dirname(here)}")
            return f"[{text}]({to}{hash_}{anchor})"
        return text if target in text else f"{text} (`{target}` in the source tree)"

    parts = _FENCED.split(markdown)
    parts[::2] = [_LINK.sub(changed, part) for part in parts[::2]]
    parts[1::2] = [_MERMAID.sub(lambda found: _drawn(found[1]), part) for part in parts[1::2]]
    return "".join(parts)


def _drawn(diagram: str) -> str:
    """Return a Mermaid diagram as a picture: the site needs no script and nothing from elsewhere."""
    return f'<div class="diagram">{mermaidx.render(diagram).svg()}</div>'

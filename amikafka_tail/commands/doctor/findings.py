"""The findings of `amikafka doctor`, and how they are printed."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal

from amikafka_tail.daemon.logs import printable
from amikafka_tail.model.humanize import counted

Level = Literal["ok", "note", "warning", "error"]
LEVELS: tuple[Level, ...] = ("ok", "note", "warning", "error")
EXIT_CODES = {"ok": 0, "note": 0, "warning": 1, "error": 2}
"""The exit codes of monitoring plugins."""
INDENT = 11


@dataclass(frozen=True, kw_only=True)
class Finding:
    """The result of one check. `advice` is what to type or to change."""

    level: Level
    part: str
    """Which part of the path: configuration, Asterisk, Kafka, ..."""
    text: str
    advice: str = ""


def worst(findings: Iterable[Finding]) -> Level:
    """Return the most severe level."""
    return max((each.level for each in findings), key=LEVELS.index, default="ok")


def lines(findings: Iterable[Finding], width: int) -> Iterator[str]:
    """Yield the printed lines, with a heading for each part."""
    part = ""
    for each in findings:
        if each.part != part:
            if part:
                yield ""
            yield each.part
            part = each.part
        yield from _wrapped(f"  {each.level:<9}", printable(each.text), width)
        if each.advice:
            yield from _wrapped(" " * INDENT + "-> ", printable(each.advice), width)


def summary(findings: list[Finding]) -> str:
    """Return the last line."""
    counts = {level: sum(each.level == level for each in findings) for level in LEVELS}
    if not counts["error"] and not counts["warning"]:
        return "No problems found."
    found = [counted(counts[level], level) for level in ("error", "warning") if counts[level]]
    return f"{' and '.join(found)}."


def as_json(findings: list[Finding]) -> dict[str, Any]:
    """Return all findings for programs."""
    return {"worst": worst(findings), "findings": [asdict(each) for each in findings]}


def _wrapped(first: str, text: str, width: int) -> Iterator[str]:
    yield from textwrap.wrap(
        text,
        width,
        initial_indent=first,
        subsequent_indent=" " * len(first),
        break_long_words=False,
        break_on_hyphens=False,
    ) or [first.rstrip()]

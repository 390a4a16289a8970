"""The report of a comparison as text. Text from messages is made safe for a terminal."""

from __future__ import annotations

import json
import textwrap
import time
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from amikafka_tail.commands.compare.copies import Side
from amikafka_tail.commands.compare.judge import KNOWN, Difference
from amikafka_tail.commands.compare.report import ASIDE, Counts, Example, Report
from amikafka_tail.commands.compare.verdict import WHOSE, Verdict
from amikafka_tail.daemon.logs import printable
from amikafka_tail.model.humanize import counted

MOST_ROWS = 40
NAME_WIDTH = 30
MOST_SHOWN = 400
PLACES = "each with partition:offset"
TITLES: dict[Side, str] = {"module": "module", "ours": "amikafka"}


class Names(NamedTuple):
    """The topics that are compared."""

    module: str
    ours: str
    brokers: str


def lines(report: Report, verdict: Verdict, names: Names, width: int) -> Iterator[str]:
    """Yield the lines."""
    yield from _wrapped("", f"{names.module} (module) and {names.ours} (amikafka), on {names.brokers}", width)
    for side, one in report.sides.items():
        span = ""
        if one.first_ms is not None and one.last_ms is not None:
            span = f", from {_clock(one.first_ms)} to {_clock(one.last_ms)}"
        yield f"  {TITLES[side]:<14}{counted(one.messages, 'message')}{span}"
    yield ""
    yield from _table(report)
    for kind, group in sorted(report.known.items()):
        if kind == next(iter(sorted(report.known))):
            yield from ("", f"Known and intended differences ({PLACES})")
        yield from _wrapped(f"  {group.events:>6,}  ", KNOWN[kind], width)
        yield from _example(group.examples[0], width, kind)
    yield from _differences(report, width)
    for side in report.sides:
        yield from _alone(report, side, width)
    yield from _aside(report, width)
    yield ""
    yield from _wrapped("", verdict.text, width)
    for each in verdict.advice:
        yield from _wrapped("  -> ", each, width)


def _table(report: Report) -> Iterator[str]:
    """Yield the counts: first the events that need attention, then the most frequent ones."""
    if not report.events:
        return
    yield f"{'':<{NAME_WIDTH}}{'':>9}{'known':>9}{'':>9}{'only':>10}{'only':>10}"
    yield f"{'EVENT':<{NAME_WIDTH}}{'agree':>9}{'diffs':>9}{'differ':>9}{'module':>10}{'amikafka':>10}"
    rows = sorted(
        report.events.items(), key=lambda row: (-row[1].wrong, -row[1].known, -row[1].agree, row[0])
    )
    for name, counts in rows[:MOST_ROWS]:
        yield _row(name, counts)
    if len(rows) > MOST_ROWS:
        yield f"and {counted(len(rows) - MOST_ROWS, 'other event')}"
    yield _row("all", report.total)
    yield f"{counted(report.identical, 'event')} with the same value byte for byte"


def _row(name: str, counts: Counts) -> str:
    name = _cut(_harmless(name), NAME_WIDTH - 1)
    return (
        f"{name:<{NAME_WIDTH}}{counts.agree:>9,}{counts.known:>9,}{counts.differ:>9,}"
        f"{counts.only_module:>10,}{counts.only_ours:>10,}"
    )


def _differences(report: Report, width: int) -> Iterator[str]:
    if report.differences:
        yield from ("", f"Differences ({PLACES})")
    groups = sorted(report.differences.items(), key=lambda pair: -pair[1].events)
    for names, group in groups:
        yield from _wrapped(f"  {group.events:>6,}  ", _harmless(", ".join(names)), width)
        for example in group.examples:
            yield from _example(example, width)


def _example(example: Example, width: int, kind: str = "") -> Iterator[str]:
    """Yield one event with its differences; for a known kind, only the differences of that kind."""
    yield from _wrapped("          ", f"{_harmless(example.name)}, {_where(example)}", width)
    for each in example.differences:
        if each.known == kind:
            yield from _difference(each, width)


def _difference(each: Difference, width: int) -> Iterator[str]:
    yield from _wrapped("            ", _harmless(each.where), width)
    yield from _wrapped("              module    ", _shown(each.module), width)
    yield from _wrapped("              amikafka  ", _shown(each.ours), width)


def _alone(report: Report, side: Side, width: int) -> Iterator[str]:
    one = report.sides[side]
    if not one.alone:
        return
    total = report.total
    count = total.only_module if side == "module" else total.only_ours
    yield from ("", f"Only on {WHOSE[side]}: {counted(count, 'event')} ({PLACES})")
    for example in one.alone:
        yield from _wrapped("    ", f"{_harmless(example.name)}, {_where(example)}", width)
        yield from _wrapped("      ", _cut(_harmless(example.value), MOST_SHOWN), width)
    if count > len(one.alone):
        yield f"    and {count - len(one.alone):,} more"


def _aside(report: Report, width: int) -> Iterator[str]:
    said = []
    for side, one in report.sides.items():
        said += [
            f"{TITLES[side]}: {counted(one.aside[reason], 'message')} {text}"
            for reason, text in ASIDE.items()
            if one.aside[reason]
        ]
        if one.sent_again:
            said.append(f"{TITLES[side]}: {counted(one.sent_again, 'message')} sent again")
    if said:
        yield from ("", "Not compared")
    for each in said:
        yield from _wrapped("  ", each, width)


def _where(example: Example) -> str:
    places = [
        f"{title} {place[0]}:{place[1]}"
        for title, place in (("module", example.module), ("amikafka", example.ours))
        if place is not None
    ]
    return ", ".join([_clock(example.time_ms, fraction=True), *places])


def _clock(time_ms: int, *, fraction: bool = False) -> str:
    text = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(time_ms // 1000))
    return f"{text}.{time_ms % 1000:03}" if fraction else text


def _shown(value: str | Sequence[str] | None) -> str:
    """Return a value as JSON, which makes invisible characters visible."""
    if value is None:
        return "(none)"
    return _cut(printable(json.dumps(value, ensure_ascii=False)), MOST_SHOWN)


def _harmless(text: str) -> str:
    """Return text on one line, safe for a terminal."""
    return printable(" ".join(text.split()))


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 3]}..."


def _wrapped(first: str, text: str, width: int) -> Iterator[str]:
    yield from textwrap.wrap(
        text,
        width,
        initial_indent=first,
        subsequent_indent=" " * len(first),
        break_on_hyphens=False,
    ) or [first.rstrip()]

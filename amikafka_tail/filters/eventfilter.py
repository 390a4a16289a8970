"""The `eventfilter` lines of manager.conf, with Asterisk's exact meaning (main/manager.c).

Legacy: `eventfilter = REGEX` or `!REGEX`, over the whole event. Advanced:
`eventfilter(action(include|exclude),name(N),header(H),method(M)) = PATTERN`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from amikafka_tail.ami.event import Event
from amikafka_tail.filters.regex import Regex
from amikafka_tail.hookspecs import Register, hookimpl

METHODS = ("regex", "exact", "starts_with", "ends_with", "contains", "none")
Test = Callable[[Event], bool]


class FilterLine(NamedTuple):
    """One line as it stands in the configuration: `criteria = pattern`, at `where`."""

    criteria: str
    pattern: str
    where: str = ""


@dataclass(frozen=True, kw_only=True)
class EventFilterOptions:
    """The lines, in their order; without any, every event passes."""

    lines: tuple[FilterLine, ...] = ()


@dataclass(frozen=True, kw_only=True)
class FilterEntry:
    """One line, understood."""

    exclude: bool
    name: bytes | None
    """The event's name must be this; `None` for any."""
    header: bytes | None
    """What a line must begin with, colon included; `None` for the whole event."""
    method: str
    pattern: bytes


def parse(criteria: str, pattern: str) -> FilterEntry:
    """Understand one line. Raises `ValueError` in words where Asterisk refuses it (manager_add_filter)."""
    exclude = pattern.startswith("!")
    pattern = pattern.removeprefix("!")
    _, parenthesis, options = criteria.partition("(")
    if not parenthesis:
        if not pattern:
            raise ValueError("a legacy filter needs a pattern")
        entry = FilterEntry(exclude=exclude, name=None, header=None, method="regex", pattern=_bytes(pattern))
        Regex(entry.pattern)
        return entry
    options = options.strip()
    if not options.endswith(")"):
        raise ValueError('the filter\'s options have no closing ")"')
    found: dict[str, str] = {}
    # Asterisk cuts at blanks, commas and closing parentheses, in any number.
    for option in filter(None, re.split(r"[ ,)]+", options)):
        kind = next(
            (each for each in ("action", "name", "header", "method") if option.startswith(each)), None
        )
        if kind is None:
            raise ValueError(
                f'unknown filter option "{option}": there are action(), name(), header() and method()'
            )
        value = option.partition("(")[2].strip()
        if not value:
            raise ValueError(f"{kind}() is empty")
        found[kind] = value
    if not found:
        raise ValueError("the filter's options are empty: no action(), name(), header() or method()")
    return _advanced(found, pattern, exclude=exclude)


def _advanced(found: dict[str, str], pattern: str, *, exclude: bool) -> FilterEntry:
    action = found.get("action")
    if action not in (None, "include", "exclude"):
        raise ValueError(f"action({action}) is unknown: there are include and exclude")
    method = found.get("method", "none")
    if method not in METHODS:
        raise ValueError(f"method({method}) is unknown: there are {', '.join(METHODS)}")
    if not pattern and method != "none":
        raise ValueError(f"method({method}) needs a pattern")
    if pattern and method == "none":
        raise ValueError("a pattern needs a method(): regex, exact, starts_with, ends_with or contains")
    if method == "none" and "name" not in found and "header" not in found:
        raise ValueError("neither name() nor header() nor a pattern: this would mean every event")
    header = found.get("header")
    if header is not None and not header.endswith(":"):
        header += ":"
    entry = FilterEntry(
        exclude=exclude if action is None else action == "exclude",
        name=_bytes(found["name"]) if "name" in found else None,
        header=None if header is None else _bytes(header),
        method=method,
        pattern=_bytes(pattern),
    )
    if method == "regex":
        Regex(entry.pattern)
    return entry


def eventfilter(options: EventFilterOptions) -> Test:
    """Make the filter. Raises `ValueError` for a line that Asterisk would refuse.

    With includes an event must match one of them; it must match no exclude.
    """
    entries = [parse(line.criteria, line.pattern) for line in options.lines]
    included = _any([entry for entry in entries if not entry.exclude])
    excluded = _any([entry for entry in entries if entry.exclude])
    if included is None and excluded is None:
        return lambda _event: True
    if excluded is None:
        assert included is not None
        return included
    if included is None:
        return lambda event: not excluded(event)
    return lambda event: included(event) and not excluded(event)


def _any(entries: Sequence[FilterEntry]) -> Test | None:
    """Make the test whether any entry matches. Entries for other event names cost one look-up together."""
    if not entries:
        return None
    everywhere = [_test(entry) for entry in entries if entry.name is None]
    by_name: dict[bytes, list[Test]] = {}
    for entry in entries:
        if entry.name is not None:
            by_name.setdefault(entry.name, list(everywhere)).append(_test(entry))

    def matches(event: Event) -> bool:
        tests = by_name.get(event.name_bytes, everywhere)
        return any(test(event) for test in tests)

    return matches


def _test(entry: FilterEntry) -> Test:
    """Make the test of one entry, its name aside."""
    compare = _comparison(entry)
    header = entry.header
    if header is None:
        if entry.method == "none":
            return lambda _event: True
        return lambda event: compare(event.text)
    skipped = len(header)
    in_line = b"\n" + header

    def matches(event: Event) -> bool:
        raw = event.raw
        if in_line not in raw and not raw.startswith(header):
            return False
        # Asterisk reads lines up to LF and takes a CR before it away (ast_read_line_from_buffer).
        for line in raw.split(b"\n"):
            if line.startswith(header):
                # ast_skip_blanks passes over everything up to a blank, control characters included.
                value = line[skipped:].removesuffix(b"\r").lstrip(BLANKS)
                if value and compare(value):
                    return True
        return False

    return matches


BLANKS = bytes(range(1, 33))


def _comparison(entry: FilterEntry) -> Callable[[bytes], bool]:
    pattern = entry.pattern
    if entry.method == "regex":
        return Regex(pattern).matcher()
    comparisons: dict[str, Callable[[bytes], bool]] = {
        "exact": lambda text: text == pattern,
        "starts_with": lambda text: text.startswith(pattern),
        "ends_with": lambda text: text.endswith(pattern),
        "contains": lambda text: pattern in text,
        "none": lambda _text: True,
    }
    return comparisons[entry.method]


def _bytes(text: str) -> bytes:
    return text.encode()


@hookimpl
def register_filters(register: Register) -> None:
    """Register the filter."""
    register("eventfilter", EventFilterOptions, eventfilter)

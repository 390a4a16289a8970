"""The event filters of one manager session, as main/manager.c has them: its C, line by line, in Python.

Nothing here is the product's code but for the way to glibc's regular expressions.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass

from amikafka_tail.ami.regex import Regex

BLANKS = bytes(range(1, 33))
COMPILE_FAIL = "Filter did not compile.  Check the syntax of the filter given."
FORMAT_ERROR = "Filter was formatted incorrectly.  Check the syntax of the filter given."
METHODS: dict[bytes, Callable[[bytes, bytes], bool]] = {
    b"exact": lambda text, pattern: text == pattern,
    b"starts_with": lambda text, pattern: text.startswith(pattern),
    b"ends_with": lambda text, pattern: text.endswith(pattern),
    b"contains": lambda text, pattern: pattern in text,
    b"none": lambda text, pattern: True,
}


class Refused(Exception):
    """What manager_add_filter does not take."""


@dataclass
class Entry:
    """struct event_filter_entry."""

    exclude: bool = False
    name: bytes | None = None
    header: bytes | None = None
    method: bytes = b"regex"
    pattern: bytes = b""
    regex: Regex | None = None

    def matches(self, event: bytes) -> bool:
        """filter_cmp_fn: `event` is the whole block, its empty line included."""
        if self.name is not None and self.name != event.split(b"\r\n")[0].removeprefix(b"Event: "):
            return False
        if self.header is None:
            return self._compare(event)
        for line in event.split(b"\n"):
            if line.startswith(self.header):
                value = line.removesuffix(b"\r")[len(self.header) :].lstrip(BLANKS)
                if value and self._compare(value):
                    return True
        return False

    def _compare(self, text: bytes) -> bool:
        if self.regex is not None:
            return self.regex.matches(text)
        return METHODS[self.method](text, self.pattern)


class EventFilters:
    """What `Action: Filter` adds to, and what an event has to pass."""

    def __init__(self, *, knows_criteria: bool = True) -> None:
        self.entries: list[Entry] = []
        self._knows_criteria = knows_criteria

    def add(self, criteria: bytes, pattern: bytes) -> str | None:
        """action_filter: add a filter, or return the message of the refusal."""
        try:
            if not self._knows_criteria:
                self.entries.append(_legacy_of_18_25(pattern))
            else:
                self.entries.append(_entry(b"(" + criteria + b")" if criteria else b"", pattern))
        except Refused as refused:
            return str(refused)
        return None

    def sends(self, event: bytes) -> bool:
        """should_send_event."""
        excludes = [each for each in self.entries if each.exclude]
        includes = [each for each in self.entries if not each.exclude]
        if includes and not any(each.matches(event) for each in includes):
            return False
        return not any(each.matches(event) for each in excludes)


def _entry(options: bytes, pattern: bytes) -> Entry:
    entry = Entry(exclude=pattern.startswith(b"!"), pattern=pattern.removeprefix(b"!"))
    if options:
        _read(entry, options)
        if (entry.method != b"none") != bool(entry.pattern):
            raise Refused(FORMAT_ERROR)
        if entry.method == b"none" and entry.name is None and entry.header is None:
            raise Refused(FORMAT_ERROR)
    elif not entry.pattern:
        raise Refused(FORMAT_ERROR)
    if entry.method == b"regex":
        entry.regex = _compiled(entry.pattern)
    return entry


def _read(entry: Entry, options: bytes) -> None:
    entry.method = b"none"
    if not options.rstrip(BLANKS).endswith(b")"):
        raise Refused(FORMAT_ERROR)
    found = False
    for option in options[1:].replace(b",", b" ").replace(b")", b" ").split(b" "):
        if not option:
            continue
        found = True
        value = option.partition(b"(")[2].strip(BLANKS)
        if option.startswith(b"action") and value in (b"include", b"exclude"):
            entry.exclude = value == b"exclude"
        elif option.startswith(b"name") and value:
            entry.name = value
        elif option.startswith(b"header") and value:
            entry.header = value if value.endswith(b":") else value + b":"
        elif option.startswith(b"method") and (value in METHODS or value == b"regex"):
            entry.method = value
        else:
            raise Refused(FORMAT_ERROR)
    if not found:
        raise Refused(FORMAT_ERROR)


def _legacy_of_18_25(pattern: bytes) -> Entry:
    """manager_add_filter before there was MatchCriteria: even nothing is compiled, and matches all."""
    entry = Entry(exclude=pattern.startswith(b"!"), pattern=pattern.removeprefix(b"!"))
    entry.regex = _compiled(entry.pattern)
    return entry


def _compiled(pattern: bytes) -> Regex:
    with contextlib.suppress(ValueError):
        return Regex(pattern)
    raise Refused(COMPILE_FAIL)

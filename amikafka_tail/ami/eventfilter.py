"""The `eventfilter` lines of manager.conf, with Asterisk's exact meaning (main/manager.c).

Legacy: `eventfilter = REGEX` or `!REGEX`, over the whole event. Advanced:
`eventfilter(action(include|exclude),name(N),header(H),method(M)) = PATTERN`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from amikafka_tail.ami.regex import Regex
from amikafka_tail.model import speedups
from amikafka_tail.model.event import LINE_BREAKS, Event
from amikafka_tail.model.pushed_filters import FilterLine

OPTIONS = ("action", "name", "header", "method")
ACTIONS = ("include", "exclude")
METHODS = ("regex", "exact", "starts_with", "ends_with", "contains", "none")
# What ast_strip takes away: control characters too.
_BLANKS = "".join(map(chr, range(1, 33)))
MAX_NAMES = 2048
"""First lines remembered before starting afresh: a dialplan can make up event names without end."""
_BLANK_BYTES = _BLANKS.encode()
_LINE_ENDS = b"\r\n"

Check = Callable[[Event], bool]
Compare = Callable[[bytes], bool]


@dataclass(frozen=True, kw_only=True)
class EventFilterOptions:
    """The lines, in their order; without any, every event passes."""

    lines: tuple[FilterLine, ...] = ()
    """`eventfilter = REGEX`, or `eventfilter(OPTIONS) = PATTERN`."""


@dataclass(frozen=True, kw_only=True)
class Filter:
    """One line, understood. Everything is compared as bytes."""

    exclude: bool
    name: bytes | None
    """The event's name must be this; `None` for any."""
    header: bytes | None
    """What a line must begin with, colon included; `None` for the whole event."""
    method: str
    pattern: bytes


def parse(criteria: str, pattern: str) -> Filter:
    """Understand one line. Raises `ValueError` in words where Asterisk refuses it (manager_add_filter).

    `action()` counts more than a `!` before the pattern; of an option that comes twice the last counts.
    """
    if not criteria:
        raise ValueError("a filter has to begin with eventfilter")
    exclude = pattern.startswith("!")
    pattern = pattern.removeprefix("!")
    _, parenthesis, rest = criteria.partition("(")
    if parenthesis:
        options = _options(rest)
        method = options.get("method", "none")
        _check_advanced(options, method, pattern)
    else:
        options = {}
        method = "regex"
        if not pattern:
            raise ValueError("a filter without options needs a pattern: a regular expression")
    if "action" in options:
        exclude = options["action"] == "exclude"
    name, header = options.get("name"), options.get("header")
    if header is not None and not header.endswith(":"):
        header += ":"
    if method == "regex":
        Regex(_bytes(pattern))
    return Filter(
        exclude=exclude,
        name=None if name is None else _bytes(name),
        header=None if header is None else _bytes(header),
        method=method,
        pattern=_bytes(pattern),
    )


def _options(text: str) -> dict[str, str]:
    """Cut what stands behind the first `(`: at blanks, commas and closing parentheses, any number of them.

    So does Asterisk, with strtok: `name(Hangup) header(Channel)` is as good as with a comma between, and no
    name or header can contain one of the three. An option is known by how it begins.
    """
    if not text.rstrip(_BLANKS).endswith(")"):
        raise ValueError('the options of the filter do not end with ")"')
    options: dict[str, str] = {}
    for part in filter(None, re.split("[ ,)]+", text.rstrip(_BLANKS))):
        option = next((each for each in OPTIONS if part.startswith(each)), None)
        if option is None:
            raise ValueError(f'unknown option "{part}": there are action(), name(), header() and method()')
        # Asterisk reads through a null pointer where there is no "(" behind name, header or method.
        value = part.partition("(")[2].rstrip(_BLANKS)
        if not value:
            raise ValueError(f"{option}() is empty")
        known = {"action": ACTIONS, "method": METHODS}.get(option)
        if known and value not in known:
            raise ValueError(f"{option}({value}) is unknown: there are {', '.join(known)}")
        options[option] = value
    if not options:
        raise ValueError("the filter has no options: there are action(), name(), header() and method()")
    return options


def _check_advanced(options: Collection[str], method: str, pattern: str) -> None:
    if method != "none" and not pattern:
        raise ValueError(f"method({method}) needs a pattern")
    if method == "none" and pattern:
        raise ValueError("a pattern needs a method: regex, exact, starts_with, ends_with or contains")
    if method == "none" and "name" not in options and "header" not in options:
        raise ValueError("neither name() nor header() nor a pattern: this would mean every event")


def event_filter(lines: Iterable[FilterLine]) -> Check:
    """Make the filter. Raises `ValueError` for a line that Asterisk refuses.

    Where there are includes, an event passes if one of them matches and no exclude does; where there are
    none, if no exclude does (should_send_event). Filters for other names cost an event nothing.
    """
    filters = [_parse_line(line) for line in lines]
    must_match = not all(each.exclude for each in filters)
    tests = [(each, _Test.of(each)) for each in filters]
    others = _Rule.of(tests, None)
    rules = {each.name: _Rule.of(tests, each.name) for each in filters if each.name is not None}
    keep = _by_name(
        {name: rule.check(must_match=must_match) for name, rule in rules.items()},
        others.check(must_match=must_match),
    )
    native = speedups.native()
    # The one in C looks at one line after the other, and so for no header that reaches over two.
    if native is None or any(b"\n" in test.header for _, test in tests):
        return keep
    every = ((b"", *others), *((name, *rule) for name, rule in rules.items()))
    made: Check = native.EventFilter(keep, must_match, every)
    return made


def _by_name(rules: dict[bytes, Check], others: Check) -> Check:
    """Make what asks the rule of the event's name, `others` where that has none."""
    if not rules:
        return others

    # The bytes up to the first line's end decide what the name is.
    known: dict[bytes, Check] = {}

    def keep(event: Event) -> bool:
        raw = event.raw
        first_line = raw[: raw.find(b"\n") + 1]
        decide = known.get(first_line)
        if decide is None:
            decide = rules.get(event.name_bytes, others)
            if first_line:  # without one the name is all there is
                if len(known) >= MAX_NAMES:
                    known.clear()
                known[first_line] = decide
        return decide(event)

    return keep


def _parse_line(line: FilterLine) -> Filter:
    try:
        return parse(line.criteria, line.pattern)
    except ValueError as error:
        where = f"{line.where}: " if line.where else ""
        raise ValueError(f"{where}{line.criteria}: {error}") from error


class _Test(NamedTuple):
    """One filter, its name aside (filter_cmp_fn)."""

    header: bytes
    """What a line must begin with, colon included; nothing for the whole event."""
    method: str
    needed: bytes
    """What every text contains that matches: the pattern, unless it is a regular expression."""
    compare: Compare

    @classmethod
    def of(cls, entry: Filter) -> _Test:
        compare, needed = _comparison(entry)
        return cls(entry.header or b"", entry.method, needed, compare)

    @property
    def check(self) -> Check:
        """The test of an event that has `found_by`."""
        compare = self.compare
        if self.header:
            return _header_check(self.header, compare)
        if self.method == "none":
            return _always
        return lambda event: compare(event.text)

    @property
    def found_by(self) -> bytes:
        """What the `raw` of every event contains that `check` finds."""
        # The whole event has an empty line at its end that `raw` has not.
        return b"" if not self.header and self.needed.endswith((b"\r", b"\n")) else self.needed


class _Rule(NamedTuple):
    """The tests that concern events of one name, which nobody has to look at any more."""

    includes: tuple[_Test, ...]
    excludes: tuple[_Test, ...]

    @classmethod
    def of(cls, tests: Iterable[tuple[Filter, _Test]], name: bytes | None) -> _Rule:
        concern = [(each.exclude, test) for each, test in tests if each.name in (None, name)]
        return cls(
            tuple(test for exclude, test in concern if not exclude),
            tuple(test for exclude, test in concern if exclude),
        )

    def check(self, *, must_match: bool) -> Check:
        """Make the decision; with `must_match` one of the includes has to find an event."""
        included = _any(self.includes, found=True) if must_match else _always
        not_excluded = _any(self.excludes, found=False)
        if _never in (included, not_excluded):
            return _never
        if not_excluded is _always:
            return included
        if included is _always:
            return not_excluded
        return lambda event: included(event) and not_excluded(event)


def _any(tests: Sequence[_Test], *, found: bool) -> Check:
    """Make what returns `found` for an event that one of the tests finds, and the opposite for others."""
    if not tests:
        return _never if found else _always
    checks = [(test.found_by, test.check) for test in tests]
    if any(check is _always for _, check in checks):
        return _always if found else _never

    def any_of(event: Event) -> bool:
        find = event.raw.find
        for needed, check in checks:
            if find(needed) >= 0 and check(event):
                return found
        return not found

    return any_of


def _always(_event: Event) -> bool:
    return True


def _never(_event: Event) -> bool:
    return False


def _header_check(header: bytes, compare: Compare) -> Check:
    """Make the test of the lines that begin with `header`.

    A bare CR or LF ends a line, as for app_ami_kafka (filter_cmp_fn) and for `json`. Asterisk's own filter
    reads up to LF (ast_read_line_from_buffer), so it does not see a header behind a bare CR. Blanks and
    control characters before the value are passed over (ast_skip_blanks). A value of which nothing is left
    is not looked at.
    """

    def matches(event: Event) -> bool:
        raw = event.raw
        found = raw.find(header)
        while found >= 0:
            begin = found + len(header)
            if not found or raw[found - 1] in _LINE_ENDS:
                end = LINE_BREAKS.search(raw, begin)
                value = (raw[begin:] if end is None else raw[begin : end.start()]).lstrip(_BLANK_BYTES)
                if value and compare(value):
                    return True
            found = raw.find(header, begin)
        return False

    return matches


def _comparison(entry: Filter) -> tuple[Compare, bytes]:
    """Make the comparison of a text, which is not empty, with the pattern (match_eventdata).

    Returns also what every text contains that matches.
    """
    pattern = entry.pattern
    if entry.method == "regex":
        regex = Regex(pattern)
        return regex.matches, regex.needed
    comparisons: dict[str, Compare] = {
        "exact": lambda text: text == pattern,
        "starts_with": lambda text: text.startswith(pattern),
        "ends_with": lambda text: text.endswith(pattern),
        "contains": lambda text: text.find(pattern) >= 0,
        "none": lambda _text: True,
    }
    return comparisons[entry.method], pattern


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")

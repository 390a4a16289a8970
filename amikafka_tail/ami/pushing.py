"""Hands `eventfilter` lines to Asterisk with `Action: Filter` (main/manager.c, action_filter). No I/O here.

A filter counts for its session and cannot be taken back. So Asterisk may never hold back more than the lines
do, whatever it refuses: an exclude is right by itself, but includes are only together, as an event needs to
match just one of them. See docs/adr/0014.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence

from amikafka_tail.ami.eventfilter import parse
from amikafka_tail.model.errors import SourceDisconnected
from amikafka_tail.model.pushed_filters import NOT_ALLOWED, FilterLine, Pushed

MAX_LINE = 1022
"""Bytes of a line that Asterisk takes, without its end (get_input)."""
UNFIT = "no line of an action can hold it"
NOT_KNOWN = "it does not know MatchCriteria, which came with 18.26, 20.11, 21.6 and 22.1"
NOT_ALONE = "includes are right only together, and another one stays here"

Fields = list[tuple[str, str]]
# An Asterisk that does not know MatchCriteria passes over it and takes the rest for a legacy filter: what was
# to exclude a few events would include those alone. But "[" is no regular expression, so this one it refuses;
# one that knows MatchCriteria takes it for a filter of events that do not exist.
PROBE: Fields = [("MatchCriteria", "action(exclude),name(amikafka-probe),method(exact)"), ("Filter", "[")]
EVERYTHING: Fields = [("Filter", ".")]


def push(lines: Sequence[FilterLine], pushed: Pushed) -> Generator[Fields, str | None, None]:
    """Yield the fields of one `Filter` action after the other, and note in `pushed` what came of it all.

    To be sent why Asterisk refuses an action, `None` where it does not. Raises `SourceDisconnected` where the
    session cannot be used any more.
    """
    requests = [_Request(line) for line in lines]
    advanced = [request for request in requests if "MatchCriteria" in dict(request.fields)]
    if any(request.is_open for request in advanced):
        refusal = yield PROBE
        if refusal == NOT_ALLOWED:
            _refuse(requests, NOT_ALLOWED)
        elif refusal is not None:
            _refuse(advanced, NOT_KNOWN)
    for request in requests:
        if request.exclude and request.is_open:
            request.answer((yield request.fields))
            if request.refusal == NOT_ALLOWED:
                _refuse(requests, NOT_ALLOWED)
    yield from _push_includes([request for request in requests if not request.exclude])
    pushed.wanted = len(requests)
    pushed.taken = sum(request.taken for request in requests)
    pushed.refused = [(request.line, request.refusal) for request in requests if request.refusal is not None]


def _push_includes(includes: Sequence[_Request]) -> Generator[Fields, str | None, None]:
    """Ask for all of them, or for none: where one is refused an include of everything undoes the others."""
    if not all(request.is_open for request in includes):
        _refuse(includes, NOT_ALONE)
        return
    for request in includes:
        request.answer((yield request.fields))
        if request.refusal is None:
            continue
        if includes[0].taken and (refusal := (yield EVERYTHING)) is not None:
            raise SourceDisconnected(f"Asterisk takes some of the includes, and then nothing more: {refusal}")
        for each in includes:
            each.taken = False
        _refuse(includes, NOT_ALONE)
        return


def _refuse(requests: Sequence[_Request], reason: str) -> None:
    for request in requests:
        if request.is_open:
            request.refusal = reason


class _Request:
    """One line, and what Asterisk says to it."""

    def __init__(self, line: FilterLine) -> None:
        self.line = line
        self.exclude = parse(line.criteria, line.pattern).exclude
        self.fields = _fields(line)
        self.taken = False
        self.refusal = None if all(map(_fits, self.fields)) else UNFIT

    @property
    def is_open(self) -> bool:
        """Whether it is neither taken nor refused."""
        return not self.taken and self.refusal is None

    def answer(self, refusal: str | None) -> None:
        """Note what Asterisk says."""
        self.taken = refusal is None
        self.refusal = refusal


def _fields(line: FilterLine) -> Fields:
    """Return what `Action: Filter` makes the same line of: it puts `eventfilter(` before the criteria."""
    _, parenthesis, criteria = line.criteria.partition("(")
    fields = [("Filter", line.pattern)] if line.pattern else []
    if parenthesis:
        fields.insert(0, ("MatchCriteria", criteria.rpartition(")")[0]))
    return fields


def _fits(field: tuple[str, str]) -> bool:
    name, value = field
    size = len(f"{name}: {value}".encode("utf-8", "surrogateescape"))
    return size <= MAX_LINE and not any(end in value for end in "\r\n\0")

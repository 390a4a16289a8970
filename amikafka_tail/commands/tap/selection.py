"""Selects the events to show: the command line's filters, in the syntax of manager.conf."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

from amikafka_tail.ami.eventfilter import event_filter, parse
from amikafka_tail.delivery.messages import Filter
from amikafka_tail.model.errors import UsageError
from amikafka_tail.model.event import Event
from amikafka_tail.model.pushed_filters import FilterLine

_LINE = re.compile(r"\s*(eventfilter\s*(?:\([^=]*)?)(?:$|=>?(.*))", re.DOTALL)
_CRITERIA = re.compile(r"\s*!?\(?(action|name|header|method)\(")


def filters(texts: Sequence[str], names: Sequence[str]) -> list[tuple[str, Filter]]:
    """Make the filters. An event must pass all of them.

    Each text is a line `eventfilter(...) = PATTERN` of manager.conf, or the part after `eventfilter =`: a
    regular expression with an optional `!` in front. Together they mean the same as in manager.conf. If there
    are `names`, an event must have one of them, in any case. Raises `UsageError`.
    """
    made: list[tuple[str, Filter]] = []
    if names:
        made.append(("--event", _by_name(names)))
    if texts:
        lines = tuple(_line(text) for text in texts)
        made.append(("eventfilter", event_filter(lines)))
    return made


def _by_name(names: Collection[str]) -> Filter:
    wanted = {name.lower() for name in names}

    def keep(event: Event) -> bool:
        return event.name.lower() in wanted

    return keep


def _line(text: str) -> FilterLine:
    found = _LINE.fullmatch(text)
    criteria, pattern = (found[1], found[2] or "") if found else ("eventfilter", text)
    line = FilterLine(criteria.strip(), pattern.strip())
    try:
        parse(line.criteria, line.pattern)
    except ValueError as error:
        raise UsageError(f'the filter "{text}": {error}') from error
    if found is None and _CRITERIA.match(text):
        raise UsageError(
            f'the filter "{text}" would be a regular expression over the whole event; write options'
            f' as in manager.conf: "eventfilter(name(Hangup))=",'
            ' "eventfilter(header(Channel),method(starts_with))=PJSIP/"'
        )
    return line

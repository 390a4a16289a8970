"""Which events are shown: the filters of the command line, in the words of manager.conf."""

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
    """Make the filters that an event has to pass, all of them.

    `texts` are the lines `eventfilter(...) = PATTERN` of manager.conf, or what stands behind `eventfilter =`,
    a regular expression, perhaps with a `!` in front; together they mean what they mean there. `names` are
    names of events, of which an event must have one, in capitals or not. Raises `UsageError`.
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
            f'the filter "{text}" is a regular expression over the whole event; with options it is'
            f' written as in manager.conf: "eventfilter(name(Hangup))=",'
            ' "eventfilter(header(Channel),method(starts_with))=PJSIP/"'
        )
    return line

"""What becomes of events before they are sent: which of them, as what, and with what around it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from amikafka_tail.delivery.envelope import Envelope
from amikafka_tail.model.event import Event
from amikafka_tail.model.identity import Identity
from amikafka_tail.model.payload import Payload

Filter = Callable[[Event], "bool | Event | None"]


class Route(NamedTuple):
    """How the events of one Asterisk become messages."""

    envelope: Envelope
    render: Callable[[Event], bytes | Payload]


@dataclass(frozen=True, kw_only=True)
class Messages:
    """What becomes of events, as the configuration says.

    `choose` returns the event to publish or `None`; it is `None` itself where every event is published.
    `route` makes the envelope and the renderer for an identity; `fallback` is who the Asterisk is as long as
    the log does not say. With `gap_events` what is missing is published, too.
    """

    topic: str
    format_name: str
    choose: Callable[[Event], Event | None] | None
    route: Callable[[Identity], Route]
    fallback: Identity
    gap_events: bool = False


class FilterFailed(Exception):
    """A filter raised; its own exception is the cause."""


def chain(filters: Sequence[tuple[str, Filter]]) -> Callable[[Event], Event | None] | None:
    """Make one function of named filters, `None` of none. It raises `FilterFailed` with the filter's name."""
    choosers = [_chooser(name, keep) for name, keep in filters]
    if len(choosers) < 2:
        return choosers[0] if choosers else None

    def choose(event: Event) -> Event | None:
        chosen: Event | None = event
        for chooser in choosers:
            if chosen is not None:
                chosen = chooser(chosen)
        return chosen

    return choose


def _chooser(name: str, keep: Filter) -> Callable[[Event], Event | None]:
    """Make what asks one filter, and returns the event that goes on."""

    def choose(event: Event) -> Event | None:
        try:
            verdict = keep(event)
        except Exception as error:
            raise FilterFailed(name) from error
        if verdict is True:
            return event
        if verdict is None or verdict is False:
            return None
        if not isinstance(verdict, Event):
            error = TypeError(f"the filter returned {type(verdict).__name__}, not bool, Event or None")
            raise FilterFailed(name) from error
        captured_ms = verdict.captured_ms or event.captured_ms
        if type(verdict.raw) is not bytes or type(captured_ms) is not int:
            kinds = f"{type(verdict.raw).__name__} and {type(captured_ms).__name__}"
            wrong = TypeError(f"the filter returned an event of {kinds}, not of bytes and int")
            raise FilterFailed(name) from wrong
        return Event(verdict.raw, event.position, captured_ms)

    return choose

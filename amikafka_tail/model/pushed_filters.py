"""`eventfilter` lines that Asterisk itself applies, so that it does not send unwanted events."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from amikafka_tail.model.live_source import LiveSource

NOT_ALLOWED = "Permission denied"
MOST_NAMED = 5
"""Lines that a warning names."""


@dataclass(frozen=True)
class FilterLine:
    """One line of the configuration: `criteria = pattern`, at `where`."""

    criteria: str
    """`eventfilter`, or `eventfilter(...)` with options."""
    pattern: str
    where: str = field(default="", compare=False)
    """For the error, for example `ami_kafka.conf:14`."""


@dataclass(kw_only=True)
class Pushed:
    """The result of handing the lines to Asterisk."""

    wanted: int = 0
    taken: int = 0
    """How many of them Asterisk applies."""
    refused: list[tuple[FilterLine, str]] = field(default_factory=list)
    """The others, each with the reason."""

    def warnings(self) -> list[str]:
        """Return the lines that Asterisk does not apply, and what to do about it."""
        by_reason: dict[str, list[str]] = {}
        for line, reason in self.refused:
            by_reason.setdefault(reason, []).append(line.where or f"{line.criteria} = {line.pattern}")
        return [
            f"Asterisk does not apply {len(lines)} of {self.wanted} eventfilter lines"
            f" ({reason.replace(': ', ' ')}): {_advice(reason)}; {_named(lines)}"
            for reason, lines in by_reason.items()
        ]


def _advice(reason: str) -> str:
    if reason == NOT_ALLOWED:
        return (
            "add system to write of the manager user, or set push_filters = no; amikafka applies them itself"
        )
    return "amikafka applies them itself, nothing is lost"


def _named(lines: list[str]) -> str:
    more = f" and {len(lines) - MOST_NAMED} more" if len(lines) > MOST_NAMED else ""
    return ", ".join(lines[:MOST_NAMED]) + more


@runtime_checkable
class Filterable(Protocol):
    """A live source whose peer can filter, so that unwanted events are never sent."""

    def filtered(self, lines: Sequence[FilterLine]) -> LiveSource:
        """Return the same source, with its peer told to apply as many of these lines as it can.

        The peer may drop what the lines drop, or less. The host applies the lines as well.
        """


@runtime_checkable
class Filtered(Protocol):
    """A connection of such a source."""

    @property
    def pushed(self) -> Pushed:
        """Which lines the peer applies."""

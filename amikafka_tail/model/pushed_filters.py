"""`eventfilter` lines that Asterisk itself applies: events that nobody wants are not sent at all."""

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
    """One line as it stands in the configuration: `criteria = pattern`, at `where`."""

    criteria: str
    """`eventfilter`, or `eventfilter(...)` with options."""
    pattern: str
    where: str = field(default="", compare=False)
    """For the error, for example `ami_kafka.conf:14`."""


@dataclass(kw_only=True)
class Pushed:
    """What became of the lines that were to be handed over."""

    wanted: int = 0
    taken: int = 0
    """How many of them Asterisk filters by."""
    refused: list[tuple[FilterLine, str]] = field(default_factory=list)
    """The others, each with the reason."""

    def warnings(self) -> list[str]:
        """Say what Asterisk does not filter by, and what may be done about it."""
        by_reason: dict[str, list[str]] = {}
        for line, reason in self.refused:
            by_reason.setdefault(reason, []).append(line.where or f"{line.criteria} = {line.pattern}")
        return [
            f"Asterisk does not filter by {len(lines)} of {self.wanted} eventfilter lines"
            f" ({reason.replace(': ', ' ')}): {_advice(reason)}; {_named(lines)}"
            for reason, lines in by_reason.items()
        ]


def _advice(reason: str) -> str:
    if reason == NOT_ALLOWED:
        return "add system to write of the manager user, or set push_filters = no; they are applied here"
    return "they are applied here, nothing is lost by it"


def _named(lines: list[str]) -> str:
    more = f" and {len(lines) - MOST_NAMED} more" if len(lines) > MOST_NAMED else ""
    return ", ".join(lines[:MOST_NAMED]) + more


@runtime_checkable
class Filterable(Protocol):
    """A live source whose other side can filter, so that what nobody wants does not come at all."""

    def filtered(self, lines: Sequence[FilterLine]) -> LiveSource:
        """Return the same source, whose other side is asked to filter by these lines as far as it can.

        What it may hold back is what the lines hold back, or less: they are applied here all the same.
        """


@runtime_checkable
class Filtered(Protocol):
    """A connection of such a source."""

    @property
    def pushed(self) -> Pushed:
        """What became of the lines."""

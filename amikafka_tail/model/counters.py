"""Counters: plain integers that the loop increments."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

MAX_KINDS = 1000
"""Event names counted separately: a dialplan can invent any number of them."""
OTHER = (b"(other)", b"")
Count = list[int]
"""One integer in a list, so that the loop can increment it in place."""


class KindCounts:
    """The number of messages for each (name, category) of an event."""

    def __init__(self) -> None:
        self._counts: dict[tuple[bytes, bytes], Count] = {}

    def of(self, name: bytes, category: bytes) -> Count:
        """Return the count to increment."""
        kind = (name, category)
        if kind not in self._counts and len(self._counts) >= MAX_KINDS:
            kind = OTHER
        return self._counts.setdefault(kind, [0])

    def most(self) -> list[tuple[str, str, int]]:
        """Return names, categories and counts, the most frequent first."""
        found = [
            (name.decode("utf-8", "replace"), category.decode("utf-8", "replace"), count)
            for (name, category), (count,) in self._counts.items()
        ]
        return sorted(found, key=lambda each: (-each[2], each[:2]))


class Unrecognized(NamedTuple):
    """A file that was read and in which no event was found."""

    path: str
    lines: int
    """Those that were read, the last one even if it has no end yet."""
    example: str
    """The beginning of the first line, made harmless for a terminal."""
    ended: bool
    """Whether the file is read to its end, and is not read on."""


@dataclass
class Counters:
    """Counts since the process started."""

    events: int = 0
    """Events read from the source. Events that are read again after a rewind count again."""
    filtered: int = 0
    """Events that a filter excluded here, rewinds included. Events that Asterisk excluded never arrive."""
    sent: int = 0
    """Messages handed to the producer, resends included."""
    delivered: int = 0
    """Messages that Kafka has acknowledged, together with everything before them."""
    kinds: KindCounts = field(default_factory=KindCounts)
    """Messages handed to the producer, by name and category."""
    dead_letters: int = 0
    """Events written to the dead-letter file, `torn` and `malformed` included."""
    torn: int = 0
    """Events cut off by a lost connection."""
    malformed: int = 0
    """Blocks that are neither an event nor a response."""
    joined: int = 0
    """Events with an empty line inside a value, reassembled from their parts."""
    overlong: int = 0
    """Blocks skipped because they were longer than the framer's limit."""
    lost: int = 0
    """Events dropped because the journal was full."""
    duplicates: int = 0
    """Duplicate copies of events in a log, which has one copy for each manager session."""
    gaps: int = 0
    """Events missing according to their SequenceNumber."""
    rewinds: int = 0
    """How often the pipeline went back to the checkpoint."""
    plugin_failures: dict[str, int] = field(default_factory=dict)
    """Events that a filter or a format could not handle, by plugin name."""
    connections: int = 0
    """Connections made to Asterisk."""
    disconnections: int = 0
    """Periods without a connection, in which events may have been lost."""
    disconnected_seconds: float = 0.0
    """The total length of those periods, in seconds."""
    forgotten_letters: int = 0
    """Dead letters deleted to make room for newer ones."""
    unrecognized: dict[tuple[str, int], Unrecognized] = field(default_factory=dict)
    """Files without an event, by path and inode, in the order in which they were found: the last ones."""

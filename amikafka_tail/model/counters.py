"""What is counted: plain integers that the loop adds to."""

from __future__ import annotations

from dataclasses import dataclass, field

MAX_KINDS = 1000
"""Names of events that are counted apart: a dialplan can make them up without end."""
OTHER = (b"(other)", b"")
Count = list[int]
"""One integer, where whoever counts finds it at once."""


class KindCounts:
    """How many events of each (name, category) became messages."""

    def __init__(self) -> None:
        self._counts: dict[tuple[bytes, bytes], Count] = {}

    def of(self, name: bytes, category: bytes) -> Count:
        """Return the count to add to."""
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


@dataclass
class Counters:
    """Counts since the process began."""

    events: int = 0
    """Events read from the source. What is read again after a rewind counts again."""
    filtered: int = 0
    """Events that a filter kept back here, rewinds included; what Asterisk itself kept back never came."""
    sent: int = 0
    """Messages handed to the producer, resends included."""
    delivered: int = 0
    """Messages acknowledged, with everything before them: the checkpoint is behind them."""
    kinds: KindCounts = field(default_factory=KindCounts)
    """What was handed to the producer, by name and category."""
    dead_letters: int = 0
    """Events that went to the dead-letter file, `torn` and `malformed` included."""
    torn: int = 0
    """Events cut off by a lost connection."""
    malformed: int = 0
    """Blocks that are neither an event nor a response."""
    overlong: int = 0
    """Blocks passed over because they were longer than the framer holds."""
    lost: int = 0
    """Events given up because the journal was full."""
    duplicates: int = 0
    """Copies of events that a log has once for each manager session."""
    gaps: int = 0
    """Events missing, as their SequenceNumber tells."""
    rewinds: int = 0
    """How often the pipeline went back to the checkpoint."""
    plugin_failures: dict[str, int] = field(default_factory=dict)
    """Events that a filter or a format could not handle, by its name."""
    connections: int = 0
    """Connections made to Asterisk."""
    disconnections: int = 0
    """How often there was a time without a connection, in which events may have been lost."""
    disconnected_seconds: float = 0.0
    """How long those times were together, in seconds."""
    forgotten_letters: int = 0
    """Dead letters that had to make room for others."""

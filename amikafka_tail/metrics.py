"""What is counted: plain integers that the loop adds to."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Counters:
    """Counts since the process began."""

    events: int = 0
    """Events read from the source."""
    filtered: int = 0
    """Events that a filter kept back."""
    sent: int = 0
    """Messages handed to the producer, resends included."""
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

"""How much is measured, and of what."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.subjects import Subject


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a part of the benchmarks is asked to do."""

    subjects: Sequence[Subject]
    directory: Path
    """For what is made once: programs, journals."""
    turns: int
    """How often each way is run, by turns."""
    headline_turns: int
    scale: float
    """Of the numbers of events and of seconds: 1 for figures, less to try things out."""
    rounds: int = 5
    kafka: str | None = None
    """The address of a Kafka; without one a mock broker is made for each run."""

    def count(self, events: int) -> int:
        return max(2_000, int(events * self.scale))

    def seconds(self, seconds: float) -> float:
        return max(1.0, seconds * self.scale)

    @property
    def floor(self) -> Subject:
        """The first interpreter, Python alone: the distribution's own packages where there are any."""
        return self.subjects[0]

    def with_speedups(self, subject: Subject) -> Subject | None:
        """Return the same interpreter with speedups, if they could be built."""
        for each in self.subjects:
            if each.python == subject.python and each.speedups:
                return each
        return None

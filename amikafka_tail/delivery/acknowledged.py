"""What Kafka has acknowledged above the checkpoint: it is not sent again when an attempt is over.

Kept as the ranges of offsets whose events were sent, without those events that were not acknowledged. How far
reading runs ahead of the checkpoint is bounded, and so are both.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable


class Acknowledged:
    """A set of events by their positions, for the attempts of one pipeline."""

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []
        self._missing: set[int] = set()

    def __bool__(self) -> bool:
        """Tell whether it holds anything."""
        return bool(self._starts)

    def __contains__(self, position: int) -> bool:
        """Tell whether the event at a position is acknowledged."""
        index = bisect_right(self._starts, position) - 1
        return index >= 0 and position < self._ends[index] and position not in self._missing

    def add(self, start: int, end: int, missing: Iterable[int]) -> None:
        """Add all events at the positions from `start` to before `end`, but for those that are `missing`."""
        if start < end:
            self._missing = {each for each in self._missing if not start <= each < end}
            first = bisect_left(self._ends, start)
            last = bisect_right(self._starts, end)
            if first < last:
                start, end = min(start, self._starts[first]), max(end, self._ends[last - 1])
            self._starts[first:last] = [start]
            self._ends[first:last] = [end]
        self._missing.update(missing)

    def release(self, position: int) -> None:
        """Forget what is before the checkpoint."""
        gone = bisect_right(self._ends, position)
        if gone:
            del self._starts[:gone], self._ends[:gone]
            self._missing = {each for each in self._missing if each >= position}

"""Recent rates, computed from regular samples of counters."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

SAMPLE_SECONDS = 5.0
"""Minimum time between two samples."""
SHORT, LONG = 10.0, 600.0
"""Seconds over which a current rate and a usual rate are measured."""
MANY_EVENTS = 10_000
"""After this many events, older ones count half as much for the mean size."""
USUAL_EVENT_BYTES = 500.0
"""Assumed size of an event before any has been seen."""


class Sample(NamedTuple):
    """The counters at one moment."""

    at: float
    read: int
    delivered: int
    end: int
    """Offset of the end of the received data."""
    position: int
    """Offset up to which the data is read."""


class Rates:
    """Keeps samples of the last ten minutes. `add` them in order of time, in monotonic seconds."""

    def __init__(self) -> None:
        self._seen_events = 0.0
        self._seen_bytes = 0.0
        self._samples: deque[Sample] = deque()

    @property
    def next_due(self) -> float:
        """When the next sample is due, on the clock of the samples."""
        return self._samples[-1].at + SAMPLE_SECONDS if self._samples else 0.0

    def add(self, sample: Sample) -> None:
        """Add a sample."""
        if self._samples:
            before = self._samples[-1]
            events, read = sample.read - before.read, sample.position - before.position
            if events > 0 and read > 0:
                self._seen_events += events
                self._seen_bytes += read
            if self._seen_events > MANY_EVENTS:
                self._seen_events /= 2
                self._seen_bytes /= 2
        self._samples.append(sample)
        while self._samples[0].at < sample.at - LONG:
            self._samples.popleft()

    @property
    def event_bytes(self) -> float:
        """Mean size of an event, weighted towards recent ones."""
        return self._seen_bytes / self._seen_events if self._seen_events else USUAL_EVENT_BYTES

    def read_per_second(self, now: Sample) -> float:
        """Return the current rate of events read."""
        before = self._before(now, SHORT)
        return _rate(now.read - before.read, now.at - before.at)

    def delivered_per_second(self, now: Sample) -> float:
        """Return the current rate of messages delivered."""
        before = self._before(now, SHORT)
        return _rate(now.delivered - before.delivered, now.at - before.at)

    def bytes_per_second(self, now: Sample) -> float:
        """Return the usual rate of incoming bytes."""
        before = self._before(now, LONG)
        return _rate(now.end - before.end, now.at - before.at)

    def came_by(self, offset: int) -> float | None:
        """Return the latest time at which the data after an offset can have arrived; `None` if unknown."""
        return next((sample.at for sample in self._samples if sample.end > offset), None)

    def _before(self, now: Sample, seconds: float) -> Sample:
        """Return the newest sample that is at least this old, else the oldest."""
        found = self._samples[0] if self._samples else now
        for sample in self._samples:
            if now.at - sample.at < seconds:
                break
            found = sample
        return found


def _rate(count: int, seconds: float) -> float:
    return max(0.0, count / seconds) if seconds > 0 else 0.0

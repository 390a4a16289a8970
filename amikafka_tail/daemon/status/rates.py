"""How fast things went lately, from counts that are looked at now and then."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

SAMPLE_SECONDS = 5.0
"""Time between two samples, at least."""
SHORT, LONG = 10.0, 600.0
"""Seconds that a present rate and a usual one are taken over."""
MANY_EVENTS = 10_000
"""Events after which older ones count half as much for the mean size."""
USUAL_EVENT_BYTES = 500.0
"""Size of an event where none has been seen."""


class Sample(NamedTuple):
    """Counts at one moment."""

    at: float
    read: int
    delivered: int
    end: int
    """Offset of the end of what has come in."""
    position: int
    """Offset up to which it is read."""


class Rates:
    """Keeps samples of the last ten minutes. `add` them in the order of their time, in monotonic seconds."""

    def __init__(self) -> None:
        self._seen_events = 0.0
        self._seen_bytes = 0.0
        self._samples: deque[Sample] = deque()

    @property
    def next_due(self) -> float:
        """When the next sample should be taken, on the clock of the samples."""
        return self._samples[-1].at + SAMPLE_SECONDS if self._samples else 0.0

    def add(self, sample: Sample) -> None:
        """Take a sample."""
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
        """Mean size of an event, of those that came last rather than of the old ones."""
        return self._seen_bytes / self._seen_events if self._seen_events else USUAL_EVENT_BYTES

    def read_per_second(self, now: Sample) -> float:
        """Return how many events were read lately."""
        before = self._before(now, SHORT)
        return _rate(now.read - before.read, now.at - before.at)

    def delivered_per_second(self, now: Sample) -> float:
        """Return how many messages were delivered lately."""
        before = self._before(now, SHORT)
        return _rate(now.delivered - before.delivered, now.at - before.at)

    def bytes_per_second(self, now: Sample) -> float:
        """Return how many bytes come in usually."""
        before = self._before(now, LONG)
        return _rate(now.end - before.end, now.at - before.at)

    def came_by(self, offset: int) -> float | None:
        """Return when what stands behind an offset came, at the latest; `None` where no sample tells."""
        return next((sample.at for sample in self._samples if sample.end > offset), None)

    def _before(self, now: Sample, seconds: float) -> Sample:
        """Return the youngest sample that is at least so old, else the oldest."""
        found = self._samples[0] if self._samples else now
        for sample in self._samples:
            if now.at - sample.at < seconds:
                break
            found = sample
        return found


def _rate(count: int, seconds: float) -> float:
    return max(0.0, count / seconds) if seconds > 0 else 0.0

"""Tells events that are logged once per manager session apart, by their SequenceNumber.

Asterisk counts events from 0 at each start, and logs each of them once for every session. Sessions may lag
behind each other, and numbers may come out of order: they are given before the queue is locked. On a busy
machine an event came 1,306 numbers late.
"""

from __future__ import annotations

from collections import deque

WINDOW = 8192
"""How far a session may lag behind another, or a number come late, in events, before its copies are taken for
another start's and what is missing for lost."""
LATE_MS = 5000
"""How much later than the event behind it an event may come, in ms of the events' own time, before it is
taken for lost."""
LATE_NUMBERS = 2048
"""How many numbers late an event may come at the end of what can be read."""


class Sequence:
    """The numbers seen lately. Memory is bounded by `window`.

    `duplicates` counts copies, `gaps` numbers that never came, `restarts` how often counting began again.
    """

    def __init__(self, window: int = WINDOW) -> None:
        self.duplicates = 0
        self.gaps = 0
        self.restarts = 0
        self.highest: int | None = None
        self._floor = 0
        """Of no number up to this one is anything awaited: it came before the first, or is counted."""
        self._counted = self._told = 0
        self._window = window
        self._seen: list[int | None] = [None] * window
        self._holes: deque[tuple[int, int | None]] = deque()
        """Numbers before which others are missing, and when in ms that was first seen."""

    @property
    def has_holes(self) -> bool:
        """Whether numbers are missing: then `ended_gap` has to be asked."""
        return bool(self._holes) or self.gaps != self._told

    def is_new(self, number: int, raw: bytes) -> bool:
        """Tell whether this is the first copy of an event; `raw` has its number and its time in it."""
        digest = hash(raw)
        if self.highest is None:
            self._restart(number)
        elif number > self.highest:
            if number > self.highest + 1:
                self._holes.append((number, None))
            self._advance(number)
        elif self._is_of_another_start(number, digest):
            self.flush()
            self.restarts += 1
            self._restart(number)
        elif self._seen[number % self._window] is not None:
            self.duplicates += 1
            return False
        self._seen[number % self._window] = digest
        return True

    def ended_gap(self, now_ms: int | None = None) -> int:
        """Return how many numbers are missing in a row, once that row has ended; 0 as long as it has not.

        Called after each `is_new`, or after those that leave `has_holes`. `now_ms` is the time of the event,
        in ms since the epoch; without one only the window says what is too late.
        """
        if now_ms is not None:
            self._give_up_late(now_ms)
        if self.gaps != self._counted:
            self._counted = self.gaps
            return 0
        missing, self._told = self.gaps - self._told, self.gaps
        return missing

    def close(self) -> int:
        """Nothing more can be read: return how many numbers are missing, but for those that may come late."""
        assert self.highest is not None or not self._holes
        while self._holes and self._holes[0][0] + LATE_NUMBERS <= (self.highest or 0):
            self._give_up(self._holes.popleft()[0])
        missing, self._told = self.gaps - self._told, self.gaps
        self._counted = self.gaps
        return missing

    def forget_counts(self) -> None:
        """Begin to count: what was seen until now was only to be known."""
        self.duplicates = self.gaps = self.restarts = self._counted = self._told = 0

    def flush(self) -> None:
        """Count what has not come until now as never to come."""
        if self.highest is not None:
            self._advance(self.highest + self._window)
        self._holes.clear()

    def _is_of_another_start(self, number: int, digest: int) -> bool:
        assert self.highest is not None
        if number <= self.highest - self._window:
            return True
        known = self._seen[number % self._window]
        return known is not None and known != digest

    def _give_up_late(self, now_ms: int) -> None:
        holes = self._holes
        for index in range(len(holes) - 1, -1, -1):
            number, since = holes[index]
            if since is not None and since <= now_ms:
                break
            holes[index] = (number, now_ms)  # first seen, or the clock was set back
        while holes and (since := holes[0][1]) is not None and since + LATE_MS <= now_ms:
            self._give_up(holes.popleft()[0])

    def _give_up(self, number: int) -> None:
        """Count what is missing before a number."""
        assert self.highest is not None
        begin = max(self._floor, self.highest - self._window) + 1
        self.gaps += sum(self._seen[each % self._window] is None for each in range(begin, number))
        self._floor = max(self._floor, number - 1)

    def _restart(self, number: int) -> None:
        self._seen = [None] * self._window
        self.highest = self._floor = number
        self._holes.clear()

    def _advance(self, number: int) -> None:
        """Let the window end at `number`; what leaves it unseen is a gap."""
        assert self.highest is not None
        window = self._window
        for next_number in range(self.highest + 1, min(number, self.highest + window) + 1):
            slot = next_number % window
            left = next_number - window
            self.gaps += self._seen[slot] is None and left > self._floor
            self._seen[slot] = None
        self.gaps += max(0, number - self.highest - window)
        self.highest = number
        while self._holes and self._holes[0][0] <= number - window:
            self._holes.popleft()

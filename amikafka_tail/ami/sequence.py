"""Tells events that are logged once per manager session apart, by their SequenceNumber.

Asterisk counts events from 0 at each start, and logs each of them once for every session. Sessions may lag
behind each other, and numbers may come slightly out of order: they are given before the queue is locked.
"""

from __future__ import annotations

WINDOW = 8192
"""How far a session may lag behind another, in events, before its copies are taken for another start's."""


class Sequence:
    """The numbers seen lately. Memory is bounded by `window`.

    `duplicates` counts copies, `gaps` numbers that never came, `restarts` how often counting began again.
    """

    def __init__(self, window: int = WINDOW) -> None:
        self.duplicates = 0
        self.gaps = 0
        self.restarts = 0
        self.highest: int | None = None
        self._lowest = 0
        self._counted = self._told = 0
        self._window = window
        self._seen: list[int | None] = [None] * window

    def is_new(self, number: int, raw: bytes) -> bool:
        """Tell whether this is the first copy of an event; `raw` has its number and its time in it."""
        digest = hash(raw)
        if self.highest is None:
            self._restart(number)
        elif number > self.highest:
            self._advance(number)
        elif number <= self.highest - self._window or self._differs(number, digest):
            self.flush()
            self.restarts += 1
            self._restart(number)
        elif self._seen[number % self._window] is not None:
            self.duplicates += 1
            return False
        self._lowest = min(self._lowest, number)
        self._seen[number % self._window] = digest
        return True

    def ended_gap(self) -> int:
        """Return how many numbers are missing in a row, once that row has ended; 0 as long as it has not.

        Called after each `is_new`.
        """
        if self.gaps != self._counted:
            self._counted = self.gaps
            return 0
        missing, self._told = self.gaps - self._told, self.gaps
        return missing

    def flush(self) -> None:
        """Count what has not come until now as never to come."""
        if self.highest is not None:
            self._advance(self.highest + self._window)

    def _differs(self, number: int, digest: int) -> bool:
        known = self._seen[number % self._window]
        return known is not None and known != digest

    def _restart(self, number: int) -> None:
        self._seen = [None] * self._window
        self.highest = self._lowest = number

    def _advance(self, number: int) -> None:
        """Let the window end at `number`; what leaves it unseen is a gap."""
        assert self.highest is not None
        window = self._window
        for next_number in range(self.highest + 1, min(number, self.highest + window) + 1):
            slot = next_number % window
            left = next_number - window
            self.gaps += self._seen[slot] is None and left > self._lowest
            self._seen[slot] = None
        self.gaps += max(0, number - self.highest - window)
        self.highest = number

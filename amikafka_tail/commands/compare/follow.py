"""Reads both topics side by side until the time is over and every event has its twin."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from amikafka_tail.commands.compare.copies import Side
from amikafka_tail.commands.compare.pairing import Comparison
from amikafka_tail.kafka.topic_reader import Message
from amikafka_tail.model.errors import ClusterError

BATCH = 500
IDLE_SECONDS = 0.05
MOST_WAITING = 10_000
"""If more messages wait for their twin, partitions that are ahead of the others are paused."""
AHEAD_MS = 10_000
"""How far ahead a partition may then be, in the time of its events."""
STALL_SECONDS = 30.0


class Tail(Protocol):
    """A topic, as `TopicTail` reads it."""

    topic: str

    @property
    def reached_ms(self) -> int:
        """The time up to which everything has been read."""

    @property
    def behind_ms(self) -> int | None:
        """The time that the slowest partition has reached, `None` if all have been read to their ends."""

    def read(self, seconds: float) -> Message | None:
        """Return the next message. Blocks for at most `seconds`."""

    def hold(self, until_ms: int | None) -> None:
        """Pause the partitions that are ahead of a time; `None`: pause none."""

    def ends(self) -> dict[int, int]:
        """Return the end offset of each partition. Blocks."""

    def is_past(self, ends: Mapping[int, int]) -> bool:
        """Return whether everything before these offsets has been read."""


class Follower:
    """The loop. It ends at once when `stopped` is true; `show` gets the seconds that are left."""

    def __init__(
        self,
        tails: Mapping[Side, Tail],
        comparison: Comparison,
        *,
        clock: Callable[[], float],
        stopped: Callable[[], bool],
        show: Callable[[float], None],
    ) -> None:
        self._tails = tails
        self._comparison = comparison
        self._clock = clock
        self._stopped = stopped
        self._show = show
        self._until = 0.0
        self._last = clock()
        self._late: dict[Side, Mapping[int, int]] = {}

    def run(self, seconds: float, wait: float) -> bool:
        """Read what exists and what arrives in `seconds`; then wait at most `wait` seconds for missing twins.

        Returns false if it was stopped early. Raises `ClusterError`.
        """
        ends = self._ends()
        self._until = self._clock() + seconds
        self._read_while(lambda: self._clock() < self._until or not self._is_past(ends), ends)
        if self._stopped():
            return False
        # A message after these offsets may be a twin, but is not compared itself.
        self._late = self._ends()
        self._read_while(lambda: not self._is_past(self._late), self._late)
        until = self._clock() + wait
        self._read_while(lambda: self._comparison.waiting > 0 and self._clock() < until, self._late)
        return not self._stopped()

    def _ends(self) -> dict[Side, Mapping[int, int]]:
        return {side: tail.ends() for side, tail in self._tails.items()}

    def _is_past(self, ends: Mapping[Side, Mapping[int, int]]) -> bool:
        return all(tail.is_past(ends[side]) for side, tail in self._tails.items())

    def _read_while(self, wanted: Callable[[], bool], ends: Mapping[Side, Mapping[int, int]]) -> None:
        self._last = self._clock()
        while wanted() and not self._stopped():
            self._turn()
            self._show(max(0.0, self._until - self._clock()))
            if self._clock() - self._last > STALL_SECONDS and not self._is_past(ends):
                stuck = [tail.topic for side, tail in self._tails.items() if not tail.is_past(ends[side])]
                raise ClusterError(
                    f"Kafka has returned nothing from {' and '.join(stuck)} for {STALL_SECONDS:.0f} s",
                    hint="amikafka kafka status shows which partition has no leader",
                )

    def _turn(self) -> None:
        """Read some messages from each side."""
        behind = [tail.behind_ms for tail in self._tails.values() if tail.behind_ms is not None]
        is_crowded = self._comparison.waiting > MOST_WAITING
        horizon = min(behind) + AHEAD_MS if behind and is_crowded else None
        count = 0
        for side, tail in self._tails.items():
            tail.hold(horizon)
            for _ in range(BATCH):
                if (message := tail.read(0)) is None:
                    break
                self._take(side, message)
                count += 1
            self._comparison.reached(side, tail.reached_ms)
        if not count:
            for side, tail in self._tails.items():
                if (message := tail.read(IDLE_SECONDS)) is not None:
                    self._take(side, message)

    def _take(self, side: Side, message: Message) -> None:
        self._last = self._clock()
        ends = self._late.get(side)
        is_late = ends is not None and message.offset >= ends.get(message.partition, 0)
        self._comparison.add(side, message, is_late=is_late)

"""Finds partitions that accept nothing while messages wait for them, from one statistics to the next."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from amikafka_tail.daemon.status.snapshot import Broker, Partition
from amikafka_tail.model.humanize import counted, span

STUCK_PARTITION_SECONDS = 20.0
"""A partition is stuck that acknowledges nothing for so long: some times librdkafka's statistics."""


class StuckPartitions:
    """Notes when each partition has acknowledged something last. Times are on the caller's clock."""

    def __init__(self) -> None:
        self._noted: dict[int, tuple[int, float]] = {}
        """By partition: how many messages it has acknowledged, and since when no more."""

    def look(self, partitions: Iterable[Partition], now: float) -> None:
        """Take fresh statistics."""
        noted = {}
        for each in partitions:
            if each.queued + each.in_flight == 0:
                continue
            before, since = self._noted.get(each.number, (-1, now))
            # A fresh producer counts from 0, and its partition may be as stuck as it was.
            noted[each.number] = (each.acknowledged, now if each.acknowledged > before >= 0 else since)
        self._noted = noted

    def clear(self) -> None:
        """Nothing waits."""
        self._noted.clear()

    def timed(self, partitions: Iterable[Partition], now: float) -> list[Partition]:
        """Return the partitions with the time for which each is stuck, 0 if it is not."""
        made = []
        for each in partitions:
            _, since = self._noted.get(each.number, (0, now))
            stuck = now - since
            made.append(replace(each, stuck_seconds=stuck if stuck >= STUCK_PARTITION_SECONDS else 0.0))
        return made


def describe_stuck(partitions: Sequence[Partition], brokers: Sequence[Broker]) -> str:
    """Say which partition is stuck longest, and what librdkafka knows about the reason; "" if none is."""
    stuck = [each for each in partitions if each.stuck_seconds]
    if not stuck:
        return ""
    worst = max(stuck, key=lambda each: each.stuck_seconds)
    text = f"partition {worst.number} has accepted nothing for {span(worst.stuck_seconds)}"
    leader = next((each for each in brokers if each.number == worst.leader), None)
    if worst.leader < 0:
        text += ": it has no leader"
    elif leader is None:
        text += f": its leader, broker {worst.leader}, is unknown"
    elif leader.state != "UP":
        text += f": its leader {leader.name} cannot be reached ({leader.state})"
    elif leader.retries:
        repeated = counted(leader.retries, "repeated request")
        text += (
            f": its leader {leader.name} answers and refuses for now ({repeated}):"
            " perhaps too few replicas are in sync (min.insync.replicas)"
        )
    else:
        text += f": its leader {leader.name} is connected"
    waiting = counted(worst.queued + worst.in_flight, "message")
    others = len(partitions) - len(stuck)
    return (
        f"{text}; {waiting} wait for it"
        + (f", {counted(len(stuck) - 1, 'other partition')} likewise" if len(stuck) > 1 else "")
        + (f", {counted(others, 'partition')} not stuck" if others else "")
    )

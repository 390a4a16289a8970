"""Notices a producer that has lost its way: Kafka answers, and yet nothing of what was sent is acknowledged.

librdkafka, for one, does not follow the leader of a topic that was deleted and made again ("ignoring outdated
metadata update with leader epoch"). A Kafka that does not answer is no reason to begin afresh: the same
producer goes on when it is back, and sends nothing twice.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable

from amikafka_tail.delivery.sender import Sender

STALL_SECONDS = 45.0
"""How long nothing may be acknowledged, while messages are in flight, before Kafka is asked."""
LONGEST_STALL_SECONDS = 1800.0
"""The same after a fresh producer has got no further: the wait doubles up to this."""
ASK_SECONDS = 10.0


class StallDetector:
    """Watches over the producers of one pipeline. `clock` gives monotonic seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._since = clock()
        self._answer: queue.SimpleQueue[bool] | None = None
        self._acknowledged = 0
        self._longest = STALL_SECONDS

    def moved(self) -> None:
        """Something was acknowledged, or nothing is in flight."""
        self._since = self._clock()
        self._answer = None

    def begin(self) -> None:
        """There is a fresh producer."""
        self.moved()
        self._acknowledged = 0

    def is_over(self, sender: Sender, topic: str, acknowledged: int) -> bool:
        """Tell whether the producer should be replaced. Asks Kafka in a thread; blocks for nothing.

        `acknowledged` is how many of its messages Kafka has acknowledged, on whatever partition: as long as
        that grows, a partition that is stuck is no reason.
        """
        if acknowledged > self._acknowledged:
            self._acknowledged = acknowledged
            self._longest = STALL_SECONDS
            self.moved()
        elif not len(sender):
            self.moved()
        elif self._answer is None:
            if self._clock() - self._since >= self._longest:
                self._ask(sender, topic)
        elif not self._answer.empty():
            answers = self._answer.get()
            self.moved()
            if answers:
                self._longest = min(2 * self._longest, LONGEST_STALL_SECONDS)
            return answers
        return False

    def _ask(self, sender: Sender, topic: str) -> None:
        answer: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._answer = answer

        def ask() -> None:
            answer.put(sender.has_leaders(topic, ASK_SECONDS))

        threading.Thread(target=ask, name="ask-kafka", daemon=True).start()

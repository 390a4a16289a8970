"""How many messages share a request to Kafka.

A broker refuses a batch as a whole: the delivery reports of all its messages say so, whichever was meant. So
after a refusal every message is sent alone for a while. What is refused then is refused for itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from amikafka_tail.delivery.sender import Sender
from amikafka_tail.model.errors import ConfigError, DeliveryFailed

ONE_MESSAGE = 1
"""librdkafka's `batch.size` that lets every message have a request of its own."""
ONE_MESSAGE_SECONDS = 10.0
"""How long after the last refusal messages are sent alone."""
LARGEST, SMALLEST = 1_000_000, 16_384
"""Bytes of a batch: librdkafka's default, and what it is made no smaller than after refusals for its size."""


class Connect(Protocol):
    """Makes a producer; `batch_size` is in bytes, `None` where the configuration decides."""

    def __call__(self, batch_size: int | None = None) -> Sender:
        """Make it."""
        ...


class Batching:
    """Decides for one pipeline. `clock` gives monotonic seconds."""

    def __init__(self, connect: Connect, clock: Callable[[], float]) -> None:
        self.is_alone = False
        self._connect = connect
        self._clock = clock
        self._size: int | None = None
        self._until = 0.0

    @property
    def may_end(self) -> bool:
        """Whether messages are sent alone and need not be any more."""
        return self.is_alone and self._clock() >= self._until

    def connect(self) -> Sender:
        """Make the producer to go on with."""
        return self._connect(ONE_MESSAGE if self.is_alone else self._size)

    def connect_again(self) -> Sender:
        """Make the next one. Raises `DeliveryFailed`: what it takes, a certificate for one, may come back."""
        try:
            return self.connect()
        except ConfigError as error:
            raise DeliveryFailed(f"no producer can be made: {error}") from error

    def refused(self, *, for_size: bool) -> None:
        """Send messages alone from now on, for a while.

        `for_size` says that a batch was too large: when there are batches again they are smaller.
        """
        if for_size and not self.is_alone:
            self._size = max(SMALLEST, (self._size or LARGEST) // 4)
        self.is_alone = True
        self._until = self._clock() + ONE_MESSAGE_SECONDS

    def end(self) -> None:
        """Let messages share requests again."""
        self.is_alone = False

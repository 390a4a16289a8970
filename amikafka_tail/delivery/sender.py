"""What messages are sent through: Kafka's producer, or whatever stands in its place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol


class Sender(Protocol):
    """What the pipeline sends through. `Producer` describes each."""

    @property
    def fatal(self) -> str | None:
        """Why nothing can be sent through this any more, `None` while it can."""

    @property
    def produce(self) -> Callable[..., None]:
        """Sends one message."""

    @property
    def poll(self) -> Callable[[float], int]:
        """Calls the callbacks of messages that failed and drops those of messages that were delivered.

        Waits at most so many seconds for the first.
        """

    def __len__(self) -> int:
        """How many messages are not yet reported."""

    @property
    def has_room(self) -> bool:
        """Whether another chunk may be sent."""

    def has_leaders(self, topic: str, seconds: float) -> bool:
        """Ask Kafka whether every partition of a topic has a leader. Blocks for at most `seconds`."""

    def purge(self) -> None:
        """Throw away what is not acknowledged. `poll` then reports each message as failed. Blocks not."""

    def discard(self) -> None:
        """Throw away what is not sent yet and close."""

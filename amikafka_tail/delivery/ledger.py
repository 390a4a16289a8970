"""What has been sent and not yet delivered; releases offsets in reading order as delivery reports come in."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Any, NamedTuple

from amikafka_tail.delivery.acknowledged import Acknowledged

UNKNOWN = -1
"""The position of an event that a report does not tell."""


class Failure(NamedTuple):
    """A message that Kafka did not take, as its delivery report told."""

    receipt: Receipt
    error: Any
    message: Any
    event: Any
    """What it was made of, where it had a `DeliveryToken` of its own."""
    position: int = UNKNOWN
    """Where the event is that it was made of."""


class Receipt:
    """Stands for one chunk that was read: `start` to `end` in the source.

    It is finished when nothing is `pending`: whoever sends the chunk's messages holds it, as does each
    failure until somebody has settled it, and the `DeliveryToken` that the messages carry. `messages` is how
    many there were, once that is known, without those that were given up. The events before the position
    `sent_to` were sent; `is_whole` says that these are all of the chunk.
    """

    __slots__ = (
        "acknowledged",
        "end",
        "failures",
        "is_whole",
        "messages",
        "pending",
        "sent_to",
        "start",
    )

    def __init__(self, start: int, end: int, failures: list[Failure], acknowledged: list[int]) -> None:
        self.start = start
        self.end = end
        self.pending = 1
        self.messages = 0
        self.failures = failures
        self.acknowledged = acknowledged
        self.sent_to = start
        self.is_whole = False

    def settle_one(self) -> None:
        """Give up one hold: that of a failure that was dealt with, or the sender's."""
        self.pending -= 1


class DeliveryToken:
    """The delivery callback of messages of one chunk, which is not finished as long as one of them has it.

    A producer with `delivery.report.only.error` calls it for a message that failed. For one that was
    delivered it calls nothing and drops its reference: when the last one is gone, all are delivered. `event`
    is for a token that a single message has: what that was made of, which no report tells.
    """

    # Why "the last reference is gone" means "all are delivered" (confluent-kafka 1.7 to 2.16, Producer.c):
    # - produce() takes one reference for each message that librdkafka accepts, and none for one that it
    #   refuses. dr_msg_cb() drops it, once, in poll() or flush(), when librdkafka reports the message.
    # - If the report is an error, dr_msg_cb() calls the token first, which adds to `pending` for good: the
    #   `__del__` that may follow at once cannot finish the chunk.
    # - A message that is never reported keeps its reference, also when its producer is destroyed: its chunk
    #   is not finished, and its events are sent again. A producer that is discarded reports its messages as
    #   purged, that is as errors, from another thread, to receipts that the ledger has forgotten before.
    # - CPython counts references: `__del__` runs in the call that drops the last one, in its thread. An
    #   interpreter that collects later would release later, never too early.
    # - The sender's own references end with its chunk: a frame that is kept with somebody's exception keeps
    #   its variables, so Pipeline._send deletes them.
    # A report for each delivered message, counted in Python, costs the main thread a fifth more.

    __slots__ = ("_event", "_receipt")

    def __init__(self, receipt: Receipt, event: Any = None) -> None:
        receipt.pending += 1
        self._receipt = receipt
        self._event = event

    def __call__(self, error: Any, message: Any) -> None:
        """Take the delivery report of one message. Called from the producer's poll, never raises."""
        if error is not None:
            self._receipt.pending += 1
            position = getattr(self._event, "position", UNKNOWN)
            self._receipt.failures.append(Failure(self._receipt, error, message, self._event, position))

    def failed_at(self, position: int, error: Any, message: Any) -> None:
        """Take the delivery report of one message of several, made of the event at `position`."""
        if error is not None:
            self._receipt.pending += 1
            self._receipt.failures.append(Failure(self._receipt, error, message, None, position))

    def __del__(self) -> None:
        self._receipt.pending -= 1


class MessageToken(DeliveryToken):
    """The delivery callback of a single message, made of `event`; it notes that Kafka has acknowledged it.

    `sent` is to be called when librdkafka has accepted the message: only from then on the end of the token
    means that the message is delivered.
    """

    __slots__ = ("_is_in_flight",)

    def __init__(self, receipt: Receipt, event: Any) -> None:
        super().__init__(receipt, event)
        self._is_in_flight = False

    def sent(self) -> None:
        """Note that librdkafka has the message."""
        self._is_in_flight = True

    def __call__(self, error: Any, message: Any) -> None:
        """Take the delivery report of the message; see `DeliveryToken`."""
        super().__call__(error, message)
        if error is not None:
            self._is_in_flight = False

    def __del__(self) -> None:
        if self._is_in_flight:
            self._receipt.acknowledged.append(self._event.position)
        super().__del__()


class Ledger:
    """The open receipts in reading order. `position` is the offset before which everything is delivered."""

    def __init__(self, position: int) -> None:
        self.position = position
        self.failures: list[Failure] = []
        self.acknowledged: list[int] = []
        """Positions of events that Kafka has acknowledged, where they had a `MessageToken`."""
        self.delivered = 0
        """Messages that are acknowledged for good: of the receipts that are released, or remembered."""
        self._lost: dict[int, Failure] = {}
        """Failures that nobody has settled, by their id."""
        self._receipts: deque[Receipt] = deque()

    def open(self, start: int, end: int) -> Receipt:
        """Open the receipt of the next chunk. Chunks are opened in reading order."""
        receipt = Receipt(start, end, self.failures, self.acknowledged)
        self._receipts.append(receipt)
        return receipt

    def settle(self) -> int:
        """Release finished receipts from the front; return how many. `position` moves with them."""
        receipts = self._receipts
        released = 0
        while receipts and not receipts[0].pending:
            receipt = receipts.popleft()
            self.position = receipt.end
            self.delivered += receipt.messages
            released += 1
        return released

    @property
    def end(self) -> int:
        """The offset up to which there are receipts."""
        return self._receipts[-1].end if self._receipts else self.position

    @property
    def messages(self) -> int:
        """How many messages the open receipts hold, without those of a chunk that is being sent."""
        return sum(receipt.messages for receipt in self._receipts)

    @property
    def finished(self) -> bool:
        """Whether there are receipts and all of them could be released."""
        return bool(self._receipts) and not any(receipt.pending for receipt in self._receipts)

    @property
    def open_receipts(self) -> int:
        """How many chunks are not delivered whole."""
        return len(self._receipts)

    def lose(self, failures: Iterable[Failure]) -> None:
        """Note messages that are not delivered, unless `settle_failure` follows."""
        self._lost.update((id(each), each) for each in failures)

    def settle_failure(self, failure: Failure) -> None:
        """Note that somebody has dealt with a failure: nothing of it is sent again."""
        self._lost.pop(id(failure), None)

    def abandon(self, acknowledged: Acknowledged | None = None) -> int:
        """Forget every receipt, to read their chunks again; return the offset to go back to.

        What is known to be delivered is added to `acknowledged`; without that it is sent again.
        Settle first.

        Reports that still come for abandoned messages go to receipts that nobody looks at any more.
        """
        self.lose(self.failures)
        if acknowledged is not None:
            self._remember(acknowledged)
        self._lost.clear()
        self._receipts.clear()
        self.failures = []
        self.acknowledged = []
        return self.position

    def _remember(self, acknowledged: Acknowledged) -> None:
        """Add what is delivered of each receipt of which every message is accounted for."""
        lost: dict[Receipt, list[int]] = {}
        for failure in self._lost.values():
            lost.setdefault(failure.receipt, []).append(failure.position)
        acknowledged.release(self.position)
        for receipt in self._receipts:
            missing = lost.get(receipt, [])
            # A message that is neither reported nor acknowledged holds the receipt by its token.
            is_accounted_for = receipt.pending == len(missing) + (not receipt.is_whole)
            if is_accounted_for and UNKNOWN not in missing:
                acknowledged.add(receipt.start, receipt.sent_to, missing)
                self.delivered += receipt.messages - len(missing)

"""Exactly once: events and the checkpoint behind them are committed to Kafka together, or not at all.

A transaction holds whole chunks. When its time is over and all its messages are delivered, the checkpoint is
added as a record of its own topic, and a thread commits: recording never waits for Kafka. After any failure
a fresh producer takes over. Opening it aborts what was not committed, and shuts out every older process with
the same transactional id; the topic of checkpoints then says which commit was the last (KIP-98).
"""

from __future__ import annotations

import json
import logging
import queue
import threading
from collections.abc import Callable
from typing import Literal, NamedTuple, Protocol

from amikafka_tail.delivery.ledger import Ledger
from amikafka_tail.delivery.sender import Sender
from amikafka_tail.journal.checkpoint import Checkpoint, pack, unpack
from amikafka_tail.model.errors import AmikafkaError, DeliveryFailed, JournalError

OPEN_SECONDS = 75.0
"""Longer than `transaction.timeout.ms`: what a crashed publisher left open ends by itself after that."""
COMMIT_SECONDS = 60.0

log = logging.getLogger("amikafka.transactions")


class Transactional(Sender, Protocol):
    """What transactions need of a producer; see `TransactionalProducer`."""

    def open(self, seconds: float) -> None:
        """Take over the transactional id. Blocks. Raises `DeliveryFailed`."""

    def begin(self) -> None:
        """Begin a transaction. Raises `DeliveryFailed`."""

    def add(self, topic: str, partition: int, key: bytes, value: bytes) -> None:
        """Add a record to the transaction. Raises `DeliveryFailed`."""

    def commit(self, seconds: float) -> None:
        """Commit. Blocks. Raises `DeliveryFailed`."""


class Checkpoints(Protocol):
    """The topic of checkpoints; see `CheckpointTopic`."""

    topic: str
    partition: int
    key: bytes

    def create(self, seconds: float) -> None:
        """Create the topic where it is missing. Blocks."""

    def last(self, seconds: float) -> bytes | None:
        """Return the last committed value. Blocks. Raises `DeliveryFailed`."""


class Committed(NamedTuple):
    """The last checkpoint that Kafka has."""

    checkpoint: Checkpoint
    is_own: bool
    """Whether this process committed it; else its journal may have had more than ours has."""


class Fenced(AmikafkaError):
    """Another process publishes under the same transactional id."""


class Transactions:
    """The transactions of one pipeline, over all the producers that `connect` makes one after another.

    `owner` names this process. `checkpoint` makes the checkpoint of an offset, `sync` makes durable what
    stands before it: an offset that was committed must not be missing after a power cut. A transaction is
    committed `interval` seconds after its beginning. `fenced` says why nothing may be published any more.
    """

    def __init__(
        self,
        connect: Callable[[int | None], Transactional],
        topic: Checkpoints,
        *,
        owner: str,
        checkpoint: Callable[[int], Checkpoint],
        sync: Callable[[], None],
        interval: float,
        clock: Callable[[], float],
    ) -> None:
        self.fenced: str | None = None
        self._connect = connect
        self._topic = topic
        self._owner = owner
        self._checkpoint = checkpoint
        self._sync = sync
        self._interval = interval
        self._clock = clock
        self._producer: Transactional | None = None
        self._state: Literal["closed", "opening", "idle", "open", "committing"] = "closed"
        self._outcome: queue.SimpleQueue[Committed | AmikafkaError | None] = queue.SimpleQueue()
        self._due = 0.0
        self._begun = False
        self._has_topic = False
        self._known: bytes | None = None
        self._is_taken_over = False

    @property
    def may_send(self) -> bool:
        """Whether another chunk may be sent now."""
        return self._state == "idle" or (self._state == "open" and self._clock() < self._due)

    @property
    def waiting(self) -> bool:
        """Whether something is going on that `advance` has to see the end of."""
        return self._state in ("opening", "open", "committing")

    def connect(self, batch_size: int | None = None) -> Sender:
        """Make a producer to go on with; whatever the one before was doing does not matter any more."""
        self._producer = None
        self._state = "closed"
        self._begun = False
        self._outcome = queue.SimpleQueue()
        self._producer = self._connect(batch_size)
        return self._producer

    def open(self) -> None:
        """Take over, in a thread, unless that is done or going on."""
        if self._state == "closed" and self.fenced is None and self._producer is not None:
            self._state = "opening"
            producer = self._producer
            self._start(lambda: self._open(producer))

    def begin(self) -> None:
        """Begin a transaction unless there is one. Raises `DeliveryFailed`."""
        assert self._producer is not None
        if self._state == "idle":
            if not self._begun:
                self._producer.begin()
                self._begun = True
            self._state = "open"
            self._due = self._clock() + self._interval

    def opened(self) -> Committed | None:
        """Return the committed checkpoint, once, after a take-over has ended. Raises `DeliveryFailed`."""
        if self._state != "opening" or self._outcome.empty():
            return None
        try:
            committed = self._result()
        except Fenced as error:
            self.fenced = str(error)
            self._state = "closed"
            log.error("%s", error)
            return None
        self._state = "idle"
        return committed

    def advance(self, ledger: Ledger) -> bool:
        """Commit what is due, release what is committed; return whether anything was released.

        Raises `DeliveryFailed`.
        """
        if self._state == "committing":
            if self._outcome.empty():
                return False
            self._result()
            self._state = "idle"
            self._begun = False
            return ledger.settle() > 0
        if self._state != "open" or not ledger.finished or self._clock() < self._due:
            return False
        if not ledger.messages:
            self._state = "idle"  # and nothing to commit: reading these events again costs nobody anything
            return ledger.settle() > 0
        assert self._producer is not None
        producer, packed = self._producer, pack(self._checkpoint(ledger.end), owner=self._owner)
        self._state = "committing"
        self._known = packed
        self._start(lambda: self._commit(producer, packed))
        return False

    def _open(self, producer: Transactional) -> Committed | None:
        if not self._has_topic:
            self._topic.create(OPEN_SECONDS)
        producer.open(OPEN_SECONDS)
        # That it was asked for does not make it be there, and somebody may have deleted it.
        self._has_topic = False
        packed = self._topic.last(OPEN_SECONDS)
        self._has_topic = True
        taken_over, self._is_taken_over = self._is_taken_over, True
        if packed is None:
            return None
        is_own = self._owner_of(packed) == self._owner
        if taken_over and packed != self._known and not is_own:
            raise Fenced(
                f"another amikafka publishes as {self._topic.key.decode()}, too: this one goes on recording"
                " and publishes nothing any more; give each Asterisk an entity_id of its own, then restart"
            )
        self._known = packed
        try:
            return Committed(unpack(packed, f"the checkpoint in {self._topic.topic}"), is_own)
        except JournalError as error:
            log.error("%s: it is not used", error)
            return None

    def _commit(self, producer: Transactional, packed: bytes) -> None:
        self._sync()
        producer.add(self._topic.topic, self._topic.partition, self._topic.key, packed)
        producer.commit(COMMIT_SECONDS)

    def _owner_of(self, packed: bytes) -> str | None:
        try:
            return str(json.loads(packed)["owner"])
        except (ValueError, KeyError, TypeError):
            return None

    def _start(self, work: Callable[[], Committed | None]) -> None:
        """Do something in a thread; its outcome goes where `_result` finds it."""
        outcome = self._outcome

        def run() -> None:
            try:
                outcome.put(work())
            except AmikafkaError as error:
                outcome.put(error)
            except OSError as error:
                outcome.put(DeliveryFailed(f"the journal cannot be synced: {error.strerror}"))
            except Exception as error:  # whatever it is, the main loop has to hear of it
                outcome.put(DeliveryFailed(f"{type(error).__name__}: {error}"))

        threading.Thread(target=run, name="transaction", daemon=True).start()

    def _result(self) -> Committed | None:
        outcome = self._outcome.get()
        if isinstance(outcome, AmikafkaError):
            raise outcome
        return outcome

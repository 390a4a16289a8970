"""The Kafka producer, and the meaning of librdkafka's errors."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import confluent_kafka
from confluent_kafka import KafkaError, KafkaException

from amikafka_tail.model.errors import ConfigError, DeliveryFailed, Problem

__all__ = [
    "KafkaError",
    "KafkaException",
    "NoProducer",
    "Producer",
    "RefusedProperties",
    "TransactionalProducer",
    "describe",
    "is_for_size",
    "is_permanent",
    "libraries",
]

MAX_IN_FLIGHT = 8_000
"""Messages handed to librdkafka and not reported yet. Each uses about 1,700 bytes of memory."""

STATISTICS_INTERVAL, STATISTICS_INTERVAL_MS = "statistics.interval.ms", 5000
STEP_SECONDS = 5.0
"""How long one call for a step of a transaction may take before it is repeated."""

# A retry of the same message cannot help.
_PERMANENT = frozenset(
    {
        KafkaError.MSG_SIZE_TOO_LARGE,
        KafkaError.RECORD_LIST_TOO_LARGE,
        KafkaError.INVALID_MSG_SIZE,
        KafkaError.INVALID_MSG,
        KafkaError.INVALID_TIMESTAMP,
        KafkaError.POLICY_VIOLATION,
        KafkaError._BAD_MSG,
        KafkaError._INVALID_ARG,
        87,  # INVALID_RECORD; confluent-kafka 1.7.0 has no name for it
    }
)
_UNKNOWN_TOPIC = frozenset({KafkaError._UNKNOWN_TOPIC, KafkaError.UNKNOWN_TOPIC_OR_PART})
_NOT_ALLOWED = frozenset(
    {
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
        KafkaError._AUTHENTICATION,
    }
)


def is_permanent(error: KafkaError) -> bool:
    """Return whether the broker or librdkafka will always refuse this message."""
    return error.code() in _PERMANENT


def is_for_size(error: KafkaError) -> bool:
    """Return whether the broker refused a batch as too large."""
    return error.code() in (KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.RECORD_LIST_TOO_LARGE)


def describe(error: KafkaError, topic: str) -> str:
    """Return what an error means and, if known, what to do about it, for the log."""
    if error.code() in _UNKNOWN_TOPIC:
        return (
            f'topic "{topic}" does not exist and the broker does not create it: '
            "create it, or correct [kafka] topic; until then nothing is lost"
        )
    if error.code() in _NOT_ALLOWED:
        return f'the broker denies writing to topic "{topic}": {error.str()}'
    return str(error.str())


def libraries() -> str:
    """Return the versions in use, for logs and reports."""
    version = confluent_kafka.version()  # a tuple in 1.7.0, later a string
    name = version[0] if isinstance(version, tuple) else version
    return f"confluent-kafka {name}, librdkafka {confluent_kafka.libversion()[0]}"


class RefusedProperties(ConfigError):
    """librdkafka does not take the properties. `text` is its reason."""

    def __init__(self, text: str, origins: Mapping[str, str]) -> None:
        self.text = text
        super().__init__([_problem(text, origins)])


class Producer:
    """One librdkafka producer. `produce` and `poll` are its own methods, called positionally in the loop.

    `produce(topic, value, key, partition, callback, on_delivery, timestamp_ms, headers)` never blocks (the
    two callbacks are names of the same parameter). It raises `BufferError` if librdkafka's queue is full and
    `KafkaException` if the message is refused at once.
    `poll(seconds)` calls the delivery callbacks of failed messages, and releases those of delivered messages.
    `fatal` is set once the producer can no longer be used.

    `on_statistics` gets librdkafka's statistics, from `poll`. Raises `ConfigError` if librdkafka refuses a
    property; `origins` maps properties to configuration lines.
    """

    def __init__(
        self,
        properties: Mapping[str, str],
        *,
        logger: logging.Logger,
        on_error: Callable[[str], None],
        origins: Mapping[str, str] | None = None,
        on_statistics: Callable[[str], None] | None = None,
    ) -> None:
        self.fatal: str | None = None
        self._is_discarded = self._is_purged = False
        self.max_in_flight = min(
            MAX_IN_FLIGHT, int(properties.get("queue.buffering.max.messages", MAX_IN_FLIGHT))
        )
        self._on_error = on_error
        configuration: dict[str, Any] = {
            **properties,
            "error_cb": self._error,
            "delivery.report.only.error": True,  # delivery only releases a token: see ledger.DeliveryToken
        }
        if on_statistics is not None:
            configuration.setdefault(STATISTICS_INTERVAL, STATISTICS_INTERVAL_MS)
            configuration["stats_cb"] = on_statistics
        try:
            self._producer = confluent_kafka.Producer(configuration, logger=logger)
        except KafkaException as error:
            raise RefusedProperties(error.args[0].str().strip(), origins or {}) from error
        self.produce = self._producer.produce
        self.poll = self._producer.poll

    def __len__(self) -> int:
        """Return how many messages are not reported yet."""
        return len(self._producer)

    @property
    def has_room(self) -> bool:
        """Whether another chunk may be sent."""
        return len(self._producer) < self.max_in_flight

    def flush(self, seconds: float) -> int:
        """Wait until all messages are reported, at most `seconds`; return how many are left. Blocks."""
        return int(self._producer.flush(seconds))

    def has_leaders(self, topic: str, seconds: float) -> bool:
        """Ask Kafka whether every partition of a topic has a leader. Blocks for at most `seconds`."""
        try:
            partitions = self._producer.list_topics(topic, timeout=seconds).topics[topic].partitions
        except KafkaException:
            return False
        return bool(partitions) and all(partition.leader >= 0 for partition in partitions.values())

    def purge(self) -> None:
        """Throw away what is not acknowledged: `poll` reports it as failed. Nothing can be sent after it."""
        self._is_purged = True
        self._producer.purge(blocking=False)

    def discard(self) -> None:
        """Drop what is not sent yet, and close in the background, which can take a second."""
        self._is_discarded = True
        producer = self._producer
        # Purge at once: a message still queued would overtake its failed predecessors, which are resent.
        producer.purge(blocking=False)

        def close() -> None:
            # This fails too if the producer was fenced.
            with contextlib.suppress(KafkaException, SystemError):
                producer.flush(1)

        threading.Thread(target=close, name="discard-producer", daemon=True).start()

    def _error(self, error: KafkaError) -> None:
        if self._is_purged:
            return  # the purge itself is a fatal error of an idempotent producer
        if error.fatal():
            self.fatal = str(error.str())
        self._on_error(str(error.str()))


class NoProducer:
    """A placeholder while there is no producer; it accepts nothing."""

    fatal = None
    has_room = False

    def __len__(self) -> int:
        return 0

    def produce(self, *_message: object) -> None:
        """Refuse the message."""
        raise BufferError

    def poll(self, seconds: float) -> int:
        """Wait for `seconds`."""
        time.sleep(seconds)
        return 0

    def has_leaders(self, _topic: str, _seconds: float) -> bool:
        """Return false."""
        return False

    def purge(self) -> None:
        """Do nothing."""

    def discard(self) -> None:
        """Do nothing."""


class TransactionalProducer(Producer):
    """A producer with a `transactional.id`: consumers see its messages once they are committed."""

    _opening = threading.Lock()
    """Only one producer opens at a time, so that the latest one is not fenced."""

    def open(self, seconds: float) -> None:
        """Take over the transactional id: abort open transactions of its other producers, and fence these.

        Blocks for at most `seconds`. Raises `DeliveryFailed`.
        """
        with self._opening:
            self._insist(self._producer.init_transactions, seconds)

    def begin(self) -> None:
        """Begin a transaction. Raises `DeliveryFailed`."""
        try:
            self._producer.begin_transaction()
        except KafkaException as error:
            raise DeliveryFailed(f"cannot begin a transaction: {error.args[0].str()}") from error

    def add(self, topic: str, partition: int, key: bytes, value: bytes) -> None:
        """Add a record without a delivery callback. Raises `DeliveryFailed`."""
        try:
            self._producer.produce(topic, value, key, partition)
        except (KafkaException, BufferError) as error:
            raise DeliveryFailed(f"the checkpoint cannot be sent to {topic}: {error}") from error

    def commit(self, seconds: float) -> None:
        """Commit the transaction. Blocks for at most `seconds`. Raises `DeliveryFailed`."""
        self._insist(self._producer.commit_transaction, seconds)

    def _insist(self, step: Callable[[float], object], seconds: float) -> None:
        """Call a step of librdkafka's; retry if it reports that this may help."""
        until = time.monotonic() + seconds
        while True:
            if self._is_discarded:
                raise DeliveryFailed("another producer has taken over in this process")
            try:
                step(STEP_SECONDS)
                return
            except KafkaException as error:
                reason = error.args[0]
                if not reason.retriable() or time.monotonic() > until:
                    raise DeliveryFailed(f"a transaction failed: {reason.str()}") from error


def _problem(text: str, origins: Mapping[str, str]) -> Problem:
    """Return the problem with the configuration line of the refused property."""
    for name, origin in origins.items():
        if f'"{name}"' in text:
            return Problem(message=f"{origin}: {text}")
    return Problem(message=f"librdkafka refuses the Kafka settings: {text}")

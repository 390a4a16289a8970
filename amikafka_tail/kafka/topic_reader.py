"""Reads all partitions of a topic from a point in time, without a consumer group or commits."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

from confluent_kafka import (
    TIMESTAMP_CREATE_TIME,
    Consumer,
    KafkaError,
    KafkaException,
    TopicPartition,
)

from amikafka_tail.config.kafka_conf import shared
from amikafka_tail.kafka.cluster import hint
from amikafka_tail.model.errors import ClusterError
from amikafka_tail.model.payload import Headers

READING = {
    "group.id": "amikafka-compare",  # required by the consumer; nothing is ever stored under it
    "enable.auto.commit": "false",
    "enable.auto.offset.store": "false",
    "isolation.level": "read_committed",  # without transactions everything is committed
    "enable.partition.eof": "true",
    "auto.offset.reset": "earliest",
    "fetch.wait.max.ms": "100",
    "fetch.message.max.bytes": "262144",
    "queued.max.messages.kbytes": "8192",
}
# We join no group, so errors about its coordinator and its ACLs do not matter.
_OF_GROUPS = frozenset(
    {
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.COORDINATOR_NOT_AVAILABLE,
        KafkaError.NOT_COORDINATOR,
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    }
)
_NOT_ALLOWED = frozenset({KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.CLUSTER_AUTHORIZATION_FAILED})


class Message(NamedTuple):
    """A message on a topic. `time_ms` is the best known time of the event."""

    partition: int
    offset: int
    key: bytes | None
    headers: Headers
    value: bytes
    time_ms: int


@dataclass
class _Part:
    """The read position of a partition."""

    next: int
    last_ms: int
    is_at_end: bool = False
    is_held: bool = False


class TopicTail:
    """Reads a topic's records with a timestamp of `since_ms` or later.

    `properties` are the producer's. `begins_ms` is `since_ms` if the topic has earlier messages, `None` if it
    is read from its first message. All methods raise `ClusterError`, and block for at most `seconds` or what
    they say.
    """

    def __init__(
        self,
        properties: Mapping[str, str],
        topic: str,
        partitions: Iterable[int],
        *,
        since_ms: int,
        seconds: float = 10.0,
    ) -> None:
        self.topic = topic
        self._properties = dict(properties)
        self._seconds = seconds
        self._said: list[str] = []
        logger = logging.Logger("topic-tail")
        logger.addHandler(logging.NullHandler())
        values: dict[str, Any] = {**shared(properties), **READING, "error_cb": self._note}
        self._consumer = Consumer(values, logger=logger)
        try:
            self._parts = self._find(list(partitions), since_ms)
            self._consumer.assign(
                [TopicPartition(topic, number, part.next) for number, part in self._parts.items()]
            )
        except KafkaException as error:
            self.close()
            raise self._failed(error.args[0]) from error
        self.begins_ms = since_ms if self._has_earlier else None

    def _find(self, partitions: list[int], since_ms: int) -> dict[int, _Part]:
        """Find the start offset of each partition."""
        asked = [TopicPartition(self.topic, number, since_ms) for number in partitions]
        parts: dict[int, _Part] = {}
        self._has_earlier = False
        for found in self._consumer.offsets_for_times(asked, timeout=self._seconds):
            if found.error is not None:
                raise KafkaException(found.error)
            low, high = self._watermarks(found.partition)
            start = found.offset if found.offset >= 0 else high
            self._has_earlier = self._has_earlier or start > low
            parts[found.partition] = _Part(next=start, last_ms=since_ms)
        return parts

    def close(self) -> None:
        """Close the consumer."""
        self._consumer.close()

    @property
    def reached_ms(self) -> int:
        """The time up to which everything has been read."""
        behind = self.behind_ms
        return max((part.last_ms for part in self._parts.values()), default=0) if behind is None else behind

    @property
    def behind_ms(self) -> int | None:
        """The time that the slowest partition has reached, `None` if all have been read to their ends."""
        return min((part.last_ms for part in self._parts.values() if not part.is_at_end), default=None)

    def read(self, seconds: float) -> Message | None:
        """Return the next message; `None` if none arrives within `seconds`, or at a partition's end."""
        message = self._consumer.poll(seconds)
        if message is None:
            return None
        error = message.error()
        part = self._parts.get(message.partition() or 0)
        if error is not None or part is None:
            self._heed(error, part, message.offset())
            return None
        headers = cast("Headers", list(message.headers() or []))
        offset = message.offset() or 0
        time_ms = _time_of(message.timestamp(), headers)
        part.next = offset + 1
        part.last_ms = max(part.last_ms, time_ms)
        part.is_at_end = False
        return Message(
            message.partition() or 0, offset, message.key(), headers, message.value() or b"", time_ms
        )

    def hold(self, until_ms: int | None) -> None:
        """Pause the partitions that are ahead of a time; `None`: pause none."""
        for number, part in self._parts.items():
            is_ahead = until_ms is not None and not part.is_at_end and part.last_ms > until_ms
            if is_ahead != part.is_held:
                part.is_held = is_ahead
                where = [TopicPartition(self.topic, number)]
                (self._consumer.pause if is_ahead else self._consumer.resume)(where)

    def ends(self) -> dict[int, int]:
        """Return the end offset of each partition."""
        try:
            return {number: self._watermarks(number)[1] for number in self._parts}
        except KafkaException as error:
            raise self._failed(error.args[0]) from error

    def is_past(self, ends: Mapping[int, int]) -> bool:
        """Return whether everything before these offsets has been read."""
        return all(self._parts[number].next >= end for number, end in ends.items())

    def _watermarks(self, partition: int) -> tuple[int, int]:
        where = TopicPartition(self.topic, partition)
        found = self._consumer.get_watermark_offsets(where, timeout=self._seconds)
        if found is None:
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT))
        low, high = found
        return low, high

    def _heed(self, error: KafkaError | None, part: _Part | None, offset: int | None) -> None:
        if error is None or error.code() in _OF_GROUPS or (error.retriable() and not error.fatal()):
            return
        if error.code() == KafkaError._PARTITION_EOF:
            if part is not None:
                part.is_at_end = True
                part.next = max(part.next, offset or 0)
        elif error.code() in (KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN, KafkaError._RESOLVE):
            return  # librdkafka retries by itself
        else:
            raise self._failed(error)

    def _note(self, error: KafkaError) -> None:
        self._said.append(str(error.str()))
        del self._said[:-3]

    def _failed(self, error: KafkaError) -> ClusterError:
        text = str(error.str())
        if error.code() in _NOT_ALLOWED:
            advice = (
                "add an ACL for the user to read: kafka-acls.sh --add --allow-principal User:... --operation"
                f" Read --operation Describe --topic {self.topic}"
            )
        else:
            advice = hint(" ".join([text, *self._said]), self._properties)
        return ClusterError(f"{self.topic} cannot be read: {text}", hint=advice)


def _time_of(stamp: tuple[int, int], headers: Headers) -> int:
    """Return the time of a message's event: the record's timestamp, unless the broker set it."""
    kind, time_ms = stamp
    if kind != TIMESTAMP_CREATE_TIME:
        for name, value in headers:
            if name == "timestamp" and value is not None and value.isdigit():
                return int(value) * 1000
    return time_ms

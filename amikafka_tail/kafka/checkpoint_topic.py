"""The compacted topic with the checkpoints of exactly-once publishers, one record per key."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import Any

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]

from amikafka_tail.config.kafka_conf import shared
from amikafka_tail.model.errors import DeliveryFailed

COMPACTED = {"cleanup.policy": "compact", "segment.ms": "3600000", "min.cleanable.dirty.ratio": "0.1"}
FIRST_LOOK = 1000
"""Records before the end that are read first, then four times as many, and so on."""


class CheckpointTopic:
    """The record of one key in the topic.

    `properties` are the producer's. Every method blocks for at most the given seconds, or slightly more, and
    raises `DeliveryFailed`.
    """

    def __init__(
        self, properties: Mapping[str, str], *, topic: str, key: bytes, logger: logging.Logger
    ) -> None:
        self.topic = topic
        self.partition = 0  # one partition for all keys: each has one small record that counts
        self.key = key
        self._logger = logger
        self._properties = shared(properties)

    def create(self, seconds: float) -> None:
        """Create the topic if it is missing and creating it is allowed."""
        # confluent-kafka 1.7.0 accepts the logger of an AdminClient only here.
        properties: dict[str, Any] = {**self._properties, "logger": self._logger}
        admin = AdminClient(properties)
        # -1: the broker's default number of replicas (KIP-464).
        wanted = NewTopic(self.topic, 1, -1, config=COMPACTED)
        try:
            asked = admin.create_topics([wanted], operation_timeout=seconds, request_timeout=seconds)
            for created in asked.values():
                created.result(seconds + 1)  # its own timeout comes first, as a KafkaException
        except KafkaException as error:
            # It may exist although we may not create it. If it does not, reading it fails with the reason.
            self._logger.debug("%s was not created: %s", self.topic, error.args[0].str())

    def last(self, seconds: float) -> bytes | None:
        """Return the last committed value of the key, `None` if there is none.

        It waits for open transactions of others to end, because committed records may be behind them.
        """
        deadline = time.monotonic() + seconds
        low, high = self._bounds(seconds)
        look = FIRST_LOOK
        while low < high:
            start = max(low, high - look)
            if (found := self._last_between(start, high, deadline)) is not None:
                return found
            if start == low:
                break
            look *= 4
        return None

    def _consumer(self, isolation: str) -> Consumer:
        return Consumer(
            {
                **self._properties,
                "group.id": "amikafka",  # required by the consumer; nothing is ever stored under it
                "isolation.level": isolation,
                "enable.auto.commit": "false",
                "enable.partition.eof": "true",
                "auto.offset.reset": "earliest",
                "fetch.wait.max.ms": "50",
            },
            logger=self._logger,
        )

    def _bounds(self, seconds: float) -> tuple[int, int]:
        """Return the first offset and the end offset, with uncommitted records included."""
        consumer = self._consumer("read_uncommitted")
        partition = TopicPartition(self.topic, self.partition)
        try:
            low, high = consumer.get_watermark_offsets(partition, timeout=seconds)
        except KafkaException as error:
            raise DeliveryFailed(f"{self.topic} cannot be read: {error.args[0].str()}") from error
        finally:
            consumer.close()
        return low, high

    def _last_between(self, start: int, end: int, deadline: float) -> bytes | None:
        """Return the last committed value of the key between two offsets."""
        found: bytes | None = None
        consumer = self._consumer("read_committed")
        try:
            consumer.assign([TopicPartition(self.topic, self.partition, start or OFFSET_BEGINNING)])
            while time.monotonic() < deadline:
                message = consumer.poll(0.5)
                if message is None:
                    continue
                error = message.error()
                if error is not None:
                    if error.code() == KafkaError._PARTITION_EOF and (message.offset() or 0) >= end:
                        return found
                    if error.code() != KafkaError._PARTITION_EOF and not error.retriable():
                        raise DeliveryFailed(f"{self.topic} cannot be read: {error.str()}")
                elif message.key() == self.key:
                    found = message.value()
            raise DeliveryFailed(f"{self.topic} could not be read to its end in time")
        finally:
            consumer.close()

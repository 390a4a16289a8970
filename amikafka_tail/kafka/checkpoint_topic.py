"""The compacted topic with the checkpoints of all who publish exactly once: one record each, by key."""

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
"""Records before the end that are looked at first, then four times as many, and so on."""


class CheckpointTopic:
    """The record of one key in the topic.

    `properties` are the producer's. Every method blocks, for at most the seconds it is given or little more,
    and raises `DeliveryFailed`.
    """

    def __init__(
        self, properties: Mapping[str, str], *, topic: str, key: bytes, logger: logging.Logger
    ) -> None:
        self.topic = topic
        self.partition = 0  # for all keys: one small record of each is what counts
        self.key = key
        self._logger = logger
        self._properties = shared(properties)

    def create(self, seconds: float) -> None:
        """Create the topic where it is missing and that is allowed."""
        # confluent-kafka 1.7.0 takes the logger of an AdminClient nowhere else.
        properties: dict[str, Any] = {**self._properties, "logger": self._logger}
        admin = AdminClient(properties)
        # -1: as many replicas as the broker gives a topic by default (KIP-464).
        wanted = NewTopic(self.topic, 1, -1, config=COMPACTED)
        try:
            asked = admin.create_topics([wanted], operation_timeout=seconds, request_timeout=seconds)
            for created in asked.values():
                created.result(seconds + 1)  # its own timeout comes first, as a KafkaException
        except KafkaException as error:
            # It may be there although we may not create one. Where it is not, reading it says so.
            self._logger.debug("%s was not created: %s", self.topic, error.args[0].str())

    def last(self, seconds: float) -> bytes | None:
        """Return the last committed value of the key, `None` where there is none.

        What others have begun and not ended is waited for: what was committed before it may hide behind it.
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
                "group.id": "amikafka",  # a consumer has to have one; nothing is ever stored under it
                "isolation.level": isolation,
                "enable.auto.commit": "false",
                "enable.partition.eof": "true",
                "auto.offset.reset": "earliest",
                "fetch.wait.max.ms": "50",
            },
            logger=self._logger,
        )

    def _bounds(self, seconds: float) -> tuple[int, int]:
        """Return the first offset and the one behind the last, whether that is committed or not."""
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

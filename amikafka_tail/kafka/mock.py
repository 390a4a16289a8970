"""librdkafka's mock cluster and a topic reader, for the demo and for tests without a real Kafka."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import NamedTuple, cast

import confluent_kafka


class Received(NamedTuple):
    """A message as a consumer receives it."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    headers: list[tuple[str, bytes]]
    value: bytes
    timestamp_ms: int


class MockKafka:
    """A Kafka cluster inside this process, on loopback. It ends with this object."""

    def __init__(self, brokers: int = 1) -> None:
        self._host = confluent_kafka.Producer(
            {"bootstrap.servers": "none:1", "test.mock.num.brokers": str(brokers), "log_level": "0"}
        )
        metadata = self._host.list_topics(timeout=10)
        self.address = ",".join(f"{broker.host}:{broker.port}" for broker in metadata.brokers.values())


def read_topic(address: str, topic: str, *, idle: float) -> Iterator[Received]:
    """Yield the messages of a topic from its beginning, until none has arrived for `idle` seconds."""
    consumer = confluent_kafka.Consumer(
        {
            "bootstrap.servers": address,
            "group.id": "amikafka-reader",
            "enable.auto.commit": "false",
            "fetch.wait.max.ms": "20",
            "log_level": "0",
        }
    )
    try:
        last = time.monotonic()
        # Assign the partitions directly, without waiting for a group to be balanced.
        while not (partitions := consumer.list_topics(topic, timeout=10).topics[topic].partitions):
            if time.monotonic() - last > idle:
                return
            consumer.poll(0.05)
        consumer.assign(
            [
                confluent_kafka.TopicPartition(topic, number, confluent_kafka.OFFSET_BEGINNING)
                for number in partitions
            ]
        )
        last = time.monotonic()
        while time.monotonic() - last < idle:
            message = consumer.poll(0.1)
            if message is None or message.error() is not None:
                continue
            last = time.monotonic()
            yield Received(
                topic,
                message.partition() or 0,
                message.offset() or 0,
                message.key(),
                cast("list[tuple[str, bytes]]", list(message.headers() or [])),
                message.value() or b"",
                message.timestamp()[1],
            )
    finally:
        consumer.close()

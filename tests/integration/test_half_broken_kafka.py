"""The pipeline and the real librdkafka: what is acknowledged is not sent again, what is not is not lost."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from amikafka_tail.delivery.pipeline import Pipeline
from amikafka_tail.kafka.mock import MockKafka, read_topic
from amikafka_tail.kafka.producer import Producer
from tests.support.waiting import BOUND
from tests.unit.delivery.test_pipeline import World, event, stream


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    made.clock = time.monotonic  # type: ignore[assignment]
    yield made
    made.journal.close()


def step_until_delivered(world: World, pipeline: Pipeline, count: int) -> None:
    until = time.monotonic() + BOUND
    while pipeline.ledger.position == 0 and len(pipeline.producer) + count > world.counters.sent:
        assert time.monotonic() < until
        pipeline.step()
        pipeline.take_reports(0.01)


@pytest.mark.parametrize("idempotent", [False, True])
def test_a_fresh_producer_gets_only_what_kafka_has_not_acknowledged(
    world: World, kafka: MockKafka, idempotent: bool
) -> None:
    """What is not sent yet is purged: its reports tell which events of the chunk are left."""
    topic = f"pbx-events-{idempotent}".lower()
    made: list[Producer] = []

    def connect(_batch_size: int | None = None) -> Producer:
        properties = {
            "bootstrap.servers": kafka.address,
            "enable.idempotence": str(idempotent).lower(),
            # A full batch is sent at once. The rest waits as long as the first producer lives.
            "linger.ms": "5" if made else "60000",
            "batch.num.messages": "7",
            "partitioner": "murmur2_random",
        }
        if idempotent:
            properties["enable.gapless.guarantee"] = "true"
        made.append(Producer(properties, logger=logging.getLogger("t"), on_error=lambda _text: None))
        return made[-1]

    world.broker.connect = connect  # type: ignore[assignment,method-assign]
    events = [event(number, b"X: %d" % (number * 31)) for number in range(100)]
    world.render = lambda each: each.raw
    world.write(stream(*events))
    world.topic = topic
    pipeline = world.pipeline()
    step_until_delivered(world, pipeline, 60)
    left = len(pipeline.producer)
    assert 0 < left < 40, "some are acknowledged, some are not sent"
    made[0].fatal = "it has lost its way"
    until = time.monotonic() + BOUND
    while not pipeline.exhausted:
        assert time.monotonic() < until
        if not pipeline.step():
            pipeline.take_reports(0.01)
    assert 100 < world.counters.sent <= 100 + left
    assert world.counters.delivered == 100
    received = Counter(message.value for message in read_topic(kafka.address, topic, idle=1.0))
    assert received == Counter(events)
    pipeline.producer.discard()

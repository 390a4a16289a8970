"""A topic as `amikafka compare` reads it, on the mock broker."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator

import confluent_kafka
import pytest

from amikafka_tail.kafka.mock import MockKafka
from amikafka_tail.kafka.topic_reader import Message, TopicTail, _time_of
from amikafka_tail.model.errors import ClusterError
from tests.support.waiting import BOUND, wait_for

PARTITIONS = range(4)
SINCE = 1_795_426_000_000


class Topic:
    """A topic of four partitions, with a message in each before anybody reads."""

    def __init__(self, brokers: str, name: str) -> None:
        self.brokers, self.name = brokers, name
        self._producer = confluent_kafka.Producer({"bootstrap.servers": brokers})
        for partition in PARTITIONS:
            self.put(partition, 0, 0)
        self.flush()

    def put(self, partition: int, number: int, time_ms: int) -> None:
        self._producer.produce(
            self.name,
            b"%d" % number,
            b"k",
            partition=partition,
            headers=[("entity_id", b"pbx")],
            timestamp=SINCE + time_ms,
        )

    def flush(self) -> None:
        self._producer.flush()

    @contextlib.contextmanager
    def tail(self) -> Iterator[TopicTail]:
        tail = TopicTail({"bootstrap.servers": self.brokers}, self.name, PARTITIONS, since_ms=SINCE)
        yield tail
        tail.close()


@pytest.fixture
def topic(kafka: MockKafka, request: pytest.FixtureRequest) -> Topic:
    return Topic(kafka.address, request.node.name.replace("_", "-")[:100])


def read_until(tail: TopicTail, enough: Callable[[list[Message]], bool]) -> list[Message]:
    found: list[Message] = []

    def read() -> bool:
        while (message := tail.read(0.05)) is not None:
            found.append(message)
        return enough(found)

    wait_for(read, BOUND, "enough messages")
    return found


def test_it_begins_with_what_comes_now(topic: Topic) -> None:
    with topic.tail() as tail:
        assert tail.begins_ms == SINCE, "there are earlier messages"
        assert tail.ends() == dict.fromkeys(PARTITIONS, 1)
        topic.put(2, 7, 5)
        topic.flush()
        (message,) = read_until(tail, lambda found: len(found) == 1)
        assert message == Message(2, 1, b"k", [("entity_id", b"pbx")], b"7", SINCE + 5)


def test_it_knows_how_far_it_is(topic: Topic) -> None:
    with topic.tail() as tail:
        for number in range(100):
            topic.put(number % 3, number, number)
        topic.flush()
        ends = tail.ends()
        assert ends == {0: 35, 1: 34, 2: 34, 3: 1}
        assert not tail.is_past(ends)
        read_until(tail, lambda _found: tail.is_past(ends))
        read_until(tail, lambda _found: tail.behind_ms is None)
        assert tail.reached_ms == SINCE + 99


def test_a_partition_that_is_held_gives_nothing_and_loses_nothing(topic: Topic) -> None:
    with topic.tail() as tail:
        for number in range(2000):
            topic.put(0, number, number)  # as fast as it goes
        for number in range(50):
            topic.put(1, number, number)
        topic.flush()
        early = [message for message in [tail.read(1) for _ in range(40)] if message is not None]
        held = max(message.time_ms for message in early) - 1
        tail.hold(held)
        during: list[Message] = []
        until = time.monotonic() + 1.5
        while time.monotonic() < until:
            if (message := tail.read(0.1)) is not None:
                during.append(message)
        ahead = {message.partition for message in early if message.time_ms > held}
        assert not [message for message in during if message.partition in ahead]
        tail.hold(None)
        later = read_until(tail, lambda found: len(early) + len(during) + len(found) == 2050)
        for partition, count in ((0, 2000), (1, 50)):
            numbers = [int(each.value) for each in [*early, *during, *later] if each.partition == partition]
            assert numbers == list(range(count))


def test_a_topic_that_is_empty_begins_with_its_first_message(kafka: MockKafka) -> None:
    producer = confluent_kafka.Producer({"bootstrap.servers": kafka.address})
    producer.list_topics("made-just-now", timeout=10)
    tail = TopicTail({"bootstrap.servers": kafka.address}, "made-just-now", [0], since_ms=SINCE)
    assert tail.begins_ms is None
    tail.close()


def test_a_broker_that_is_away_is_said_with_what_to_do(topic: Topic) -> None:
    with pytest.raises(ClusterError, match="events cannot be read") as raised:
        TopicTail({"bootstrap.servers": "127.0.0.1:1"}, "events", [0], since_ms=SINCE, seconds=1)
    assert "check that Kafka is running" in raised.value.hint


def test_where_the_broker_sets_the_time_the_header_says_when_it_happened() -> None:
    headers = [("timestamp", b"1795426158"), ("other", None)]
    appended = (confluent_kafka.TIMESTAMP_LOG_APPEND_TIME, 5)
    assert _time_of((confluent_kafka.TIMESTAMP_CREATE_TIME, 5), list(headers)) == 5
    assert _time_of(appended, list(headers)) == 1795426158000
    assert _time_of(appended, [("timestamp", b"now")]) == 5

from __future__ import annotations

import json
import logging
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from zlib import crc32

import pytest

from amikafka_tail.ami.framing import END
from amikafka_tail.delivery import pipeline as pipeline_module
from amikafka_tail.delivery.acknowledged import Acknowledged
from amikafka_tail.delivery.attempts import (
    BATCH_OF_ONE,
    FIRST_RETRY,
    LARGEST_BATCH,
    LONGEST_RETRY,
    ONE_BY_ONE_SECONDS,
)
from amikafka_tail.delivery.messages import Filter, Messages, Route, chain
from amikafka_tail.delivery.pipeline import Pipeline
from amikafka_tail.delivery.stall_detector import STALL_SECONDS
from amikafka_tail.intake import stream_reader
from amikafka_tail.intake.stream_reader import StreamReader
from amikafka_tail.journal.dead_letters import DeadLetters
from amikafka_tail.journal.journal import Journal
from amikafka_tail.kafka.producer import KafkaError, KafkaException
from amikafka_tail.model.counters import Counters
from amikafka_tail.model.errors import ConfigError, Problem, TryLater
from amikafka_tail.model.event import Event
from amikafka_tail.model.identity import Identity
from amikafka_tail.model.payload import Payload
from tests.support.waiting import BOUND

NOW = 1_795_426_158_000
FALLBACK = Identity(entity_id="local", system_name="fallback", asterisk_version="", hostname="vm")
PBX = Identity(entity_id="a", system_name="pbx", asterisk_version="22", hostname="vm")
UPGRADED = Identity(entity_id="a", system_name="upgraded", asterisk_version="23", hostname="vm")
ROUNDS = 5_000

TIMED_OUT = KafkaError(KafkaError._MSG_TIMED_OUT)
PURGED = KafkaError(KafkaError._PURGE_QUEUE)
UNKNOWN_TOPIC = KafkaError(KafkaError._UNKNOWN_TOPIC)
REFUSED = KafkaError(KafkaError.POLICY_VIOLATION)
TOO_LARGE = KafkaError(KafkaError.MSG_SIZE_TOO_LARGE)


PONG = b"Response: Success\r\nPing: Pong"
"""Behind an answer nothing is taken for the rest of the event before it."""


def event(number: int, *lines: bytes) -> bytes:
    return b"\r\n".join([b"Event: A", b"Privilege: call,all", b"Number: %d" % number, *lines])


def stream(*blocks: bytes) -> bytes:
    return b"".join(block + END for block in blocks)


class Sent(NamedTuple):
    """A message as a broker sees it."""

    value: bytes
    key: bytes | None
    headers: list[tuple[str, bytes]]
    timestamp_ms: int
    report: Callable[[KafkaError | None, Any], None]


class Message:
    """What a delivery report of librdkafka carries."""

    def __init__(self, value: bytes) -> None:
        self._value = value

    def value(self) -> bytes:
        return self._value


def _nobody(_error: KafkaError | None, _message: object) -> None:
    """Of a message that is delivered: its callback is dropped."""


class Broker:
    """Takes messages as the test says, and remembers what was delivered."""

    def __init__(self) -> None:
        self.delivered: list[Sent] = []
        self.senders: list[FakeSender] = []
        self.batch_sizes: list[int | None] = []
        self.answers = True
        self.unmade: list[str] = []
        """Why the next producers cannot be made."""
        self.capacity = 1_000_000
        self.room = 1_000_000
        self.holds: Callable[[Sent], bool] = lambda _sent: False
        self.fails: Callable[[Sent], KafkaError | None] = lambda _sent: None
        self.refuses: Callable[[bytes], KafkaError | None] = lambda _value: None

    def connect(self, batch_size: int | None = None) -> FakeSender:
        if self.unmade:
            raise ConfigError([Problem(message=self.unmade.pop())])
        self.batch_sizes.append(batch_size)
        self.senders.append(FakeSender(self, alone=batch_size == BATCH_OF_ONE))
        return self.senders[-1]

    @property
    def values(self) -> list[bytes]:
        return [sent.value for sent in self.delivered]


class FakeSender:
    """librdkafka's producer: a queue that is emptied in `poll`. A broker refuses a batch as a whole."""

    def __init__(self, broker: Broker, *, alone: bool) -> None:
        self._alone = alone
        self.fatal: str | None = None
        self.discarded = self.purged = False
        self.queue: list[Sent] = []
        self.produced: list[bytes] = []
        self._broker = broker

    def __len__(self) -> int:
        return len(self.queue)

    @property
    def has_room(self) -> bool:
        return len(self.queue) < self._broker.room

    def produce(self, *arguments: Any) -> None:
        topic, value, key, partition, callback, on_delivery, timestamp_ms, headers = arguments
        assert not self.discarded
        assert not self.purged
        assert (topic, partition) == ("pbx-events", -1)
        assert callback == on_delivery
        if len(self.queue) >= self._broker.capacity:
            raise BufferError("Local: Queue full")
        if (error := self._broker.refuses(value)) is not None:
            raise KafkaException(error)
        self.produced.append(value)
        self.queue.append(Sent(value, key, headers, timestamp_ms, on_delivery))

    def poll(self, seconds: float) -> int:
        assert not self.discarded
        assert 0 <= seconds < 1
        waiting, self.queue = self.queue, []
        if self.purged:
            for sent in waiting:
                sent.report(PURGED, Message(sent.value))
            return len(waiting)
        self.queue = [sent for sent in waiting if self._broker.holds(sent)]
        batch = [sent for sent in waiting if sent not in self.queue]
        errors = [self._broker.fails(sent) for sent in batch]
        if not self._alone and any(error is REFUSED for error in errors):
            errors = [REFUSED] * len(batch)
        for sent, error in zip(batch, errors, strict=True):
            if error is not None:
                sent.report(error, Message(sent.value))
            else:
                self._broker.delivered.append(sent._replace(report=_nobody))
        return len(waiting) - len(self.queue)

    def has_leaders(self, topic: str, seconds: float) -> bool:
        assert topic == "pbx-events"
        return self._broker.answers

    def purge(self) -> None:
        self.purged = True

    def discard(self) -> None:
        self.discarded = True


class Clock:
    def __init__(self) -> None:
        self.now = 50.0

    def __call__(self) -> float:
        return self.now


class FailingDeadLetters(DeadLetters):
    """Dead letters on a disk that is full for a while."""

    def __init__(self, path: Path, failures: int) -> None:
        super().__init__(path)
        self.failures = failures
        self.failing_syncs = 0

    def keep(self, raw: bytes, **more: Any) -> int:
        if self.failures:
            self.failures -= 1
            raise OSError(28, "No space left on device")
        return super().keep(raw, **more)

    def sync(self) -> None:
        if self.failing_syncs:
            self.failing_syncs -= 1
            raise OSError(5, "Input/output error")
        super().sync()


class World:
    """A journal, a broker, and pipelines between them."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.journal = Journal(directory / "journal", segment_bytes=1 << 20, max_bytes=1 << 30)
        self.broker = Broker()
        self.counters = Counters()
        self.clock = Clock()
        self.dead_letters = DeadLetters(directory / "dead-letter.jsonl")
        self.filters: list[tuple[str, Filter]] = []
        self.render: Callable[[Event], bytes | Payload] = lambda each: each.raw
        self.rendered_as: list[str] = []
        self.topic = "pbx-events"

    def reopen_journal(self, **options: int) -> None:
        self.journal.close()
        self.journal = Journal(self.directory / "journal", **options)

    def write(self, data: bytes, now_ms: int = NOW) -> None:
        self.journal.append(data, now_ms)

    def pipeline(
        self, position: int = 0, *, in_block: bool = False, acknowledged: Acknowledged | None = None
    ) -> Pipeline:
        def route(identity: Identity) -> Route:
            self.rendered_as.append(identity.system_name)
            headers = [("system_name", identity.system_name.encode())]
            return Route(
                lambda each: (each.name_bytes, headers, each.captured_ms),
                self.render,
            )

        return Pipeline(
            StreamReader(self.journal, position, in_block=in_block, counters=self.counters),
            messages=Messages(
                topic=self.topic,
                format_name="raw",
                choose=chain(self.filters),
                route=route,
                fallback=FALLBACK,
            ),
            connect=self.broker.connect,
            dead_letters=self.dead_letters,
            counters=self.counters,
            clock=self.clock,
            acknowledged=acknowledged,
        )

    def run(self, pipeline: Pipeline) -> list[int]:
        """Do rounds until all is delivered, over all pauses; return every checkpoint on the way."""
        positions = [pipeline.ledger.position]
        for _ in range(ROUNDS):
            pipeline.step()
            if pipeline.ledger.position != positions[-1]:
                positions.append(pipeline.ledger.position)
            if pipeline.exhausted:
                return positions
            if pipeline.paused_until is not None:
                self.clock.now = pipeline.paused_until
        raise AssertionError(f"not delivered after {ROUNDS} rounds")

    @property
    def dead(self) -> list[dict[str, Any]]:
        if not self.dead_letters.path.exists():
            return []
        return [json.loads(line) for line in self.dead_letters.path.read_text().splitlines()]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.journal.close()


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read about three events at a time."""
    monkeypatch.setattr(stream_reader, "CHUNK", 150)


# The way through.


def test_events_are_published_once_each_and_in_their_order(world: World) -> None:
    events = [event(number) for number in range(100)]
    world.write(stream(*events))
    pipeline = world.pipeline()
    world.run(pipeline)
    assert world.broker.values == events
    assert pipeline.ledger.position == world.journal.end
    assert (world.counters.events, world.counters.sent) == (100, 100)


@pytest.mark.usefixtures("small_chunks")
def test_the_order_is_kept_over_chunks_and_segments(world: World) -> None:
    world.reopen_journal(segment_bytes=100, max_bytes=1 << 20)
    events = [event(number, b"X: " + b"x" * (number * 7 % 90)) for number in range(100)]
    world.write(stream(*events))
    world.run(world.pipeline())
    assert world.broker.values == events


def test_an_event_waits_for_its_end(world: World) -> None:
    pipeline = world.pipeline()
    world.write(event(0)[:20])
    assert pipeline.step()
    assert pipeline.partial == event(0)[:20]
    world.write(event(0)[20:] + END[:2])
    assert pipeline.step()
    assert not pipeline.step()
    assert world.broker.senders[0].produced == []
    assert pipeline.ledger.position == 0
    world.write(END[2:])
    world.run(pipeline)
    assert world.broker.values == [event(0)]
    assert pipeline.partial == b""


def test_a_step_says_whether_there_was_something_to_do(world: World) -> None:
    pipeline = world.pipeline()
    assert not pipeline.step()
    world.write(stream(event(0)))
    assert pipeline.step()
    assert not pipeline.step()


def test_key_headers_and_timestamp_are_the_envelopes(world: World) -> None:
    world.journal.begin_connection(PBX, NOW)
    world.write(stream(event(0)), NOW + 5)
    world.run(world.pipeline())
    (sent,) = world.broker.delivered
    assert (sent.key, sent.headers, sent.timestamp_ms) == (b"A", [("system_name", b"pbx")], NOW + 5)


def test_what_is_not_an_event_is_not_published(world: World) -> None:
    world.write(
        b"Asterisk Call Manager/11.0.0\r\n"
        + stream(
            b"Response: Success\r\nMessage: Authentication accepted",
            b"Event: FullyBooted\r\nPrivilege: system,all\r\nStatus: Fully Booted",
            event(0),
            b"Response: Success\r\nPing: Pong",
            event(1),
        )
    )
    world.run(world.pipeline())
    assert world.broker.values == [event(0), event(1)]
    assert (world.counters.malformed, world.counters.dead_letters) == (0, 0)


def test_an_empty_line_too_many_belongs_to_the_event_before_it(world: World) -> None:
    world.write(stream(event(0)) + b"\r\n" + stream(event(1)) + b"\r\n\r\n" + stream(event(2)))
    world.run(world.pipeline())
    assert world.broker.values == [event(0) + b"\r\n", event(1) + END, event(2)]
    assert world.counters.malformed == 0


def test_a_start_inside_an_event_passes_its_rest_over(world: World) -> None:
    world.write(stream(event(0), event(1)))
    world.run(world.pipeline(10, in_block=True))
    assert world.broker.values == [event(1)]
    assert world.counters.lost == 0


def test_a_start_inside_an_event_is_one_after_a_failure_too(world: World) -> None:
    world.write(stream(event(0), event(1)))
    failures = [TIMED_OUT]
    world.broker.fails = lambda _sent: failures.pop() if failures else None
    world.run(world.pipeline(10, in_block=True))
    assert world.broker.values == [event(1)]
    assert world.counters.malformed == 0


def test_the_lag_is_what_is_not_delivered(world: World) -> None:
    world.write(stream(event(0)))
    pipeline = world.pipeline()
    assert pipeline.lag == len(stream(event(0)))
    world.broker.holds = lambda _sent: True
    pipeline.step()
    assert pipeline.lag == len(stream(event(0)))
    assert not pipeline.settled
    assert not pipeline.exhausted
    world.broker.holds = lambda _sent: False
    pipeline.take_reports()
    assert pipeline.lag == 0
    assert pipeline.settled
    assert pipeline.exhausted


def test_an_overlong_event_is_passed_over_and_counted(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.reopen_journal(segment_bytes=1 << 30, max_bytes=1 << 31)
    world.write(stream(event(0), event(1, b"X: " + b"x" * (5 << 20)), event(2)))
    pipeline = world.pipeline()
    world.run(pipeline)
    assert world.broker.values == [event(0), event(2)]
    assert world.counters.overlong == 1
    assert f"offset={len(stream(event(0)))}" in caplog.text
    assert pipeline.ledger.position == world.journal.end


# The moment of an event.


def test_an_event_has_the_moment_at_which_its_first_byte_came(world: World) -> None:
    first, second = stream(event(0)), stream(event(1))
    world.write(first[:-1], NOW)
    world.write(first[-1:] + second[:10], NOW + 10)
    world.write(second[10:], NOW + 20)
    world.write(stream(event(2)), NOW + 30)
    world.run(world.pipeline())
    assert [sent.timestamp_ms for sent in world.broker.delivered] == [NOW, NOW + 10, NOW + 30]


def test_an_event_that_comes_in_two_reads_has_the_moment_of_its_beginning(world: World) -> None:
    pipeline = world.pipeline()
    world.write(stream(event(0)), NOW)
    world.run(pipeline)
    an_hour_later = NOW + 3_600_000
    world.write(event(1), an_hour_later)
    pipeline.step()
    world.write(END, an_hour_later + 5)
    world.run(pipeline)
    assert [sent.timestamp_ms for sent in world.broker.delivered] == [NOW, an_hour_later]


def test_an_event_that_begins_in_the_last_move_of_a_read_has_its_moment(world: World) -> None:
    pipeline = world.pipeline()
    world.write(stream(event(0)), NOW)
    world.write(event(1)[:20], NOW + 10)
    pipeline.step()
    world.write(event(1)[20:] + END, NOW + 20)
    world.run(pipeline)
    assert [sent.timestamp_ms for sent in world.broker.delivered] == [NOW, NOW + 10]


def test_events_have_their_moments_after_a_restart_too(world: World) -> None:
    for number in range(4):
        world.write(stream(event(number)), NOW + number)
    world.run(world.pipeline(len(stream(event(0), event(1)))))
    assert [sent.timestamp_ms for sent in world.broker.delivered] == [NOW + 2, NOW + 3]


def test_events_of_two_connections_in_one_read_have_their_own_moments(world: World) -> None:
    world.write(stream(event(0)), NOW)
    world.journal.begin_connection(PBX, NOW + 10)
    world.write(stream(event(1)), NOW + 20)
    world.run(world.pipeline())
    assert [sent.timestamp_ms for sent in world.broker.delivered] == [NOW, NOW + 20]


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("segment_bytes", [100, 1 << 20])
def test_moments_do_not_depend_on_how_the_journal_is_cut(world: World, segment_bytes: int) -> None:
    world.reopen_journal(segment_bytes=segment_bytes, max_bytes=1 << 30)
    written = stream(*(event(number, b"X: " + b"x" * (number * 13 % 70)) for number in range(40)))
    begins = {}
    for start in range(0, len(written), 33):
        world.write(written[start : start + 33], NOW + start)
        begins.update(dict.fromkeys(range(start, start + 33), NOW + start))
    position, expected = 0, []
    for block in written.split(END)[:-1]:
        expected.append(begins[position])
        position += len(block + END)
    world.run(world.pipeline())
    assert [sent.timestamp_ms for sent in world.broker.delivered] == expected


def test_an_event_whose_moment_a_power_cut_took_is_not_of_1970(world: World) -> None:
    world.write(stream(event(0)), NOW)
    (world.directory / "journal" / f"{0:020d}.times").write_bytes(b"")
    world.reopen_journal(segment_bytes=1 << 20, max_bytes=1 << 30)
    world.write(stream(event(1)), NOW + 10)
    world.run(world.pipeline())
    first, second = (sent.timestamp_ms for sent in world.broker.delivered)
    assert first > NOW - 400 * 86_400_000
    assert second == NOW + 10


# Filters.


def test_filters_choose_one_after_the_other(world: World) -> None:
    seen: list[tuple[str, str | None]] = []

    def odd(each: Event) -> bool:
        seen.append(("odd", each.get("Number")))
        return int(each.get("Number") or 0) % 2 == 1

    def large(each: Event) -> bool:
        seen.append(("large", each.get("Number")))
        return int(each.get("Number") or 0) > 2

    world.filters = [("odd", odd), ("large", large)]
    world.write(stream(*(event(number) for number in range(4))))
    world.run(world.pipeline())
    assert world.broker.values == [event(3)]
    assert seen == [("odd", "0"), ("odd", "1"), ("large", "1"), ("odd", "2"), ("odd", "3"), ("large", "3")]
    assert (world.counters.events, world.counters.filtered, world.counters.sent) == (4, 3, 1)


def test_a_filter_may_return_another_event(world: World) -> None:
    def anonymous(each: Event) -> Event | None:
        if each.get("Number") == "1":
            return None
        return Event(each.raw.replace(b"Number: 0", b"Number: x"), each.position, each.captured_ms)

    world.filters = [("anonymous", anonymous), ("all", lambda _event: True)]
    world.write(stream(event(0), event(1), event(2)))
    world.run(world.pipeline())
    assert world.broker.values == [event(0).replace(b"Number: 0", b"Number: x"), event(2)]


def test_without_filters_there_is_nothing_to_call() -> None:
    assert chain([]) is None


def test_a_filtered_event_holds_nothing(world: World) -> None:
    world.filters = [("none", lambda _event: False)]
    world.broker.holds = lambda _sent: True
    world.write(stream(*(event(number) for number in range(10))))
    pipeline = world.pipeline()
    assert pipeline.step()
    pipeline.take_reports()
    assert pipeline.ledger.position == world.journal.end
    assert world.counters.filtered == 10


def test_filtered_events_do_not_release_what_is_undelivered_before_them(world: World) -> None:
    world.filters = [("first", lambda each: each.get("Number") == "0")]
    world.broker.holds = lambda _sent: True
    world.write(stream(event(0)))
    pipeline = world.pipeline()
    pipeline.step()
    world.write(stream(event(1)))
    pipeline.step()
    pipeline.take_reports()
    assert pipeline.ledger.position == 0


# Deliveries.


def test_a_late_delivery_holds_back_the_checkpoint(world: World) -> None:
    world.broker.holds = lambda sent: sent.value == event(1)
    pipeline = world.pipeline()
    for number in range(4):
        world.write(stream(event(number)))
        pipeline.step()
    pipeline.take_reports()
    assert world.broker.values == [event(0), event(2), event(3)]
    assert pipeline.ledger.position == len(stream(event(0)))
    world.broker.holds = lambda _sent: False
    pipeline.take_reports()
    assert pipeline.ledger.position == world.journal.end


def test_a_full_queue_pauses_and_goes_on_without_loss_or_repeat(world: World) -> None:
    events = [event(number) for number in range(100)]
    world.write(stream(*events))
    world.broker.capacity = 3
    pipeline = world.pipeline()
    assert not pipeline.step()
    assert world.broker.senders[0].produced == events[:3]
    positions = world.run(pipeline)
    assert world.broker.values == events
    assert positions == [0, world.journal.end]
    assert (world.counters.events, world.counters.sent) == (100, 100)


def test_while_the_queue_is_full_nothing_is_read(world: World) -> None:
    world.write(stream(*(event(number) for number in range(5))))
    world.broker.capacity = 3
    world.broker.holds = lambda _sent: True
    pipeline = world.pipeline()
    for _ in range(5):
        assert not pipeline.step()
    assert not pipeline.send_rest()
    assert pipeline.ledger.open_receipts == 1
    assert len(world.broker.senders[0].produced) == 3


@pytest.mark.usefixtures("small_chunks")
def test_reading_waits_for_room(world: World) -> None:
    world.write(stream(*(event(number) for number in range(20))))
    world.broker.room = 4
    world.broker.holds = lambda _sent: True
    pipeline = world.pipeline()
    steps = 0
    while pipeline.step():
        steps += 1
    assert 4 <= len(world.broker.senders[0].produced) < 8
    world.broker.holds = lambda _sent: False
    world.run(pipeline)
    assert len(world.broker.values) == 20


@pytest.mark.usefixtures("small_chunks")
def test_reading_does_not_run_far_ahead_of_the_checkpoint(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline_module, "MAX_UNDELIVERED", 500)
    world.write(stream(*(event(number) for number in range(100))))
    world.broker.holds = lambda _sent: True
    pipeline = world.pipeline()
    while pipeline.step():
        pass
    assert 500 <= sum(map(len, world.broker.senders[0].produced)) + 4 * 8 <= 500 + 2 * 150
    world.broker.holds = lambda _sent: False
    world.run(pipeline)
    assert len(world.broker.values) == 100


# Failures that pass.


@pytest.mark.usefixtures("small_chunks")
def test_a_delivery_that_timed_out_is_sent_again_from_the_checkpoint(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    events = [event(number) for number in range(10)]
    world.write(stream(*events))
    failing = [TIMED_OUT]
    world.broker.fails = lambda sent: failing.pop() if sent.value == event(5) and failing else None
    pipeline = world.pipeline()
    positions = world.run(pipeline)
    assert positions == sorted(positions)
    first, second = world.broker.senders
    assert first.discarded
    assert not second.discarded
    assert world.counters.rewinds == 1
    assert second.produced[-5:] == events[5:]
    assert set(world.broker.values) == set(events)
    assert world.dead == []
    assert "Kafka does not take events" in caplog.text


def test_after_a_failure_nothing_is_sent_for_a_while(world: World) -> None:
    world.write(stream(event(0)))
    world.broker.fails = lambda _sent: TIMED_OUT
    pipeline = world.pipeline()
    pipeline.step()
    pipeline.take_reports()
    assert pipeline.paused_until == world.clock.now + FIRST_RETRY
    world.clock.now += FIRST_RETRY / 2
    for _ in range(3):
        assert not pipeline.step()
    assert world.broker.senders[1].produced == []
    world.clock.now += FIRST_RETRY / 2
    assert pipeline.paused_until is None
    world.broker.fails = lambda _sent: None
    world.run(pipeline)
    assert world.broker.values == [event(0)]


def test_the_wait_grows_until_something_is_delivered(world: World) -> None:
    world.write(stream(event(0)))
    world.broker.fails = lambda _sent: TIMED_OUT
    pipeline = world.pipeline()
    waits: list[float] = []

    def fail_once() -> None:
        pipeline.step()
        pipeline.take_reports()
        assert pipeline.paused_until is not None
        waits.append(pipeline.paused_until - world.clock.now)
        world.clock.now = pipeline.paused_until

    for _ in range(7):
        fail_once()
    assert waits == [1, 2, 4, 8, 16, LONGEST_RETRY, LONGEST_RETRY]
    world.broker.fails = lambda _sent: None
    world.run(pipeline)
    world.broker.fails = lambda _sent: TIMED_OUT
    world.write(stream(event(1)))
    fail_once()
    assert waits[-1] == FIRST_RETRY


def test_a_producer_that_is_done_for_is_replaced(world: World) -> None:
    world.write(stream(event(0), event(1)))
    world.broker.holds = lambda _sent: True
    pipeline = world.pipeline()
    pipeline.step()
    world.broker.senders[0].fatal = "Fenced"
    world.broker.holds = lambda _sent: False
    world.run(pipeline)
    assert set(world.broker.values) == {event(0), event(1)}
    assert len(world.broker.senders) == 2
    assert pipeline.ledger.position == world.journal.end


def test_a_producer_that_cannot_be_made_for_a_while_is_waited_for(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    events = [event(number) for number in range(5)]
    world.write(stream(*events))
    failures = [TIMED_OUT] * 5
    world.broker.fails = lambda _sent: failures.pop() if failures else None
    pipeline = world.pipeline()
    world.broker.unmade = ["ssl.key.location failed"] * 3
    pipeline.step()
    pipeline.take_reports()
    pipeline.take_reports()
    assert pipeline.trouble == "no producer can be made: ssl.key.location failed"
    world.run(pipeline)
    assert world.broker.values == events
    assert pipeline.trouble is None
    assert re.findall(r"next attempt in (\d+) s", caplog.text) == ["1", "2", "4", "8"]


def test_where_no_producer_can_be_made_after_a_refusal_nothing_is_read(world: World) -> None:
    world.write(stream(event(0), event(1)))
    world.broker.fails = lambda sent: REFUSED if sent.value == event(1) else None
    pipeline = world.pipeline()
    world.run(pipeline)
    world.clock.now += ONE_BY_ONE_SECONDS
    world.write(stream(event(2)))
    world.broker.unmade = ["ssl.key.location failed"]
    assert not pipeline.step()
    world.run(pipeline)
    assert world.broker.values[-1] == event(2)


def test_where_no_producer_can_be_made_for_long_after_a_refusal_each_wait_is_waited_for(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """Ten seconds after the refusal there would be batches again, but no producer sends one by one yet."""
    events = [event(number) for number in range(5)]
    world.write(stream(*events))
    refusals = [REFUSED]
    world.broker.fails = lambda _sent: refusals.pop() if refusals else None
    pipeline = world.pipeline()
    world.broker.unmade = ["ssl.key.location failed"] * 7
    began = world.clock.now
    pipeline.step()
    world.run(pipeline)
    assert world.broker.values == events
    first, *waits = (int(wait) for wait in re.findall(r"next attempt in (\d+) s", caplog.text))
    assert (first, waits) == (1, [2, 4, 8, 16, 30, 30, 30])
    assert world.clock.now - began == sum(waits)
    assert world.broker.batch_sizes == [None, BATCH_OF_ONE, None]


@pytest.mark.parametrize("error", [UNKNOWN_TOPIC, KafkaError(KafkaError._STATE)], ids=str)
def test_a_message_that_is_refused_at_once_for_a_while_is_sent_again(world: World, error: KafkaError) -> None:
    events = [event(number) for number in range(5)]
    world.write(stream(*events))
    failing = [error]
    world.broker.refuses = lambda value: failing.pop() if value == event(2) and failing else None
    world.run(world.pipeline())
    assert world.broker.senders[0].produced == events[:2]
    assert world.broker.senders[1].produced == events
    assert set(world.broker.values) == set(events)
    assert world.dead == []


def test_a_topic_that_does_not_exist_is_said_in_words(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.write(stream(event(0)))
    failing = [UNKNOWN_TOPIC]
    world.broker.fails = lambda _sent: failing.pop() if failing else None
    world.run(world.pipeline())
    assert 'topic "pbx-events" does not exist' in caplog.text


def test_reports_of_a_producer_that_was_given_up_change_nothing(world: World) -> None:
    world.write(stream(event(0)))
    world.broker.holds = lambda _sent: True
    pipeline = world.pipeline()
    pipeline.step()
    (late,) = world.broker.senders[0].queue
    world.broker.senders[0].fatal = "Fenced"
    pipeline.take_reports()
    late.report(TIMED_OUT, Message(late.value))
    world.broker.senders[0].queue.clear()
    del late
    pipeline.take_reports()
    assert pipeline.ledger.position == 0
    assert world.counters.rewinds == 1
    world.broker.holds = lambda _sent: False
    world.run(pipeline)
    assert world.broker.values == [event(0)]


def test_a_failure_in_the_middle_of_sending_a_chunk_loses_nothing(world: World) -> None:
    events = [event(number) for number in range(10)]
    world.write(stream(*events))
    world.broker.capacity = 4
    failing = [TIMED_OUT]
    world.broker.fails = lambda sent: failing.pop() if sent.value == event(1) and failing else None
    world.run(world.pipeline())
    assert set(world.broker.values) == set(events)
    acknowledged = [events[0], *events[2:4]]
    assert world.broker.senders[1].produced == [each for each in events if each not in acknowledged]


# Failures for ever.


def test_a_message_that_is_refused_at_once_for_ever_goes_to_the_dead_letters(world: World) -> None:
    world.write(stream(event(0), event(1), event(2)))
    world.broker.refuses = lambda value: REFUSED if value == event(1) else None
    pipeline = world.pipeline()
    world.run(pipeline)
    assert world.broker.values == [event(0), event(2)]
    (letter,) = world.dead
    assert letter["event"].encode() == event(1)
    assert letter["position"] == len(stream(event(0)))
    assert letter["reason"] == REFUSED.str()
    assert pipeline.ledger.position == world.journal.end
    assert (world.counters.dead_letters, world.counters.sent, world.counters.rewinds) == (1, 2, 0)


def test_a_message_that_is_reported_as_refused_for_ever_goes_to_the_dead_letters(world: World) -> None:
    world.write(stream(event(0), event(1), event(2)))
    world.broker.fails = lambda sent: REFUSED if sent.value == event(1) else None
    pipeline = world.pipeline()
    world.run(pipeline)
    assert world.broker.values == [event(0), event(2)]
    (letter,) = world.dead
    assert letter["event"].encode() == event(1)
    assert letter["position"] == len(stream(event(0)))
    assert letter["reason"] == REFUSED.str()
    assert pipeline.ledger.position == world.journal.end
    assert (world.counters.dead_letters, world.counters.rewinds) == (1, 1)


def test_a_batch_that_is_refused_is_sent_again_message_by_message_for_a_while(world: World) -> None:
    world.write(stream(*[event(number) for number in range(50)]))
    world.broker.fails = lambda sent: REFUSED if sent.value == event(25) else None
    pipeline = world.pipeline()
    world.run(pipeline)
    assert len(world.dead) == 1, "the others of its batch were taken for refused"
    assert world.broker.values == [event(number) for number in range(50) if number != 25]
    assert world.broker.batch_sizes == [None, BATCH_OF_ONE]
    world.clock.now += ONE_BY_ONE_SECONDS
    world.write(stream(event(50)))
    world.run(pipeline)
    assert world.broker.batch_sizes == [None, BATCH_OF_ONE, None]
    assert world.broker.values[-1] == event(50)


def test_a_batch_that_is_refused_ends_its_producer_and_is_still_understood(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """With enable.gapless.guarantee librdkafka raises a fatal error before it hands out the reports."""
    events = [event(number) for number in range(50)]
    world.write(stream(*events))
    world.broker.fails = lambda sent: REFUSED if sent.value == event(25) else None
    pipeline = world.pipeline()
    (sender,) = world.broker.senders
    fatal = [KafkaException(KafkaError(KafkaError._FATAL)) for _ in range(2)]
    poll = sender.poll

    def poll_with_a_fatal_error(seconds: float) -> int:
        if sender.queue and fatal:
            raise fatal.pop()
        return poll(seconds)

    sender.poll = poll_with_a_fatal_error  # type: ignore[method-assign]
    world.run(pipeline)
    assert world.broker.values == [each for each in events if each != event(25)]
    assert len(world.dead) == 1
    assert world.broker.batch_sizes == [None, BATCH_OF_ONE], "the first attempt told enough"
    assert "Policy violation; next attempt in 1 s" in caplog.text


def test_a_refusal_that_is_told_behind_another_failure_does_not_make_the_next_wait_longer(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    events = [event(number) for number in range(4)]
    world.write(stream(*events))
    passing, late = [TIMED_OUT], [events[3]]

    def is_alone() -> bool:
        return world.broker.batch_sizes[-1] == BATCH_OF_ONE

    def hold(sent: Sent) -> bool:
        return is_alone() and sent.value in late and bool(late.pop())

    def fails(sent: Sent) -> KafkaError | None:
        if sent.value == events[3]:
            return REFUSED
        return passing.pop() if is_alone() and passing and sent.value == events[2] else None

    world.broker.holds = hold
    world.broker.fails = fails
    world.run(world.pipeline())
    assert [letter["event"].encode() for letter in world.dead] == [events[3]]
    assert set(world.broker.values) == set(events[:3])
    told = re.findall(r"Kafka does not take events: (.*); next attempt in (\d+) s", caplog.text)
    assert told == [("Broker: Policy violation", "1"), ("Local: Message timed out", "1")]


def test_after_a_batch_that_was_too_large_batches_are_smaller(world: World) -> None:
    def fails(sent: Sent) -> KafkaError | None:
        return TOO_LARGE if world.broker.batch_sizes[-1] in (None, LARGEST_BATCH // 4) else None

    world.broker.fails = fails
    pipeline = world.pipeline()
    for number in range(3):
        world.write(stream(event(number)))
        world.run(pipeline)
        world.clock.now += ONE_BY_ONE_SECONDS
    assert world.dead == []
    assert world.broker.values == [event(number) for number in range(3)]
    assert world.broker.batch_sizes == [
        None,
        BATCH_OF_ONE,
        LARGEST_BATCH // 4,
        BATCH_OF_ONE,
        LARGEST_BATCH // 16,
    ]


def test_a_producer_that_has_lost_its_way_is_replaced_if_kafka_answers(world: World) -> None:
    world.write(stream(event(0)))
    world.broker.holds = lambda _sent: len(world.broker.senders) == 1
    world.broker.answers = False
    pipeline = world.pipeline()
    for _ in range(10):
        world.clock.now += STALL_SECONDS
        for _ in range(20):
            pipeline.step()
            time.sleep(0.001)
    assert len(world.broker.senders) == 1, "a Kafka that is away is no reason"
    world.broker.answers = True
    until = time.monotonic() + BOUND
    while len(world.broker.senders) == 1:
        assert time.monotonic() < until
        world.clock.now += STALL_SECONDS
        pipeline.step()
        time.sleep(0.001)
    world.run(pipeline)
    assert world.broker.values == [event(0)]
    assert world.counters.rewinds == 1


def test_the_dead_letter_is_the_event_and_not_what_was_made_of_it(world: World) -> None:
    world.render = lambda each: b'{"Number":"%b"}' % (each.get_bytes(b"Number") or b"")
    world.filters = [("other", lambda each: Event(each.raw + b"\r\nMore: x", each.position))]
    world.write(stream(event(0), event(1), event(2)))
    world.broker.fails = lambda sent: REFUSED if sent.value == b'{"Number":"1"}' else None
    world.run(world.pipeline())
    (letter,) = world.dead
    assert letter["event"].encode() == event(1)
    assert letter["position"] == len(stream(event(0)))


def test_each_of_several_messages_that_are_refused_has_its_dead_letter(world: World) -> None:
    events = [event(number) for number in range(6)]
    world.write(stream(*events))
    world.broker.fails = lambda sent: REFUSED if sent.value in events[1::2] else None
    world.run(world.pipeline())
    assert [letter["event"].encode() for letter in world.dead] == events[1::2]
    assert world.broker.values == events[::2]


def test_events_that_are_the_same_have_a_dead_letter_each(world: World) -> None:
    world.write(stream(event(0), event(0), event(0)))
    world.broker.fails = lambda _sent: REFUSED
    pipeline = world.pipeline()
    world.run(pipeline)
    size = len(stream(event(0)))
    assert [letter["position"] for letter in world.dead] == [0, size, 2 * size]
    assert pipeline.ledger.position == world.journal.end


def test_what_was_set_aside_is_not_set_aside_or_sent_again_when_the_pipeline_goes_back(
    world: World,
) -> None:
    def render(each: Event) -> bytes:
        if each.get("Number") == "2":
            raise ValueError("cannot")
        return each.raw

    world.render = render
    world.write(stream(event(0), event(1), event(2), PONG, b"garbage", event(4)))
    failing = [TIMED_OUT, TIMED_OUT, TIMED_OUT]
    world.broker.refuses = lambda value: REFUSED if value == event(1) else None
    world.broker.fails = lambda sent: failing.pop() if sent.value == event(4) and failing else None
    world.run(world.pipeline())
    assert world.counters.rewinds == 3
    assert [letter["event"].encode() for letter in world.dead] == [event(1), event(2), b"garbage"]
    assert (world.counters.dead_letters, world.counters.malformed) == (3, 1)
    assert set(world.broker.values) == {event(0), event(4)}


def test_a_refusal_and_a_time_out_together_lose_nothing(world: World) -> None:
    events = [event(number) for number in range(6)]
    world.write(stream(*events))
    failing = {event(0): TIMED_OUT, event(5): TIMED_OUT}
    world.broker.fails = lambda sent: REFUSED if sent.value == event(1) else failing.pop(sent.value, None)
    world.run(world.pipeline())
    assert [letter["event"].encode() for letter in world.dead] == [event(1)]
    assert set(world.broker.values) == set(events) - {event(1)}


@pytest.mark.parametrize("refused", [0, 2])
def test_a_refused_message_right_behind_the_beginning_of_a_connection_is_found(
    world: World, refused: int
) -> None:
    world.journal.begin_connection(PBX, NOW)
    world.write(stream(event(0), event(1)))
    world.journal.begin_connection(UPGRADED, NOW)
    world.write(stream(event(2)))
    world.broker.fails = lambda sent: REFUSED if sent.value == event(refused) else None
    world.run(world.pipeline())
    (letter,) = world.dead
    assert letter["event"].encode() == event(refused)
    assert letter["position"] == (
        len(b"\0" + END) if refused == 0 else world.journal.end - len(stream(event(2)))
    )
    assert world.broker.values == [event(number) for number in range(3) if number != refused]


def test_a_refused_message_from_before_another_connection_is_found(world: World) -> None:
    world.render = lambda each: world.rendered_as[-1].encode() + b" " + each.raw
    world.journal.begin_connection(PBX, NOW)
    world.write(stream(event(0), event(1)))
    world.journal.begin_connection(UPGRADED, NOW)
    world.write(stream(event(2)))
    world.broker.fails = lambda sent: REFUSED if sent.value == b"pbx " + event(1) else None
    world.run(world.pipeline())
    (letter,) = world.dead
    assert letter["event"].encode() == event(1)
    assert world.broker.values == [b"pbx " + event(0), b"upgraded " + event(2)]


def test_a_refused_message_is_found_behind_an_empty_line_too_many(world: World) -> None:
    world.write(stream(event(0), b"\r\n" + event(1), event(2)))
    world.broker.fails = lambda sent: REFUSED if sent.value == event(1) else None
    world.run(world.pipeline())
    (letter,) = world.dead
    assert (letter["event"].encode(), letter["position"]) == (event(1), len(stream(event(0)) + b"\r\n"))


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("segment_bytes", [100, 1 << 20])
def test_a_refused_message_that_tells_when_it_was_captured_is_found(world: World, segment_bytes: int) -> None:
    world.reopen_journal(segment_bytes=segment_bytes, max_bytes=1 << 30)
    world.render = lambda each: b"%d " % each.captured_ms + each.raw
    data = stream(*(event(number) for number in range(10)))
    for begin in range(0, len(data), 25):
        world.write(data[begin : begin + 25], NOW + begin)
    world.broker.fails = lambda sent: REFUSED if sent.value[14:] in (event(3), event(8)) else None
    world.run(world.pipeline())
    assert [letter["event"].encode() for letter in world.dead] == [event(3), event(8)]


def test_a_refused_message_is_known_though_its_format_gives_other_bytes_each_time(world: World) -> None:
    times = iter(range(1000))
    world.render = lambda each: b"%d " % next(times) + each.raw
    events = [event(number) for number in range(4)]
    world.write(stream(*events))
    world.broker.fails = lambda sent: REFUSED if sent.value.endswith(event(2)) else None
    world.run(world.pipeline())
    published = {value.split(b" ", 1)[1] for value in world.broker.values}
    assert {event(0), event(1), event(3)} <= published
    assert [letter["event"].encode() for letter in world.dead] == [event(2)]


def test_a_refused_event_is_kept_even_if_the_dead_letters_cannot_be_written_at_first(world: World) -> None:
    for at_once in (True, False):
        world.dead_letters = FailingDeadLetters(world.directory / f"dead-{at_once}.jsonl", failures=2)
        world.broker.refuses = lambda value, at_once=at_once: (
            REFUSED if at_once and value == event(1) else None
        )
        world.broker.fails = lambda sent: REFUSED if sent.value == event(1) else None
        begin = world.journal.end
        world.write(stream(event(0), event(1), event(2)))
        pipeline = world.pipeline(begin)
        world.run(pipeline)
        assert [letter["event"].encode() for letter in world.dead] == [event(1)], f"{at_once=}"
        assert {event(0), event(2)} <= set(world.broker.values)
        assert pipeline.ledger.position == world.journal.end


# Plugins that fail.


def test_an_event_that_a_format_cannot_render_goes_to_the_dead_letters(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    def render(each: Event) -> bytes:
        if each.get("Number") == "1":
            raise ValueError("no such schema")
        return each.raw

    world.render = render
    world.write(stream(event(0), event(1), event(2)))
    pipeline = world.pipeline()
    world.run(pipeline)
    assert world.broker.values == [event(0), event(2)]
    (letter,) = world.dead
    assert letter["plugin"] == "raw"
    assert letter["event"].encode() == event(1)
    assert letter["position"] == len(stream(event(0)))
    assert "Traceback" in letter["reason"]
    assert "ValueError: no such schema" in letter["reason"]
    assert ", in render" in letter["reason"]
    assert pipeline.ledger.position == world.journal.end
    assert 'plugin "raw" failed: ValueError: no such schema' in caplog.text


def test_an_event_that_a_filter_cannot_judge_goes_to_the_dead_letters(world: World) -> None:
    def night(each: Event) -> bool:
        return bool(1 // int(each.get("Number") or 0))

    world.filters = [("all", lambda _event: True), ("night", night)]
    world.write(stream(event(0), event(1)))
    world.run(world.pipeline())
    assert world.broker.values == [event(1)]
    (letter,) = world.dead
    assert letter["plugin"] == "night"
    assert letter["event"].encode() == event(0)
    assert "ZeroDivisionError" in letter["reason"]
    assert ", in night" in letter["reason"]
    assert world.counters.filtered == 0


def test_what_a_plugin_cannot_handle_is_kept_even_if_the_dead_letters_cannot_be_written_at_first(
    world: World,
) -> None:
    def render(each: Event) -> bytes:
        if each.get("Number") == "1":
            raise ValueError("no such schema")
        return each.raw

    world.render = render
    world.dead_letters = FailingDeadLetters(world.directory / "dead.jsonl", failures=2)
    world.write(stream(event(0), event(1), event(2)))
    pipeline = world.pipeline()
    world.run(pipeline)
    assert [letter["event"].encode() for letter in world.dead] == [event(1)]
    assert {event(0), event(2)} <= set(world.broker.values)
    assert pipeline.ledger.position == world.journal.end
    assert world.counters.plugin_failures == {"raw": 1}


def test_what_is_no_event_counts_once_even_if_the_dead_letters_cannot_be_written_at_first(
    world: World,
) -> None:
    world.dead_letters = FailingDeadLetters(world.directory / "dead.jsonl", failures=4)
    world.write(stream(b"garbage") + event(1)[:20])
    world.journal.begin_connection(PBX, NOW)
    world.write(stream(event(2)))
    world.run(world.pipeline())
    counters = world.counters
    assert counters.rewinds == 4
    assert (counters.malformed, counters.torn, counters.dead_letters) == (1, 1, 2)


@pytest.mark.parametrize(
    "made", ["text", None, bytearray(b"x"), 1, Payload("text"), Payload(b"", (("a", "b"),))]
)
def test_what_a_format_returns_that_is_no_message_goes_to_the_dead_letters(world: World, made: Any) -> None:
    world.render = lambda each: made if each.get("Number") == "0" else each.raw
    world.write(stream(event(0), event(1)))
    world.run(world.pipeline())
    assert world.broker.values == [event(1)]
    (letter,) = world.dead
    assert (letter["plugin"], letter["event"].encode()) == ("raw", event(0))
    assert "TypeError: the format returned" in letter["reason"]
    assert world.counters.plugin_failures == {"raw": 1}


@pytest.mark.parametrize("verdict", [1, 0, "yes", b"", []])
def test_what_a_filter_returns_that_is_no_verdict_goes_to_the_dead_letters(
    world: World, verdict: Any
) -> None:
    world.filters = [("loose", lambda each: verdict if each.get("Number") == "0" else True)]
    world.write(stream(event(0), event(1)))
    world.run(world.pipeline())
    assert world.broker.values == [event(1)]
    assert [(letter["plugin"], letter["event"].encode()) for letter in world.dead] == [("loose", event(0))]
    assert world.counters.filtered == 0


@pytest.mark.parametrize(
    "made",
    [Event("text", 0, NOW), Event(bytearray(b"Event: A"), 0, NOW), Event(b"Event: A", 0, NOW + 0.5)],  # type: ignore[arg-type]
)
def test_an_event_that_a_filter_returns_and_that_is_none_goes_to_the_dead_letters(
    world: World, made: Event
) -> None:
    world.filters = [("loose", lambda each: made if each.get("Number") == "0" else True)]
    world.write(stream(event(0), event(1)))
    world.run(world.pipeline())
    assert world.broker.values == [event(1)]
    assert [(letter["plugin"], letter["event"].encode()) for letter in world.dead] == [("loose", event(0))]


def test_a_format_may_add_headers_of_its_own(world: World) -> None:
    world.render = lambda each: Payload(each.raw, (("content-type", b"text/plain"),))
    world.write(stream(event(0), event(1)))
    world.run(world.pipeline())
    assert world.broker.values == [event(0), event(1)]
    for sent in world.broker.delivered:
        assert sent.headers == [("system_name", b"fallback"), ("content-type", b"text/plain")]


def test_a_message_with_headers_of_its_own_that_is_refused_is_found_again(world: World) -> None:
    world.render = lambda each: Payload(each.raw.lower(), (("content-type", b"text/plain"),))
    world.broker.fails = lambda sent: REFUSED if b"number: 1" in sent.value else None
    world.write(stream(event(0), event(1)))
    world.run(world.pipeline())
    assert [letter["event"].encode() for letter in world.dead] == [event(1)]


def test_a_format_that_has_to_wait_is_called_again_with_the_same_event(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    refusals = 8

    def render(each: Event) -> bytes:
        nonlocal refusals
        if each.get("Number") == "1" and refusals:
            refusals -= 1
            raise TryLater("the registry does not answer")
        return each.raw

    world.render = render
    world.write(stream(event(0), event(1), event(2)))
    pipeline = world.pipeline()
    started = world.clock.now
    while refusals > 1:
        pipeline.step()
        world.clock.now = pipeline.paused_until or world.clock.now
    assert pipeline.held == 'plugin "raw" has to wait: the registry does not answer'
    world.run(pipeline)
    assert pipeline.held is None
    assert world.broker.values == [event(0), event(1), event(2)]
    assert world.dead == []
    assert (world.counters.events, world.counters.rewinds, len(world.broker.senders)) == (3, 0, 1)
    assert world.clock.now - started == pytest.approx(0.05 * (2**8 - 1))
    # Only waits that a person would notice are in the log.
    waits = [record.getMessage() for record in caplog.records if "has to wait" in record.getMessage()]
    assert len(waits) == 3
    assert waits[0] == (
        'plugin "raw" has to wait: the registry does not answer; next attempt in 2 s; nothing is lost'
    )


def test_a_filter_may_have_to_wait_too(world: World) -> None:
    waited: list[bytes] = []

    def ask(each: Event) -> bool:
        if each.raw not in waited:
            waited.append(each.raw)
            raise TryLater("the database does not answer")
        return each.get("Number") != "1"

    world.filters = [("ask", ask)]
    world.write(stream(event(0), event(1), event(2)))
    world.run(world.pipeline())
    assert world.broker.values == [event(0), event(2)]
    assert (world.counters.filtered, world.dead) == (1, [])


def test_while_a_plugin_waits_nothing_is_done_but_to_take_reports(world: World) -> None:
    calls = 0

    def render(each: Event) -> bytes:
        nonlocal calls
        calls += 1
        raise TryLater("no")

    world.render = render
    world.write(stream(event(0)))
    pipeline = world.pipeline()
    for _ in range(5):
        assert not pipeline.step()
        assert not pipeline.send_rest()
    assert calls == 1
    assert pipeline.ledger.open_receipts == 1


# Connections that were lost.


def test_the_checkpoint_is_not_behind_an_event_whose_dead_letter_is_not_on_the_disk(world: World) -> None:
    letters = FailingDeadLetters(world.directory / "dead.jsonl", failures=0)
    world.dead_letters = letters
    world.write(stream(event(0), PONG, b"garbage", event(1)))
    pipeline = world.pipeline()
    letters.failing_syncs = 5
    for _ in range(10):
        world.clock.now += LONGEST_RETRY
        pipeline.step()
        assert pipeline.ledger.position == 0 or not letters.failing_syncs
    world.run(pipeline)
    assert pipeline.ledger.position == world.journal.end
    assert set(world.broker.values) == {event(0), event(1)}
    assert len(world.dead) == 1


def test_an_event_that_was_cut_off_is_counted_and_not_merged(world: World) -> None:
    world.journal.begin_connection(PBX, NOW)
    world.write(stream(event(0)) + event(1)[:30])
    at = world.journal.end - 30
    world.journal.begin_connection(PBX, NOW)
    world.write(stream(event(2)))
    pipeline = world.pipeline()
    world.run(pipeline)
    assert world.broker.values == [event(0), event(2)]
    assert (world.counters.torn, world.counters.malformed, world.counters.dead_letters) == (1, 0, 1)
    (letter,) = world.dead
    assert letter["event"].encode() == event(1)[:30]
    assert (letter["position"], letter["reason"]) == (at, "cut off by a lost connection")
    assert pipeline.ledger.position == world.journal.end


@pytest.mark.parametrize("missing", [1, 2, 3, 4, 5])
def test_only_an_event_of_which_no_more_than_the_last_byte_is_missing_is_whole(
    world: World, missing: int
) -> None:
    world.journal.begin_connection(PBX, NOW)
    world.write(stream(event(0))[:-missing])
    world.journal.begin_connection(PBX, NOW)
    world.write(stream(event(1)))
    world.run(world.pipeline())
    whole = missing == 1
    assert world.broker.values == ([event(0), event(1)] if whole else [event(1)])
    assert world.counters.torn == (0 if whole else 1)


def test_a_connection_that_ended_with_an_event_tore_nothing(world: World) -> None:
    for number in range(3):
        world.journal.begin_connection(PBX, NOW)
        world.write(stream(event(number)))
    world.run(world.pipeline())
    assert world.broker.values == [event(number) for number in range(3)]
    assert (world.counters.torn, world.counters.malformed, world.counters.events) == (0, 0, 3)


def test_connections_that_brought_nothing_tore_nothing(world: World) -> None:
    for _ in range(3):
        world.journal.begin_connection(PBX, NOW)
    world.write(stream(event(0)))
    world.run(world.pipeline())
    assert world.broker.values == [event(0)]
    assert (world.counters.torn, world.counters.malformed) == (0, 0)


def test_a_response_that_was_cut_off_is_not_an_event(world: World) -> None:
    response = b"Response: Success\r\nPing: Pong\r\nTimestamp: 1795426158.220416" + END
    for cut in (10, len(response) - 2, len(response) - 1):
        world.write(response[:cut])
        world.journal.begin_connection(PBX, NOW)
    world.write(stream(event(0)))
    world.run(world.pipeline())
    assert world.broker.values == [event(0)]
    assert world.counters.torn == 0


def test_who_the_asterisk_is_changes_with_its_connection(world: World) -> None:
    world.write(stream(event(0)))
    world.journal.begin_connection(PBX, NOW)
    world.write(stream(event(1)))
    world.journal.begin_connection(UPGRADED, NOW)
    world.write(stream(event(2), event(3)))
    world.run(world.pipeline())
    names = [dict(sent.headers)["system_name"] for sent in world.broker.delivered]
    assert names == [b"fallback", b"pbx", b"upgraded", b"upgraded"]


def test_who_the_asterisk_is_holds_after_a_restart(world: World) -> None:
    world.journal.begin_connection(PBX, NOW)
    world.write(stream(event(0)))
    before_the_second = world.journal.end
    world.journal.begin_connection(UPGRADED, NOW)
    world.write(stream(event(1), event(2)))
    for position, expected in (
        (5, [b"pbx", b"upgraded", b"upgraded"]),
        (before_the_second, [b"upgraded", b"upgraded"]),
        (world.journal.end - len(stream(event(2))), [b"upgraded"]),
    ):
        world.broker.delivered.clear()
        world.run(world.pipeline(position))
        assert [dict(sent.headers)["system_name"] for sent in world.broker.delivered] == expected


def test_a_message_that_waited_for_room_is_of_the_asterisk_it_came_from(world: World) -> None:
    world.broker.capacity = 1
    for identity, number in ((PBX, 0), (UPGRADED, 1), (PBX, 2)):
        world.journal.begin_connection(identity, NOW)
        world.write(stream(event(number)))
    world.run(world.pipeline())
    names = [dict(sent.headers)["system_name"] for sent in world.broker.delivered]
    assert names == [b"pbx", b"upgraded", b"pbx"]


def test_an_event_whose_last_byte_is_missing_is_of_the_asterisk_it_came_from(world: World) -> None:
    world.journal.begin_connection(PBX, NOW)
    world.write(stream(event(0))[:-1])
    world.journal.begin_connection(UPGRADED, NOW)
    world.write(stream(event(1)))
    world.run(world.pipeline())
    names = [dict(sent.headers)["system_name"] for sent in world.broker.delivered]
    assert names == [b"pbx", b"upgraded"]


def test_a_nul_that_no_connection_began_with_is_garbage(world: World) -> None:
    world.write(stream(event(0), b"\0", b"Event: B\r\nX: \0", PONG, b"noise\0noise", event(1)))
    pipeline = world.pipeline()
    world.run(pipeline)
    assert world.broker.values == [event(0), event(1)]
    letters = [letter["event"] for letter in world.dead]
    assert letters[-2:] == ["Event: B\r\nX: \0", "noise\0noise"]
    assert {letter["reason"] for letter in world.dead} == {"not an AMI event"}
    assert world.counters.malformed == len(letters)
    assert pipeline.ledger.position == world.journal.end


def test_garbage_before_a_connection_does_not_hide_it(world: World) -> None:
    world.journal.begin_connection(PBX, NOW)
    world.write(stream(event(0)) + b"Event: B\r\nPrivilege: \0 noi")
    world.journal.begin_connection(UPGRADED, NOW)
    world.write(stream(event(1)))
    world.run(world.pipeline())
    names = [dict(sent.headers)["system_name"] for sent in world.broker.delivered]
    assert names == [b"pbx", b"upgraded"]
    assert len(world.dead) == 1


def test_what_is_neither_an_event_nor_a_response_is_kept_and_counted(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.write(stream(b"HTTP/1.1 400 Bad Request\r\nServer: x", event(0)))
    world.run(world.pipeline())
    assert world.broker.values == [event(0)]
    assert world.counters.malformed == 1
    assert world.dead[0]["reason"] == "not an AMI event"
    assert "not an AMI event: offset=0" in caplog.text


def test_an_overlong_event_that_a_lost_connection_cut_off_does_not_hide_the_next(world: World) -> None:
    world.reopen_journal(segment_bytes=1 << 30, max_bytes=1 << 31)
    world.journal.begin_connection(PBX, NOW)
    world.write(event(0, b"X: " + b"x" * (5 << 20)))
    world.journal.begin_connection(UPGRADED, NOW)
    world.write(stream(event(1)))
    world.run(world.pipeline())
    assert [dict(sent.headers)["system_name"] for sent in world.broker.delivered] == [b"upgraded"]


# A journal that was full.


def lost(world: World) -> int:
    return world.counters.lost + sum(dropped.events for dropped in world.journal.dropped)


@pytest.mark.parametrize("move", range(20, 60, 3))
def test_after_a_full_journal_it_goes_on_with_the_next_event_and_counts_the_lost(
    world: World, move: int
) -> None:
    world.reopen_journal(segment_bytes=100, max_bytes=500)
    events = [event(number, b"X: " + b"x" * (number * 7 % 30)) for number in range(100)]
    written = stream(*events)
    pipeline = world.pipeline()
    for start in range(0, len(written), move):
        world.write(written[start : start + move])
    world.run(pipeline)
    assert world.broker.values == events[-len(world.broker.values) :]
    assert len(world.broker.values) + lost(world) == len(events)
    assert pipeline.ledger.position == world.journal.end
    assert world.dead == []


@pytest.mark.usefixtures("small_chunks")
def test_a_journal_that_overtakes_a_reader_merges_no_events(world: World) -> None:
    world.reopen_journal(segment_bytes=100, max_bytes=500)
    events = [event(number, b"X: " + b"x" * (number * 11 % 60)) for number in range(60)]
    written = stream(*events)
    pipeline = world.pipeline()
    for count, start in enumerate(range(0, len(written), 41)):
        world.write(written[start : start + 41])
        if count % 7 == 0:
            pipeline.step()
            world.journal.release(pipeline.ledger.position)
    world.run(pipeline)
    assert set(world.broker.values) <= set(events)
    numbers = [events.index(value) for value in world.broker.values]
    assert numbers == sorted(set(numbers))
    assert numbers[-1] == 59
    assert 0 < len(numbers) < 60


def test_going_back_to_what_a_full_journal_gave_up_goes_on_with_the_next_event(world: World) -> None:
    world.reopen_journal(segment_bytes=100, max_bytes=500)
    pipeline = world.pipeline()
    world.write(stream(event(0), event(1)))
    world.broker.holds = lambda _sent: True
    pipeline.step()
    events = [event(number) for number in range(2, 40)]
    written = stream(*events)
    for start in range(0, len(written), 30):
        world.write(written[start : start + 30])
    world.broker.senders[0].fatal = "Fenced"
    pipeline.take_reports()
    world.broker.holds = lambda _sent: False
    world.run(pipeline)
    assert world.broker.values == events[-len(world.broker.values) :]
    assert len(world.broker.values) + lost(world) == 40


def test_what_a_full_journal_gave_up_counts_once_however_often_it_is_gone_back_to(world: World) -> None:
    world.reopen_journal(segment_bytes=100, max_bytes=500)
    events = [event(number) for number in range(40)]
    written = stream(*events)
    for start in range(0, len(written), 30):
        world.write(written[start : start + 30])
    failures = [TIMED_OUT] * 50
    world.broker.fails = lambda _sent: failures.pop() if failures else None
    world.run(world.pipeline())
    assert world.counters.rewinds > 3
    assert events[-1] in world.broker.values
    assert len(set(world.broker.values)) + lost(world) == 40


def test_what_is_left_of_a_line_is_not_taken_for_an_event(world: World) -> None:
    user_event = b"Event: UserEvent\r\nPrivilege: user,all\r\nUserEvent: Payment\r\nCard: 1"
    begin = stream(event(0)) + user_event[: user_event.index(b"Event: Payment")]
    world.reopen_journal(segment_bytes=len(begin), max_bytes=2 * len(begin))
    pipeline = world.pipeline()
    world.write(begin)
    world.write((stream(user_event) + stream(event(1)))[len(begin) - len(stream(event(0))) :])
    world.journal.roll()
    world.write(stream(event(2)))
    assert world.journal.start == len(begin)
    world.run(pipeline)
    assert world.broker.values == [event(1), event(2)]


def test_who_the_asterisk_is_is_known_after_a_full_journal_gave_up_the_middle_of_a_torn_event(
    world: World,
) -> None:
    begin_length = len(event(0)) - 10
    world.reopen_journal(segment_bytes=begin_length, max_bytes=3 * begin_length)
    pipeline = world.pipeline()
    world.write(event(0)[:begin_length])
    world.write(event(0)[begin_length:-2])
    world.journal.begin_connection(UPGRADED, NOW)
    world.write(stream(event(1)))
    while not world.journal.dropped:
        world.write(stream(event(1)))
    assert world.journal.start == begin_length
    world.run(pipeline)
    names = {dict(sent.headers)["system_name"] for sent in world.broker.delivered}
    assert names == {b"upgraded"}


# Every checkpoint is a place to begin.


def place_of(journal: Journal, blocks: list[bytes]) -> dict[bytes, int]:
    whole = b""
    position = journal.start
    while more := journal.read(position, 1 << 20):
        whole += more
        position += len(more)
    return {block: whole.index(block) for block in blocks}


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("segment_bytes", [70, 1 << 20])
@pytest.mark.parametrize("late", [1, 2, 3, 5, 7])
def test_a_restart_at_any_checkpoint_gives_exactly_the_rest(
    world: World, segment_bytes: int, late: int
) -> None:
    world.reopen_journal(segment_bytes=segment_bytes, max_bytes=1 << 30)
    world.filters = [("most", lambda each: int(each.get("Number") or 0) % 11 != 4)]
    numbers = iter(range(1000))
    for connection in range(4):
        identity = Identity(entity_id="a", system_name=f"c{connection}", asterisk_version="", hostname="")
        world.journal.begin_connection(identity, NOW)
        for _ in range(6):
            number = next(numbers)
            world.write(stream(event(number, b"X: " + b"x" * (number * 17 % 80))))
            if number % 5 == 1:
                world.write(b"\r\n" + stream(b"Response: Success\r\nPing: Pong", b"garbage %d" % number))
        world.write(stream(event(next(numbers)))[: -1 - connection])
    world.journal.begin_connection(PBX, NOW)
    world.write(stream(event(next(numbers))) + b"Event: not whole")

    def everything_from(position: int) -> list[tuple[bytes, bytes]]:
        world.broker.delivered.clear()
        world.run(world.pipeline(position))
        return [(sent.value, dict(sent.headers)["system_name"]) for sent in world.broker.delivered]

    whole = everything_from(0)
    assert len(whole) > 15
    places = place_of(world.journal, [value for value, _ in whole])
    # Deliveries that are late and out of order make for many different checkpoints.
    polls: dict[bytes, int] = {}

    def hold(sent: Sent) -> bool:
        polls[sent.value] = polls.get(sent.value, 0) + 1
        return polls[sent.value] <= crc32(sent.value) % (late + 1)

    world.broker.holds = hold
    positions = world.run(world.pipeline(0))
    assert len(positions) > 5
    world.broker.holds = lambda _sent: False
    for position in positions:
        rest = [each for each in whole if places[each[0]] >= position]
        assert everything_from(position) == rest


def test_nothing_is_logged_for_each_event(world: World, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        world.write(stream(*(event(number) for number in range(100))))
        world.run(world.pipeline())
    assert caplog.records == []

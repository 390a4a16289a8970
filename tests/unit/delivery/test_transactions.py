"""Transactions against a Kafka of a few lines that commits all of a transaction or nothing of it."""

from __future__ import annotations

import itertools
import json
import logging
import re
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from amikafka_tail.ami.framing import END
from amikafka_tail.delivery.attempts import FIRST_RETRY
from amikafka_tail.delivery.messages import Messages, Route
from amikafka_tail.delivery.pipeline import Pipeline
from amikafka_tail.delivery.refusals import OUTAGE_REFUSALS
from amikafka_tail.delivery.transactions import Committed, Transactions
from amikafka_tail.intake import stream_reader as reader_module
from amikafka_tail.intake.stream_reader import StreamReader
from amikafka_tail.journal.checkpoint import Checkpoint, unpack
from amikafka_tail.journal.dead_letters import DeadLetters
from amikafka_tail.journal.journal import Journal
from amikafka_tail.kafka.producer import KafkaError, KafkaException
from amikafka_tail.model.counters import Counters
from amikafka_tail.model.errors import ConfigError, DeliveryFailed, Problem
from amikafka_tail.model.event import Event
from amikafka_tail.model.identity import Identity
from tests.support.waiting import BOUND

NOBODY = Identity(entity_id="x", system_name="", asterisk_version="", hostname="vm")
REFUSED = KafkaError(KafkaError.POLICY_VIOLATION)
TIMED_OUT = KafkaError(KafkaError._MSG_TIMED_OUT)
NOW = 1_795_426_158_000


class Message:
    def __init__(self, value: bytes) -> None:
        self._value = value

    def value(self) -> bytes:
        return self._value


@dataclass
class Kafka:
    """What was committed; `generation` says who may write."""

    events: list[bytes] = field(default_factory=list)
    checkpoints: list[bytes] = field(default_factory=list)
    commits: int = 0
    aborted: int = 0
    generation: int = 0
    fails: Callable[[bytes], KafkaError | None] = lambda _value: None
    fails_what_follows: bool = False
    before_commit: Callable[[], None] = lambda: None
    after_commit: Callable[[], None] = lambda: None
    before_open: Callable[[], None] = lambda: None
    may_create: bool = True
    has_topic: bool = False
    creations: int = 0
    topic: str = "t.checkpoints"
    partition: int = 0
    key: bytes = b"x/manager"

    def create(self, seconds: float) -> None:
        self.creations += 1
        self.has_topic = self.has_topic or self.may_create

    def last(self, seconds: float) -> bytes | None:
        if not self.has_topic:
            raise DeliveryFailed(f"{self.topic} cannot be read: Broker: Unknown topic or partition")
        return self.checkpoints[-1] if self.checkpoints else None


class Producer:
    fatal: str | None = None
    has_room = True

    def __init__(self, kafka: Kafka) -> None:
        self._kafka = kafka
        self._generation = -1
        self._queue: list[tuple[bytes, Callable[[Any, Any], None]]] = []
        self._sent: list[bytes] = []
        self._added: list[bytes] = []
        self._open = False

    def __len__(self) -> int:
        return len(self._queue)

    def open(self, seconds: float) -> None:
        self._kafka.before_open()
        self._kafka.generation += 1
        self._generation = self._kafka.generation

    def begin(self) -> None:
        assert not self._open
        self._open = True

    def produce(self, *arguments: Any) -> None:
        assert self._open, "librdkafka would refuse this"
        _, value, _, _, report, _, _, _ = arguments
        if self._kafka.fails_what_follows and any(self._kafka.fails(each) for each, _ in self._queue):
            raise KafkaException(KafkaError(KafkaError._STATE))
        self._queue.append((value, report))

    def poll(self, seconds: float) -> int:
        if self._open and 0 < self._generation != self._kafka.generation:
            raise KafkaException(KafkaError(KafkaError._FENCED, "shut out", True))
        queue, self._queue = self._queue, []
        for value, report in queue:
            error = self._kafka.fails(value)
            self._sent += [value] if error is None else []
            report(error, Message(value))
        return len(queue)

    def add(self, topic: str, partition: int, key: bytes, value: bytes) -> None:
        assert self._open
        assert (topic, partition, key) == ("t.checkpoints", 0, b"x/manager")
        if not self._kafka.has_topic:
            raise DeliveryFailed("Local: Unknown topic")
        self._added.append(value)

    def commit(self, seconds: float) -> None:
        assert not self._queue, "a message was on its way"
        self._kafka.before_commit()
        if self._generation != self._kafka.generation:
            raise DeliveryFailed("fenced")
        self._kafka.events += self._sent
        self._kafka.checkpoints += self._added
        self._kafka.commits += 1
        self._sent, self._added, self._open = [], [], False
        self._kafka.after_commit()

    def has_leaders(self, topic: str, seconds: float) -> bool:
        return True

    def discard(self) -> None:
        self._kafka.aborted += bool(self._sent)


class World:
    def __init__(self, directory: Path) -> None:
        self.now = 0.0
        self.kafka = Kafka()
        self.counters = Counters()
        self.synced: list[int] = []
        self.resumed: list[Committed] = []
        self.journal = Journal(directory / "journal", segment_bytes=1 << 20, max_bytes=1 << 30)
        self.dead_letters = DeadLetters(directory / "dead-letter.jsonl")
        self.keeps: Callable[[bytes], bool] = lambda _raw: True
        self.render: Callable[[Event], bytes] = lambda each: each.raw
        self.gap_events = False
        self.unmade = 0
        self._written = 0

    def pipeline(self, position: int = 0, owner: str = "one") -> Pipeline:
        transactions = Transactions(
            self.connect,
            self.kafka,
            owner=owner,
            checkpoint=lambda offset: Checkpoint(epoch=self.journal.epoch, offset=offset),
            sync=lambda: self.synced.append(self.journal.end),
            interval=0.1,
            clock=lambda: self.now,
        )
        return Pipeline(
            StreamReader(self.journal, position, counters=self.counters),
            messages=Messages(
                topic="t",
                format_name="raw",
                choose=lambda event: event if self.keeps(event.raw) else None,
                route=lambda _: Route(lambda each: (None, [], 0), self.render),
                fallback=NOBODY,
                gap_events=self.gap_events,
            ),
            connect=transactions.connect,
            dead_letters=self.dead_letters,
            counters=self.counters,
            clock=lambda: self.now,
            transactions=transactions,
            resume=self.resume,
        )

    def connect(self, _batch_size: int | None) -> Producer:
        # The first is the one that the daemon starts with.
        if self.unmade and self.counters.rewinds:
            self.unmade -= 1
            raise ConfigError([Problem(message="ssl.key.location failed")])
        return Producer(self.kafka)

    def resume(self, committed: Committed) -> StreamReader | None:
        self.resumed.append(committed)
        checkpoint = committed.checkpoint
        if checkpoint.epoch != self.journal.epoch:
            return None
        return StreamReader(self.journal, checkpoint.offset, counters=self.counters)

    def write(self, count: int) -> list[bytes]:
        events = [b"Event: A\r\nNumber: %d" % (self._written + number) for number in range(count)]
        self._written += count
        self.journal.append(b"".join(event + END for event in events), NOW)
        return events

    def turn(self, pipeline: Pipeline) -> None:
        """One round of the loop; time goes on, and threads have a moment."""
        pipeline.step()
        self.now += 0.03 if pipeline.paused_until is None else 1.0
        if pipeline.waiting:
            time.sleep(0.0005)

    def run(self, pipeline: Pipeline, until: Callable[[], bool] | None = None) -> None:
        end = time.monotonic() + BOUND
        while not (until() if until else pipeline.exhausted):
            assert time.monotonic() < end
            self.turn(pipeline)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setattr(reader_module, "CHUNK", 200)
    made = World(tmp_path)
    yield made
    made.journal.close()


def test_events_and_the_checkpoint_behind_them_are_committed_together(world: World) -> None:
    events = world.write(100)
    pipeline = world.pipeline()
    world.run(pipeline)
    assert world.kafka.events == events
    assert 1 < world.kafka.commits < 50, "not one for each chunk, and not one for all"
    last = unpack(world.kafka.checkpoints[-1], "here")
    assert last == Checkpoint(epoch=world.journal.epoch, offset=world.journal.end)
    assert pipeline.ledger.position == world.journal.end
    assert json.loads(world.kafka.checkpoints[-1])["owner"] == "one"


def test_nothing_is_released_before_the_commit_has_succeeded(world: World) -> None:
    world.write(10)
    pipeline = world.pipeline()
    positions: list[int] = []
    world.kafka.before_commit = lambda: positions.append(pipeline.ledger.position)
    world.run(pipeline)
    assert positions[0] == 0


def test_the_journal_is_on_the_disk_before_an_offset_is_committed(world: World) -> None:
    world.write(10)
    pipeline = world.pipeline()
    world.kafka.before_commit = lambda: world.synced.append(-1)
    world.run(pipeline)
    assert world.synced[:2] == [world.journal.end, -1]


def test_where_everything_is_filtered_nothing_is_committed(world: World) -> None:
    world.write(50)
    world.keeps = lambda _raw: False
    pipeline = world.pipeline()
    world.run(pipeline)
    assert world.kafka.commits == 0
    assert pipeline.ledger.position == world.journal.end
    world.keeps = lambda _raw: True
    events = world.write(5)
    world.run(pipeline)
    assert world.kafka.events == events
    assert not pipeline.waiting


@pytest.mark.parametrize("moment", ["before_commit", "after_commit"])
def test_a_commit_that_fails_or_whose_answer_is_lost_repeats_nothing(world: World, moment: str) -> None:
    failures = [3, 2, 1]

    def fail() -> None:
        if failures and world.kafka.commits > 1:
            failures.pop()
            raise DeliveryFailed("the connection broke")

    setattr(world.kafka, moment, fail)
    events = world.write(100)
    pipeline = world.pipeline()
    world.run(pipeline)
    assert world.kafka.events == events
    assert world.counters.rewinds >= 2


def test_a_commit_of_this_process_is_known_as_such_also_after_a_reload(world: World) -> None:
    lost_answers = [DeliveryFailed("the connection broke")]

    def lose_the_answer() -> None:
        if lost_answers:
            raise lost_answers.pop()

    world.write(10)
    world.kafka.after_commit = lose_the_answer
    world.run(world.pipeline())
    assert [each.is_own for each in world.resumed] == [True]
    world.run(world.pipeline())
    world.run(world.pipeline(0, "two"))
    assert [each.is_own for each in world.resumed] == [True, True, False]


def test_a_message_that_times_out_takes_its_transaction_with_it(world: World) -> None:
    failures = [TIMED_OUT, TIMED_OUT]
    world.kafka.fails = lambda value: failures.pop() if failures and b"Number: 7" in value else None
    events = world.write(100)
    world.run(world.pipeline())
    assert world.kafka.events == events
    assert world.kafka.aborted == 2


def test_a_message_that_is_refused_for_ever_is_left_out_of_the_next_attempt(world: World) -> None:
    world.kafka.fails = lambda value: REFUSED if value.endswith(b"Number: 7") else None
    events = world.write(100)
    world.run(world.pipeline())
    del events[7]
    assert world.kafka.events == events
    assert len(world.dead_letters.path.read_text().splitlines()) == 1


def test_a_refused_message_of_a_format_that_gives_other_bytes_each_time_is_left_out_too(world: World) -> None:
    times = itertools.count()
    world.render = lambda each: b"%d " % next(times) + each.raw
    world.kafka.fails = lambda value: REFUSED if value.endswith(b"Number: 7") else None
    events = world.write(100)
    world.run(world.pipeline())
    refused = events.pop(7)
    assert [value.split(b" ", 1)[1] for value in world.kafka.events] == events
    (letter,) = world.dead_letters.path.read_text().splitlines()
    assert json.loads(letter)["event"].encode() == refused


def test_a_refused_message_is_known_though_the_one_behind_it_fails_first(world: World) -> None:
    world.kafka.fails_what_follows = True
    world.kafka.fails = lambda value: REFUSED if value.endswith(b"Number: 7") else None
    events = world.write(100)
    world.run(world.pipeline())
    del events[7]
    assert world.kafka.events == events
    assert len(world.dead_letters.path.read_text().splitlines()) == 1


def test_many_refused_messages_do_not_make_the_waits_longer(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.kafka.fails_what_follows = True
    world.kafka.fails = lambda value: REFUSED if value[-1:] in b"3579" else None
    events = world.write(50)
    world.run(world.pipeline())
    assert world.kafka.events == [each for each in events if each[-1:] not in b"3579"]
    waits = re.findall(r"next attempt in (\d+) s", caplog.text)
    assert len(waits) > 15
    assert set(waits) == {f"{FIRST_RETRY:.0f}"}


@pytest.mark.parametrize("fails_what_follows", [False, True])
@pytest.mark.parametrize("good", [0, 7])
def test_a_run_of_refusals_is_held_up_and_goes_on_by_itself(
    world: World, fails_what_follows: bool, good: int
) -> None:
    world.kafka.fails_what_follows = fails_what_follows
    events = world.write(50)
    taken = set(events[:good])
    world.kafka.fails = lambda value: None if value in taken else REFUSED
    pipeline = world.pipeline()
    world.run(pipeline, until=lambda: pipeline.is_held_up)
    aborted = world.kafka.aborted
    world.run(pipeline, until=lambda: world.now > 500)
    assert pipeline.is_held_up
    assert world.kafka.aborted - aborted <= 40
    dead = [json.loads(line)["event"].encode() for line in world.dead_letters.path.read_text().splitlines()]
    assert dead == events[good : good + OUTAGE_REFUSALS - 1]
    world.kafka.fails = lambda _value: None
    world.run(pipeline)
    assert world.kafka.events == [each for each in events if each not in dead]
    assert world.counters.delivered == 50 - len(dead)


def test_the_gap_that_it_leaves_is_published_in_its_place(world: World) -> None:
    world.gap_events = True
    world.kafka.fails = lambda value: REFUSED if value.endswith(b"Number: 7") else None
    events = world.write(10)
    world.run(world.pipeline())
    assert b"Reason: SetAside" in world.kafka.events[7]
    del world.kafka.events[7], events[7]
    assert world.kafka.events == events


def test_a_gap_that_is_refused_as_well_is_left_out_too(world: World) -> None:
    world.gap_events = True
    world.kafka.fails = lambda value: REFUSED if b"AmikafkaGap" in value or b"Number: 7" in value else None
    events = world.write(10)
    world.run(world.pipeline())
    del events[7]
    assert world.kafka.events == events
    assert len(world.dead_letters.path.read_text().splitlines()) == 2


def test_another_process_goes_on_where_the_last_commit_ended(world: World) -> None:
    events = world.write(100)
    first = world.pipeline()
    world.run(first, lambda: world.kafka.commits == 2)
    second = world.pipeline(0, "two")  # its own note of where it was is older than the commit
    world.run(second)
    assert world.kafka.events == events


def test_a_process_that_was_thought_dead_writes_nothing_any_more(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    events = world.write(100)
    zombie = world.pipeline()
    world.run(zombie, lambda: world.kafka.commits == 2)
    world.run(world.pipeline(0, "two"))
    with caplog.at_level(logging.ERROR):
        for _ in range(300):
            world.turn(zombie)
    assert world.kafka.events == events
    assert "another amikafka publishes as x/manager" in caplog.text
    more = world.write(5)
    before = world.kafka.generation
    for _ in range(100):
        world.turn(zombie)
    assert world.kafka.generation == before, "it would shut out the other"
    assert not set(more) & set(world.kafka.events)


def test_a_process_that_was_shut_out_by_nobody_who_published_takes_over_again(world: World) -> None:
    events = world.write(100)
    pipeline = world.pipeline()
    world.run(pipeline, lambda: world.kafka.commits == 2)
    world.kafka.generation += 1  # as after a transaction that took too long
    world.run(pipeline)
    assert world.kafka.events == events


@pytest.mark.parametrize("stored", [b"\xff", b"{}", b'{"version": 1, "epoch": "other", "offset": 9999}'])
def test_a_checkpoint_that_is_not_ours_changes_nothing(world: World, stored: bytes) -> None:
    world.kafka.checkpoints.append(stored)
    events = world.write(20)
    world.run(world.pipeline())
    assert world.kafka.events == events


def test_as_long_as_kafka_is_away_nothing_is_read_and_attempts_are_rare(world: World) -> None:
    def away() -> None:
        raise DeliveryFailed("nobody answers")

    events = world.write(20)
    pipeline = world.pipeline()
    world.kafka.before_open = away
    world.run(pipeline, lambda: world.now > 200)
    assert 5 <= world.counters.rewinds <= 20
    assert world.counters.events == 0
    world.kafka.before_open = lambda: None
    world.run(pipeline)
    assert world.kafka.events == events


def test_the_topic_of_checkpoints_is_made_once_that_is_possible(world: World) -> None:
    events = world.write(20)
    pipeline = world.pipeline()
    world.kafka.may_create = False  # Kafka is away, or has not yet all of its brokers
    world.run(pipeline, lambda: world.counters.rewinds == 3)
    assert "cannot be read" in (pipeline.trouble or "")
    world.kafka.may_create = True
    world.run(pipeline)
    assert world.kafka.events == events


def test_a_topic_of_checkpoints_that_is_there_is_not_made_again(world: World) -> None:
    failures = [TIMED_OUT] * 3
    world.kafka.fails = lambda _value: failures.pop() if failures else None
    events = world.write(20)
    world.run(world.pipeline())
    assert world.kafka.events == events
    assert world.kafka.generation > 1, "it took over more than once"
    assert world.kafka.creations == 1


@pytest.mark.parametrize("stored", [b"\xff", b"{}"])
def test_a_checkpoint_that_cannot_be_read_is_said(
    world: World, stored: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    world.kafka.checkpoints.append(stored)
    world.write(1)
    world.run(world.pipeline())
    assert "the checkpoint in t.checkpoints" in caplog.text
    assert "it is not used" in caplog.text


def test_while_a_commit_is_under_way_the_trouble_is_not_over(world: World) -> None:
    failures = [TIMED_OUT]
    world.kafka.fails = lambda _value: failures.pop() if failures else None
    commits, may_commit = threading.Event(), threading.Event()

    def wait() -> None:
        commits.set()
        assert may_commit.wait(BOUND)

    world.kafka.before_commit = wait
    world.write(5)
    pipeline = world.pipeline()
    world.run(pipeline, commits.is_set)
    for _ in range(5):
        world.turn(pipeline)
    assert pipeline.trouble is not None
    assert pipeline.ledger.position == 0
    may_commit.set()
    world.run(pipeline)
    assert pipeline.trouble is None


def test_a_topic_of_checkpoints_that_was_deleted_is_made_again(world: World) -> None:
    events = world.write(20)
    pipeline = world.pipeline()
    world.run(pipeline)
    world.kafka.has_topic = False
    world.kafka.checkpoints.clear()
    events += world.write(20)
    world.run(pipeline)
    assert world.kafka.events == events


def test_a_producer_that_cannot_be_made_for_a_while_is_waited_for(world: World) -> None:
    failures = [TIMED_OUT]
    world.kafka.fails = lambda _value: failures.pop() if failures else None
    events = world.write(20)
    pipeline = world.pipeline()
    world.unmade = 3
    world.run(pipeline)
    assert world.unmade == 0
    assert world.kafka.events == events


def test_a_kafka_that_is_back_is_no_trouble_though_nothing_happens(world: World) -> None:
    answers = [DeliveryFailed("nobody answers")]

    def away() -> None:
        if answers:
            raise answers.pop()

    world.kafka.before_open = away
    pipeline = world.pipeline()
    world.run(pipeline, lambda: pipeline.trouble is not None)
    world.run(pipeline, lambda: pipeline.trouble is None)
    assert world.kafka.generation == 1


def test_an_unexpected_error_is_one_more_reason_to_try_again(world: World) -> None:
    errors: list[Exception] = [OSError(5, "Input/output error"), RuntimeError("what?")]

    def fail() -> None:
        if errors:
            raise errors.pop()

    world.kafka.before_commit = fail
    events = world.write(20)
    world.run(world.pipeline())
    assert world.kafka.events == events

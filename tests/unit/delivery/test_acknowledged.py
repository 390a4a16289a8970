"""What Kafka has acknowledged is never sent again while the process lives."""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amikafka_tail.delivery.acknowledged import Acknowledged
from amikafka_tail.delivery.stall_detector import LONGEST_STALL_SECONDS, STALL_SECONDS, StallDetector
from amikafka_tail.intake import stream_reader
from amikafka_tail.kafka.producer import KafkaError
from tests.support.waiting import BOUND
from tests.unit.delivery.test_pipeline import REFUSED, World, event, stream

TIMED_OUT = KafkaError(KafkaError._MSG_TIMED_OUT)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.journal.close()


def ranges(draw_from: int) -> st.SearchStrategy[list[tuple[int, int, set[int]]]]:
    def made(start: int, length: int, missing: set[int]) -> tuple[int, int, set[int]]:
        return start, start + length, {start + each for each in missing if each < length}

    each = st.builds(
        made, st.integers(0, draw_from), st.integers(0, 12), st.sets(st.integers(0, 12), max_size=5)
    )
    return st.lists(each, max_size=12)


@given(ranges(60), st.integers(0, 80))
def test_it_is_the_set_of_what_was_added_and_not_missing_then(
    added: list[tuple[int, int, set[int]]], released: int
) -> None:
    acknowledged, expected = Acknowledged(), set()
    for start, end, missing in added:
        acknowledged.add(start, end, missing)
        expected |= set(range(start, end))
        expected -= missing
    assert {each for each in range(80) if each in acknowledged} == expected
    acknowledged.release(released)
    assert {each for each in range(released, 80) if each in acknowledged} == {
        each for each in expected if each >= released
    }
    acknowledged.release(80)
    assert not acknowledged


def test_with_one_partition_stuck_the_producer_stays_and_the_others_go_on(world: World) -> None:
    world.broker.holds = lambda sent: sent.value[-1:] == b"3"
    pipeline = world.pipeline()
    expected = []
    for number in range(60):
        world.write(stream(event(number)))
        expected += [event(number)] if number % 10 != 3 else []
        world.clock.now += STALL_SECONDS / 4
        for _ in range(3):
            pipeline.step()
    assert world.broker.values == expected
    assert len(world.broker.senders) == 1
    assert world.counters.rewinds == 0
    world.broker.holds = lambda _sent: False
    world.run(pipeline)
    assert Counter(world.broker.values) == Counter(event(number) for number in range(60))
    assert world.counters.delivered == 60


def test_a_fresh_producer_gets_only_what_is_not_acknowledged(world: World) -> None:
    events = [event(number) for number in range(100)]
    world.write(stream(*events))
    world.broker.holds = lambda sent: sent.value[-1:] == b"3" and len(world.broker.senders) == 1
    pipeline = world.pipeline()
    until = time.monotonic() + BOUND
    while len(world.broker.senders) == 1:
        assert time.monotonic() < until
        world.clock.now += STALL_SECONDS / 3
        pipeline.step()
        time.sleep(0.001)
    world.run(pipeline)
    assert world.broker.senders[1].produced == events[3::10]
    assert Counter(world.broker.values) == Counter(events)
    assert world.counters.delivered == 100


def test_a_pipeline_that_goes_on_for_another_sends_only_what_is_not_acknowledged(world: World) -> None:
    events = [event(number) for number in range(50)]
    world.write(stream(*events))
    world.broker.holds = lambda sent: sent.value[-1:] == b"3"
    pipeline = world.pipeline()
    for _ in range(5):
        pipeline.step()
    acknowledged = pipeline.leave()
    assert world.counters.delivered == 45
    world.broker.holds = lambda _sent: False
    after = world.pipeline(pipeline.ledger.position, acknowledged=acknowledged)
    world.run(after)
    assert world.broker.senders[1].produced == events[3::10]
    assert world.counters.delivered == 50


def test_what_is_not_reported_in_time_is_sent_again(world: World) -> None:
    """A message of which nobody knows is better twice than never."""
    events = [event(number) for number in range(20)]
    world.write(stream(*events))
    pipeline = world.pipeline()
    (sender,) = world.broker.senders
    world.broker.holds = lambda sent: sent.value == events[4]
    pipeline.step()
    pipeline.take_reports()
    with mock.patch.object(sender, "purge"):
        sender.fatal = "Fenced"
        pipeline.take_reports()
    sender.queue.clear()
    world.broker.holds = lambda _sent: False
    world.run(pipeline)
    assert set(world.broker.values) == set(events)


def test_the_wait_for_another_producer_grows_while_that_is_no_help() -> None:
    class Sender:
        def __len__(self) -> int:
            return 1

        def has_leaders(self, _topic: str, _seconds: float) -> bool:
            return True

    now, sender = [0.0], Sender()
    detector = StallDetector(lambda: now[0])

    def replaced_after(acknowledged: int = 0) -> float:
        began = now[0]
        until = time.monotonic() + BOUND
        while not detector.is_over(sender, "t", acknowledged):  # type: ignore[arg-type]
            assert time.monotonic() < until
            if detector._answer is None:
                now[0] += STALL_SECONDS
            else:
                time.sleep(0.001)
        detector.begin()
        return (now[0] - began) / STALL_SECONDS

    assert [replaced_after() for _ in range(4)] == [1, 2, 4, 8]
    assert max(replaced_after() for _ in range(6)) * STALL_SECONDS == LONGEST_STALL_SECONDS
    assert replaced_after(1) == 1, "something was acknowledged meanwhile"


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(["stuck", "time out", "refuse", "full", "all well"]), st.integers(0, 12)),
        max_size=12,
    ),
    st.integers(60, 400),
)
def test_whatever_fails_each_event_is_acknowledged_once_or_a_dead_letter(
    faults: list[tuple[str, int]], chunk: int
) -> None:
    with tempfile.TemporaryDirectory() as directory, mock.patch.object(stream_reader, "CHUNK", chunk):
        world = World(Path(directory))
        events = [event(number) for number in range(13 * 6)]
        world.write(stream(*events))
        pipeline = world.pipeline()
        bad: set[bytes] = set()

        def is_meant(sent: Any, which: int) -> bool:
            return bool(events.index(sent.value) % 13 == which)

        for fault, which in faults:
            world.broker.holds = lambda _sent: False
            world.broker.fails = lambda sent: REFUSED if sent.value in bad else None
            world.broker.capacity = 1_000_000
            failing = [TIMED_OUT]
            if fault == "stuck":
                world.broker.holds = lambda sent, which=which: is_meant(sent, which)
            elif fault == "time out":
                world.broker.fails = lambda sent, which=which, failing=failing: (
                    failing.pop() if failing and is_meant(sent, which) else None
                )
            elif fault == "refuse":
                bad.add(events[which])
            elif fault == "full":
                world.broker.capacity = which + 1
            for _ in range(4):
                pipeline.step()
                world.clock.now += 1
            if fault == "stuck" and which % 2:
                world.broker.senders[-1].fatal = "Fenced"
        world.broker.holds = lambda _sent: False
        world.broker.fails = lambda sent: REFUSED if sent.value in bad else None
        world.run(pipeline)
        dead = Counter(letter["event"].encode() for letter in world.dead)
        assert Counter(world.broker.values) + dead == Counter(events)
        assert set(dead) <= bad
        assert world.counters.delivered == len(world.broker.values)
        world.journal.close()

"""A run of refusals is an outage; an isolated refusal is a dead letter."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amikafka_tail.delivery.attempts import LONGEST_RETRY
from amikafka_tail.delivery.ledger import Failure, Receipt
from amikafka_tail.delivery.pipeline import Pipeline
from amikafka_tail.delivery.refusals import INVALID_RECORD, OUTAGE_REFUSALS, Refusals, explain
from amikafka_tail.kafka.producer import KafkaError
from amikafka_tail.model.event import Event
from tests.unit.delivery.test_pipeline import REFUSED, World, event, stream

INVALID_TIMESTAMP = KafkaError(KafkaError.INVALID_TIMESTAMP)
TIMED_OUT = KafkaError(KafkaError._MSG_TIMED_OUT)
PERMANENT = [
    KafkaError(code)
    for code in (
        KafkaError.INVALID_TIMESTAMP,
        INVALID_RECORD,
        KafkaError.POLICY_VIOLATION,
        KafkaError.MSG_SIZE_TOO_LARGE,
        KafkaError.INVALID_MSG,
    )
]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.journal.close()


def try_for(world: World, pipeline: Pipeline, seconds: float) -> None:
    """Do rounds for so long on the world's clock, over all pauses."""
    until = world.clock.now + seconds
    for _ in range(5_000):
        pipeline.step()
        paused = pipeline.paused_until
        if world.clock.now >= until:
            return
        world.clock.now = min(until, paused if paused is not None else world.clock.now + 0.1)
    raise AssertionError("the clock stands still")


@pytest.mark.parametrize("error", PERMANENT, ids=str)
@pytest.mark.parametrize("count", [OUTAGE_REFUSALS, 200])
def test_when_kafka_refuses_every_event_no_dead_letter_is_written_and_the_position_is_kept(
    world: World, error: KafkaError, count: int
) -> None:
    events = [event(number) for number in range(count)]
    world.write(stream(*events))
    world.broker.fails = lambda _sent: error
    pipeline = world.pipeline()
    try_for(world, pipeline, 600)
    assert world.dead == []
    assert (pipeline.ledger.position, world.counters.delivered) == (0, 0)
    assert pipeline.is_held_up
    assert "held up by refusals" in (pipeline.trouble or "")
    assert error.str() in (pipeline.trouble or "")
    world.broker.fails = lambda _sent: None
    world.run(pipeline)
    assert world.broker.values == events
    assert world.counters.delivered == count
    assert (world.dead, pipeline.trouble, pipeline.is_held_up) == ([], None, False)


def test_while_it_is_held_up_one_message_is_tried_and_at_most_every_thirty_seconds(world: World) -> None:
    world.write(stream(*(event(number) for number in range(50))))
    world.broker.fails = lambda _sent: REFUSED
    pipeline = world.pipeline()
    try_for(world, pipeline, 100)
    before = len(world.broker.senders)
    try_for(world, pipeline, 20 * LONGEST_RETRY)
    tries = [sender.produced for sender in world.broker.senders[before:]]
    assert 18 <= len(tries) <= 21
    assert all(each in ([], [event(0)]) for each in tries)


def test_refusals_of_every_code_in_turn_are_an_outage_too(world: World) -> None:
    world.write(stream(*(event(number) for number in range(50))))
    world.broker.fails = lambda sent: PERMANENT[len(sent.value) * sent.value[-1] % len(PERMANENT)]
    pipeline = world.pipeline()
    try_for(world, pipeline, 100)
    assert (world.dead, pipeline.is_held_up) == ([], True)


def test_a_long_run_is_isolated_where_kafka_takes_what_is_behind_it(world: World) -> None:
    events = [event(number) for number in range(100)]
    world.write(stream(*events))
    world.broker.fails = lambda sent: REFUSED if sent.value in events[20:60] else None
    world.run(world.pipeline())
    assert [letter["event"].encode() for letter in world.dead] == events[20:60]
    assert world.broker.values == events[:20] + events[60:]
    assert world.counters.delivered == 60


def test_fewer_refusals_than_an_outage_at_the_end_are_dead_letters(world: World) -> None:
    events = [event(number) for number in range(10)]
    world.write(stream(*events))
    world.broker.fails = lambda sent: REFUSED if sent.value in events[6:] else None
    world.run(world.pipeline())
    assert [letter["event"].encode() for letter in world.dead] == events[6:]
    assert world.counters.delivered == 6


def test_events_that_come_one_at_a_time_cost_fewer_dead_letters_than_make_an_outage(world: World) -> None:
    events = [event(number) for number in range(30)]
    world.broker.fails = lambda _sent: REFUSED
    pipeline = world.pipeline()
    for each in events:
        world.write(stream(each))
        try_for(world, pipeline, 20)
    dead = [letter["event"].encode() for letter in world.dead]
    assert dead == events[: OUTAGE_REFUSALS - 1]
    assert pipeline.is_held_up
    world.broker.fails = lambda _sent: None
    world.run(pipeline)
    assert world.broker.values == events[len(dead) :]


def test_refusals_with_something_delivered_between_them_never_add_up_to_an_outage(world: World) -> None:
    events = [event(number) for number in range(40)]
    world.broker.fails = lambda sent: REFUSED if sent.value in events[1::2] else None
    pipeline = world.pipeline()
    for each in events:
        world.write(stream(each))
        try_for(world, pipeline, 20)
    assert [letter["event"].encode() for letter in world.dead] == events[1::2]
    assert world.broker.values == events[::2]
    assert not pipeline.is_held_up


def test_messages_that_librdkafka_refuses_at_once_are_an_outage_too(world: World) -> None:
    events = [event(number) for number in range(40)]
    world.write(stream(*events))
    world.broker.refuses = lambda _value: REFUSED
    pipeline = world.pipeline()
    try_for(world, pipeline, 600)
    assert pipeline.is_held_up
    assert len(world.dead) == OUTAGE_REFUSALS - 1
    world.broker.refuses = lambda _value: None
    world.run(pipeline)
    assert world.broker.values == events[OUTAGE_REFUSALS - 1 :]


def test_another_failure_in_the_middle_of_a_run_does_not_stop_it_for_ever(world: World) -> None:
    events = [event(number) for number in range(30)]
    world.write(stream(*events))
    failing = [TIMED_OUT] * 3
    alone = world.broker.batch_sizes

    def fails(sent: Any) -> KafkaError | None:
        if sent.value == events[25] and alone[-1] == 1 and failing:
            return failing.pop()
        return REFUSED if sent.value in events[:20] else None

    world.broker.fails = fails
    world.run(world.pipeline())
    dead = [letter["event"].encode() for letter in world.dead]
    assert dead == events[:20]
    assert set(world.broker.values) == set(events[20:])


@settings(max_examples=60, deadline=None)
@given(
    refused=st.lists(st.booleans(), min_size=1, max_size=60),
    outages=st.lists(st.booleans(), max_size=6),
    late=st.integers(0, 3),
)
def test_every_event_ends_in_kafka_or_in_the_dead_letters_and_never_in_both(
    refused: list[bool], outages: list[bool], late: int
) -> None:
    """The last event is taken, so that the run before it is isolated once the outages are over."""
    with tempfile.TemporaryDirectory() as directory:
        world = World(Path(directory))
        events = [event(number) for number in range(len(refused) + 1)]
        bad = {each for each, is_bad in zip(events, refused, strict=False) if is_bad}
        world.write(stream(*events))
        polls: dict[bytes, int] = {}

        def hold(sent: Any) -> bool:
            polls[sent.value] = polls.get(sent.value, 0) + 1
            return polls[sent.value] % (late + 1) != 0

        world.broker.holds = hold
        pipeline = world.pipeline()
        for is_out in outages:
            world.broker.fails = lambda sent, is_out=is_out: REFUSED if is_out or sent.value in bad else None
            try_for(world, pipeline, 40)
        world.broker.fails = lambda sent: REFUSED if sent.value in bad else None
        # A run at the front is held up however long it is: there nothing behind it is tried.
        try_for(world, pipeline, 100)
        if pipeline.is_held_up:
            world.broker.fails = lambda _sent: None
        world.run(pipeline)
        dead = [letter["event"].encode() for letter in world.dead]
        assert len(dead) == len(set(dead))
        assert set(dead) | set(world.broker.values) == set(events)
        assert not set(dead) & set(world.broker.values)
        if not any(outages):
            assert set(dead) <= bad
        assert world.counters.delivered == len(events) - len(dead)
        world.journal.close()


def refusal(error: KafkaError, captured_ms: int = 0, position: int = 0) -> Failure:
    return Failure(Receipt(0, 1, [], []), error, None, Event(b"Event: A", position, captured_ms))


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (KafkaError(INVALID_RECORD), "[kafka] key"),
        (KafkaError(KafkaError.POLICY_VIOLATION), "change the policy"),
        (KafkaError(KafkaError.MSG_SIZE_TOO_LARGE), 'max.message.bytes of topic "t"'),
        (KafkaError(KafkaError.RECORD_LIST_TOO_LARGE), 'max.message.bytes of topic "t"'),
        (KafkaError(KafkaError.INVALID_TIMESTAMP), "message.timestamp.before.max.ms"),
    ],
    ids=str,
)
def test_the_reason_says_what_to_do(error: KafkaError, expected: str) -> None:
    said = explain(refusal(error), "t", now=0)
    assert said.startswith(error.str())
    assert expected in said


def test_a_refused_time_is_compared_with_the_clock() -> None:
    ahead = explain(refusal(INVALID_TIMESTAMP, captured_ms=7_200_000), "t", now=0)
    assert "1970-01-01T02:00:00Z, 2.0 h ahead of the clock, which says 1970-01-01T00:00:00Z" in ahead
    behind = explain(refusal(INVALID_TIMESTAMP, captured_ms=1_000), "t", now=86_401)
    assert "24.0 h behind the clock" in behind
    assert "the clock says 1970-01-02" in explain(refusal(INVALID_TIMESTAMP), "t", now=86_400)


def test_an_acknowledged_event_clears_those_before_it_alone() -> None:
    refusals = Refusals()
    for position in (10, 20, 30):
        failure = refusal(REFUSED, position=position)
        refusals.add(failure)
        refusals.suspects.append(failure)
    assert not refusals.acknowledge([5])
    assert refusals.acknowledge([25, 2])
    assert [each.event.position for each in refusals.isolated()] == [10, 20]
    assert [each.event.position for each in refusals.suspects] == [30]

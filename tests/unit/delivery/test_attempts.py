from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amikafka_tail.delivery.attempts import (
    BATCH_OF_ONE,
    FIRST_RETRY,
    LARGEST_BATCH,
    LONGEST_RETRY,
    ONE_BY_ONE_SECONDS,
    SMALLEST_BATCH,
    Attempts,
    OneByOne,
    Refused,
    Resending,
    Together,
)
from amikafka_tail.delivery.ledger import DeliveryToken, Failure, MessageToken
from amikafka_tail.kafka.producer import KafkaError, KafkaException, NoProducer
from amikafka_tail.model.errors import ConfigError, DeliveryFailed, Problem
from amikafka_tail.model.event import Event

REFUSED = KafkaError(KafkaError.POLICY_VIOLATION)
TOO_LARGE = KafkaError(KafkaError.MSG_SIZE_TOO_LARGE)
PURGED = KafkaError(KafkaError._PURGE_QUEUE)
TIMED_OUT = KafkaError(KafkaError._MSG_TIMED_OUT)


class FakeProducer:
    """Reports what the test says, when it is asked; it is not asked once it is discarded."""

    has_room = True

    def __init__(self, batch_size: int | None) -> None:
        self.batch_size = batch_size
        self.fatal: str | None = None
        self.raises: KafkaException | None = None
        self.is_discarded = False
        self.reports: list[tuple[DeliveryToken, KafkaError | None]] = []

    def __len__(self) -> int:
        return len(self.reports)

    def produce(self, *_message: object) -> None:
        raise AssertionError("the pipeline produces")

    def poll(self, _seconds: float) -> int:
        assert not self.is_discarded
        if self.raises is not None:
            error, self.raises = self.raises, None
            raise error
        reports, self.reports = self.reports, []
        for token, error_ in reports:
            if error_ is not None:
                token(error_, None)
        return len(reports)

    def has_leaders(self, _topic: str, _seconds: float) -> bool:
        return True

    def purge(self) -> None:
        self.reports = [(token, PURGED) for token, _ in self.reports]

    def discard(self) -> None:
        assert not self.is_discarded
        self.is_discarded = True
        self.reports.clear()


class World:
    def __init__(self, *, transactional: bool = False) -> None:
        self.now = 100.0
        self.made: list[FakeProducer] = []
        self.given_up: list[object] = []
        self.unmade = 0
        self.read = 0
        self.attempts = Attempts(
            0,
            connect=self.connect,
            topic="t",
            give_up=self.give_up,
            explain=lambda failure: str(failure.error.str()),
            transactional=transactional,
            clock=lambda: self.now,
            sent=lambda: self.read,
        )

    def connect(self, batch_size: int | None = None) -> FakeProducer:
        if self.unmade:
            self.unmade -= 1
            raise ConfigError([Problem(message="no certificate")])
        self.made.append(FakeProducer(batch_size))
        return self.made[-1]

    def give_up(self, failure: Failure) -> None:
        self.given_up.append(failure.event.position)
        failure.receipt.settle_one()

    def send(self, *errors: KafkaError | None) -> None:
        """Send a chunk of a message for each of what Kafka will report."""
        receipt = self.attempts.ledger.open(self.read, self.read + len(errors))
        for number, error in enumerate(errors, self.read):
            token = MessageToken(receipt, Event(b"Event: A", number))
            token.sent()
            self.made[-1].reports.append((token, error))
        self.read += len(errors)
        receipt.settle_one()

    def turn(self) -> bool:
        """Do what the pipeline does in one round; return whether it was sent back."""
        try:
            self.attempts.take_reports(0)
        except DeliveryFailed as error:
            error = self.attempts.await_refusal(error)
            self.attempts.ledger.settle()
            self.read = self.attempts.fail(error)
            return True
        if self.attempts.ledger.settle():
            self.attempts.delivered()
        return False

    def wait(self) -> None:
        assert not self.attempts.may_send()
        assert self.attempts.resends_at is not None
        self.now = self.attempts.resends_at
        assert self.attempts.resends_at is None
        assert self.attempts.may_send()


def test_at_first_messages_are_sent_together_as_the_configuration_says() -> None:
    world = World()
    assert world.attempts.state == Together(None)
    assert world.attempts.may_send()
    assert [each.batch_size for each in world.made] == [None]


def test_a_refusal_of_a_batch_gives_nothing_up_and_leads_to_one_by_one() -> None:
    world = World()
    world.send(None, REFUSED, REFUSED)
    assert world.turn()
    then = OneByOne(world.now + ONE_BY_ONE_SECONDS, Together(None))
    assert world.attempts.state == Resending(world.now + FIRST_RETRY, then)
    assert world.attempts.trouble == "Kafka does not take events: Broker: Policy violation"
    assert [each.batch_size for each in world.made] == [None, BATCH_OF_ONE]
    assert world.given_up == []
    world.wait()
    assert world.attempts.state == then
    assert len(world.made) == 2


def one_by_one(*, transactional: bool = False) -> World:
    world = World(transactional=transactional)
    world.send(REFUSED)
    world.turn()
    world.wait()
    assert isinstance(world.attempts.state, OneByOne)
    return world


def test_one_by_one_a_refused_message_is_given_up_and_the_others_go_on() -> None:
    world = one_by_one()
    world.send(None, REFUSED, None)
    world.now += 3
    assert not world.turn()
    assert world.given_up == [1]
    assert world.attempts.ledger.position == 3
    assert world.attempts.state == OneByOne(world.now + ONE_BY_ONE_SECONDS, Together(None))
    assert len(world.made) == 2


def test_in_a_transaction_the_others_are_sent_again_without_a_refused_message() -> None:
    world = one_by_one(transactional=True)
    world.send(None, REFUSED, None)
    assert world.turn()
    assert world.given_up == [1]
    assert world.attempts.ledger.open_receipts == 0
    assert "without it" in (world.attempts.trouble or "")
    assert isinstance(world.attempts.state, Resending)
    assert isinstance(world.attempts.state.then, OneByOne)


def test_one_by_one_a_failure_that_passes_is_sent_again_one_by_one() -> None:
    world = one_by_one()
    world.send(None, TIMED_OUT)
    assert world.turn()
    world.wait()
    assert isinstance(world.attempts.state, OneByOne)
    assert [each.batch_size for each in world.made] == [None, BATCH_OF_ONE, BATCH_OF_ONE]


def test_messages_are_sent_together_again_when_time_is_over_and_all_is_delivered() -> None:
    world = one_by_one()
    assert isinstance(world.attempts.state, OneByOne)
    world.send(None)
    world.now = world.attempts.state.until - 0.01
    assert world.attempts.may_send(), "there is time"
    world.now += 0.01
    assert not world.attempts.may_send(), "something is under way"
    assert not world.made[-1].is_discarded
    world.turn()
    assert world.attempts.may_send()
    assert world.attempts.state == Together(None)
    assert [each.batch_size for each in world.made] == [None, BATCH_OF_ONE, None]


@pytest.mark.parametrize(
    ("refusals", "size"),
    [
        (1, LARGEST_BATCH // 4),
        (2, LARGEST_BATCH // 16),
        (3, SMALLEST_BATCH),
        (5, SMALLEST_BATCH),
    ],
)
def test_batches_that_were_too_large_become_smaller_to_a_limit(refusals: int, size: int) -> None:
    world = World()
    for _ in range(refusals):
        world.send(TOO_LARGE)
        assert world.turn()
        world.wait()
        world.now += ONE_BY_ONE_SECONDS
        assert world.attempts.may_send()
    assert world.attempts.state == Together(size)
    assert world.made[-1].batch_size == size


def test_a_single_message_that_is_too_large_makes_no_batches_smaller() -> None:
    world = one_by_one()
    world.send(TOO_LARGE)
    world.turn()
    world.now += ONE_BY_ONE_SECONDS
    assert world.attempts.may_send()
    assert world.attempts.state == Together(None)


@pytest.mark.parametrize("way", ["report", "fatal", "raised"])
def test_any_other_failure_is_sent_again_the_same_way(way: str) -> None:
    world = World()
    world.send(TIMED_OUT if way == "report" else None)
    if way == "fatal":
        world.made[-1].fatal = "Fenced"
    elif way == "raised":
        world.made[-1].raises = KafkaException(KafkaError(KafkaError._FATAL, "Fenced", True))
    assert world.turn()
    assert world.attempts.state == Resending(world.now + FIRST_RETRY, Together(None))
    assert world.made[0].is_discarded
    world.wait()
    assert world.attempts.state == Together(None)


def test_the_fatal_error_is_the_reason_and_not_what_failed_with_it() -> None:
    world = World()
    world.send(TIMED_OUT)
    world.made[-1].fatal = "Fenced"
    world.turn()
    assert world.attempts.trouble == "Kafka does not take events: Fenced"


def test_a_refusal_that_is_reported_behind_a_fatal_error_is_the_reason() -> None:
    world = World()
    world.send(REFUSED)
    world.made[-1].raises = KafkaException(KafkaError(KafkaError._FATAL, "out of order", True))
    world.turn()
    assert world.attempts.trouble == "Kafka does not take events: Broker: Policy violation"
    assert isinstance(world.attempts.state, Resending)
    assert isinstance(world.attempts.state.then, OneByOne)


def test_waits_double_to_a_limit_until_something_is_delivered() -> None:
    world = World()

    def wait_after(*errors: KafkaError | None) -> float:
        world.send(*errors)
        assert world.turn()
        assert world.attempts.resends_at is not None
        waited = world.attempts.resends_at - world.now
        world.wait()
        return waited

    assert [wait_after(TIMED_OUT) for _ in range(7)] == [1, 2, 4, 8, 16, LONGEST_RETRY, LONGEST_RETRY]
    world.send(None)
    world.turn()
    assert world.attempts.trouble is None
    assert wait_after(TIMED_OUT) == FIRST_RETRY
    assert [wait_after(REFUSED), wait_after(TIMED_OUT)] == [FIRST_RETRY, 2 * FIRST_RETRY]


def test_while_no_producer_can_be_made_nothing_is_sent_and_each_wait_makes_one_attempt() -> None:
    world = World()
    world.unmade = 4
    world.send(TIMED_OUT)
    world.turn()
    waits = []
    while isinstance(world.attempts.producer, NoProducer):
        assert world.attempts.trouble == "no producer can be made: no certificate"
        assert world.attempts.resends_at is not None
        assert not world.attempts.may_send()
        waits.append(world.attempts.resends_at - world.now)
        world.now = world.attempts.resends_at
        world.attempts.may_send()
    assert waits == [2, 4, 8, 16]
    assert world.attempts.state == Together(None)


ACTIONS: list[Callable[[World], object]] = [
    lambda world: world.attempts.may_send() and world.send(None, None),
    lambda world: world.attempts.may_send() and world.send(None, REFUSED, None),
    lambda world: world.attempts.may_send() and world.send(TOO_LARGE, TIMED_OUT),
    lambda world: world.attempts.may_send() and world.send(TIMED_OUT),
    lambda world: setattr(world.made[-1], "fatal", "Fenced"),
    lambda world: setattr(world, "unmade", 2),
    lambda world: setattr(world, "now", world.now + 1),
    lambda world: setattr(world, "now", world.now + ONE_BY_ONE_SECONDS),
    World.turn,
    World.turn,
]


@given(st.lists(st.integers(0, len(ACTIONS) - 1), max_size=60), st.booleans())
def test_whatever_happens_the_producer_is_of_the_state_and_nothing_is_skipped(
    actions: list[int], transactional: bool
) -> None:
    world = World(transactional=transactional)
    attempts = world.attempts
    for action in actions:
        before, given_up = attempts.state, len(world.given_up)
        position = attempts.ledger.position
        ACTIONS[action](world)
        producer, state = attempts.producer, attempts.state
        if isinstance(producer, FakeProducer):
            assert not producer.is_discarded
            assert producer.batch_size == state.batch_size
        else:
            assert isinstance(state, Resending)
        assert all(each.is_discarded for each in world.made[:-1]), "one at a time"
        if isinstance(state, Resending):
            assert attempts.ledger.open_receipts == 0
            assert attempts.trouble is not None
        if len(world.given_up) > given_up:
            assert isinstance(before, OneByOne), "a batch does not tell which message is meant"
        assert attempts.ledger.position >= position
    # And it gets through once Kafka takes everything.
    world.unmade = 0
    for _ in range(20):
        world.now += LONGEST_RETRY
        if attempts.may_send():
            world.send(None)
        world.turn()
    assert isinstance(attempts.state, Together)
    assert attempts.trouble is None
    assert not attempts.ledger.open_receipts


def test_a_refusal_ends_the_search_for_another() -> None:
    world = World()
    refusal = Refused("as it is", for_size=True)
    world.send(REFUSED)
    assert world.attempts.await_refusal(refusal) is refusal
    assert len(world.made[-1]) == 1, "no report was waited for"

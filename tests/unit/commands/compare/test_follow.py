"""When the reading of the two topics ends, and what counts as late."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping

import pytest

from amikafka_tail.commands.compare.copies import Side
from amikafka_tail.commands.compare.follow import AHEAD_MS, STALL_SECONDS, Follower
from amikafka_tail.commands.compare.judge import Expected
from amikafka_tail.commands.compare.pairing import Comparison
from amikafka_tail.commands.compare.report import Counts
from amikafka_tail.kafka.topic_reader import Message
from amikafka_tail.model.errors import ClusterError
from tests.unit.commands.compare.test_pairing import BEGIN, at, module, ours


class Topic:
    """A topic of one partition. What is put there has come by the time that the clock shows."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.topic = "events"
        self.reached_ms = 0
        self.behind_ms: int | None = None
        self.held: list[int | None] = []
        self.is_stuck = False
        self._clock = clock
        self._messages: list[tuple[float, Message]] = []
        self._next = 0

    def put(self, come: float, message: Message) -> None:
        self._messages.append((come, message._replace(offset=len(self._messages))))

    def read(self, seconds: float) -> Message | None:
        if self.is_stuck or self._next >= len(self._there()):
            return None
        message = self._there()[self._next]
        self._next += 1
        self.reached_ms = message.time_ms
        return message

    def hold(self, until_ms: int | None) -> None:
        self.held.append(until_ms)

    def ends(self) -> dict[int, int]:
        return {0: len(self._there())}

    def is_past(self, ends: Mapping[int, int]) -> bool:
        return self._next >= ends[0]

    def _there(self) -> list[Message]:
        return [message for come, message in self._messages if come <= self._clock()]


class World:
    """Two topics and a clock that goes on with each look at how many seconds are left."""

    def __init__(self) -> None:
        self.now = 0.0
        self.stop_at: float | None = None
        self.shown: list[float] = []
        clock = lambda: self.now  # noqa: E731
        self.topics: dict[Side, Topic] = {"module": Topic(clock), "ours": Topic(clock)}
        self.comparison = Comparison(Expected(), {"module": BEGIN, "ours": BEGIN})
        self.follower = Follower(
            self.topics,
            self.comparison,
            clock=clock,
            stopped=lambda: self.stop_at is not None and self.now >= self.stop_at,
            show=self.show,
        )

    def show(self, left: float) -> None:
        self.shown.append(left)
        self.now += 0.5

    def counts(self, seconds: float = 10, wait: float = 5) -> tuple[bool, Counts]:
        complete = self.follower.run(seconds, wait)
        return complete, self.comparison.finish(interrupted=not complete).total


@pytest.fixture
def world() -> World:
    return World()


def test_it_ends_when_the_time_is_over_and_nothing_is_waited_for(world: World) -> None:
    for number in (5, 6, 7):
        world.topics["module"].put(number, module(number))
        world.topics["ours"].put(number + 1, ours(number))
    assert world.counts() == (True, Counts(agree=3))
    assert world.now == 10
    assert world.shown[0] == 10
    assert world.shown[-1] == 0.5


def test_a_twin_that_comes_after_the_end_is_waited_for(world: World) -> None:
    world.topics["module"].put(9, module(9))
    world.topics["ours"].put(12, ours(9))
    assert world.counts() == (True, Counts(agree=1))
    assert 12 <= world.now < 15


def test_a_twin_that_does_not_come_is_waited_for_so_long(world: World) -> None:
    world.topics["module"].put(9, module(9))
    world.topics["ours"].put(20, ours(9))
    assert world.counts() == (True, Counts(only_module=1))
    assert world.now == 15


def test_what_comes_after_the_end_alone_is_not_compared(world: World) -> None:
    world.topics["module"].put(8, module(8))
    world.topics["module"].put(11, module(11))
    assert world.counts() == (True, Counts(only_module=1))


def test_what_is_there_is_read_to_its_end_even_in_no_time(world: World) -> None:
    for number in range(5, 2000):
        world.topics["module"].put(0, module(number))
        world.topics["ours"].put(0, ours(number))
    assert world.counts(seconds=0) == (True, Counts(agree=1995))


def test_it_can_be_stopped(world: World) -> None:
    world.topics["module"].put(1, module(5))
    world.topics["ours"].put(1, ours(5))
    world.stop_at = 3
    assert world.counts(seconds=1000) == (False, Counts(agree=1))
    assert world.now == 3


def test_a_topic_of_which_nothing_more_comes_although_there_is_more_is_an_error(world: World) -> None:
    world.topics["module"].put(0, module(5))
    world.topics["module"].is_stuck = True
    with pytest.raises(ClusterError, match="Kafka has returned nothing from events for 30 s") as raised:
        world.counts(seconds=0)
    assert "no leader" in raised.value.hint
    assert world.now == pytest.approx(STALL_SECONDS, abs=1)


def test_silence_is_no_error(world: World) -> None:
    assert world.counts(seconds=100) == (True, Counts())


def test_what_is_read_too_far_ahead_is_held_when_too_many_wait(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("amikafka_tail.commands.compare.follow.MOST_WAITING", 2)
    world.topics["module"].behind_ms = at(5)
    world.topics["ours"].behind_ms = at(500)
    for number in (5, 6, 7):
        world.topics["module"].put(2, module(number))
        world.topics["ours"].put(6, ours(number))
    world.counts()
    horizon = at(5) + AHEAD_MS
    for topic in world.topics.values():
        changes = [held for held, _ in itertools.groupby(topic.held)]
        assert changes == [None, horizon, None]


def test_where_all_has_been_read_nothing_is_held(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("amikafka_tail.commands.compare.follow.MOST_WAITING", 2)
    for number in range(5, 20):
        world.topics["module"].put(2, module(number))
    world.counts()
    assert set(world.topics["module"].held) == {None}

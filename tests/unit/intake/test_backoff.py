from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from amikafka_tail.intake.backoff import Backoff


def longest(_low: float, high: float) -> float:
    return high


def shortest(low: float, _high: float) -> float:
    return low


def test_each_wait_is_twice_the_one_before_up_to_the_maximum() -> None:
    backoff = Backoff(initial=0.5, maximum=30, uniform=longest)
    assert [backoff.delay(0) for _ in range(9)] == [0.5, 1, 2, 4, 8, 16, 30, 30, 30]


def test_jitter_takes_away_up_to_half() -> None:
    backoff = Backoff(initial=0.5, maximum=30, uniform=shortest)
    assert [backoff.delay(0) for _ in range(4)] == [0.25, 0.5, 1, 2]


def test_two_that_lose_their_connection_together_do_not_come_back_together() -> None:
    assert len({Backoff().delay(0) for _ in range(20)}) > 1


def test_a_connection_that_was_stable_makes_the_waits_begin_anew() -> None:
    backoff = Backoff(stable_after=60, uniform=longest)
    for _ in range(5):
        backoff.delay(0)
    backoff.connected(100)
    assert backoff.delay(160) == 0.5


def test_a_connection_that_breaks_at_once_does_not() -> None:
    backoff = Backoff(stable_after=60, uniform=longest)
    delays = []
    for attempt in range(4):
        backoff.connected(10 * attempt)
        delays.append(backoff.delay(10 * attempt + 9))
    assert delays == [0.5, 1, 2, 4]


def test_how_long_no_connection_could_be_made_does_not_count_as_stable() -> None:
    backoff = Backoff(stable_after=60, uniform=longest)
    backoff.connected(0)
    assert backoff.delay(1) == 0.5
    assert backoff.delay(1000) == 1
    assert backoff.delay(2000) == 2


@given(st.lists(st.tuples(st.booleans(), st.floats(0, 1e4)), max_size=100))
def test_whatever_happens_a_wait_is_within_its_bounds(history: list[tuple[bool, float]]) -> None:
    backoff = Backoff(initial=0.5, maximum=30)
    now = 0.0
    for succeeds, later in history:
        now += later
        if succeeds:
            backoff.connected(now)
        else:
            assert 0.25 <= backoff.delay(now) <= 30

"""A storm of the same message."""

from __future__ import annotations

import io
import logging
import re
import threading

import pytest

from amikafka_tail.daemon.log_throttle import MOST_MESSAGES, LogThrottle, suppressed_before
from amikafka_tail.model.log_limits import RARELY


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def folded(clock: Clock) -> tuple[logging.Logger, io.StringIO]:
    """A logger of its own that folds after three in ten seconds, and what it wrote."""
    out = io.StringIO()
    handler = logging.StreamHandler(out)
    handler.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
    handler.addFilter(LogThrottle(burst=3, seconds=10, clock=clock))
    logger = logging.Logger("test.folded", logging.DEBUG)
    logger.addHandler(handler)
    return logger, out


def written(out: io.StringIO) -> list[str]:
    lines = out.getvalue().splitlines()
    out.seek(0)
    out.truncate()
    return lines


def test_a_few_of_the_same_are_written(folded: tuple[logging.Logger, io.StringIO]) -> None:
    logger, out = folded
    for number in range(3):
        logger.warning("broker %d is down", number)
    assert written(out) == [f"WARNING broker {number} is down" for number in range(3)]


def test_a_storm_of_the_same_is_cut_off_and_counted(
    folded: tuple[logging.Logger, io.StringIO], clock: Clock
) -> None:
    logger, out = folded
    for number in range(100):
        logger.warning("broker %d is down", number)
    assert written(out) == [f"WARNING broker {number} is down" for number in range(3)]
    clock.now += 12
    logger.warning("broker %d is down", 100)
    assert written(out) == ["WARNING broker 100 is down (and 97 more like this in 12 s)"]
    logger.warning("broker %d is down", 101)
    assert written(out) == ["WARNING broker 101 is down"]


def test_a_storm_that_goes_on_is_counted_each_time(
    folded: tuple[logging.Logger, io.StringIO], clock: Clock
) -> None:
    logger, out = folded
    lines = []
    for _ in range(40):
        logger.warning("again")
        clock.now += 1
        lines += written(out)
    # Ten a period, three of them written.
    more = "WARNING again (and 7 more like this in 10 s)"
    assert lines == ["WARNING again"] * 3 + [more, "WARNING again", "WARNING again"] * 3


def test_what_was_not_folded_is_not_counted(folded: tuple[logging.Logger, io.StringIO], clock: Clock) -> None:
    logger, out = folded
    for _ in range(3):
        logger.warning("rare")
    clock.now += 60
    logger.warning("rare")
    assert written(out) == ["WARNING rare"] * 4


def test_other_messages_and_other_levels_are_not_folded_with_it(
    folded: tuple[logging.Logger, io.StringIO],
) -> None:
    logger, out = folded
    for _ in range(5):
        logger.warning("one")
    written(out)
    logger.warning("another")
    logger.error("one")
    assert written(out) == ["WARNING another", "ERROR one"]


def test_who_asks_for_debugging_gets_all_of_it(folded: tuple[logging.Logger, io.StringIO]) -> None:
    logger, out = folded
    for number in range(100):
        logger.debug("%s [%s] %s", "BROKER", "producer-1", number)
    assert len(written(out)) == 100


def test_percent_signs_in_a_value_do_no_harm(
    folded: tuple[logging.Logger, io.StringIO], clock: Clock
) -> None:
    logger, out = folded
    for _ in range(5):
        logger.warning("topic %r is unknown", "100%s")
    clock.now += 10
    logger.warning("topic %r is unknown", "100%s")
    assert written(out)[-1] == "WARNING topic '100%s' is unknown (and 2 more like this in 10 s)"


def test_an_exception_may_be_the_message(folded: tuple[logging.Logger, io.StringIO], clock: Clock) -> None:
    logger, out = folded
    for _ in range(5):
        logger.error(ValueError("wrong"))
    clock.now += 10
    logger.error(ValueError("wrong"))
    assert written(out) == ["ERROR wrong"] * 3 + ["ERROR wrong (and 2 more like this in 10 s)"]


def test_values_that_are_the_whole_message_are_told_apart(
    folded: tuple[logging.Logger, io.StringIO],
) -> None:
    logger, out = folded
    for number in range(50):
        logger.error("%s", f"ami_kafka.conf:{number}: unknown option")
    assert len(written(out)) == 50
    for _ in range(50):
        logger.error("%s", "ami_kafka.conf:1: unknown option")
    assert len(written(out)) == 2


def test_what_comes_as_long_as_something_is_away_is_written_once_then_summed_up(
    folded: tuple[logging.Logger, io.StringIO], clock: Clock
) -> None:
    logger, out = folded
    for _ in range(600):
        logger.warning("Kafka: %s", "refused", extra=RARELY)
        clock.now += 1
    assert written(out) == [
        "WARNING Kafka: refused",
        "WARNING Kafka: refused (and 299 more like this in 300 s)",
    ]
    logger.warning("Kafka: %s", "a wrong password", extra=RARELY)
    assert written(out) == ["WARNING Kafka: a wrong password"], "other news is not folded with it"
    logger.warning("others")
    clock.now += 10
    assert said_at_the_end(folded) == [("Kafka: refused (and 298 more like this in 310 s)", 298)]


def said_at_the_end(
    folded: tuple[logging.Logger, io.StringIO], *, at_once: bool = False
) -> list[tuple[str, int]]:
    (filter_,) = folded[0].handlers[0].filters
    assert isinstance(filter_, LogThrottle)
    return [(record.getMessage(), suppressed_before(record)) for record in filter_.ended(at_once=at_once)]


def test_a_storm_that_ends_is_counted_when_its_time_is_over(
    folded: tuple[logging.Logger, io.StringIO], clock: Clock
) -> None:
    logger, out = folded
    for number in range(100):
        logger.warning("event %d is lost", number)
    logger.warning("another thing")
    clock.now += 9
    assert said_at_the_end(folded) == [], "it may go on"
    clock.now += 2
    assert said_at_the_end(folded) == [("event 99 is lost (and 96 more like this in 11 s)", 96)]
    assert said_at_the_end(folded) == [], "once"
    written(out)
    logger.warning("event %d is lost", 100)
    assert written(out) == ["WARNING event 100 is lost"], "a new storm"


def test_a_single_folded_message_is_written_as_it_is(
    folded: tuple[logging.Logger, io.StringIO], clock: Clock
) -> None:
    logger, _ = folded
    for number in range(4):
        logger.warning("event %d is lost", number)
    clock.now += 10
    assert said_at_the_end(folded) == [("event 3 is lost", 0)]


def test_at_the_end_of_the_process_nothing_is_waited_for(
    folded: tuple[logging.Logger, io.StringIO],
) -> None:
    logger, _ = folded
    for _ in range(5):
        logger.warning("again")
    assert said_at_the_end(folded, at_once=True) == [("again (and 1 more like this in 0 s)", 1)]


def test_every_message_is_written_or_counted(
    folded: tuple[logging.Logger, io.StringIO], clock: Clock
) -> None:
    logger, out = folded
    lines: list[str] = []
    for number in range(1000):
        logger.warning("again")
        clock.now += 0.1 if number % 200 else 25
        lines += written(out)
        lines += [f"WARNING {text}" for text, _ in said_at_the_end(folded)]
    lines += [f"WARNING {text}" for text, _ in said_at_the_end(folded, at_once=True)]
    more = [re.search(r"and (\d+) more", line) for line in lines]
    assert sum(1 if found is None else 1 + int(found[1]) for found in more) == 1000
    assert len(lines) < 100


def test_memory_is_bounded_however_many_different_messages_there_are(
    folded: tuple[logging.Logger, io.StringIO], clock: Clock
) -> None:
    logger, out = folded
    for number in range(3 * MOST_MESSAGES):
        logger.warning(f"made up: {number}")
    assert len(written(out)) == MOST_MESSAGES + 3, "the rest counts as one message"
    (filter_,) = logger.handlers[0].filters
    assert isinstance(filter_, LogThrottle)
    assert len(filter_._seen) <= MOST_MESSAGES + 1
    clock.now += 10
    said_at_the_end(folded)
    assert len(filter_._seen) == 0


def test_threads_may_log_at_once(folded: tuple[logging.Logger, io.StringIO]) -> None:
    logger, out = folded

    def log() -> None:
        for number in range(200):
            logger.warning(f"made up: {number}")
            logger.warning("again")

    threads = [threading.Thread(target=log) for _ in range(8)]
    for thread in threads:
        thread.start()
    rest = 0
    while any(thread.is_alive() for thread in threads):
        rest += sum(1 + count for _, count in said_at_the_end(folded, at_once=True))
    for thread in threads:
        thread.join()
    rest += sum(1 + count for _, count in said_at_the_end(folded, at_once=True))
    assert len(written(out)) + rest == 8 * 400

from __future__ import annotations

import io
import logging
import re
from collections.abc import Iterator

import pytest

from amikafka_tail import logs
from amikafka_tail.logs import FoldRepeats, Recent


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def folded(clock: Clock) -> Iterator[tuple[logging.Logger, io.StringIO]]:
    """A logger of its own that folds after three in ten seconds, and what it wrote."""
    out = io.StringIO()
    handler = logging.StreamHandler(out)
    handler.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
    handler.addFilter(FoldRepeats(burst=3, seconds=10, clock=clock))
    logger = logging.getLogger("test.folded")
    logger.handlers, logger.propagate = [handler], False
    logger.setLevel(logging.DEBUG)
    yield logger, out
    logger.handlers, logger.propagate = [], True
    logger.setLevel(logging.NOTSET)


@pytest.fixture
def root() -> Iterator[logging.Logger]:
    logger = logging.getLogger(logs.ROOT)
    before = (logger.handlers, logger.propagate, logger.level)
    librdkafka = logging.getLogger(f"{logs.ROOT}.librdkafka")
    level = librdkafka.level
    yield logger
    logger.handlers, logger.propagate, _ = before
    logger.setLevel(before[2])
    librdkafka.setLevel(level)


def written(out: io.StringIO) -> list[str]:
    lines = out.getvalue().splitlines()
    out.seek(0)
    out.truncate()
    return lines


# A storm.


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


# Where it goes.


def test_on_a_terminal_a_line_has_its_time_and_level(
    root: logging.Logger, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("JOURNAL_STREAM", raising=False)
    logs.set_up()
    logging.getLogger("amikafka.pipeline").warning("lag_bytes=%d", 5)
    assert re.fullmatch(
        r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} WARNING lag_bytes=5\n", capsys.readouterr().err
    )


@pytest.mark.parametrize(
    ("level", "priority"), [("debug", 7), ("info", 6), ("warning", 4), ("error", 3), ("critical", 2)]
)
def test_under_systemd_a_line_begins_with_its_priority(
    root: logging.Logger,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    level: str,
    priority: int,
) -> None:
    monkeypatch.setenv("JOURNAL_STREAM", "8:12345")
    logs.set_up("debug")
    logging.getLogger("amikafka").log(logging.getLevelName(level.upper()), "first\nsecond")
    assert capsys.readouterr().err == f"<{priority}>first\n<{priority}>second\n"


def test_lines_go_to_standard_error_once(
    root: logging.Logger, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("JOURNAL_STREAM", "8:12345")
    logs.set_up()
    logs.set_up()
    logging.getLogger("amikafka.journal").error("lost")
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "<3>lost\n")


def test_the_level_can_be_changed(
    root: logging.Logger, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("JOURNAL_STREAM", "8:12345")
    logs.set_up("warning")
    logger = logging.getLogger("amikafka.journal")
    logger.info("hidden")
    logs.set_level("info")
    logger.info("shown")
    logger.debug("hidden")
    logs.set_level("error")
    logger.warning("hidden")
    assert capsys.readouterr().err == "<6>shown\n"


def test_librdkafkas_own_lines_are_for_debugging(
    root: logging.Logger, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("JOURNAL_STREAM", "8:12345")
    logs.set_up("info")
    librdkafka = logging.getLogger("amikafka.librdkafka")
    librdkafka.error("connection lost")
    logs.set_level("debug")
    librdkafka.info("connection lost again")
    assert capsys.readouterr().err == "<6>connection lost again\n"


def test_a_storm_is_folded_wherever_it_goes(
    root: logging.Logger, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("JOURNAL_STREAM", "8:12345")
    logs.set_up()
    for _ in range(1000):
        logging.getLogger("amikafka.kafka").warning("Kafka: %s", "down")
    assert 1 < len(capsys.readouterr().err.splitlines()) < 50


@pytest.mark.parametrize("under_systemd", [False, True])
def test_nothing_reaches_the_terminal_that_could_change_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], under_systemd: bool
) -> None:
    if under_systemd:
        monkeypatch.setenv("JOURNAL_STREAM", "1:2")
    else:
        monkeypatch.delenv("JOURNAL_STREAM", raising=False)
    logs.set_up()
    logging.getLogger("amikafka.x").error("said %s", "\x1b[2J\x9b31m\a\r\x7ft\u00fcr\tend")
    written = capsys.readouterr().err
    assert "said \\x1b[2J\\x9b31m\\x07\\x0d\\x7ft\u00fcr\tend\n" in written
    assert not set(written) & set(map(chr, [*range(9), *range(11, 32), *range(127, 160)]))


def test_warnings_and_errors_are_remembered_and_repeats_counted() -> None:
    recent = Recent(most=3)
    logger = logging.Logger("x", logging.DEBUG)
    logger.addHandler(recent)
    logger.info("nothing of note")
    for number in range(5):
        logger.warning("attempt %d failed", number)
    logger.error("broken \x1b[2J")
    assert [(each.level, each.text, each.times) for each in recent.all()] == [
        ("warning", "attempt 4 failed", 5),
        ("error", "broken \\x1b[2J", 1),
    ]
    for word in ("a", "b", "c"):
        logger.error(word)
    assert [each.text for each in recent.all()] == ["a", "b", "c"]

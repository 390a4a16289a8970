from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from amikafka_tail.daemon import logs
from amikafka_tail.daemon.logs import MOST_TEXT, Recent
from amikafka_tail.model.errors import ConfigError, Problem
from tests.support.journald import Journald

NO_SOCKET = Path("/nonexistent/socket")


@pytest.fixture
def root() -> Iterator[logging.Logger]:
    logger = logging.getLogger(logs.ROOT)
    before = (logger.handlers, logger.propagate, logger.level)
    librdkafka = logging.getLogger(f"{logs.ROOT}.librdkafka")
    level = librdkafka.level
    logger.handlers = []
    yield logger
    for handler in logger.handlers:
        handler.close()
    logger.handlers, logger.propagate, _ = before
    logger.setLevel(before[2])
    librdkafka.setLevel(level)


@pytest.fixture
def under_systemd(monkeypatch: pytest.MonkeyPatch) -> None:
    """Standard error is the journal's, as far as anybody can tell."""
    status = os.fstat(2)
    monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino}")


@pytest.fixture
def on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing tells of a journal."""
    monkeypatch.delenv("JOURNAL_STREAM", raising=False)


@pytest.fixture
def journald(tmp_path: Path) -> Iterator[Journald]:
    with Journald(tmp_path / "socket") as listening:
        yield listening


@pytest.mark.usefixtures("on_a_terminal")
def test_on_a_terminal_a_line_has_its_time_and_level(
    root: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    logs.set_up()
    logging.getLogger("amikafka.pipeline").warning("lag_bytes=%d", 5)
    assert re.fullmatch(
        r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} WARNING lag_bytes=5\n", capsys.readouterr().err
    )


def test_a_variable_that_is_about_another_program_does_not_count(
    root: logging.Logger, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("JOURNAL_STREAM", "8:12345")
    logs.set_up()
    logging.getLogger("amikafka").warning("on a terminal of a desktop")
    assert " WARNING on a terminal of a desktop\n" in capsys.readouterr().err


@pytest.mark.usefixtures("under_systemd")
def test_under_systemd_the_log_goes_to_the_journal(
    root: logging.Logger, journald: Journald, capsys: pytest.CaptureFixture[str]
) -> None:
    logs.set_up(journal=journald.path)
    logging.getLogger("amikafka.reader").error("first\nsecond: offset=%d", 5)
    entry = journald.entry()
    assert entry["MESSAGE"] == "first\nsecond: offset=5"
    assert (entry["PRIORITY"], entry["AMIKAFKA_OFFSET"]) == ("3", "5")
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("level", "priority"), [("debug", 7), ("info", 6), ("warning", 4), ("error", 3), ("critical", 2)]
)
@pytest.mark.usefixtures("under_systemd")
def test_without_the_socket_a_line_begins_with_its_priority(
    root: logging.Logger, capsys: pytest.CaptureFixture[str], level: str, priority: int
) -> None:
    logs.set_up("debug", journal=NO_SOCKET)
    logging.getLogger("amikafka").log(logging.getLevelName(level.upper()), "first\nsecond")
    assert capsys.readouterr() == ("", f"<{priority}>first\n<{priority}>second\n")


@pytest.mark.usefixtures("under_systemd")
def test_each_message_is_written_once_however_often_it_is_set_up(
    root: logging.Logger, journald: Journald
) -> None:
    logs.set_up(journal=journald.path)
    logs.set_up(journal=journald.path)
    logging.getLogger("amikafka.journal").error("lost")
    assert journald.messages() == ["lost"]


@pytest.mark.usefixtures("under_systemd")
def test_the_level_can_be_changed(root: logging.Logger, journald: Journald) -> None:
    logs.set_up("warning", journal=journald.path)
    logger = logging.getLogger("amikafka.journal")
    logger.info("hidden")
    logs.set_level("info")
    logger.info("shown")
    logger.debug("hidden")
    logs.set_level("error")
    logger.warning("hidden")
    logs.set_level("debug")
    logger.debug("shown too")
    assert journald.messages() == ["shown", "shown too"]


@pytest.mark.usefixtures("under_systemd")
def test_librdkafkas_own_lines_are_for_debugging(root: logging.Logger, journald: Journald) -> None:
    logs.set_up("info", journal=journald.path)
    librdkafka = logging.getLogger("amikafka.librdkafka")
    librdkafka.error("connection lost")
    logs.set_level("debug")
    librdkafka.info("connection lost again")
    assert journald.messages() == ["connection lost again"]


@pytest.mark.usefixtures("under_systemd")
def test_a_storm_is_folded_wherever_it_goes(root: logging.Logger, journald: Journald) -> None:
    logs.set_up(journal=journald.path)
    logger = logging.getLogger("amikafka.kafka")
    for _ in range(1000):
        logger.warning("Kafka: %s", "down")
    assert journald.messages() == ["Kafka: down"] * 10
    logs.tell_of_storms()
    assert journald.messages() == [], "it may go on"
    logs.tell_of_storms(at_once=True)
    assert journald.messages() == ["Kafka: down (and 989 more like this in 0 s)"]


@pytest.mark.usefixtures("under_systemd")
def test_a_storm_below_the_level_that_is_in_use_by_now_is_not_told_of(
    root: logging.Logger, journald: Journald
) -> None:
    logs.set_up(journal=journald.path)
    for _ in range(100):
        logging.getLogger("amikafka.kafka").warning("Kafka: %s", "down")
    journald.messages()
    logs.set_level("error")
    logs.tell_of_storms(at_once=True)
    assert journald.messages() == []


EVIL, HARMLESS = "\x1b[2J\x9b31m\a\r\x7ft\u00fcr\tend", "\\x1b[2J\\x9b31m\\x07\\x0d\\x7ft\u00fcr\tend"


@pytest.mark.parametrize("where", ["under_systemd", "on_a_terminal"])
def test_nothing_reaches_the_terminal_that_could_change_it(
    root: logging.Logger, capsys: pytest.CaptureFixture[str], request: pytest.FixtureRequest, where: str
) -> None:
    request.getfixturevalue(where)
    logs.set_up(journal=NO_SOCKET)
    logging.getLogger("amikafka.x").error("said %s", EVIL)
    written = capsys.readouterr().err
    assert written.endswith(f"said {HARMLESS}\n")
    assert not set(written) & set(map(chr, [*range(9), *range(11, 32), *range(127, 160)]))


@pytest.mark.usefixtures("under_systemd")
def test_what_is_in_the_journal_can_be_shown_on_a_terminal(root: logging.Logger, journald: Journald) -> None:
    logs.set_up(journal=journald.path)
    logging.getLogger("amikafka.x").error("said %s", EVIL)
    assert journald.messages() == [f"said {HARMLESS}"]


@pytest.mark.usefixtures("under_systemd")
def test_a_message_has_an_end(root: logging.Logger, journald: Journald) -> None:
    logs.set_up(journal=journald.path)
    logging.getLogger("amikafka.x").error("plugin failed: %s", "\u20ac" * 5_000_000)
    message = journald.entry()["MESSAGE"]
    assert len(message) < MOST_TEXT + 100
    assert message.endswith(
        f"\u20ac ... and {5_000_000 + len('plugin failed: ') - MOST_TEXT} more characters"
    )


# Why a command cannot go on.


@pytest.mark.usefixtures("on_a_terminal")
def test_a_command_complains_on_the_terminal(
    root: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    logs.complain("no such file: \x1b[2J")
    assert capsys.readouterr() == ("", "amikafka: no such file: \\x1b[2J\n")


@pytest.mark.usefixtures("under_systemd")
def test_under_systemd_a_command_complains_as_an_error(
    root: logging.Logger, journald: Journald, capsys: pytest.CaptureFixture[str]
) -> None:
    logs.set_up(journal=journald.path)
    error = ConfigError(Problem(message=f"wrong: {number}") for number in range(30))
    for line in str(error).splitlines():
        logs.complain(line)
    found = journald.entries()
    assert [dict(entry)["MESSAGE"] for entry in found] == [f"wrong: {n}".encode() for n in range(30)]
    assert {dict(entry)["PRIORITY"] for entry in found} == {b"3"}
    assert capsys.readouterr().err == ""


# What is remembered.


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


def test_what_repeats_by_turns_drives_out_nothing_else() -> None:
    recent = Recent(most=3)
    logger = logging.Logger("x", logging.DEBUG)
    logger.addHandler(recent)
    logger.error("the journal is full")
    for number in range(50):
        logger.warning("kafka-1 refuses, attempt %d", number)
        logger.warning("all brokers are down")
    assert [(each.text, each.times) for each in recent.all()] == [
        ("the journal is full", 1),
        ("kafka-1 refuses, attempt 49", 50),
        ("all brokers are down", 50),
    ]

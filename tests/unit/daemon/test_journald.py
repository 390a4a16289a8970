"""The journal's native protocol, to a real socket."""

from __future__ import annotations

import io
import logging
import os
import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from amikafka_tail.daemon import journald
from amikafka_tail.daemon.journald import JournalHandler, named_values
from amikafka_tail.daemon.log_throttle import LogThrottle
from tests.support.journald import Journald


@pytest.fixture
def listening(tmp_path: Path) -> Iterator[Journald]:
    with Journald(tmp_path / "socket") as made:
        yield made


@pytest.fixture
def instead() -> io.StringIO:
    """What was written by the other way."""
    return io.StringIO()


@pytest.fixture
def logger(tmp_path: Path, instead: io.StringIO) -> Iterator[logging.Logger]:
    """A logger that writes to the socket, which nobody has made yet."""
    handler = JournalHandler(tmp_path / "socket", logging.StreamHandler(instead))
    made = logging.Logger("amikafka.test", logging.DEBUG)
    made.addHandler(handler)
    yield made
    handler.close()


def record(text: str, *arguments: object) -> logging.LogRecord:
    return logging.LogRecord("amikafka.test", logging.INFO, "/x/y.py", 1, text, arguments, None)


def test_an_entry_has_the_message_its_priority_and_where_it_came_from(
    listening: Journald, logger: logging.Logger
) -> None:
    logger.warning("the journal is full: lost_events=%d lost_bytes=%d", 12, 3456)
    entry = listening.entry()
    assert entry["MESSAGE"] == "the journal is full: lost_events=12 lost_bytes=3456"
    assert entry["PRIORITY"] == "4"
    assert entry["SYSLOG_IDENTIFIER"] == "amikafka"
    assert entry["LOGGER"] == "amikafka.test"
    assert entry["CODE_FILE"] == __file__
    assert entry["CODE_LINE"].isdigit()
    assert entry["CODE_FUNC"].startswith("test_an_entry_has")
    assert (entry["AMIKAFKA_LOST_EVENTS"], entry["AMIKAFKA_LOST_BYTES"]) == ("12", "3456")


@pytest.mark.parametrize(
    ("level", "priority"), [("debug", 7), ("info", 6), ("warning", 4), ("error", 3), ("critical", 2)]
)
def test_levels_are_priorities_of_syslog(
    listening: Journald, logger: logging.Logger, level: str, priority: int
) -> None:
    logger.log(logging.getLevelName(level.upper()), "said")
    assert listening.entry()["PRIORITY"] == str(priority)


@pytest.mark.parametrize(
    ("text", "arguments", "named"),
    [
        ("offset=%d", (5,), {"offset": "5"}),
        ("%s: event=%r offset=%d", ("why", "Hangup", 7), {"event": "Hangup", "offset": "7"}),
        ("seconds=%.1f, %d%% of size=%s", (1.25, 50, "9"), {"seconds": "1.2", "size": "9"}),
        ("asterisk=%s version=%s", ("::1", ""), {"asterisk": "::1", "version": ""}),
        ("name = %s, x==%s, A=%s, =%s", (1, 2, 3, 4), {}),
        ("nothing", (), {}),
        ("a=5", (), {}),
    ],
)
def test_values_that_have_a_name_are_fields(
    text: str, arguments: tuple[object, ...], named: dict[str, str]
) -> None:
    assert dict(named_values(record(text, *arguments))) == named


def test_a_value_cannot_add_or_change_a_field(listening: Journald, logger: logging.Logger) -> None:
    evil = "x\nPRIORITY=0\n_UID=0\nlost_events=99 offset=1 \x1b[2J"
    logger.error("plugin %s failed: event=%r offset=%d", evil, evil, 7)
    (entry,) = listening.entries()
    names = [name for name, _ in entry]
    assert len(set(names)) == len(names)
    assert set(names) >= {"MESSAGE", "PRIORITY", "AMIKAFKA_EVENT", "AMIKAFKA_OFFSET"}
    assert not {"_UID", "AMIKAFKA_LOST_EVENTS"} & set(names)
    fields = dict(entry)
    assert (fields["PRIORITY"], fields["AMIKAFKA_OFFSET"]) == (b"3", b"7")
    assert fields["AMIKAFKA_EVENT"].decode() == evil, "the journal may hold any bytes of a value"


def test_names_of_fields_are_what_the_journal_accepts(listening: Journald, logger: logging.Logger) -> None:
    logger.error(f"{'very_long_' * 10}=%d under_score9=%d", 1, 2)
    for name, _ in listening.entries()[0]:
        assert re.fullmatch("[A-Z][A-Z0-9_]{0,63}", name)


def test_long_values_and_odd_text_are_sent(listening: Journald, logger: logging.Logger) -> None:
    logger.error("broken \udcff: value=%s", "\u20ac" * 20_000)
    entry = listening.entry()
    assert entry["MESSAGE"].startswith("broken \\udcff: value=\u20ac")
    assert entry["AMIKAFKA_VALUE"] == "\u20ac" * journald.MOST_VALUE


def test_what_is_too_large_for_a_datagram_goes_the_other_way(
    listening: Journald, logger: logging.Logger, instead: io.StringIO
) -> None:
    logger.error("x" * 10_000_000)
    assert len(instead.getvalue()) > 10_000_000
    logger.error("small")
    assert listening.messages() == ["small"]


def test_the_count_of_a_storm_is_a_field(listening: Journald, logger: logging.Logger) -> None:
    clock = iter([0.0, 1.0, 2.0, 100.0])
    logger.handlers[0].addFilter(LogThrottle(burst=1, seconds=10, clock=lambda: next(clock)))
    for number in range(4):
        logger.warning("again: number=%d", number)
    first, last = (dict(entry) for entry in listening.entries())
    assert "AMIKAFKA_FOLDED" not in first
    assert last["AMIKAFKA_FOLDED"] == b"2"
    assert last["MESSAGE"] == b"again: number=3 (and 2 more like this in 100 s)"
    assert last["AMIKAFKA_NUMBER"] == b"3"


def test_without_a_journal_the_other_way_is_used_and_then_the_journal_again(
    tmp_path: Path, logger: logging.Logger, instead: io.StringIO
) -> None:
    logger.error("nobody listens")
    with Journald(tmp_path / "socket") as first:
        logger.error("one")
        logger.error("two")
        assert first.messages() == ["one", "two"]
    logger.error("it is away")
    with Journald(tmp_path / "socket") as second:
        logger.error("it is another")
        assert second.messages() == ["it is another"]
    assert instead.getvalue().splitlines() == ["nobody listens", "it is away"]


def test_a_journal_that_hangs_is_not_waited_for(
    tmp_path: Path, logger: logging.Logger, instead: io.StringIO
) -> None:
    most = int(Path("/proc/sys/net/unix/max_dgram_qlen").read_text()) + 5
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as hanging:
        hanging.bind(str(tmp_path / "socket"))
        for _ in range(most):
            began = time.monotonic()
            logger.error("a line")
            if instead.getvalue():
                break
        assert instead.getvalue() == "a line\n"
        assert time.monotonic() - began < 10  # and not until somebody reads
        hanging.recv(1 << 20)
        logger.error("it goes on")
        assert instead.getvalue() == "a line\n"


def test_only_the_variable_that_names_standard_error_counts(tmp_path: Path) -> None:
    status = os.fstat(2)
    assert journald.is_standard_error({"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"})
    for other in ({}, {"JOURNAL_STREAM": ""}, {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino + 1}"}):
        assert not journald.is_standard_error(other)


def test_the_socket_is_not_for_programs_that_are_started(listening: Journald, logger: logging.Logger) -> None:
    logger.error("connected")
    (handler,) = logger.handlers
    assert isinstance(handler, JournalHandler)
    assert isinstance(handler._socket, socket.socket)
    assert not handler._socket.get_inheritable()

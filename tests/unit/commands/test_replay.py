from __future__ import annotations

import dataclasses
import io
import json
import logging
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from amikafka_tail.commands.replay import Progress, replay
from amikafka_tail.delivery import attempts
from amikafka_tail.delivery.messages import Messages, Route
from amikafka_tail.delivery.printer import Printer
from amikafka_tail.intake.recording import Recording
from amikafka_tail.intake.stream_reader import StreamReader
from amikafka_tail.journal.dead_letters import DeadLetters
from amikafka_tail.model.counters import Counters
from amikafka_tail.model.errors import DeliveryFailed
from amikafka_tail.model.event import Event
from amikafka_tail.model.identity import Identity
from tests.unit.delivery.test_pipeline import REFUSED, Broker

NOBODY = Identity(entity_id="x", system_name="", asterisk_version="", hostname="vm")


def event(number: int) -> bytes:
    return b"Event: A\r\nNumber: %d\r\n\r\n" % number


def messages(render: Callable[[Event], bytes] = lambda each: each.raw) -> Messages:
    return Messages(
        topic="t",
        format_name="raw",
        choose=None,
        route=lambda _identity: Route(lambda each: (b"k", [("h", b"1")], each.captured_ms), render),
        fallback=NOBODY,
    )


def replayed(tmp_path: Path, *contents: bytes) -> tuple[list[str], Counters]:
    """Replay files to text; return the values and what was counted."""
    out, counters = io.StringIO(), Counters()
    recordings = []
    for number, content in enumerate(contents):
        path = tmp_path / f"{number}.ami"
        path.write_bytes(content)
        recordings.append(Recording(path.open("rb"), path.name))
    replay(
        [(each.name, StreamReader(each, 0, counters=counters)) for each in recordings],
        messages=messages(),
        connect=Printer(out).connect,
        dead_letters=DeadLetters(tmp_path / "dead.jsonl"),
        counters=counters,
        out=io.StringIO(),
    )
    for recording in recordings:
        recording.close()
    return [json.loads(line)["value"] for line in out.getvalue().splitlines()], counters


def test_files_are_replayed_one_after_the_other(tmp_path: Path) -> None:
    values, counters = replayed(tmp_path, event(0) + event(1), event(2))
    assert values == [event(number)[:-4].decode() for number in range(3)]
    assert (counters.events, counters.sent) == (3, 3)


def test_a_file_that_ends_in_an_event_is_told_and_the_next_one_is_whole(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "amikafka"):
        values, counters = replayed(tmp_path, event(0) + b"Event: Cut", event(1))
    assert len(values) == 2
    assert counters.torn == 1
    assert "0.ami: ends in the middle of an event: b'Event: Cut'" in caplog.text


def test_line_ends_after_the_last_event_are_nothing(tmp_path: Path) -> None:
    assert replayed(tmp_path, event(0) + b"\r\n")[1].torn == 0


def test_an_empty_file_has_no_events(tmp_path: Path) -> None:
    values, counters = replayed(tmp_path, b"")
    assert (values, counters.torn) == ([], 0)


def test_a_pipe_is_read_to_its_end() -> None:
    reading, writing = os.pipe()
    os.write(writing, event(0))
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        recording = Recording(pipe, "standard input")
    assert recording.read(0, 1000) == event(0)
    assert recording.end == len(event(0))
    assert recording.before(10) == event(0)[6:10]
    recording.close()


def test_the_time_of_a_recording_is_that_of_its_file(tmp_path: Path) -> None:
    path = tmp_path / "a.ami"
    path.write_bytes(event(0))
    os.utime(path, (1_700_000_000, 1_700_000_000))
    recording = Recording(path.open("rb"), "a.ami")
    assert recording.capture_times(0, 5)[0].captured_ms == 1_700_000_000_000
    recording.close()


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_is_drawn_on_a_terminal_some_times_a_second() -> None:
    out, now = Terminal(), [100.0]
    progress = Progress(out, lambda: now[0])
    now[0] = 102.0
    progress.show(500, 1000, 300)
    assert out.getvalue() == "\r[###############               ]  50%  300 events  150/s  2 s left "
    progress.show(600, 1000, 400)
    assert out.getvalue().count("\r") == 1
    progress.clear()
    assert out.getvalue().endswith("\r\033[K")


def test_no_progress_is_drawn_elsewhere() -> None:
    out = io.StringIO()
    progress = Progress(out)
    progress.show(500, 1000, 300)
    progress.clear()
    assert out.getvalue() == ""


class Talkative(Broker):
    said = ""


def replayed_to(broker: Talkative, tmp_path: Path, count: int) -> Counters:
    path = tmp_path / "a.ami"
    path.write_bytes(b"".join(event(number) for number in range(count)))
    recording, counters = Recording(path.open("rb"), path.name), Counters()
    try:
        replay(
            [(recording.name, StreamReader(recording, 0, counters=counters))],
            messages=dataclasses.replace(messages(), topic="pbx-events"),
            connect=broker.connect,
            dead_letters=DeadLetters(tmp_path / "dead.jsonl"),
            counters=counters,
            out=io.StringIO(),
        )
    except DeliveryFailed as error:
        broker.said = str(error)
    finally:
        recording.close()
    return counters


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for nothing between two attempts."""
    monkeypatch.setattr(attempts, "FIRST_RETRY", 0.0)


@pytest.mark.usefixtures("at_once")
def test_a_replay_of_what_kafka_refuses_for_a_common_reason_ends_with_the_reason(tmp_path: Path) -> None:
    broker = Talkative()
    broker.fails = lambda _sent: REFUSED
    counters = replayed_to(broker, tmp_path, 50)
    assert "Policy violation" in broker.said
    assert "were not sent" in broker.said
    assert (counters.delivered, counters.dead_letters) == (0, 0)
    assert not (tmp_path / "dead.jsonl").exists()


@pytest.mark.usefixtures("at_once")
def test_a_replay_counts_what_kafka_acknowledged_and_nothing_else(tmp_path: Path) -> None:
    broker = Talkative()
    broker.fails = lambda sent: REFUSED if b"Number: 7" in sent.value else None
    counters = replayed_to(broker, tmp_path, 50)
    assert broker.said == ""
    assert (counters.delivered, counters.dead_letters) == (49, 1)
    assert counters.sent > 50, "the others of its batch were sent again"

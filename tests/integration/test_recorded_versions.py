"""What each version of Asterisk sent and wrote at one time: the stream and both logs give the same messages.

`make compatibility` records it anew, see tests/e2e/recordings.py.
"""

from __future__ import annotations

import json
import lzma
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from amikafka_tail.cli import main

RECORDED = Path(__file__).parents[1] / "data" / "versions"
CONFIGURATION = """
[general]
entity_id = 00:11:22:33:44:55
system_name = pbx-01
[kafka]
topic = recorded
[eventlog]
keep_debug_headers = yes
"""
Replay = Callable[[str, bytes], list[dict[str, Any]]]


@pytest.fixture(
    params=sorted(path.parent for path in RECORDED.glob("*/session.ami.xz")), ids=lambda path: path.name
)
def recorded(request: pytest.FixtureRequest) -> Path:
    return request.param


@pytest.fixture
def replay(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Replay:
    configuration, source = tmp_path / "ami_kafka.conf", tmp_path / "source"
    configuration.write_text(CONFIGURATION)

    def messages(kind: str, data: bytes) -> list[dict[str, Any]]:
        source.write_bytes(data)
        arguments = ["replay", "-c", str(configuration), "--from", kind, "--to", "-", str(source)]
        assert main([*arguments, "--dead-letter", str(tmp_path / "dead-letter")]) == 0
        return [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    return messages


def recording(directory: Path, name: str) -> bytes:
    return lzma.decompress((directory / f"{name}.xz").read_bytes())


def events_of(stream: bytes) -> list[bytes]:
    blocks = (block.lstrip(b"\r\n") for block in stream.split(b"\r\n\r\n"))
    return [block for block in blocks if block.startswith(b"Event: ")]


def is_utf8(event: bytes) -> bool:
    try:
        event.decode()
    except UnicodeDecodeError:
        return False
    return True


def test_every_event_of_the_stream_is_a_message(recorded: Path, replay: Replay) -> None:
    events = events_of(recording(recorded, "session.ami"))
    messages = replay("ami", recording(recorded, "session.ami"))
    assert len(events) > 500
    assert [message["key"] for message in messages] == [
        event.splitlines()[0].removeprefix(b"Event: ").decode() for event in events
    ]
    numbers = [json.loads(message["value"])["SequenceNumber"] for message in messages]
    assert [
        number for number in numbers if f"\r\nSequenceNumber: {number}\r\n".encode() not in b"".join(events)
    ] == []
    assert len(set(numbers)) == len(numbers)


def test_the_text_log_gives_the_messages_of_the_stream_but_for_what_asterisk_takes_out(
    recorded: Path, replay: Replay
) -> None:
    stream = replay("ami", recording(recorded, "session.ami"))
    text = replay("eventlog", recording(recorded, "full"))
    assert len(text) == len(stream)
    differing = [pair for pair in zip(stream, text, strict=True) if pair[0] != pair[1]]
    assert len(differing) == 1
    sent, written = (json.loads(message["value"]) for message in differing[0])
    assert sent["Escape"] == "\x1b[1;31mred\x1b[0m, and plain"
    assert written == {**sent, "Escape": "red, and plain"}


def test_the_json_log_gives_the_messages_of_the_stream_that_are_utf8(recorded: Path, replay: Replay) -> None:
    events = events_of(recording(recorded, "session.ami"))
    stream = replay("ami", recording(recorded, "session.ami"))
    written = [message for event, message in zip(events, stream, strict=True) if is_utf8(event)]
    assert len(stream) - len(written) == 4
    assert replay("eventlog", recording(recorded, "full.json")) == written

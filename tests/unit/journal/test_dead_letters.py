from __future__ import annotations

import json
import logging
import re
import resource
import time
from base64 import b64decode
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from amikafka_tail.journal import dead_letters
from amikafka_tail.journal.dead_letters import DeadLetters, read
from amikafka_tail.model.errors import InputError


@contextmanager
def files_end_at(size: int) -> Iterator[None]:
    """Let no file of this process grow over a size, as on a disk that is nearly full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "dead-letter.jsonl"


def entries(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().split(b"\n") if line]


def test_an_event_is_kept_with_the_reason_and_its_place(path: Path) -> None:
    DeadLetters(path).keep(b"Event: Hangup\r\nCause: 16", position=4711, reason="too large")
    (entry,) = entries(path)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", entry.pop("time"))
    event = "Event: Hangup\r\nCause: 16"
    assert entry == {"kind": "refused", "reason": "too large", "position": 4711, "event": event}


def test_the_plugin_that_failed_is_named(path: Path) -> None:
    DeadLetters(path).keep(b"Event: A", position=0, reason="Traceback ...\n", plugin="avro")
    assert entries(path)[0]["plugin"] == "avro"


def test_bytes_that_are_not_utf_8_are_kept_as_they_are(path: Path) -> None:
    raw = b"Event: A\r\nX: " + bytes(range(256))
    DeadLetters(path).keep(raw, position=0, reason="not an AMI event")
    (entry,) = entries(path)
    assert b64decode(entry["event_base64"]) == raw
    assert "event" not in entry


def test_each_event_is_one_line_behind_those_before(path: Path) -> None:
    letters = DeadLetters(path)
    for number in range(3):
        letters.keep(b"Event: A\r\nX: a\nb\x85\xe2\x80\xa8", position=number, reason="first\nsecond")
    DeadLetters(path).keep(b"Event: B", position=3, reason="after a restart")
    assert path.read_bytes().count(b"\n") == 4
    assert [entry["position"] for entry in entries(path)] == [0, 1, 2, 3]


def test_there_is_no_file_before_there_is_a_dead_letter(path: Path) -> None:
    DeadLetters(path)
    assert not path.exists()


def test_others_may_not_read_what_callers_said(path: Path) -> None:
    DeadLetters(path).keep(b"Event: A", position=0, reason="x")
    assert path.stat().st_mode & 0o007 == 0


def test_a_file_that_has_grown_too_large_is_put_aside_once(path: Path) -> None:
    letters = DeadLetters(path, max_bytes=300)
    for number in range(20):
        letters.keep(b"Event: A", position=number, reason="x" * 50)
    older = path.with_name("dead-letter.jsonl.1")
    assert {each.name for each in path.parent.iterdir()} == {path.name, older.name}
    kept = [entry["position"] for entry in entries(older) + entries(path)]
    assert kept == list(range(kept[0], 20))
    assert older.stat().st_size < 600
    assert path.stat().st_size < 600


def test_a_directory_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        DeadLetters(tmp_path / "missing" / "dead-letter.jsonl").keep(b"Event: A", position=0, reason="x")


@pytest.mark.parametrize("size", [0, 50])
def test_an_event_that_a_full_disk_takes_only_in_part_is_an_error(path: Path, size: int) -> None:
    with files_end_at(size), pytest.raises(OSError, match="File too large"):
        DeadLetters(path).keep(b"Event: A\r\nX: " + b"x" * 100, position=0, reason="too large")


def test_what_a_full_disk_left_does_not_spoil_the_next_one(path: Path) -> None:
    letters = DeadLetters(path)
    letters.keep(b"Event: A", position=0, reason="x")
    with files_end_at(path.stat().st_size + 30), pytest.raises(OSError, match="File too large"):
        letters.keep(b"Event: B", position=1, reason="x")
    letters.keep(b"Event: B", position=1, reason="x")
    readable = []
    for line in path.read_bytes().split(b"\n"):
        try:
            readable.append(json.loads(line)["position"])
        except ValueError:
            continue
    assert readable == [0, 1]


def test_entries_that_had_to_go_count_even_if_what_they_made_room_for_is_kept_later(path: Path) -> None:
    letters = DeadLetters(path, max_bytes=10)
    letters.keep(b"Event: A", position=0, reason="x")
    letters.keep(b"Event: B", position=1, reason="x")
    with files_end_at(0), pytest.raises(OSError, match="File too large"):
        letters.keep(b"Event: C", position=2, reason="x")
    assert letters.keep(b"Event: C", position=2, reason="x") == 1
    assert letters.keep(b"Event: D", position=3, reason="x") == 1


def test_what_was_kept_is_put_on_the_disk_once(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[Path] = []
    monkeypatch.setattr(dead_letters, "sync", synced.append)
    letters = DeadLetters(path, max_bytes=100)
    letters.sync()
    assert not synced
    letters.keep(b"Event: A", position=0, reason="x" * 100)
    letters.keep(b"Event: B", position=1, reason="x")
    assert synced == [path, path.parent], "before it had another name"
    letters.sync()
    letters.sync()
    assert synced == [path, path.parent] * 2


def test_a_file_that_somebody_took_away_needs_no_disk(path: Path) -> None:
    letters = DeadLetters(path)
    letters.keep(b"Event: A", position=0, reason="x")
    path.unlink()
    letters.sync()
    nowhere = DeadLetters(Path("/dev/null"))
    nowhere.keep(b"Event: A", position=0, reason="x")
    nowhere.sync()


def test_what_was_kept_is_read_again_with_its_moment(path: Path) -> None:
    letters = DeadLetters(path)
    letters.keep(b"Event: A\r\nX: \xff", position=0, reason="x", captured_ms=1_795_426_158_220)
    letters.keep(b"Event: B", position=9, reason="x")
    first, second = read(path.read_bytes().splitlines(), "letters")
    assert first == (b"Event: A\r\nX: \xff", 1_795_426_158_220, "refused")
    assert second.raw == b"Event: B"
    assert second.captured_ms == pytest.approx(time.time() * 1000, abs=60_000)


@pytest.mark.parametrize(
    "line", ["{", "[]", "{}", '{"event": 1, "time": "x"}', '{"event": "A", "time": "now"}']
)
def test_a_line_of_something_else_is_named(path: Path, line: str) -> None:
    DeadLetters(path).keep(b"Event: A", position=0, reason="x")
    lines = [*path.read_bytes().splitlines(), b"", line.encode()]
    with pytest.raises(InputError, match=r"^letters:3: is no line of a dead-letter file"):
        list(read(lines, "letters"))


def test_entries_that_had_to_go_are_counted_and_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    letters = DeadLetters(tmp_path / "dead.jsonl", max_bytes=200)
    with caplog.at_level(logging.ERROR):
        forgotten = sum(letters.keep(b"Event: A", position=number, reason="x") for number in range(20))
    files = [tmp_path / "dead.jsonl.1", letters.path]
    kept = [letter for path in files for letter in read(path.read_bytes().splitlines(), path.name)]
    assert forgotten + len(kept) == 20
    assert forgotten > 0
    assert "forgotten_letters=" in caplog.text

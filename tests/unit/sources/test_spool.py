"""The source spool: whole files, each taken away when all of it is delivered."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from amikafka_tail.model.counters import Counters
from amikafka_tail.model.event import Event
from amikafka_tail.model.identity import Identity
from amikafka_tail.model.replayable_source import Unpublishable
from amikafka_tail.sources import spool
from amikafka_tail.sources.logfile import LogFile
from amikafka_tail.sources.spool import SpoolOptions, SpoolReader

NOBODY = Identity(entity_id="x", system_name="", asterisk_version="", hostname="vm")


def events(*numbers: int) -> bytes:
    return b"".join(b"Event: A\r\nNumber: %d\r\n\r\n" % number for number in numbers)


class World:
    def __init__(self, directory: Path) -> None:
        self.directory = directory / "spool"
        self.archive = directory / "archive"
        self.directory.mkdir()
        self.counters = Counters()
        self.options: dict[str, Any] = {}
        self.bookmark: dict[str, Any] | None = None
        self.now = 2_000_000_000.0
        self.torn: list[Unpublishable] = []
        self._reader: SpoolReader | None = None

    @property
    def reader(self) -> SpoolReader:
        if self._reader is None:
            self.released = 0
            self._reader = SpoolReader(
                SpoolOptions(directory=self.directory, **self.options),
                bookmark=self.bookmark,
                counters=self.counters,
                identity=NOBODY,
                now=lambda: self.now,
            )
        return self._reader

    def put(self, name: str, data: bytes) -> Path:
        path = self.directory / name
        path.write_bytes(data)
        return path

    def read(self, chunks: int = 10_000, *, deliver: bool = True) -> list[int]:
        self.reader.look_for_files()
        numbers = []
        for _ in range(chunks):
            chunk = self.reader.read()
            if chunk is None:
                break
            for each in chunk.events:
                if isinstance(each, Event):
                    numbers.append(int(each.get("Number") or ""))
                else:
                    self.torn.append(each)
        if deliver:
            self.released = self.reader.position
            self.reader.release(self.released)
        return numbers

    def restart(self) -> None:
        if self._reader is not None:
            self.bookmark = json.loads(json.dumps(self._reader.bookmark(self.released)))
            self._reader.close()
            self._reader = None

    @property
    def left(self) -> list[str]:
        return sorted(path.name for path in self.directory.iterdir() if path.is_file())


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.restart()


def test_files_are_read_in_order_of_name_and_deleted(world: World) -> None:
    world.put("b.ami", events(2))
    world.put("a.ami", events(0, 1))
    world.put("c.other", events(9))
    assert world.read() == [0, 1, 2]
    assert world.left == ["c.other"]


def test_a_file_stays_until_all_of_it_is_delivered(world: World) -> None:
    world.put("a.ami", events(0, 1))
    world.put("b.ami", events(2))
    assert world.read(deliver=False) == [0, 1, 2]
    assert world.left == ["a.ami", "b.ami"]
    world.reader.release(len(events(0, 1)))
    assert world.left == ["a.ami", "b.ami"]
    world.reader.release(len(events(0, 1)) + 1)
    assert world.left == ["b.ami"]
    world.reader.release(world.reader.position)
    assert world.left == []


def test_a_file_that_is_being_written_is_left_alone(world: World) -> None:
    path = world.directory / "a.ami"
    with path.open("wb") as writing:
        writing.write(events(0))
        writing.flush()
        world.put("b.ami", events(1))
        assert world.read() == []
        writing.write(events(5))
    assert world.read() == [0, 5, 1]


def test_a_new_file_of_the_same_name_is_read_and_not_deleted(world: World) -> None:
    world.put("a.ami", events(0))
    assert world.read(deliver=False) == [0]
    hidden = world.put(".new", events(1))
    hidden.rename(world.directory / "a.ami")
    world.reader.release(world.reader.position)
    assert world.read() == [1]
    assert world.left == []


def test_delivered_files_can_be_archived(world: World) -> None:
    world.options = {"after": "archive", "archive_directory": world.archive}
    world.put("a.ami", events(0))
    assert world.read() == [0]
    world.put("a.ami", events(1))
    assert world.read() == [1]
    assert (world.archive / "a.ami").read_bytes() == events(0)
    assert (world.archive / "a.ami.1").read_bytes() == events(1)
    assert world.left == []


@pytest.mark.parametrize("data", [b"", b"nothing of interest\n" * 10, bytes(range(256))])
def test_a_file_without_events_goes_to_the_bad_ones_with_the_reason(world: World, data: bytes) -> None:
    world.put("a.ami", data)
    world.put("b.ami", events(0))
    assert world.read() == [0]
    assert world.left == []
    bad = world.directory / "bad"
    assert (bad / "a.ami").read_bytes() == data
    assert json.loads((bad / "a.ami.reason").read_text()) == {"file": "a.ami", "reason": "holds no events"}


def test_a_directory_among_the_files_is_set_aside(world: World) -> None:
    (world.directory / "a.ami").mkdir()
    world.put("b.ami", events(0))
    assert world.read() == [0]
    assert (world.directory / "bad" / "a.ami").is_dir()


def test_what_the_end_of_a_file_cuts_off_is_set_aside(world: World) -> None:
    world.put("a.ami", events(0) + b"Event: A\r\nNumb")
    assert world.read() == [0]
    assert [each.raw for each in world.torn] == [b"Event: A\r\nNumb"]
    assert world.left == []


def test_the_debug_log_and_compressed_files_can_be_spooled_too(world: World) -> None:
    world.options["pattern"] = "*.gz"
    log = b"[2026-11-23 09:30:23.739] VERBOSE[1] manager.c: <-- Examining AMI event (1): -->\n"
    world.put("a.gz", gzip.compress(log + events(7) + b"\n"))
    assert world.read() == [7]


def test_a_restart_goes_on_in_the_middle_of_a_file(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool, "CHUNK", 60)
    world.put("a.ami", events(*range(10)))
    first = world.read(2)
    assert 0 < len(first) < 10
    world.restart()
    assert first + world.read() == list(range(10))
    assert world.left == []


@pytest.mark.parametrize("name", ["a.ami", "b.ami"])
def test_a_file_with_what_another_one_held_is_read_whole(
    world: World, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(spool, "CHUNK", 60)
    data = events(*range(10))
    path = world.put("a.ami", data)
    assert 0 < len(world.read(2)) < 10
    world.restart()
    path.unlink()
    os.utime(world.put(name, data), (1_700_000_000, 1_700_000_000))
    assert world.read() == list(range(10))


def test_a_file_that_comes_again_after_it_was_delivered_is_read_whole(world: World) -> None:
    data = events(*range(10))
    world.put("a.ami", data)
    assert world.read() == list(range(10))
    world.restart()
    world.put("a.ami", data)
    assert world.read() == list(range(10))


def test_a_restart_after_all_was_delivered_begins_with_what_is_there(world: World) -> None:
    world.put("a.ami", events(0))
    assert world.read() == [0]
    world.restart()
    world.put("b.ami", events(1))
    assert world.read() == [1]


def test_going_back_reads_again_what_was_not_delivered(world: World) -> None:
    world.put("a.ami", events(0, 1))
    world.put("b.ami", events(2))
    world.put("c.ami", events(3))
    assert world.read(deliver=False) == [0, 1, 2, 3]
    world.reader.seek(len(events(0, 1)) + 1)
    assert world.left == ["b.ami", "c.ami"]
    assert world.read() == [2, 3]
    assert world.left == []


def numbered(*numbers: int) -> bytes:
    """Return events as manager debug logs them."""
    return b"".join(
        b"[2026-11-23 09:30:23.739] VERBOSE[1] manager.c: <-- Examining AMI event (1): -->\n"
        b"Event: A\r\nPrivilege: a\r\nSequenceNumber: %d\r\nNumber: %d\r\n\r\n\n" % (number, number)
        for number in numbers
    )


def test_what_is_read_again_after_going_back_is_no_copy(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool, "CHUNK", 400)
    world.put("a.ami", numbered(*range(10), 2, 9))
    first = world.read(2)
    position = world.reader.position
    assert first + world.read(deliver=False) == list(range(10))
    world.reader.seek(position)
    assert first + world.read(deliver=False) == list(range(10))
    world.restart()
    # The second copy of 2 is known for one, though nothing of it is in memory.
    assert first + world.read() == list(range(10))


def test_going_back_loses_no_file_that_another_one_took_the_place_of(world: World) -> None:
    for number, name in enumerate("abc"):
        world.put(f"{name}.ami", events(number))
    assert world.read(deliver=False) == [0, 1, 2]
    for number, name in enumerate("abc", 3):
        world.put(".new", events(number)).rename(world.directory / f"{name}.ami")
    for _ in range(2):
        world.reader.seek(0)
        assert world.read(deliver=False) == [0, 1, 2]
    world.reader.release(world.reader.position)
    assert world.read() == [3, 4, 5]
    assert world.left == []


def test_what_is_written_to_a_file_while_it_waits_for_kafka_is_read_too(world: World) -> None:
    path = world.put("a.ami", events(0))
    world.put("b.ami", events(1))
    assert world.read(deliver=False) == [0, 1]
    with path.open("ab") as writing:
        writing.write(events(2))
        writing.flush()
        assert world.read(0) == []
        assert world.read() == []  # somebody still writes to it
        writing.write(events(3))
    assert world.read() == [2, 3]
    assert world.left == []


@pytest.mark.parametrize("failing", [1, 2, 3])
def test_a_file_that_cannot_be_read_to_its_end_goes_to_the_bad_ones(
    world: World, monkeypatch: pytest.MonkeyPatch, failing: int
) -> None:
    monkeypatch.setattr(spool, "CHUNK", 60)
    world.put("a.ami", events(*range(10)))
    world.put("b.ami", events(10))
    reads = 0
    read = LogFile.read

    def failing_read(file: LogFile, size: int) -> bytes:
        nonlocal reads
        reads += file.path.name == "a.ami"
        if reads == failing and file.path.name == "a.ami":
            raise OSError(5, "Input/output error")
        return read(file, size)

    monkeypatch.setattr(LogFile, "read", failing_read)
    numbers = world.read()
    assert numbers[-1] == 10
    assert numbers[:-1] == list(range(len(numbers) - 1))
    assert world.left == []
    reason = json.loads((world.directory / "bad" / "a.ami.reason").read_text())["reason"]
    assert reason == "cannot be read to its end: Input/output error"


def test_a_compressed_file_that_is_damaged_goes_to_the_bad_ones(world: World) -> None:
    world.options["pattern"] = "*.gz"
    packed = gzip.compress(b"".join(events(number) for number in range(10_000)))
    world.put("a.gz", packed[: len(packed) // 2])
    numbers = world.read()
    assert 0 < len(numbers) < 10_000
    reason = json.loads((world.directory / "bad" / "a.gz.reason").read_text())["reason"]
    assert reason.startswith("is damaged: ")


def test_a_file_that_was_taken_away_is_no_bad_one_and_may_come_again(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    path = world.put("a.ami", events(0))
    world.reader.look_for_files()
    path.unlink()
    assert world.reader.read() is None
    assert caplog.messages == []
    world.put("a.ami", events(1))
    assert world.read() == [1]


def test_a_file_that_can_be_neither_read_nor_moved_is_tried_again(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    world.put("a.ami", events(0))
    refused = True
    is_finished, move = SpoolReader._is_finished, spool._move

    def may_read(reader: SpoolReader, path: Path) -> bool:
        if refused:
            raise PermissionError(13, "Permission denied")
        return is_finished(reader, path)

    def may_move(path: Path, directory: Path) -> Path:
        if refused:
            raise PermissionError(13, "Permission denied")
        return move(path, directory)

    monkeypatch.setattr(SpoolReader, "_is_finished", may_read)
    monkeypatch.setattr(spool, "_move", may_move)
    for _ in range(3):
        assert world.read() == []
        assert world.reader.problem == f"{world.directory}/a.ami: cannot be read: Permission denied"
    assert len(caplog.messages) == 1
    refused = False
    assert world.read() == [0]


def test_a_delivered_file_that_cannot_be_taken_away_is_known_after_a_restart(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.put("a.ami", events(0))

    def refuse(_path: Path, *, missing_ok: bool) -> None:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as refusing:
        refusing.setattr(Path, "unlink", refuse)
        assert world.read() == [0]
        for _ in range(2):
            world.restart()
            assert world.read() == []
    world.restart()
    assert world.read() == []
    assert world.left == []


@pytest.mark.parametrize("name", ["a.ami", "a.gz"])
def test_a_file_that_is_delivered_and_not_taken_away_yet_is_not_read_again(world: World, name: str) -> None:
    # As where Kafka has the checkpoint, and the process died before it had taken the file away.
    world.options["pattern"] = "a.*"
    world.put(name, gzip.compress(events(0)) if name == "a.gz" else events(0))
    assert world.read(deliver=False) == [0]
    world.released = world.reader.position
    world.restart()
    assert world.read() == []
    assert world.left == []
    assert list((world.directory / "bad").iterdir()) == []


def test_a_place_in_a_file_is_known_until_the_file_is_begun(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool, "CHUNK", 60)
    world.put("b.ami", events(*range(10)))
    first = world.read(2)
    for _ in range(3):
        world.restart()
        assert world.reader.position == 0
    world.put("a.ami", events(77))
    assert world.read(1) == [77]  # comes first by its name
    world.restart()
    assert world.bookmark is not None
    for each in world.bookmark["files"]:
        each["mark"]["device"] += 1  # as it may be after the machine was started again
    assert first + world.read() == list(range(10))


def test_a_file_without_events_is_a_bad_one_after_a_restart_too(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool, "CHUNK", 60)
    world.put("a.ami", b"nothing of interest\n" * 100)
    assert world.read(5) == []
    world.restart()
    assert world.read() == []
    assert (world.directory / "bad" / "a.ami").exists()


def test_thousands_of_files_are_fine(world: World) -> None:
    for number in range(3000):
        world.put(f"{number:05}.ami", events(number))
    numbers = []
    while len(numbers) < 3000:
        some = world.read()
        assert some
        numbers += some
    assert numbers == list(range(3000))
    assert world.left == []


def test_without_a_word_from_the_kernel_a_file_has_to_rest(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_arguments: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(spool.fcntl, "fcntl", refuse)
    path = world.put("a.ami", events(0))
    os.utime(path, (world.now - 1, world.now - 1))
    assert world.read() == []
    world.now += 1.5
    assert world.read() == [0]


def test_a_directory_that_cannot_be_read_is_said_once_and_again_when_it_happens_again(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    away = world.directory.with_name("away")
    for _ in range(2):
        world.reader.look_for_files()
        world.directory.rename(away)
        for _ in range(3):
            world.reader.look_for_files()
        away.rename(world.directory)
    assert caplog.messages == [f"cannot be read now: {world.directory}: No such file or directory"] * 2


@pytest.mark.parametrize("after", ["delete", "archive"])
@pytest.mark.parametrize("to", ["bad", "archive"])
@pytest.mark.parametrize("restarts", [False, True])
def test_a_file_of_which_something_is_in_the_dead_letters_is_never_deleted(
    world: World, after: str, to: str, restarts: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if after == "delete" and to == "archive":
        with pytest.raises(ValueError, match="dead_letters = archive needs"):
            SpoolOptions(directory=world.directory, dead_letters="archive")
        return
    monkeypatch.setattr(spool, "CHUNK", 50)
    world.options = {"after": after, "dead_letters": to}
    if after == "archive":
        world.options["archive_directory"] = world.archive
    world.put("1.ami", events(*range(3)))
    world.put("2.ami", events(*range(3, 20)))
    world.put("3.ami", events(20))
    assert 3 < world.read(4)[-1] < 19, "the second file is read in part"
    world.reader.note_dead_letter(len(events(*range(3))) + 1)
    if restarts:
        world.restart()
    world.read()
    kept = world.archive if to == "archive" else world.directory / "bad"
    assert (kept / "2.ami").read_bytes() == events(*range(3, 20))
    assert world.left == []
    others = {path.name for path in (world.directory / "bad").glob("*.ami")} - {"2.ami"}
    assert others == set(), "files without dead letters are as before"
    if to == "bad":
        reason = json.loads((kept / f"2.ami{spool.REASON}").read_text())["reason"]
        assert reason == "some of it is in the dead letters"


def test_a_dead_letter_belongs_to_its_file_alone(world: World) -> None:
    first = events(1)
    world.put("1.ami", first)
    world.put("2.ami", events(2))
    world.read(deliver=False)
    world.reader.note_dead_letter(len(first) + 1)  # an offset after each file belongs to it
    world.reader.release(world.reader.position)
    assert [path.name for path in (world.directory / "bad").glob("*.ami")] == ["2.ami"]

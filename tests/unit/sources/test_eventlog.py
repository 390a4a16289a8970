"""The source eventlog: every event once, whatever rotation does to the file."""

from __future__ import annotations

import gzip
import json
import logging
import os
import random
import shutil
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from amikafka_tail.ami.events import EventJoiner
from amikafka_tail.ami.framing import MAX_BLOCK, Framer
from amikafka_tail.model.counters import Counters
from amikafka_tail.model.event import Event
from amikafka_tail.model.gaps import Gap
from amikafka_tail.model.identity import Identity
from amikafka_tail.model.replayable_source import Unpublishable
from amikafka_tail.sources import logfile
from amikafka_tail.sources.eventlog import EventLogOptions, EventLogSource
from amikafka_tail.sources.logfile import LogFile
from amikafka_tail.sources.logs import LogsReader


def block(number: int, *lines: str, pad: int = 0) -> bytes:
    """Return an event as manager debug logs it."""
    event = [
        "Event: A",
        "Privilege: call,all",
        f"Timestamp: 1795426158.{number:06}",
        f"SequenceNumber: {number}",
        "File: manager.c",
        "Line: 1",
        "Func: f",
        f"Number: {number}{'x' * pad}",
        *lines,
        "",
        "",
    ]
    when = f"2026-11-23 09:30:23.{number % 1000:03}"
    head = f"[{when}] VERBOSE[12234] manager.c: <-- Examining AMI event (17542185): -->\n"
    return head.encode() + "\r\n".join(event).encode() + b"\n"


def blocks(*numbers: int) -> bytes:
    return b"".join(map(block, numbers))


def other(text: str = "Executing [100@lab:1] NoOp") -> bytes:
    return f"[2026-11-23 09:30:23.740] VERBOSE[12235][C-00000021] pbx.c: {text}\n".encode()


class World:
    """A log in a directory, and a reader that may be restarted at what it has delivered."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.path = directory / "full"
        self.counters = Counters()
        self.options: dict[str, Any] = {"path": (str(self.path),)}
        self.stored: dict[str, Any] | None = None
        self.torn: list[Unpublishable] = []
        self.gaps: list[Gap] = []
        self.versions: list[str] = []
        self.names: list[str] = []
        self.clock = 1_700_000_000
        self._reader: LogsReader | None = None

    @property
    def reader(self) -> LogsReader:
        if self._reader is None:
            self.released = 0
            self._reader = EventLogSource(EventLogOptions(**self.options)).open(
                position=0,
                bookmark=self.stored,
                counters=self.counters,
                identify=self.identify,
            )
        return self._reader

    def identify(self, version: str, system_name: str) -> Identity:
        self.versions.append(version)
        self.names.append(system_name)
        return Identity(entity_id="a", system_name=system_name, asterisk_version=version, hostname="vm")

    def write(self, data: bytes, path: Path | None = None) -> None:
        """Append as Asterisk does, at a time of its own."""
        path = path or self.path
        with path.open("ab") as file:
            file.write(data)
        self.touch(path)

    def touch(self, path: Path) -> None:
        self.clock += 1
        os.utime(path, (self.clock, self.clock))

    def read(self, *, deliver: bool = True) -> list[int]:
        """Read all there is; return the events' numbers."""
        numbers = []
        idle = 0
        while idle < 3:
            chunk = self.reader.read()
            if chunk is None:
                idle += 1
                continue
            for each in chunk.events:
                assert chunk.start <= each.position < chunk.end
                if isinstance(each, Gap):
                    self.gaps.append(each)
                elif isinstance(each, Event):
                    numbers.append(int((each.get("Number") or "").rstrip("x")))
                else:
                    self.torn.append(each)
        if deliver:
            self.released = self.reader.position
            self.reader.release(self.released)
        return numbers

    def restart(self) -> None:
        """Begin again at what has been delivered, as after a crash."""
        if self._reader is not None:
            self.stored = json.loads(json.dumps(self._reader.bookmark(self.released)))
            self._reader.close()
            self._reader = None

    def rename(self, name: str) -> Path:
        rotated = self.directory / name
        self.path.rename(rotated)
        return rotated


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.restart()


# One file.


def test_each_event_comes_once_without_what_debug_adds(world: World) -> None:
    world.write(other() + block(0) + block(0) + other() + block(1) + block(2) + block(1) + block(2))
    (chunk,) = [world.reader.read()]
    assert chunk is not None
    events = [each for each in chunk.events if isinstance(each, Event)]
    assert [each.raw for each in events] == [
        b"Event: A\r\nPrivilege: call,all\r\nTimestamp: 1795426158.%06d\r\nNumber: %d" % (number, number)
        for number in range(3)
    ]
    assert world.counters.duplicates == 3


def test_debug_headers_stay_where_they_are_wanted(world: World) -> None:
    world.options["keep_debug_headers"] = True
    world.write(block(7))
    chunk = world.reader.read()
    assert chunk is not None
    (event,) = chunk.events
    assert isinstance(event, Event)
    assert event.get("SequenceNumber") == "7"


def test_what_asterisk_logged_is_what_a_session_got(world: World) -> None:
    data = Path(__file__).parents[2] / "data" / "debuglog"
    joiner = EventJoiner(ours=True)
    blocks = Framer().feed((data / "plain.ami").read_bytes())
    events = [*joiner.take(blocks, 0), *joiner.close()]
    wanted = [each.raw for each in events if b"SequenceNumber" in each.raw]
    for name in ("plain.full", "plain.full.json"):
        reader = EventLogSource(EventLogOptions(path=(str(data / name),), keep_debug_headers=True)).open(
            position=0,
            bookmark=None,
            counters=Counters(),
            identify=world.identify,
        )
        found = []
        while (chunk := reader.read()) is not None:
            found += [each.raw for each in chunk.events if isinstance(each, Event)]
        reader.close()
        assert sorted(found) == sorted(wanted)
    assert world.versions[-1] == "22.10.1+dfsg+~cs6.17.60671434-1"
    assert world.names[-1] == "pbx-01"


def test_an_event_waits_for_its_end(world: World) -> None:
    world.write(block(0)[:-20])
    assert world.read() == []
    world.write(block(0)[-20:])
    assert world.read() == [0]


def test_a_restart_goes_on_at_the_last_delivered_event(world: World) -> None:
    world.write(blocks(0, 1))
    assert world.read() == [0, 1]
    world.write(block(1) + blocks(2, 3))
    assert world.read(deliver=False) == [2, 3]
    world.restart()
    # The second copy of 1 is known for one, though nothing of it is in memory.
    assert world.read() == [2, 3]
    world.restart()
    assert world.read() == []


def test_going_back_reads_again_what_was_not_delivered(world: World) -> None:
    world.write(blocks(0, 1))
    assert world.read() == [0, 1]
    position = world.reader.position
    world.write(blocks(2, 3))
    assert world.read(deliver=False) == [2, 3]
    world.reader.seek(position)
    assert world.reader.position == position
    assert world.read() == [2, 3]


def test_going_back_twice_does_not_lose_a_file_that_has_no_name_any_more(world: World) -> None:
    world.write(block(0))
    assert world.read() == [0]
    position = world.reader.position
    world.write(blocks(1, 2))
    assert world.read(deliver=False) == [1, 2]
    world.path.unlink()
    for _ in range(3):
        world.reader.seek(position)
    world.write(block(3))
    assert world.read() == [1, 2, 3]


def test_gaps_in_the_numbers_are_counted_and_said(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.write(blocks(0, 1, 5) + b"".join(block(number) for number in range(6, 9000)))
    with caplog.at_level(logging.WARNING):
        world.read()
    assert world.counters.gaps == 3
    assert "events are missing" in caplog.text
    assert [(gap.get("Reason"), gap.get("LostEvents")) for gap in world.gaps] == [("SequenceGap", "3")]


def test_what_is_read_again_is_counted_and_logged_once(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.write(blocks(0))
    assert world.read() == [0]
    position = world.reader.position
    long = block(1, f"Long: {'x' * (MAX_BLOCK + 1_000_000)}")
    world.write(long + blocks(2, 2, 9) + b"".join(map(block, range(10, 9000))))
    for _ in range(3):
        world.gaps.clear()
        assert world.read(deliver=False)[:3] == [2, 9, 10]
        # Whoever reads the topic needs to hear of it again where it was not delivered.
        reasons = [(gap.get("Reason"), gap.get("LostEvents")) for gap in world.gaps]
        assert reasons == [("TooLong", None), ("SequenceGap", "1"), ("SequenceGap", "6")]
        world.reader.seek(position)
    assert (world.counters.overlong, world.counters.gaps, world.counters.duplicates) == (1, 7, 1)
    assert caplog.text.count("passed over: an event longer than 4194304 bytes") == 1
    assert caplog.text.count("events are missing") == 2


def test_an_asterisk_that_starts_again_counts_again(world: World) -> None:
    world.write(blocks(0, 1, 2))
    world.write(b"".join(block(number, "Run: 2") for number in range(3)))
    assert world.read() == [0, 1, 2, 0, 1, 2]
    assert world.counters.duplicates == 0


def test_the_time_is_the_events_own_else_the_lines_else_the_files(world: World) -> None:
    line = b"[2026-11-23 09:30:23.739] VERBOSE[1] manager.c: <-- Examining AMI event (1): -->\n"
    odd = b"[some day] VERBOSE[1] manager.c: <-- Examining AMI event (1): -->\n"
    event = b"Event: A\r\nPrivilege: x\r\nNumber: 1\r\n\r\n\n"
    world.write(block(0) + line + event + odd + event)
    chunk = world.reader.read()
    assert chunk is not None
    _, by_line, by_file = chunk.events
    assert isinstance(by_line, Event)
    assert isinstance(by_file, Event)
    assert by_line.captured_ms == int(datetime(2026, 11, 23, 9, 30, 23, 739000).timestamp() * 1000)
    assert by_file.captured_ms == int(world.path.stat().st_mtime * 1000)


def test_a_timestamp_that_is_not_asterisks_own_is_not_the_time(world: World) -> None:
    line = b"[2026-11-23 09:30:23.739] VERBOSE[1] manager.c: <-- Examining AMI event (1): -->\n"
    text = b"Event: UserEvent\r\nPrivilege: user,all\r\n%bUserEvent: A\r\nTimestamp: 1.5\r\n\r\n\n"
    numbered = b"SequenceNumber: 1\r\nFile: a.c\r\nLine: 1\r\nFunc: f\r\n"
    world.write(line + text % b"" + line + text % numbered + line + text % b"Timestamp: soon\r\n")
    chunk = world.reader.read()
    assert chunk is not None
    by_line = int(datetime(2026, 11, 23, 9, 30, 23, 739000).timestamp() * 1000)
    assert [each.happened_ms for each in chunk.events if isinstance(each, Event)] == [by_line] * 3


def test_a_value_that_says_what_asterisk_logs_before_an_event_is_a_value(world: World) -> None:
    name = "CallerIDName: <-- Examining AMI event (1): -->"
    world.write(block(0) + block(1, name) + block(2, name, "Event: B", f"Long: {'x' * 100_000}") + block(3))
    assert world.read() == [0, 1, 2, 3]
    assert world.torn == []


def test_values_that_are_not_utf_8_are_kept(world: World) -> None:
    world.write(block(0).replace(b"Number: 0", b"Number: 0\r\nName: Zo\xeb"))
    chunk = world.reader.read()
    assert chunk is not None
    (event,) = chunk.events
    assert isinstance(event, Event)
    assert event.get_bytes(b"Name") == b"Zo\xeb"


# Rotation.


@pytest.mark.parametrize("down", [False, True], ids=["while running", "while down"])
class TestRotation:
    """What `down` says: whether the reader runs while it happens."""

    def read_or_stop(self, world: World, *, down: bool) -> list[int]:
        numbers = world.read()
        if down:
            world.restart()
        return numbers

    def test_renamed_and_created(self, world: World, *, down: bool) -> None:
        world.write(blocks(0, 1))
        numbers = self.read_or_stop(world, down=down)
        world.write(block(2))
        world.rename("full.1")
        world.write(blocks(3, 4))
        assert numbers + world.read() == [0, 1, 2, 3, 4]

    def test_several_times(self, world: World, *, down: bool) -> None:
        world.write(blocks(0, 1))
        numbers = self.read_or_stop(world, down=down)
        # Sequential: the newest has the highest number.
        for turn in range(5):
            world.write(block(2 + turn))
            world.rename(f"full.{turn}")
        world.write(block(7))
        assert numbers + world.read() == list(range(8))

    def test_with_the_oldest_having_the_highest_number(self, world: World, *, down: bool) -> None:
        world.write(blocks(0, 1))
        numbers = self.read_or_stop(world, down=down)
        for turn in range(4):
            world.write(block(2 + turn))
            for number in range(turn, 0, -1):
                (world.directory / f"full.{number}").rename(world.directory / f"full.{number + 1}")
            world.rename("full.1")
        world.write(block(6))
        assert numbers + world.read() == list(range(7))

    def test_compressed(self, world: World, *, down: bool) -> None:
        world.write(blocks(0, 1))
        numbers = self.read_or_stop(world, down=down)
        for turn in range(3):
            world.write(block(2 + turn))
            rotated = world.rename(f"full-2026112{turn}")
            packed = rotated.with_name(rotated.name + ".gz")
            packed.write_bytes(gzip.compress(rotated.read_bytes()))
            shutil.copystat(rotated, packed)
            rotated.unlink()
        world.write(block(5))
        assert numbers + world.read() == list(range(6))

    def test_copied_and_truncated(self, world: World, *, down: bool) -> None:
        world.write(blocks(0, 1))
        numbers = self.read_or_stop(world, down=down)
        world.write(block(2))
        copy = world.directory / "full.1"
        shutil.copyfile(world.path, copy)
        world.touch(copy)
        os.truncate(world.path, 0)
        world.write(block(3) + block(4))
        assert numbers + world.read() == [0, 1, 2, 3, 4]
        world.restart()
        assert world.read() == []

    def test_copied_truncated_and_grown_beyond_where_it_was(self, world: World, *, down: bool) -> None:
        world.write(block(0))
        numbers = self.read_or_stop(world, down=down)
        shutil.copyfile(world.path, world.directory / "full.1")
        world.touch(world.directory / "full.1")
        os.truncate(world.path, 0)
        world.write(b"".join(block(number) for number in range(1, 50)))
        assert numbers + world.read() == list(range(50))

    def test_copied_and_truncated_when_it_was_new(self, world: World, *, down: bool) -> None:
        world.path.touch()
        numbers = world.read()
        world.write(block(0))
        numbers += self.read_or_stop(world, down=down)
        world.write(block(1))
        shutil.copyfile(world.path, world.directory / "full.1")
        world.touch(world.directory / "full.1")
        os.truncate(world.path, 0)
        world.write(b"".join(map(block, range(2, 20))))
        assert numbers + world.read() == list(range(20))

    def test_deleted_and_created(self, world: World, *, down: bool) -> None:
        world.write(blocks(0, 1))
        numbers = self.read_or_stop(world, down=down)
        world.path.unlink()
        if not down:
            assert world.read() == []
        world.write(blocks(2, 3))
        assert numbers + world.read() == [0, 1, 2, 3]

    def test_a_symbolic_link_moves(self, world: World, *, down: bool) -> None:
        first, second = world.directory / "full-1", world.directory / "full-2"
        world.path.symlink_to(first)
        world.write(blocks(0, 1), first)
        numbers = self.read_or_stop(world, down=down)
        world.write(block(2), first)
        world.write(block(3), second)
        world.path.unlink()
        world.path.symlink_to(second)
        assert numbers + world.read() == [0, 1, 2, 3]

    def test_an_inode_is_used_again(self, world: World, *, down: bool) -> None:
        world.write(blocks(0, 1))
        numbers = self.read_or_stop(world, down=down)
        rotated = world.directory / "full.1"
        shutil.copyfile(world.path, rotated)
        world.touch(rotated)
        # The same inode with other content, longer than what was read.
        world.path.write_bytes(b"".join(block(number) for number in range(2, 9)))
        world.touch(world.path)
        assert numbers + world.read() == list(range(9))

    def test_an_event_that_the_end_of_a_file_cuts_off_is_set_aside(self, world: World, *, down: bool) -> None:
        world.write(block(0) + block(1)[:-30])
        numbers = self.read_or_stop(world, down=down)
        world.rename("full.1")
        world.write(block(2))
        assert numbers + world.read() == [0, 2]
        (torn,) = world.torn
        assert torn.kind == "torn"
        assert torn.raw.startswith(b"Event: A")


def test_a_file_may_appear_later(world: World, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert world.read() == []
        assert world.read() == []
    assert caplog.text.count("is not there yet") == 1
    world.write(block(0))
    assert world.read() == [0]


def test_an_empty_file_made_by_logrotate_does_not_end_the_one_before(world: World) -> None:
    world.write(block(0))
    assert world.read() == [0]
    rotated = world.rename("full.1")
    world.path.touch()
    world.write(block(1), rotated)
    assert world.read() == [1]
    world.write(block(2))
    assert world.read() == [2]


def test_a_file_of_another_log_is_no_generation(world: World) -> None:
    world.write(block(0))
    assert world.read() == [0]
    world.rename("full.1")
    for name in ("full.json", "full.conf.1", "fuller", "full.bak"):
        world.write(block(9), world.directory / name)
    world.write(block(1))
    assert world.read() == [1]


def test_a_file_that_is_gone_is_said_and_the_rest_is_read(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.write(blocks(0, 1))
    world.read()
    world.restart()
    world.rename("full.1")
    world.write(block(2))
    world.rename("full.2")
    (world.directory / "full.1").unlink()
    world.write(block(3))
    with caplog.at_level(logging.ERROR):
        assert world.read() == [2, 3]
    assert "the file that was being read is gone" in caplog.text


@pytest.mark.parametrize("failing", range(1, 9))
def test_a_disk_that_fails_while_a_file_is_begun_is_waited_for(
    world: World, monkeypatch: pytest.MonkeyPatch, failing: int
) -> None:
    world.write(blocks(0, 1))
    assert world.read() == [0, 1]
    world.restart()
    world.write(block(1) + block(2))
    kernel = Unreadable(monkeypatch)
    kernel.reads = failing
    assert world.read() + world.read() == [2]


def test_older_files_are_not_read_again_where_the_one_that_was_read_is_gone(world: World) -> None:
    world.options["start"] = "beginning"
    for turn in range(3):
        world.write(block(turn))
        world.rename(f"full.{turn}")
    world.write(block(3))
    assert world.read() == [0, 1, 2, 3]
    world.restart()
    world.path.unlink()
    assert world.read() == []
    world.write(block(4))
    assert world.read() == [4]


@pytest.mark.parametrize("clock", [1_600_000_000, 1_800_000_000], ids=["set back", "set forward"])
def test_a_clock_that_jumps_does_not_change_what_is_read(world: World, clock: int) -> None:
    world.write(block(0))
    world.rename("full.1")
    world.write(blocks(1, 2))
    assert world.read() == [1, 2]
    for turn in range(2):
        world.write(block(3 + 2 * turn))
        world.rename(f"full.{2 + turn}")
        world.clock = clock
        world.write(block(4 + 2 * turn))
        assert world.read() == [3 + 2 * turn, 4 + 2 * turn]
        world.restart()
        assert world.read() == []


class Unreadable:
    """Makes the kernel refuse to read some files, at any step of a reader."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.reads = 0
        self.refused: set[Path] = set()
        self._pread, self._open = os.pread, LogFile.__init__
        monkeypatch.setattr(logfile.os, "pread", self.pread)

        def open_file(file: LogFile, path: Path, *arguments: Any) -> None:
            if path in self.refused:
                raise PermissionError(13, "Permission denied", str(path))
            self._open(file, path, *arguments)

        monkeypatch.setattr(LogFile, "__init__", open_file)

    def pread(self, descriptor: int, size: int, offset: int) -> bytes:
        self.reads -= 1
        if self.reads == 0:
            raise OSError(5, "Input/output error")
        return self._pread(descriptor, size, offset)


def test_a_rotated_file_that_cannot_be_read_for_a_while_is_waited_for(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel = Unreadable(monkeypatch)
    world.write(block(0))
    assert world.read() == [0]
    kernel.refused.add(world.rename("full.1"))
    world.write(block(1))
    for _ in range(3):
        assert world.read() == []
        assert "full.1: cannot be read by the user" in (world.reader.problem or "")
    kernel.refused.clear()
    assert world.read() == [1]
    assert world.reader.problem is None


@pytest.mark.parametrize("failing", range(1, 9))
def test_a_disk_that_fails_for_a_moment_takes_no_event_with_it(
    world: World, monkeypatch: pytest.MonkeyPatch, failing: int
) -> None:
    world.write(block(0))
    assert world.read() == [0]
    kernel = Unreadable(monkeypatch)
    world.write(block(1) + block(2)[:-30])
    world.rename("full.1")
    world.write(block(3))
    kernel.reads = failing
    assert world.read() + world.read() == [1, 3]
    assert [each.raw[:8] for each in world.torn] == [b"Event: A"]


@pytest.mark.parametrize(
    ("start", "expected"), [("beginning", [0, 1, 2]), ("checkpoint", [1, 2]), ("end", [2])]
)
def test_where_to_begin_without_a_checkpoint(world: World, start: str, expected: list[int]) -> None:
    world.options["start"] = start
    world.write(block(0))
    world.rename("full.1")
    world.write(block(1))
    early = world.read()
    world.write(block(2))
    assert early + world.read() == expected


def test_a_file_that_appears_later_is_new_from_its_beginning(world: World) -> None:
    world.options |= {"path": (f"{world.directory}/*.log",), "start": "end"}
    world.write(block(0), world.directory / "a.log")
    assert world.read() == []
    world.write(block(1), world.directory / "a.log")
    world.write(block(2), world.directory / "b.log")
    world.reader.look_for_files()
    assert sorted(world.read(deliver=False)) == [1, 2]
    world.reader.seek(0)
    assert sorted(world.read()) == [1, 2]


def test_two_rotations_in_one_tick_of_the_clock(world: World) -> None:
    world.write(block(0))
    assert world.read() == [0]
    rotated = world.rename("full.2")
    world.write(block(1))
    os.utime(world.path, (world.clock - 1, world.clock - 1))
    assert world.path.stat().st_mtime == rotated.stat().st_mtime
    world.rename("full.1")
    world.write(block(2))
    assert world.read() == [1, 2]


def test_what_a_truncation_cuts_off_is_set_aside_and_nothing_of_what_comes_then(world: World) -> None:
    world.write(block(0))
    assert world.read() == [0]
    world.write(block(1)[:-30])
    assert world.read() == []
    rest = blocks(2, 3, 4, 5)
    world.path.write_bytes(rest[:-30])
    assert world.read() == [2, 3, 4]
    with world.path.open("ab") as file:
        file.write(rest[-30:])
    assert world.read() == [5]
    assert [each.raw.split(b"SequenceNumber: ")[1][:1] for each in world.torn] == [b"1"]


def test_logs_of_several_asterisks_do_not_share_their_numbers(world: World) -> None:
    for name in ("a", "b"):
        (world.directory / name).mkdir()
        world.write(blocks(0, 1), world.directory / name / "full")
    world.options["path"] = (f"{world.directory}/*/full",)
    assert sorted(world.read()) == [0, 0, 1, 1]
    assert world.counters.duplicates == 0
    (world.directory / "c").mkdir()
    world.write(blocks(0, 1), world.directory / "c" / "full")
    world.reader.look_for_files()
    assert world.read() == [0, 1]


def test_a_directory_is_named(world: World) -> None:
    world.path.mkdir()
    assert world.read() == []
    assert world.reader.problem == f"{world.path}: is not a regular file"


def test_a_directory_that_is_closed_to_us_is_waited_for(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    stat = os.stat

    def refuse(path: Any, **options: Any) -> os.stat_result:
        if str(path).startswith(str(world.directory)):
            raise PermissionError(13, "Permission denied", str(path))
        return stat(path, **options)

    with monkeypatch.context() as closed:
        closed.setattr(os, "stat", refuse)
        assert world.read() == []
        assert world.reader.directories == set()
        assert "a directory on the way is closed to it" in (world.reader.problem or "")
    world.write(block(0))
    assert world.read() == [0]


def test_binary_data_has_no_events(world: World) -> None:
    world.write(bytes(range(256)) * 1000)
    assert world.read() == []


def test_a_file_that_is_deleted_for_good_is_closed_and_forgotten(world: World) -> None:
    world.options["path"] = (f"{world.directory}/day-*.log",)
    opened = []
    for number in range(10):
        today = world.directory / f"day-{number}.log"
        world.write(block(number), today)
        world.reader.look_for_files()
        assert world.read() == [number]
        opened.append(len(list(Path("/proc/self/fd").iterdir())))
        today.unlink()
        world.reader.look_for_files()
    assert opened[-1] <= opened[0]
    assert world.reader.bookmark(world.released) == {}
    world.write(block(10), world.directory / "day-0.log")
    world.reader.look_for_files()
    assert world.read() == [10]


def test_a_deleted_file_is_not_forgotten_before_all_of_it_is_delivered(world: World) -> None:
    world.options["path"] = (f"{world.directory}/day-*.log",)
    today = world.directory / "day-0.log"
    world.write(blocks(0, 1) + block(2)[:-30], today)
    assert world.read(deliver=False) == [0, 1]
    today.unlink()
    world.reader.look_for_files()
    world.reader.seek(0)
    assert world.read() == [0, 1]
    world.reader.look_for_files()
    world.write(block(3), today)
    assert world.read() == [3]
    assert [each.raw[:8] for each in world.torn] == [b"Event: A"]


def compressed(path: Path, numbers: range, pad: int) -> bytes:
    """Write a compressed log of large events; return it."""
    chance = random.Random(0)
    data = b"".join(block(each, f"Random: {chance.randbytes(pad).hex()}") for each in numbers)
    path.write_bytes(gzip.compress(data, 1))
    return path.read_bytes()


def test_a_compressed_file_is_unpacked_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.options["start"] = "beginning"
    compressed(world.directory / "full.1.gz", range(100), 10_000)
    rewinds: list[object] = []
    rewind = gzip._GzipReader._rewind  # type: ignore[attr-defined]

    def counted(reader: object) -> None:
        rewinds.append(reader)
        rewind(reader)

    monkeypatch.setattr(gzip._GzipReader, "_rewind", counted)  # type: ignore[attr-defined]
    assert world.read() == list(range(100))
    assert len(rewinds) == 1  # its first bytes are looked at before


def test_a_compressed_file_that_is_damaged_is_said(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.options["start"] = "beginning"
    path = world.directory / "full.1.gz"
    path.write_bytes(compressed(path, range(100), 1000)[:60_000])
    world.touch(path)
    world.write(block(100))
    numbers = world.read()
    assert numbers[-1] == 100
    assert numbers[:-1] == list(range(len(numbers) - 1))
    assert 10 < len(numbers) < 90
    end = world.torn[0].position + len(world.torn[0].raw)
    assert caplog.messages == [
        f"{path}: is damaged: what it had after offset={end} is lost:"
        " Compressed file ended before the end-of-stream marker was reached"
    ]


def test_no_descriptor_is_left_open(world: World) -> None:
    world.write(blocks(0))
    world.read()
    before = len(list(Path("/proc/self/fd").iterdir()))
    for turn in range(10):
        world.write(block(turn + 1))
        world.rename(f"full.{turn}")
        world.write(b"")
        world.read()
    assert len(list(Path("/proc/self/fd").iterdir())) <= before

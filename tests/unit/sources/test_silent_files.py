"""A file that is read and gives no event is said: once, with a count of its lines and an example."""

from __future__ import annotations

import gzip
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from amikafka_tail.model.counters import Counters, Unrecognized
from amikafka_tail.model.identity import Identity
from amikafka_tail.model.replayable_source import FollowingReader
from amikafka_tail.sources.eventlog import EventLogOptions, EventLogSource
from amikafka_tail.sources.lines import LineEvent, LineLog, LineLogOptions
from amikafka_tail.sources.losses import FEW_LINES, MOST_FILES
from amikafka_tail.sources.spool import SpoolOptions, SpoolReader

PBX = Identity(entity_id="a", system_name="", asterisk_version="", hostname="vm")
EVENT = b"Event: A\r\nPrivilege: call,all\r\n\r\n"
MARKED = b"[2026-11-23 09:30:23.739] VERBOSE[1] manager.c: <-- Examining AMI event (1): -->\n" + EVENT + b"\n"
PLAIN = b"[2026-11-23 09:30:23.740] VERBOSE[12] pbx.c: Executing [100@lab:1] NoOp\n"
SILENT = {
    "Asterisk's log without events": PLAIN,
    "another program's": b'127.0.0.1 - - [23/Nov/2026:09:30:23 +0000] "GET / HTTP/1.1" 200 5\n',
    "bytes": bytes(range(0, 256)) + b"\n",
    "JSON of something": b'{"a": 1}\n',
}


class World:
    def __init__(self, directory: Path) -> None:
        self.path = directory / "full"
        self.counters = Counters()
        self._reader: FollowingReader | None = None
        self.bookmark: dict[str, Any] | None = None
        self.pattern = str(self.path)

    @property
    def reader(self) -> FollowingReader:
        if self._reader is None:
            self._reader = EventLogSource(EventLogOptions(path=(self.pattern,))).open(
                position=0,
                bookmark=self.bookmark,
                counters=self.counters,
                identify=lambda _version, _name: PBX,
            )
        return self._reader

    def write(self, data: bytes) -> None:
        with self.path.open("ab") as file:
            file.write(data)

    def read(self) -> int:
        self.reader.look_for_files()
        found = 0
        for _ in range(10):
            while (chunk := self.reader.read()) is not None:
                found += len(list(chunk.events))
        self.reader.release(self.reader.position)
        return found

    def restart(self) -> None:
        if self._reader is not None:
            self.bookmark = self._reader.bookmark(self._reader.position)
            self._reader.close()
            self._reader = None

    @property
    def said(self) -> list[tuple[int, bool]]:
        return [(each.lines, each.ended) for each in self.counters.unrecognized.values()]


@pytest.fixture
def world(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Iterator[World]:
    caplog.set_level(logging.WARNING)
    made = World(tmp_path)
    yield made
    made.restart()


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [each for each in caplog.messages if "there is no event in it" in each]


@pytest.mark.parametrize("line", SILENT.values(), ids=SILENT)
@pytest.mark.parametrize("count", [1, 3, 4000])
def test_a_log_without_an_event_is_said_once(
    world: World, caplog: pytest.LogCaptureFixture, line: bytes, count: int
) -> None:
    world.write(line * count)
    lines = line.count(b"\n") * count
    assert world.read() == 0
    assert world.said == [(lines, False)]
    (said,) = warnings(caplog)
    assert said.startswith(f"{world.path}: there is no event in it: lines={lines} example=")
    world.write(line * 5)
    world.read()
    assert world.said == [(lines + 5 * line.count(b"\n"), False)]
    assert len(warnings(caplog)) == 1


def test_an_example_is_short_and_harmless(world: World) -> None:
    world.write(b"\n\nSecret: 1234\n\x1b[31mred\xff" + b"x" * 1000 + b"\n")
    world.read()
    (found,) = world.counters.unrecognized.values()
    assert found == Unrecognized(str(world.path), 4, found.example, ended=False)
    assert found.example.startswith("?[31mred\ufffdxxx")
    assert len(found.example) <= 100


@pytest.mark.parametrize("before", [b"", PLAIN * 3000])
def test_a_log_with_an_event_is_not_said(
    world: World, caplog: pytest.LogCaptureFixture, before: bytes
) -> None:
    world.write(before + MARKED + PLAIN * 3000)
    assert world.read() == 1
    world.restart()
    world.write(PLAIN * 10)
    assert world.read() == 0
    assert (world.said, warnings(caplog)) == ([], [])


def test_an_event_that_comes_after_all_takes_it_back(world: World) -> None:
    world.write(PLAIN)
    world.read()
    assert world.said == [(1, False)]
    world.write(MARKED)
    assert world.read() == 1
    assert world.said == []


@pytest.mark.parametrize("begun", [EVENT[:9], EVENT[:-2], MARKED[:-40], PLAIN[:20]])
def test_an_event_or_a_line_that_has_only_begun_is_waited_for(world: World, begun: bytes) -> None:
    world.write(begun)
    world.read()
    assert world.said == []


def test_a_new_log_may_have_a_few_lines_before_its_first_event(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.write(MARKED)
    world.read()
    world.path.rename(world.path.with_name("full.1"))
    world.write(PLAIN * FEW_LINES)
    world.read()
    assert world.said == []
    world.write(PLAIN)
    world.read()
    assert world.said == [(FEW_LINES + 1, False)]
    assert len(warnings(caplog)) == 1


def test_a_log_that_ends_without_an_event_is_said_however_short_it_is(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.write(MARKED)
    world.read()
    for number in range(2):
        world.path.rename(world.path.with_name(f"full.{number}"))
        world.write(PLAIN if not number else MARKED)
        world.read()
    assert world.said == [(1, True)]
    assert len(warnings(caplog)) == 1


def test_a_copy_goes_on_where_the_truncated_file_was(world: World) -> None:
    world.write(MARKED * 20)
    world.read()
    world.write(PLAIN)
    world.path.with_name("full.1").write_bytes(world.path.read_bytes())
    world.path.write_bytes(b"")
    world.write(MARKED)
    world.read()
    assert world.said == []


def test_a_reader_that_is_closed_reads_nothing_on(world: World) -> None:
    world.write(PLAIN)
    world.read()
    world.restart()
    assert world.said == [(1, True)]


def test_a_log_that_is_deleted_without_an_event_is_said(world: World) -> None:
    world.pattern = f"{world.path}*"
    world.write(PLAIN)
    world.read()
    world.path.unlink()
    world.read()
    assert world.said == [(1, True)]


def test_only_the_last_files_are_remembered(world: World, tmp_path: Path) -> None:
    world.pattern = f"{tmp_path}/*.log"
    for number in range(MOST_FILES + 10):
        (tmp_path / f"{number}.log").write_bytes(PLAIN)
    world.read()
    assert len(world.said) == MOST_FILES


def test_lines_that_are_no_events_are_no_sign_of_a_wrong_form(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"# nothing\nbegun")
    counters = Counters()

    def nothing(_line: bytes) -> LineEvent | None:
        return None

    reader = LineLog(LineLogOptions(path=(f"{tmp_path}/log",)), nothing).open(
        position=0, bookmark=None, counters=counters, identify=lambda _version, _name: PBX
    )
    while reader.read() is not None:
        pass
    reader.close()
    assert counters.unrecognized == {}


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
def test_a_spooled_file_without_an_event_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, packed: bool
) -> None:
    name = "a.ami.gz" if packed else "a.ami"
    (tmp_path / name).write_bytes(gzip.compress(PLAIN * 5000) if packed else PLAIN * 5000)
    (tmp_path / "b.ami").write_bytes(EVENT)
    counters = Counters()
    reader = SpoolReader(SpoolOptions(directory=tmp_path, pattern="*.ami*"), counters=counters, identity=PBX)
    while reader.read() is not None:
        reader.release(reader.position)
    reader.close()
    (said,) = warnings(caplog)
    assert said.startswith(f"{tmp_path}/{name}: there is no event in it: lines=5000 example='[2026-11-23")
    (found,) = counters.unrecognized.values()
    assert (found.lines, found.ended) == (5000, True)

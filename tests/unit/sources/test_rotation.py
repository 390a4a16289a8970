"""Which file is which: files of which few bytes are known, files that begin alike, copies, compressed ones.

Every case is tried with a reader that runs and with one that was down; no event may be missing in either.
"""

from __future__ import annotations

import gzip
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from amikafka_tail.ami.framing import END
from amikafka_tail.model.counters import Counters
from amikafka_tail.model.event import Event
from amikafka_tail.model.identity import Identity
from amikafka_tail.sources import generations
from amikafka_tail.sources.eventlog import EventLogOptions, EventLogSource
from amikafka_tail.sources.logfile import HEAD
from amikafka_tail.sources.logs import LogsReader

PBX = Identity(entity_id="a", system_name="", asterisk_version="", hostname="vm")
BANNER = b"Event: Banner\r\nPrivilege: all\r\nText: %b" % (b"=" * HEAD) + END
LITTLE = b"Event: Banner\r\nPrivilege: all" + END
FEW = (0, 1, 20, 30, 35, 42)
"""Bytes of the first event that are there when a file is seen first."""


def event(number: int, pad: int = 0) -> bytes:
    return b"Event: A\r\nPrivilege: call,all\r\nNumber: %d%b" % (number, b"x" * pad) + END


def events(*numbers: int) -> bytes:
    return b"".join(map(event, numbers))


class World:
    """A log and its reader, which may be killed: it goes on at what was delivered."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "full"
        self.got: list[int] = []
        self._stored: object = None
        self._reader: LogsReader | None = None

    @property
    def reader(self) -> LogsReader:
        if self._reader is None:
            self._reader = EventLogSource(EventLogOptions(path=(str(self.path),), start="beginning")).open(
                position=0,
                bookmark=json.loads(json.dumps(self._stored)),  # type: ignore[arg-type]
                counters=Counters(),
                identify=lambda _version, _name: PBX,
            )
        return self._reader

    def read(self) -> None:
        """Read and deliver all there is."""
        idle = 0
        while idle < 3:
            chunk = self.reader.read()
            idle += chunk is None
            if chunk is not None:
                for each in chunk.events:
                    number = each.get("Number") if isinstance(each, Event) else None
                    if number is not None:
                        self.got.append(int(number.rstrip("x")))
        self.reader.release(self.reader.position)

    def stop(self) -> None:
        if self._reader is not None:
            self._stored = self._reader.bookmark(self._reader.position)
            self._reader.close()
            self._reader = None

    def write(self, data: bytes) -> None:
        with self.path.open("ab") as file:
            file.write(data)

    def rename(self, name: str) -> Path:
        return self.path.rename(self.path.with_name(name))

    def copy_and_truncate(self, name: str) -> None:
        shutil.copyfile(self.path, self.path.with_name(name))
        os.truncate(self.path, 0)


@pytest.fixture(params=[False, True], ids=["running", "down"])
def down(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.stop()


def seen(world: World, data: bytes, *, down: bool) -> None:
    """Let a file be seen with its first bytes."""
    world.write(data)
    world.read()
    if down:
        world.stop()


@pytest.mark.parametrize("few", FEW)
@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
def test_a_file_seen_with_few_bytes_is_found_after_it_was_renamed(
    world: World, few: int, *, down: bool, packed: bool
) -> None:
    seen(world, event(0)[:few], down=down)
    world.write(event(0)[few:] + event(1))
    rotated = world.rename("full.1")
    if packed:
        rotated.with_name("full.1.gz").write_bytes(gzip.compress(rotated.read_bytes()))
        rotated.unlink()
    world.write(events(2))
    world.read()
    assert world.got == [0, 1, 2]


@pytest.mark.parametrize("few", FEW)
def test_a_file_seen_with_few_bytes_is_found_after_it_was_copied_and_truncated(
    world: World, few: int, *, down: bool
) -> None:
    seen(world, event(0)[:few], down=down)
    world.write(event(0)[few:] + event(1))
    world.copy_and_truncate("full.1")
    world.write(events(2, 3, 4))
    world.read()
    assert world.got == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("few", FEW)
def test_a_copy_is_read_though_nothing_was_written_since_the_truncation(
    world: World, few: int, *, down: bool
) -> None:
    seen(world, event(0)[:few], down=down)
    world.write(event(0)[few:] + event(1))
    world.copy_and_truncate("full.1")
    world.read()
    assert world.got == [0, 1]


@pytest.mark.parametrize("few", FEW)
@pytest.mark.parametrize("copied", [False, True], ids=["renamed", "copied"])
def test_several_rotations_of_a_file_seen_with_few_bytes(
    world: World, few: int, *, down: bool, copied: bool
) -> None:
    seen(world, event(0)[:few], down=down)
    world.write(event(0)[few:])
    for number in range(1, 5):
        if copied:
            world.copy_and_truncate(f"full.{number}")
        else:
            world.rename(f"full.{number}")
        world.write(event(number))
    world.read()
    assert sorted(world.got) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("begin", [LITTLE, BANNER, BANNER + LITTLE], ids=["little", "banner", "more"])
@pytest.mark.parametrize("copied", [False, True], ids=["renamed", "copied"])
def test_files_that_begin_alike_are_told_apart(
    world: World, begin: bytes, *, down: bool, copied: bool
) -> None:
    seen(world, begin, down=down)
    for number in range(4):
        if number % 2:  # a file with nothing but what all begin with comes between
            world.write(event(number))
        if copied:
            world.copy_and_truncate(f"full.{number}")
        else:
            world.rename(f"full.{number}")
        world.write(begin)
    world.write(event(4))
    world.read()
    assert world.got == [1, 3, 4]


def test_a_file_that_begins_like_a_finished_one_is_read(world: World, *, down: bool) -> None:
    seen(world, LITTLE, down=False)
    world.rename("full.1")
    seen(world, LITTLE, down=down)
    world.write(event(1))
    world.rename("full.2")
    world.write(LITTLE + event(2))
    world.rename("full.3")
    world.write(event(3))
    world.read()
    assert world.got == [1, 2, 3]


def test_what_regrew_beyond_the_place_with_the_same_beginning_is_another_file(
    world: World, *, down: bool
) -> None:
    seen(world, BANNER + events(0, 1), down=down)
    world.write(event(2))
    world.copy_and_truncate("full.1")
    world.write(BANNER + events(*range(3, 20)))
    world.read()
    assert world.got == list(range(20))


def test_an_inode_that_is_used_again_for_a_file_that_begins_alike_is_no_proof(
    world: World, *, down: bool
) -> None:
    seen(world, event(0)[:30], down=down)
    world.write(event(0)[30:] + event(1))
    packed = world.path.with_name("full.1.gz")
    packed.write_bytes(gzip.compress(world.path.read_bytes()))
    world.path.write_bytes(events(2, 3))  # the same inode
    world.read()
    assert world.got == [0, 1, 2, 3]


def test_a_copy_without_truncation_repeats_nothing(world: World) -> None:
    for number in range(5):
        seen(world, event(number), down=False)
        shutil.copyfile(world.path, world.path.with_name(f"full.{number}"))
        world.read()
    assert world.got == [0, 1, 2, 3, 4]


def test_a_file_replaced_by_a_longer_copy_of_itself_is_read_on(world: World, *, down: bool) -> None:
    seen(world, BANNER + events(0, 1), down=down)
    new = world.path.with_name("new")
    new.write_bytes(world.path.read_bytes() + event(2))
    new.rename(world.path)
    world.read()
    assert world.got == [0, 1, 2]


def test_what_a_late_writer_adds_to_a_finished_file_does_not_bring_it_again(world: World) -> None:
    seen(world, events(0, 1), down=False)
    rotated = world.rename("full.1")
    seen(world, event(2), down=False)
    with rotated.open("ab") as file:
        file.write(event(9))
    world.rename("full.2")
    seen(world, event(3), down=False)
    assert world.got == [0, 1, 2, 3]


def test_gzip_at_work_brings_nothing_again(world: World) -> None:
    numbers = range(3000)
    seen(world, b"".join(event(each, pad=each % 97) for each in numbers), down=False)
    rotated = world.rename("full.1")
    packed = gzip.compress(rotated.read_bytes())
    seen(world, event(3000), down=False)
    for part in (1, len(packed) // 2, len(packed) - 1, len(packed)):
        rotated.with_name("full.1.gz").write_bytes(packed[:part])
        world.rename(f"full.x{part}").rename(world.path.with_name(f"full.{part + 10}"))
        seen(world, event(3000 + part), down=False)
    parts = [3000 + part for part in (0, 1, len(packed) // 2, len(packed) - 1, len(packed))]
    assert world.got == [*numbers, *parts]


def test_a_torn_event_of_a_file_that_the_next_one_begins_like_is_set_aside(world: World) -> None:
    torn = []
    cut = event(12)[: -len(b"2" + END)]
    world.write(event(0) + cut)
    world.read()
    world.rename("full.1")
    world.write(event(0) + cut + b"7" + END)
    while (chunk := world.reader.read()) is not None:
        for each in chunk.events:
            if isinstance(each, Event):
                world.got.append(int(each.get("Number") or ""))
            else:
                torn.append(each.kind)
    assert torn == ["torn"]
    assert world.got == [0, 0, 17]


@pytest.mark.parametrize("count", [generations.MAX_FINISHED - 2, generations.MAX_FINISHED + 20])
def test_more_generations_than_are_remembered_are_read_once(world: World, count: int, *, down: bool) -> None:
    for number in range(count):
        world.write(event(number))
        path = world.rename(f"full.{number}")
        os.utime(path, (1_700_000_000 + number, 1_700_000_000 + number))
    seen(world, event(count), down=down)
    world.rename(f"full.{count}")
    world.write(event(count + 1))
    world.read()
    assert world.got == list(range(count + 2))

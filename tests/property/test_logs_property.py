"""Whatever happens to files while they are read, every event comes out once, and none is missing."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from amikafka_tail.ami.framing import END
from amikafka_tail.model.counters import Counters
from amikafka_tail.model.event import Event
from amikafka_tail.model.identity import Identity
from amikafka_tail.model.replayable_source import FollowingReader, Reader, Unpublishable
from amikafka_tail.sources import files, rotation, spool
from amikafka_tail.sources.eventlog import EventLogOptions, EventLogSource
from amikafka_tail.sources.files import FilesReader
from amikafka_tail.sources.lines import LineEvent, LineLog, LineLogOptions
from amikafka_tail.sources.spool import SpoolOptions, SpoolReader
from tests.support.fuzzing import many

PBX = Identity(entity_id="a", system_name="", asterisk_version="", hostname="vm")
IDLE = 3
"""Reads without a chunk after which nothing more comes."""
PADS = (0, 0, 40, 300, 1100)
BEGINNINGS = (b"", b"# few\r\n\r\n", b"# " + b"=" * 1100 + b"\r\n\r\n")
CHUNKS = (50, 400, 128 * 1024)

Found = tuple[int, bytes]


def ami(number: int, pad: int) -> bytes:
    return b"Event: A\r\nPrivilege: all\r\nPad: %b\r\nNumber: %d" % (b"x" * pad, number) + END


def ami_beginning(text: bytes) -> bytes:
    return text.replace(b"#", b"Response: Follows\r\nText:")


def line(number: int, pad: int) -> bytes:
    return b"%b %d\n" % (b"x" * pad, number)


def read_line(text: bytes) -> LineEvent | None:
    if text.startswith(b"#") or not text.strip():
        return None
    return LineEvent(b"Event: L\r\nNumber: " + text.rpartition(b" ")[2], None)


class Consumer:
    """Takes what a reader gives, as the pipeline does: goes back, releases, is killed and opened again."""

    def __init__(self, open_reader: Callable[[Any], FollowingReader]) -> None:
        self._open = open_reader
        self.reader = open_reader(None)
        self.delivered: list[bytes] = []
        self.torn = 0
        self._waiting: list[tuple[int, list[Found], int]] = []
        self._offsets: dict[int, bytes] = {}
        self._released = self.reader.position
        self._stored: Any = None

    def read(self, chunks: int = 1_000_000) -> None:
        self.reader.look_for_files()
        idle = 0
        while chunks and idle < IDLE:
            position = self.reader.position
            chunk = self.reader.read()
            if chunk is None:
                idle += 1
                continue
            chunks -= 1
            assert position == chunk.start <= chunk.end == self.reader.position
            found = list(chunk.events)
            events = [(each.position, each.raw) for each in found if isinstance(each, Event)]
            torn = [(each.position, each.raw) for each in found if isinstance(each, Unpublishable)]
            for offset, raw in events + torn:
                assert chunk.start <= offset < chunk.end
                assert self._offsets.setdefault(offset, raw) == raw, "an offset is one event's for ever"
            self._waiting.append((chunk.end, events, len(torn)))

    def deliver(self, share: float) -> None:
        count = round(share * len(self._waiting))
        for end, events, torn in self._waiting[:count]:
            self.delivered += [raw for _, raw in events]
            self.torn += torn
            self._released = end
        del self._waiting[:count]
        self.reader.release(self._released)

    def go_back(self) -> None:
        self.reader.seek(self._released)
        self._waiting.clear()

    def store(self) -> None:
        self._stored = json.loads(json.dumps(self.reader.bookmark(self._released)))

    def kill(self) -> None:
        self.reader.close()
        self._waiting.clear()
        self._offsets.clear()
        self.reader = self._open(self._stored)
        self._released = self.reader.position

    @property
    def numbers(self) -> list[int]:
        return [int(raw.rpartition(b"Number: ")[2]) for raw in self.delivered]


class Written:
    """One log as its writer and rotation leave it."""

    def __init__(self, path: Path, numbers: Callable[[], int], make: Callable[[int, int], bytes]) -> None:
        self.path = path
        self.whole: list[int] = []
        self.torn = 0
        self.begin = b""
        self._next = numbers
        self._make = make
        self._rest = b""
        self._number = 0
        self._generation = 0

    def write(self, pad: int, share: float) -> None:
        """Write the rest of what was begun, then an event, or its beginning."""
        if not self._rest:
            self._number = self._next()
            self._rest = self._make(self._number, pad)
        count = round(share * len(self._rest)) if share < 1 else len(self._rest)
        with self.path.open("ab") as file:
            if not file.tell():
                file.write(self.begin)
            file.write(self._rest[:count])
        self._rest = self._rest[count:]
        if not self._rest:
            self.whole.append(self._number)

    def finish(self) -> None:
        """Write what is left of an event."""
        if self._rest:
            self.write(0, 1.0)

    def rotate(self, *, copied: bool, new: bool) -> None:
        self.finish()
        if not self.path.exists():
            return
        self._generation += 1
        name = self.path.with_name(f"{self.path.name}.{self._generation}")
        if copied:
            shutil.copyfile(self.path, name)
            os.truncate(self.path, 0)
        else:
            self.path.rename(name)
        if new:
            self.path.touch()

    def pack(self, which: int) -> None:
        plain = [path for path in self.path.parent.glob(f"{self.path.name}.*") if path.suffix != ".gz"]
        if plain:
            path = sorted(plain)[which % len(plain)]
            packed = path.with_name(f"{path.name}.gz")
            packed.write_bytes(gzip.compress(path.read_bytes()))
            shutil.copystat(path, packed)
            path.unlink()


shares = st.sampled_from([0.0, 0.3, 0.7, 0.97, 1.0, 1.0, 1.0])
writing = st.tuples(st.just("write"), st.integers(0, 1), st.sampled_from(PADS), shares)
happening = st.one_of(
    writing,
    writing,
    st.tuples(st.just("begin"), st.integers(0, 1), st.sampled_from(BEGINNINGS)),
    st.tuples(st.just("rotate"), st.integers(0, 1), st.booleans(), st.booleans()),
    st.tuples(st.just("pack"), st.integers(0, 1), st.integers(0, 5)),
    st.tuples(st.just("read"), st.integers(1, 5)),
    st.tuples(st.just("read"), st.just(1_000_000)),
    st.tuples(st.just("deliver"), st.sampled_from([0.0, 0.5, 1.0])),
    st.tuples(st.just("go back")),
)
killing = st.one_of(happening, st.tuples(st.just("store")), st.tuples(st.just("kill")))


def eventlog(paths: list[Path], bookmark: Any) -> FollowingReader:
    options = EventLogOptions(path=tuple(map(str, paths)), start="beginning")
    return EventLogSource(options).open(
        position=0, bookmark=bookmark, counters=Counters(), identify=lambda _version, _name: PBX
    )


def linelog(paths: list[Path], bookmark: Any) -> FollowingReader:
    options = LineLogOptions(path=tuple(map(str, paths)), start="beginning")
    return LineLog(options, read_line).open(
        position=0, bookmark=bookmark, counters=Counters(), identify=lambda _version, _name: PBX
    )


def happen(
    what: list[tuple[Any, ...]], *, of_lines: bool, chunk: int, ticks: bool
) -> tuple[Consumer, list[Written]]:
    """Let it happen to two logs, then read and deliver the rest."""
    counted = iter(range(1_000_000))
    before = rotation.CHUNK
    rotation.CHUNK = chunk
    clock = 1_700_000_000
    try:
        with tempfile.TemporaryDirectory() as directory:
            paths = [Path(directory) / name for name in ("a.log", "b.log")]
            make = line if of_lines else ami
            logs = [Written(path, lambda: next(counted), make) for path in paths]
            opened = linelog if of_lines else eventlog
            consumer = Consumer(lambda bookmark: opened(paths, bookmark))
            for name, *arguments in what:
                if name == "read":
                    consumer.read(*arguments)
                elif name == "deliver":
                    consumer.deliver(*arguments)
                elif name == "go back":
                    consumer.go_back()
                elif name == "store":
                    consumer.store()
                elif name == "kill":
                    consumer.kill()
                else:
                    log = logs[arguments[0]]
                    if name == "write":
                        log.write(*arguments[1:])
                        if ticks:
                            clock += 1
                            os.utime(log.path, (clock, clock))
                    elif name == "begin":
                        log.begin = arguments[1] if of_lines else ami_beginning(arguments[1])
                    elif name == "rotate":
                        log.rotate(copied=arguments[1], new=arguments[2])
                    elif name == "pack":
                        log.pack(arguments[1])
            for log in logs:
                log.finish()
            consumer.read()
            consumer.deliver(1.0)
            consumer.reader.close()
            return consumer, logs
    finally:
        rotation.CHUNK = before


@many(150)
@given(st.lists(happening, max_size=40), st.booleans(), st.sampled_from(CHUNKS), st.booleans())
def test_each_event_of_rotated_logs_comes_once(
    what: list[tuple[Any, ...]], of_lines: bool, chunk: int, ticks: bool
) -> None:
    consumer, logs = happen(what, of_lines=of_lines, chunk=chunk, ticks=ticks)
    assert sorted(consumer.numbers) == sorted(number for log in logs for number in log.whole)
    assert consumer.torn == 0


@many(150)
@given(st.lists(killing, max_size=40), st.booleans(), st.sampled_from(CHUNKS), st.booleans())
def test_no_event_of_rotated_logs_is_missing_after_kills(
    what: list[tuple[Any, ...]], of_lines: bool, chunk: int, ticks: bool
) -> None:
    consumer, logs = happen(what, of_lines=of_lines, chunk=chunk, ticks=ticks)
    assert set(consumer.numbers) == {number for log in logs for number in log.whole}
    assert consumer.torn == 0


names = st.sampled_from(["a.ami", "b.ami", "c.ami"])
putting = st.one_of(
    st.tuples(st.just("put"), names, st.integers(1, 4)),
    st.tuples(st.just("append"), names, st.integers(1, 4)),
    st.tuples(st.just("read"), st.integers(1, 5)),
    st.tuples(st.just("read"), st.just(1_000_000)),
    st.tuples(st.just("deliver"), st.sampled_from([0.0, 0.5, 1.0])),
    st.tuples(st.just("go back")),
)
putting_and_killing = st.one_of(putting, st.tuples(st.just("kill")))


def happen_in_spool(what: list[tuple[Any, ...]], chunk: int) -> tuple[list[int], list[int]]:
    """Let it happen to a spool directory; return the numbers of the events that were put, and that came."""
    counted = iter(range(1_000_000))
    written: list[int] = []
    before = spool.CHUNK
    spool.CHUNK = chunk
    try:
        with tempfile.TemporaryDirectory() as name:
            directory = Path(name)
            options = SpoolOptions(directory=directory)
            consumer = Consumer(
                lambda bookmark: SpoolReader(options, bookmark=bookmark, counters=Counters(), identity=PBX)
            )
            for action, *arguments in what:
                if action in ("put", "append"):
                    path = directory / arguments[0]
                    if (action == "append") != path.exists():
                        continue
                    some = [next(counted) for _ in range(arguments[1])]
                    with path.open("ab") as file:
                        file.write(b"".join(ami(number, number % 3 * 40) for number in some))
                    written += some
                elif action == "read":
                    consumer.read(*arguments)
                elif action == "deliver":
                    consumer.deliver(*arguments)
                elif action == "go back":
                    consumer.go_back()
                elif action == "kill":
                    consumer.store()
                    consumer.kill()
            for _ in range(3):  # a file that was written to while it waited is read on when it is delivered
                consumer.read()
                consumer.deliver(1.0)
            consumer.reader.close()
            assert list(directory.glob("*.ami")) == []
            return written, consumer.numbers
    finally:
        spool.CHUNK = before


@many(150)
@given(st.lists(putting, max_size=30), st.sampled_from(CHUNKS))
def test_each_event_of_spooled_files_comes_once(what: list[tuple[Any, ...]], chunk: int) -> None:
    written, came = happen_in_spool(what, chunk)
    assert sorted(came) == written


@many(150)
@given(st.lists(putting_and_killing, max_size=30), st.sampled_from(CHUNKS))
def test_no_event_of_spooled_files_is_missing_after_kills(what: list[tuple[Any, ...]], chunk: int) -> None:
    written, came = happen_in_spool(what, chunk)
    assert set(came) == set(written)


@many(100)
@given(
    st.lists(st.lists(st.sampled_from(PADS), max_size=6), max_size=4),
    st.lists(st.integers(0, 5), max_size=6),
    st.sampled_from(CHUNKS),
    st.booleans(),
)
def test_given_files_replay_the_same_events_at_the_same_offsets(
    pads: list[list[int]], rewinds: list[int], chunk: int, packed: bool
) -> None:
    counted = iter(range(1_000_000))
    before = files.CHUNK
    files.CHUNK = chunk
    try:
        with tempfile.TemporaryDirectory() as directory:
            paths = []
            for number, some in enumerate(pads):
                path = Path(directory) / (f"{number}.gz" if packed else str(number))
                data = b"".join(ami(next(counted), pad) for pad in some)
                path.write_bytes(gzip.compress(data) if packed else data)
                paths.append(path)
            reader: Reader = FilesReader(paths, counters=Counters(), identity=PBX)
            chunks = []
            found: list[tuple[int, list[Found]]] = []
            for behind in (*rewinds, 0):
                while (read := reader.read()) is not None:
                    events = [(each.position, each.raw) for each in read.events if isinstance(each, Event)]
                    found.append((read.end, events))
                chunks.append([event for _, events in found for event in events])
                if behind and behind < len(found):
                    reader.seek(found[-behind - 1][0])
                    del found[-behind:]
            assert all(each == chunks[0] for each in chunks)
            numbers = [int(raw.rpartition(b"Number: ")[2]) for _, raw in chunks[0]]
            assert numbers == list(range(sum(map(len, pads))))
            reader.close()
    finally:
        files.CHUNK = before

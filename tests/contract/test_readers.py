"""What the pipeline relies on, kept by everything that it reads from."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from amikafka_tail.intake import stream_reader
from amikafka_tail.intake.recording import Recording
from amikafka_tail.intake.stream_reader import StreamReader
from amikafka_tail.journal.journal import Journal
from amikafka_tail.model.counters import Counters
from amikafka_tail.model.event import Event
from amikafka_tail.model.identity import Identity
from amikafka_tail.model.replayable_source import Chunk, Reader, Unpublishable
from amikafka_tail.sources import files as files_module
from amikafka_tail.sources import rotation, spool
from amikafka_tail.sources.eventlog import EventLogOptions, EventLogSource
from amikafka_tail.sources.files import FilesReader
from amikafka_tail.sources.lines import LineEvent, LineLog, LineLogOptions
from amikafka_tail.sources.spool import SpoolOptions, SpoolReader

EVENTS = 40
SMALL = 700
NOW = 1_795_426_158_000
NOBODY = Identity(entity_id="x", system_name="", asterisk_version="", hostname="vm")
Make = Callable[[Path, ExitStack], Reader]


def event(number: int) -> bytes:
    return b"Event: A\r\nPrivilege: call,all\r\nNumber: %d\r\nX: %b\r\n\r\n" % (
        number,
        b"x" * (number * 7 % 90),
    )


STREAM = b"".join(map(event, range(EVENTS)))


def journal(directory: Path, opened: ExitStack) -> Reader:
    made = Journal(directory / "journal", segment_bytes=1000, max_bytes=1 << 20)
    opened.enter_context(closing(made))
    for number in range(EVENTS):
        if number % 15 == 0:
            made.begin_connection(NOBODY, NOW + number)
        made.append(event(number), NOW + number)
    return StreamReader(made, 0, counters=Counters())


def recording(directory: Path, opened: ExitStack) -> Reader:
    (directory / "a.ami").write_bytes(STREAM)
    made = Recording((directory / "a.ami").open("rb"), "a.ami")
    opened.enter_context(closing(made))
    return StreamReader(made, 0, counters=Counters())


def parts(directory: Path) -> list[Path]:
    paths = []
    for number in range(0, EVENTS, 8):
        path = directory / f"{number:02}.ami"
        path.write_bytes(b"".join(map(event, range(number, min(number + 8, EVENTS)))))
        paths.append(path)
    return paths


def given_files(directory: Path, opened: ExitStack) -> Reader:
    made = FilesReader(parts(directory), counters=Counters(), identity=NOBODY)
    opened.enter_context(closing(made))
    return made


def spooled(directory: Path, opened: ExitStack) -> Reader:
    parts(directory)
    made = SpoolReader(SpoolOptions(directory=directory), counters=Counters(), identity=NOBODY)
    opened.enter_context(closing(made))
    return made


def event_log(directory: Path, opened: ExitStack) -> Reader:
    def logged(number: int) -> bytes:
        text = event(number).replace(b"Number:", b"SequenceNumber: %d\r\nNumber:" % number, 1)
        head = b"[2026-11-23 09:30:23.739] VERBOSE[1] manager.c: <-- Examining AMI event (1): -->\n"
        return head + text + b"\n"

    (directory / "full.1").write_bytes(b"".join(map(logged, range(25))))
    (directory / "full").write_bytes(b"".join(map(logged, range(25, EVENTS))))
    options = EventLogOptions(path=(str(directory / "full"),), start="beginning")
    made = EventLogSource(options).open(
        position=0, bookmark=None, counters=Counters(), identify=lambda _version, _name: NOBODY
    )
    opened.enter_context(closing(made))
    return made


def line_log(directory: Path, opened: ExitStack) -> Reader:
    def logged(number: int) -> bytes:
        return event(number).rstrip().replace(b"\r\n", b"|") + b"\n"

    (directory / "log.1").write_bytes(b"".join(map(logged, range(25))))
    (directory / "log").write_bytes(b"".join(map(logged, range(25, EVENTS))))
    options = LineLogOptions(path=(str(directory / "log"),), start="beginning")
    made = LineLog(options, lambda line: LineEvent(line.replace(b"|", b"\r\n"), None)).open(
        position=0, bookmark=None, counters=Counters(), identify=lambda _version, _name: NOBODY
    )
    opened.enter_context(closing(made))
    return made


MAKERS = [journal, recording, given_files, spooled, event_log, line_log]


@pytest.fixture(params=MAKERS, ids=[make.__name__ for make in MAKERS])
def make(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[], Reader]]:
    for module in (stream_reader, files_module, spool, rotation):
        monkeypatch.setattr(module, "CHUNK", SMALL)
    with ExitStack() as opened:
        yield lambda: request.param(tmp_path, opened)


def chunks(reader: Reader) -> list[tuple[Chunk, list[Event | Unpublishable]]]:
    """Read to the end; return the chunks, their events taken in time."""
    found = []
    idle = 0
    while idle < 3:
        chunk = reader.read()
        if chunk is None:
            idle += 1
        else:
            found.append((chunk, list(chunk.events)))
    return found


def numbers(events: list[Event | Unpublishable]) -> list[int]:
    return [int(each.get("Number") or "") for each in events if isinstance(each, Event)]


def test_every_event_comes_once_and_in_order(make: Callable[[], Reader]) -> None:
    found = chunks(make())
    assert [number for _, events in found for number in numbers(events)] == list(range(EVENTS))


def test_offsets_only_grow_and_each_event_has_its_own(make: Callable[[], Reader]) -> None:
    reader = make()
    position = reader.position
    seen: list[int] = []
    for chunk, events in chunks(reader):
        assert position <= chunk.start <= chunk.end
        position = chunk.end
        for each in events:
            assert chunk.start <= each.position < chunk.end
            seen.append(each.position)
    assert seen == sorted(set(seen))
    assert reader.position <= reader.end


def test_at_the_end_all_is_read(make: Callable[[], Reader]) -> None:
    reader = make()
    found = chunks(reader)
    assert reader.position >= reader.end
    assert found[-1][0].end <= reader.position
    assert reader.partial == b""


def test_going_back_gives_the_rest_once_more(make: Callable[[], Reader]) -> None:
    reader = make()
    taken: list[int] = []
    while len(taken) < EVENTS // 2:
        chunk = reader.read()
        assert chunk is not None
        taken += numbers(list(chunk.events))
        end = chunk.end
    rest = [number for _, events in chunks(reader) for number in numbers(events)]
    for _ in range(2):
        reader.seek(end)
        assert [number for _, events in chunks(reader) for number in numbers(events)] == rest
    assert taken + rest == list(range(EVENTS))

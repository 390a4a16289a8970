"""Several logs read by turns: offsets stay those of the same events, whatever is read again."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from amikafka_tail.ami.framing import END
from amikafka_tail.delivery.messages import Messages, Route
from amikafka_tail.delivery.pipeline import Pipeline
from amikafka_tail.journal.dead_letters import DeadLetters
from amikafka_tail.kafka.producer import KafkaError
from amikafka_tail.model.counters import Counters
from amikafka_tail.model.errors import InputError
from amikafka_tail.model.event import Event
from amikafka_tail.model.identity import Identity
from amikafka_tail.model.replayable_source import FollowingReader
from amikafka_tail.sources.eventlog import EventLogOptions, EventLogSource
from amikafka_tail.sources.spool import SpoolOptions, SpoolReader
from tests.unit.delivery.test_pipeline import TIMED_OUT, Broker

PBX = Identity(entity_id="a", system_name="", asterisk_version="", hostname="vm")
ROUNDS = 200


def event(log: str, number: int) -> bytes:
    return b"Event: A\r\nPrivilege: call,all\r\nLog: %b\r\nNumber: %04d" % (log.encode(), number)


def append(path: Path, *events: bytes) -> None:
    with path.open("ab") as file:
        file.write(b"".join(each + END for each in events))


def opened(*paths: Path, bookmark: object = None) -> FollowingReader:
    options = EventLogOptions(path=tuple(map(str, paths)), start="beginning")
    return EventLogSource(options).open(
        position=0,
        bookmark=json.loads(json.dumps(bookmark)),
        counters=Counters(),
        identify=lambda _version, _name: PBX,
    )


def read(reader: FollowingReader) -> list[tuple[int, bytes]]:
    """Read all there is now; return events with their offsets."""
    found = []
    while (chunk := reader.read()) is not None:
        found += [(each.position, each.raw) for each in chunk.events if isinstance(each, Event)]
    return found


@pytest.fixture
def logs(tmp_path: Path) -> tuple[Path, Path]:
    logs = tmp_path / "a.log", tmp_path / "b.log"
    for log in logs:
        log.touch()
    return logs


@pytest.fixture
def written(logs: tuple[Path, Path]) -> Iterator[FollowingReader]:
    """Return a reader that has read two logs that grew by turns."""
    reader = opened(*logs)
    for number in range(3):
        for log in logs:
            append(log, event(log.stem, number))
            assert len(read(reader)) == 1
    yield reader
    reader.close()


def test_going_back_gives_the_same_events_at_the_same_offsets(
    logs: tuple[Path, Path], written: FollowingReader
) -> None:
    written.seek(0)
    first = read(written)
    assert [raw for _, raw in first] == [event(log.stem, number) for number in range(3) for log in logs]
    ends = [position + len(raw + END) for position, raw in first]
    for count, end in enumerate(ends):
        written.seek(end)
        assert written.position == end
        assert read(written) == first[count + 1 :]


def test_what_comes_during_a_replay_comes_behind_it(
    logs: tuple[Path, Path], written: FollowingReader
) -> None:
    written.seek(0)
    before = written.read()
    append(logs[0], event("a", 3))
    rest = read(written)
    assert before is not None
    assert len(rest) == 6
    assert rest[-1][1] == event("a", 3)
    assert rest[-1][0] == rest[-2][0] + len(event("b", 2) + END)


def test_a_replay_needs_no_file(logs: tuple[Path, Path], written: FollowingReader) -> None:
    for log in logs:
        log.write_bytes(b"")
    written.seek(0)
    assert len(read(written)) == 6


def test_an_event_that_a_filter_has_changed_is_read_again_as_it_was(tmp_path: Path) -> None:
    append(tmp_path / "a.log", event("a", 0))
    reader = opened(tmp_path / "a.log")
    chunk = reader.read()
    assert chunk is not None
    for each in chunk.events:
        assert isinstance(each, Event)
        each.raw = b"Event: Redacted"
    reader.seek(0)
    assert read(reader) == [(0, event("a", 0))]
    reader.close()


def test_only_the_end_of_a_chunk_can_be_gone_back_to(written: FollowingReader) -> None:
    written.release(len(event("a", 0) + END))
    for position in (0, 1, written.position + 1):
        with pytest.raises(ValueError, match=f"offset {position} is no end of a chunk"):
            written.seek(position)


def carried(
    reader: FollowingReader, tmp_path: Path, poison: bytes, grow: Callable[[int], bool]
) -> list[bytes]:
    """Carry logs that `grow` to a Kafka that fails once; return what it has, and the dead letters."""

    def render(each: Event) -> bytes:
        if each.raw == poison:
            raise ValueError("poison")
        return each.raw

    broker = Broker()
    clock = 0.0
    letters = DeadLetters(tmp_path / "dead.jsonl")
    pipeline = Pipeline(
        reader,
        messages=Messages(
            topic="pbx-events",
            format_name="x",
            choose=None,
            fallback=PBX,
            route=lambda _identity: Route(lambda _event: (None, [], 1), render),
        ),
        connect=broker.connect,
        dead_letters=letters,
        counters=Counters(),
        clock=lambda: clock,
    )

    def failed(_sent: object) -> KafkaError | None:
        return TIMED_OUT

    broker.holds = lambda _sent: True
    turn = 0
    while grow(turn):
        turn += 1
        reader.look_for_files()
        for _ in range(20):
            pipeline.step()
    broker.holds = lambda _sent: False
    broker.fails = failed
    pipeline.step()
    broker.fails = lambda _sent: None
    for _ in range(ROUNDS):
        clock += 1
        pipeline.step()
        reader.release(pipeline.ledger.position)
    reader.close()
    dead = [json.loads(line)["event"].encode() for line in letters.path.read_text().splitlines()]
    return sorted([*broker.values, *dead])


@pytest.mark.parametrize("bad", [event(log, number) for log in "ab" for number in range(3)])
def test_after_a_rewind_over_two_logs_no_good_event_is_taken_for_a_bad_one(
    logs: tuple[Path, Path], tmp_path: Path, bad: bytes
) -> None:
    wanted = [event(log.stem, number) for number in range(3) for log in logs]

    def grow(turn: int) -> bool:
        if turn < len(wanted):
            append(logs[turn % 2], wanted[turn])
        return turn < len(wanted)

    assert carried(opened(*logs), tmp_path, bad, grow) == sorted(wanted)


def test_a_file_that_grows_in_the_spool_moves_no_offset_after_a_rewind(tmp_path: Path) -> None:
    spool = tmp_path / "spool"
    spool.mkdir()
    reader = SpoolReader(SpoolOptions(directory=spool), counters=Counters(), identity=PBX)
    wanted = [event("a", 0), event("b", 0), event("b", 1), event("a", 1)]
    append(spool / "a.ami", wanted[0])
    append(spool / "b.ami", wanted[1], wanted[2])

    def grow(turn: int) -> bool:
        if turn == 1:
            append(spool / "a.ami", wanted[3])  # while its first event waits for Kafka
        return turn < 2

    assert carried(reader, tmp_path, event("b", 0), grow) == sorted(wanted)
    assert list(spool.glob("*.ami")) == []


@pytest.mark.parametrize(
    "damage",
    [
        {},
        {"mark": {}, "finished": []},
        {"mark": {"path": "/x"}, "finished": []},
        {"mark": None, "finished": []},
    ],
)
def test_a_damaged_bookmark_is_refused_by_name(tmp_path: Path, damage: object) -> None:
    with pytest.raises(InputError, match=r"the note of where reading .*stood is damaged"):
        opened(tmp_path / "a.log", bookmark={f"{tmp_path}/a.log": damage})


@pytest.mark.parametrize("name", ["path", "device", "inode", "head_bytes", "head", "offset", "before"])
def test_a_bookmark_with_a_field_of_another_type_is_refused(tmp_path: Path, name: str) -> None:
    append(tmp_path / "a.log", event("a", 0))
    reader = opened(tmp_path / "a.log")
    read(reader)
    bookmark = reader.bookmark(reader.position)
    reader.close()
    bookmark[f"{tmp_path}/a.log"]["mark"][name] = [1]
    with pytest.raises(InputError, match="damaged"):
        opened(tmp_path / "a.log", bookmark=bookmark)


def test_a_bookmark_of_a_version_that_knew_finished_files_by_their_heads_is_read(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    append(log, event("a", 0))
    reader = opened(log)
    read(reader)
    log.rename(tmp_path / "a.log.1")
    append(log, event("a", 1))
    read(reader)
    bookmark = reader.bookmark(reader.position)
    reader.close()
    finished = bookmark[str(log)]["finished"]
    assert len(finished) == 1
    bookmark[str(log)]["finished"] = [each[:2] for each in finished]
    append(log, event("a", 2))
    reader = opened(log, bookmark=bookmark)
    assert [raw for _, raw in read(reader)] == [event("a", 2)]
    reader.close()

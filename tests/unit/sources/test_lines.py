from __future__ import annotations

import gzip
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest

from amikafka_tail.ami.debuglog import Found, passed_over
from amikafka_tail.ami.framing import MAX_BLOCK
from amikafka_tail.model.counters import Counters
from amikafka_tail.model.event import Event
from amikafka_tail.model.identity import Identity
from amikafka_tail.model.replayable_source import Unpublishable
from amikafka_tail.sources.lines import LineEvent, LineFramer, LineLog, LineLogOptions
from amikafka_tail.sources.logs import LogsReader

NOBODY = Identity(entity_id="x", system_name="", asterisk_version="", hostname="vm")
Published = list["Event | Unpublishable"]


def shout(line: bytes) -> LineEvent | None:
    if line.startswith(b"#"):
        return None
    if not line.strip():
        raise ValueError("an empty line")
    moment, _, text = line.partition(b" ")
    return LineEvent(b"Event: Shout\r\nText: " + text, int(moment) if moment.isdigit() else None)


Opened = Callable[..., LogsReader]


@pytest.fixture
def opened() -> Iterator[Opened]:
    with ExitStack() as stack:

        def make(
            path: Path,
            read_line: Callable[[bytes], Any] = shout,
            bookmark: dict[str, Any] | None = None,
            counters: Counters | None = None,
            **options: Any,
        ) -> LogsReader:
            reader = LineLog(LineLogOptions(path=(str(path),), **options), read_line).open(
                position=0,
                bookmark=bookmark,
                counters=counters or Counters(),
                identify=lambda _version, _name: NOBODY,
            )
            return stack.enter_context(closing(reader))

        yield make


def read(reader: LogsReader) -> Published:
    found: Published = []
    while (chunk := reader.read()) is not None:
        found += chunk.events
        reader.release(chunk.end)
    return found


def texts(found: Published) -> list[str | None]:
    return [each.get("Text") for each in found if isinstance(each, Event)]


def test_each_line_is_an_event_at_its_moment(tmp_path: Path, opened: Opened) -> None:
    (tmp_path / "log").write_bytes(b"1000 a\n2000 b\r\n# no event\nx c\n")
    os.utime(tmp_path / "log", (7, 7))
    found = read(opened(tmp_path / "log"))
    assert texts(found) == ["a", "b", "c"]
    assert [each.captured_ms for each in found if isinstance(each, Event)] == [1000, 2000, 7000]
    assert [each.position for each in found] == [0, 7, 26]


def test_a_line_is_read_when_its_end_has_come(tmp_path: Path, opened: Opened) -> None:
    (tmp_path / "log").write_bytes(b"1 a\n2 b")
    reader = opened(tmp_path / "log")
    assert texts(read(reader)) == ["a"]
    assert reader.partial == b"2 b"
    with (tmp_path / "log").open("ab") as file:
        file.write(b"c\n")
    assert texts(read(reader)) == ["bc"]


def test_a_line_that_the_end_of_a_rotated_file_cuts_off_is_set_aside(tmp_path: Path, opened: Opened) -> None:
    (tmp_path / "log").write_bytes(b"1 a\n2 b")
    reader = opened(tmp_path / "log")
    read(reader)
    (tmp_path / "log").rename(tmp_path / "log.1")
    (tmp_path / "log").write_bytes(b"3 c\n")
    found = read(reader)
    assert texts(found) == ["c"]
    assert [(each.raw, each.kind) for each in found if isinstance(each, Unpublishable)] == [(b"2 b", "torn")]


def test_rotated_and_compressed_files_are_read_from_the_bookmark_on(tmp_path: Path, opened: Opened) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"1 a\n2 b\n")
    reader = opened(path)
    assert texts(read(reader)) == ["a", "b"]
    bookmark = reader.bookmark(reader.position)
    with path.open("ab") as file:
        file.write(b"3 c\n")
    (tmp_path / "log.2.gz").write_bytes(gzip.compress(path.read_bytes()))
    os.utime(tmp_path / "log.2.gz", (1_700_000_000, 1_700_000_000))
    path.unlink()
    (tmp_path / "log.1").write_bytes(b"4 d\n")
    os.utime(tmp_path / "log.1", (1_700_000_010, 1_700_000_010))
    path.write_bytes(b"5 e\n")
    assert texts(read(opened(path, bookmark=bookmark))) == ["c", "d", "e"]


def fail_with_index(line: bytes) -> LineEvent:
    return LineEvent(line.split(b" ")[5], None)


@pytest.mark.parametrize(
    ("read_line", "reason"),
    [
        (fail_with_index, "IndexError: list index out of range"),
        (lambda line: LineEvent("text", None), "TypeError: the event is of the type str, not bytes"),  # type: ignore[arg-type]
        (lambda line: 1, "AttributeError"),
        (lambda line: LineEvent(b"Event: A", 10**22), "ValueError: the event has a time that no clock shows"),
        (lambda line: LineEvent(b"Event: A", "soon"), "ValueError: invalid literal"),  # type: ignore[arg-type]
    ],
)
def test_a_line_that_the_plugin_fails_on_is_set_aside_with_the_reason(
    tmp_path: Path, read_line: Callable[[bytes], Any], reason: str, opened: Opened
) -> None:
    (tmp_path / "log").write_bytes(b"1 a\n")
    (found,) = read(opened(tmp_path / "log", read_line))
    assert isinstance(found, Unpublishable)
    assert (found.raw, found.kind) == (b"1 a", "malformed")
    assert found.reason.startswith(f"{tmp_path}/log: ")
    assert reason.removeprefix("ValueError: ") in found.reason


def test_a_line_that_is_refused_says_why(tmp_path: Path, opened: Opened) -> None:
    (tmp_path / "log").write_bytes(b" \n1 a\n")
    found = read(opened(tmp_path / "log"))
    assert isinstance(found[0], Unpublishable)
    assert found[0].reason == f"{tmp_path}/log: an empty line"
    assert texts(found) == ["a"]


def test_a_line_without_end_is_passed_over_and_memory_is_bounded() -> None:
    framer = LineFramer(max_line=100)
    assert framer.feed(b"a\n" + b"x" * 200) == [Found(b"a", 0, b"")]
    assert framer.feed(b"x" * 200) == []
    assert len(framer.held_back) == 0
    assert framer.feed(b"x\nb\n") == [passed_over(2), Found(b"b", 404, b"")]
    assert framer.position == 406
    framer.feed(b"x" * 200)
    assert framer.finish() == passed_over(406)


def test_a_line_that_is_too_long_is_counted_once(
    tmp_path: Path, opened: Opened, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"1 a\n" + b"x" * (MAX_BLOCK + 1_000_000) + b"\n2 b\n")
    counters = Counters()
    reader = opened(path, counters=counters)
    for _ in range(2):
        found = []
        while (chunk := reader.read()) is not None:
            found += chunk.events
        assert [each.get("Text") or each.get("Reason") for each in found if isinstance(each, Event)] == [
            "a",
            "TooLong",
            "b",
        ]
        reader.seek(0)
    assert counters.overlong == 1
    assert caplog.text.count(f"{path}: passed over: an event longer than {MAX_BLOCK} bytes") == 1


@pytest.mark.parametrize("size", range(1, 9))
def test_lines_are_the_same_however_the_reads_end(size: int) -> None:
    data = b"1 a\r\n\n\n22 bb\n333 c c\nrest"
    framer = LineFramer()
    found = []
    for begin in range(0, len(data), size):
        found += framer.feed(data[begin : begin + size])
    assert found == LineFramer().feed(data)
    assert framer.finish() == Found(b"rest", len(data) - 4, b"", torn=True)


def test_what_is_not_there_is_remarked(tmp_path: Path) -> None:
    source = LineLog(LineLogOptions(path=(f"{tmp_path}/none",)), shout)
    assert source.remarks() == [f"{tmp_path}/none: is not there yet"]


@pytest.mark.parametrize("path", [(), ("relative",)])
def test_a_path_has_to_be_named_and_absolute(path: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="path"):
        LineLogOptions(path=path)

"""The files that `amikafka replay --from eventlog` is given."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from amikafka_tail.model.counters import Counters
from amikafka_tail.model.event import Event
from amikafka_tail.model.identity import Identity
from amikafka_tail.sources import files
from amikafka_tail.sources.files import FilesReader

NOBODY = Identity(entity_id="x", system_name="", asterisk_version="", hostname="vm")


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    made = []
    for number in range(3):
        path = tmp_path / f"{number}.ami"
        path.write_bytes(b"".join(b"Event: A\r\nNumber: %d%d\r\n\r\n" % (number, each) for each in range(3)))
        made.append(path)
    return made


ALL = [f"{number}{each}" for number in range(3) for each in range(3)]


def opened(paths: list[Path], bookmark: object = None) -> FilesReader:
    stored = json.loads(json.dumps(bookmark))
    return FilesReader(paths, bookmark=stored, counters=Counters(), identity=NOBODY)


def numbers(reader: FilesReader, chunks: int = 1000) -> list[str | None]:
    found = []
    while chunks and (chunk := reader.read()) is not None:
        found += [each.get("Number") for each in chunk.events if isinstance(each, Event)]
        chunks -= 1
    return found


@pytest.mark.parametrize("chunks", range(1, 12))
def test_any_place_can_be_gone_back_to_and_resumed_at(
    paths: list[Path], monkeypatch: pytest.MonkeyPatch, chunks: int
) -> None:
    monkeypatch.setattr(files, "CHUNK", 60)
    reader = opened(paths)
    first = numbers(reader, chunks)
    position = reader.position
    bookmarks = [reader.bookmark(position)]
    rest = numbers(reader)
    assert first + rest == ALL
    bookmarks.append(reader.bookmark(position))
    for _ in range(2):
        reader.seek(position)
        assert reader.position == position
        bookmarks.append(reader.bookmark(position))
        assert numbers(reader) == rest
    reader.close()
    for bookmark in bookmarks:
        reader = opened(paths, bookmark)
        assert numbers(reader) == rest
        reader.close()


def test_reading_may_begin_in_the_middle(paths: list[Path]) -> None:
    reader = opened(paths[:1])
    reader.seek(paths[0].stat().st_size // 3)
    assert numbers(reader) == ["01", "02"]
    reader.close()

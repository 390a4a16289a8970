from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from amikafka_tail.journal import checkpoint
from amikafka_tail.journal.checkpoint import Checkpoint
from amikafka_tail.journal.checkpoint_writer import CheckpointWriter
from tests.support.waiting import BOUND

START = Checkpoint(epoch="one", offset=0)
NEVER = 3600.0


class Disk:
    """A journal and a pipeline as the writer sees them: an end, a position, and how often it was synced."""

    def __init__(self) -> None:
        self.end = 0
        self.position = 0
        self.bookmark: dict[str, Any] | None = None
        self.synced_to: list[int] = []
        self.events: list[str] = []
        self.full = False
        self.changed = threading.Condition()

    def sync(self) -> None:
        with self.changed:
            self.changed.notify_all()
            if self.full:
                self.events.append("refused")
                raise OSError(28, "No space left on device", "journal")
            self.synced_to.append(self.end)
            self.events.append("synced")

    def wait_for(self, condition: Callable[[], bool]) -> None:
        with self.changed:
            assert self.changed.wait_for(condition, BOUND)


@pytest.fixture
def disk() -> Disk:
    return Disk()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "checkpoint.json"


@pytest.fixture
def writers(disk: Disk, path: Path) -> Iterator[Callable[[float], CheckpointWriter]]:
    started: list[CheckpointWriter] = []

    def make(interval: float) -> CheckpointWriter:
        writer = CheckpointWriter(
            path,
            stored=START,
            released=lambda: Checkpoint(epoch="one", offset=disk.position, bookmark=disk.bookmark),
            end=lambda: disk.end,
            sync=disk.sync,
            interval=interval,
        )
        writer.start()
        started.append(writer)
        return writer

    yield make
    disk.full = False
    for writer in started:
        writer.stop()


def test_what_happened_is_synced_and_stored(
    disk: Disk, path: Path, writers: Callable[[float], CheckpointWriter]
) -> None:
    writer = writers(NEVER)
    disk.end, disk.position = 200, 100
    writer.save()
    assert disk.synced_to == [200]
    assert checkpoint.load(path) == Checkpoint(epoch="one", offset=100)
    assert writer.stored.offset == 100


def test_there_is_a_checkpoint_from_the_first_time_on(
    path: Path, writers: Callable[[float], CheckpointWriter]
) -> None:
    writers(NEVER).save()
    assert checkpoint.load(path) == Checkpoint(epoch="one", offset=0)


def test_where_a_file_is_begun_is_stored_before_anything_of_it_is_delivered(
    disk: Disk, path: Path, writers: Callable[[float], CheckpointWriter]
) -> None:
    writer = writers(NEVER)
    writer.save()
    disk.bookmark = {"full": 4711}
    writer.save()
    assert checkpoint.load(path) == Checkpoint(epoch="one", offset=0, bookmark={"full": 4711})


def test_where_nothing_is_new_nothing_is_written(
    disk: Disk, path: Path, writers: Callable[[float], CheckpointWriter]
) -> None:
    writer = writers(NEVER)
    disk.end, disk.position = 200, 100
    writer.save()
    file = path.stat().st_ino
    writer.save()
    assert disk.synced_to == [200]
    assert path.stat().st_ino == file


def test_the_journal_is_synced_before_the_checkpoint_says_so(
    disk: Disk, path: Path, writers: Callable[[float], CheckpointWriter]
) -> None:
    writer = writers(NEVER)
    disk.end, disk.position, disk.full = 200, 100, True
    with pytest.raises(OSError, match="No space left"):
        writer.save()
    assert checkpoint.load(path) is None
    assert writer.stored == START
    disk.full = False
    writer.save()
    assert disk.synced_to == [200]
    assert checkpoint.load(path) == Checkpoint(epoch="one", offset=100)


def test_a_checkpoint_that_could_not_be_stored_is_tried_again(
    disk: Disk, path: Path, writers: Callable[[float], CheckpointWriter]
) -> None:
    writer = writers(NEVER)
    in_the_way = path.with_name("checkpoint.json.new")
    in_the_way.mkdir()
    disk.position = 100
    with pytest.raises(OSError, match="Is a directory"):
        writer.save()
    assert writer.stored == START
    in_the_way.rmdir()
    writer.save()
    assert writer.stored.offset == 100


def test_it_happens_by_itself_at_the_interval(
    disk: Disk, path: Path, writers: Callable[[float], CheckpointWriter]
) -> None:
    writers(0.01)
    for end in (100, 200, 300):
        disk.end = disk.position = end
        disk.wait_for(lambda end=end: end in disk.synced_to)


def test_a_full_disk_does_not_end_the_thread(
    disk: Disk, path: Path, writers: Callable[[float], CheckpointWriter], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR, "amikafka.writer"):
        disk.end, disk.full = 100, True
        writers(0.01)
        disk.wait_for(lambda: disk.events.count("refused") >= 3)
        disk.full = False
        disk.wait_for(lambda: disk.synced_to == [100])
    assert "the checkpoint cannot be stored" in caplog.text
    assert "No space left on device" in caplog.text


def test_stopping_stores_the_last_checkpoint(
    disk: Disk, path: Path, writers: Callable[[float], CheckpointWriter]
) -> None:
    writer = writers(NEVER)
    disk.end = disk.position = 4711
    writer.stop()
    assert checkpoint.load(path) == Checkpoint(epoch="one", offset=4711)
    assert not any(thread.name == "writer" for thread in threading.enumerate())


def test_stopping_on_a_full_disk_says_so(
    disk: Disk, path: Path, writers: Callable[[float], CheckpointWriter]
) -> None:
    writer = writers(NEVER)
    disk.end, disk.full = 100, True
    with pytest.raises(OSError, match="No space left"):
        writer.stop()

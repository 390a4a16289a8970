from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from amikafka_tail.journal import checkpoint
from amikafka_tail.journal.checkpoint import Checkpoint, DamagedCheckpoint
from amikafka_tail.model.errors import JournalError
from tests.support.waiting import BOUND

OLD = Checkpoint(epoch="one", offset=100)
NEW = Checkpoint(epoch="one", offset=2**40)

STORE_WITHOUT_END = """
import sys
from pathlib import Path
from amikafka_tail.journal import checkpoint
path, offset = Path(sys.argv[1]), int(sys.argv[2])
while True:
    offset += 1
    checkpoint.store(path, checkpoint.Checkpoint(epoch="one", offset=offset))
"""


class PowerCut(Exception):
    pass


@contextmanager
def files_end_at(size: int) -> Iterator[None]:
    """Let no file of this process grow over a size, as on a disk that is nearly full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "checkpoint.json"


def test_what_was_stored_is_loaded(path: Path) -> None:
    checkpoint.store(path, NEW)
    assert checkpoint.load(path) == NEW


def test_there_may_be_none_yet(path: Path) -> None:
    assert checkpoint.load(path) is None


def test_storing_replaces_what_was_there(path: Path) -> None:
    checkpoint.store(path, NEW)
    checkpoint.store(path, OLD)
    assert checkpoint.load(path) == OLD
    assert [each.name for each in path.parent.iterdir()] == [path.name]


def test_the_file_is_a_line_of_text_that_names_its_format(path: Path) -> None:
    checkpoint.store(path, OLD)
    assert path.read_text() == '{"version": 1, "epoch": "one", "offset": 100, "bookmark": null}\n'


def test_others_may_not_read_the_file(path: Path) -> None:
    checkpoint.store(path, OLD)
    assert path.stat().st_mode & 0o007 == 0


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0\0\0\0",
        b"{",
        b"[]",
        b"null",
        b'"text"',
        b"\xff",
        b"{}",
        b'{"version": 1}',
        b'{"version": 1, "epoch": "one"}',
        b'{"version": 1, "epoch": "one", "offset": null}',
        b'{"version": 1, "epoch": "one", "offset": "many"}',
    ],
)
def test_a_damaged_file_is_an_error_that_says_so(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(DamagedCheckpoint, match=r"checkpoint\.json: is damaged "):
        checkpoint.load(path)


def test_a_file_of_another_format_is_not_read(path: Path) -> None:
    path.write_text('{"version": 2, "epoch": "one", "offset": 100}')
    with pytest.raises(JournalError, match=r"checkpoint\.json: is of format 2; this amikafka reads 1"):
        checkpoint.load(path)


def test_a_file_that_cannot_be_read_is_an_error_in_words(path: Path) -> None:
    path.mkdir()
    with pytest.raises(JournalError, match=r"checkpoint\.json: cannot be read: Is a directory"):
        checkpoint.load(path)


@pytest.mark.parametrize("step", ["write", "fsync", "replace"])
def test_a_crash_before_any_step_leaves_the_old_one(
    path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def crash(*_arguments: object) -> None:
        raise PowerCut

    checkpoint.store(path, OLD)
    with monkeypatch.context() as patch:
        patch.setattr(
            *{"write": (os, "pwrite"), "fsync": (os, "fsync"), "replace": (Path, "replace")}[step], crash
        )
        with pytest.raises(PowerCut):
            checkpoint.store(path, NEW)
    assert checkpoint.load(path) == OLD
    checkpoint.store(path, NEW)
    assert checkpoint.load(path) == NEW


def test_the_new_one_is_on_the_disk_before_it_takes_the_old_ones_place(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint.store(path, OLD)
    synced: list[tuple[int, Checkpoint | None]] = []
    real_fsync = os.fsync

    def fsync(descriptor: int) -> None:
        synced.append((os.fstat(descriptor).st_ino, checkpoint.load(path)))
        real_fsync(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    checkpoint.store(path, NEW)
    assert (path.stat().st_ino, OLD) in synced


def test_what_a_crash_left_behind_does_not_disturb(path: Path) -> None:
    path.with_name("checkpoint.json.new").write_bytes(b"x" * 1000)
    assert checkpoint.load(path) is None
    checkpoint.store(path, OLD)
    assert checkpoint.load(path) == OLD


@pytest.mark.parametrize("size", [0, 1, 40])
def test_a_full_disk_leaves_the_old_one(path: Path, size: int) -> None:
    checkpoint.store(path, OLD)
    with files_end_at(size), pytest.raises(OSError, match="File too large"):
        checkpoint.store(path, NEW)
    assert checkpoint.load(path) == OLD


def test_a_process_that_is_killed_while_it_stores_leaves_a_whole_one(path: Path) -> None:
    offset = 0
    for _ in range(5):
        child = subprocess.Popen([sys.executable, "-c", STORE_WITHOUT_END, str(path), str(offset)])
        try:
            until = time.monotonic() + BOUND
            while (stored := checkpoint.load(path)) is None or stored.offset < offset + 20:
                assert child.poll() is None
                assert time.monotonic() < until
        finally:
            child.kill()
            child.wait()
        left = checkpoint.load(path)
        assert left is not None
        assert left.offset >= stored.offset
        offset = left.offset


def test_what_is_packed_can_be_unpacked_with_more_in_it() -> None:
    assert checkpoint.unpack(checkpoint.pack(NEW, owner="somebody"), "here") == NEW


@pytest.mark.parametrize("packed", [b'{"version": 1, "epoch": "a", "offset": -1}', b"[" * 100_000])
def test_what_cannot_be_a_checkpoint_is_damaged(packed: bytes) -> None:
    with pytest.raises(DamagedCheckpoint, match=r"^here: is damaged"):
        checkpoint.unpack(packed, "here")

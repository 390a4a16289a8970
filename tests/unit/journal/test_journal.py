from __future__ import annotations

import errno
import json
import os
import resource
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amikafka_tail.ami.framing import END
from amikafka_tail.journal.checkpoint import Checkpoint
from amikafka_tail.journal.journal import BOUNDARY, CaptureTime, Disconnection, Dropped, Journal
from amikafka_tail.model.errors import JournalError
from amikafka_tail.model.identity import Identity

NOW = 1_795_426_158_000
PBX = Identity(entity_id="00:11:22:33:44:55", system_name="pbx-01", asterisk_version="22", hostname="vm")
UPGRADED = Identity(entity_id="00:11:22:33:44:55", system_name="zürich", asterisk_version="23", hostname="vm")


@contextmanager
def files_end_at(size: int) -> Iterator[None]:
    """Let no file of this process grow over a size, as on a disk that is nearly full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


class Journals:
    """Opens journals, in one directory unless told otherwise, and closes those that are left open."""

    def __init__(self, directory: Path) -> None:
        self.opened: list[Journal] = []
        self._directory = directory

    def __call__(
        self, directory: Path | None = None, *, start_at: int | None = None, **options: int
    ) -> Journal:
        limits = {"segment_bytes": 100, "max_bytes": 100_000, **options}
        directory = directory or self._directory
        checkpoint = None
        if start_at is not None:
            epoch = directory / "epoch"
            checkpoint = Checkpoint(
                epoch=epoch.read_text().strip() if epoch.exists() else "a", offset=start_at
            )
        journal = Journal(directory, **limits, checkpoint=checkpoint)
        self.opened.append(journal)
        return journal

    def close(self, journal: Journal) -> None:
        self.opened.remove(journal)
        journal.close()


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "journal"


@pytest.fixture
def journals(directory: Path) -> Iterator[Journals]:
    opener = Journals(directory)
    yield opener
    for journal in list(opener.opened):
        opener.close(journal)


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    read_end, write_end = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    yield read_end, write_end
    os.close(read_end)
    os.close(write_end)


def after_a_crash(directory: Path) -> Path:
    """Return a copy of the directory as it is now: what the next process finds when this one dies here."""
    copy = directory.with_name(f"crashed-{len(list(directory.parent.iterdir()))}")
    shutil.copytree(directory, copy)
    return copy


def everything(journal: Journal, size: int = 64) -> bytes:
    """Read the journal from its start to its end as the pipeline does."""
    position = journal.next_readable(journal.start)
    data = b""
    while more := journal.read(position, size):
        data += more
        position = journal.next_readable(position + len(more))
    return data


def segments(directory: Path) -> list[int]:
    return sorted(int(path.stem) for path in directory.glob("*.log"))


def event(number: int, size: int = 60) -> bytes:
    head = b"Event: A\r\nNumber: %d\r\nX: " % number
    return head + b"x" * (size - len(head) - len(END)) + END


# Writing and reading.


def test_a_new_journal_is_empty(journals: Journals) -> None:
    journal = journals()
    assert (journal.start, journal.end, journal.size, everything(journal)) == (0, 0, 0, b"")


def test_what_is_appended_is_read(journals: Journals) -> None:
    journal = journals()
    journal.append(b"first", NOW)
    journal.append(b"second", NOW)
    assert journal.read(0, 100) == b"firstsecond"
    assert journal.read(3, 4) == b"stse"
    assert journal.read(journal.end, 100) == b""
    assert (journal.end, journal.size) == (11, 11)


def test_bytes_are_kept_as_they_are(journals: Journals) -> None:
    journal = journals()
    journal.append(bytes(range(256)), NOW)
    assert journal.read(0, 1000) == bytes(range(256))


def test_bytes_are_moved_from_a_pipe(journals: Journals, pipe: tuple[int, int]) -> None:
    journal = journals()
    os.write(pipe[1], b"from Asterisk")
    assert journal.splice_from(pipe[0], 1000, NOW) == 13
    os.write(pipe[1], b", and more")
    assert journal.splice_from(pipe[0], 5, NOW) == 5
    assert journal.splice_from(pipe[0], 1000, NOW) == 5
    assert everything(journal) == b"from Asterisk, and more"


def test_a_disk_that_cannot_be_read_says_where(
    journals: Journals, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_arguments: int) -> bytes:
        raise OSError(errno.EIO, "Input/output error")

    journal = journals()
    journal.append(b"first", NOW)
    monkeypatch.setattr(os, "pread", broken)
    with pytest.raises(OSError, match=rf"Input/output error: '{directory}/{0:020d}.log'"):
        journal.read(0, 5)
    with pytest.raises(OSError, match=rf"Input/output error: '{directory}/{0:020d}.times'"):
        journal.capture_times(0, 5)


def test_spliced_and_appended_bytes_keep_their_order(journals: Journals, pipe: tuple[int, int]) -> None:
    journal = journals(segment_bytes=7)
    for number in range(10):
        journal.append(b"append%d " % number, NOW)
        os.write(pipe[1], b"splice%d " % number)
        assert journal.splice_from(pipe[0], 1000, NOW) == 8
    assert everything(journal) == b"".join(b"append%d splice%d " % (number, number) for number in range(10))


def test_a_segment_is_named_by_its_first_offset(journals: Journals, directory: Path) -> None:
    journal = journals(segment_bytes=10)
    for _ in range(3):
        journal.append(b"0123456789ab", NOW)
    assert {path.name for path in directory.glob("*.log")} == {
        "00000000000000000000.log",
        "00000000000000000012.log",
        "00000000000000000024.log",
    }


def test_a_segment_is_left_once_it_is_full(journals: Journals, directory: Path) -> None:
    journal = journals(segment_bytes=10)
    for _ in range(9):
        journal.append(b"x", NOW)
    assert segments(directory) == [0]
    journal.append(b"xyz", NOW)
    assert segments(directory) == [0]
    journal.append(b"x", NOW)
    assert segments(directory) == [0, 12]


def test_a_read_ends_with_its_segment(journals: Journals) -> None:
    journal = journals(segment_bytes=5)
    journal.append(b"first", NOW)
    journal.append(b"second", NOW)
    assert journal.read(2, 100) == b"rst"
    assert journal.read(5, 100) == b"second"


def test_a_segment_can_be_begun_early_but_not_twice(journals: Journals, directory: Path) -> None:
    journal = journals()
    journal.roll()
    assert segments(directory) == [0]
    journal.append(b"first", NOW)
    journal.roll()
    journal.roll()
    assert segments(directory) == [0, 5]
    journal.append(b"second", NOW)
    assert everything(journal) == b"firstsecond"


def test_files_are_not_for_others_to_read(journals: Journals, directory: Path) -> None:
    journal = journals()
    journal.begin_connection(PBX, NOW)
    for path in (directory, *directory.iterdir()):
        assert path.stat().st_mode & 0o007 == 0, path.name


def test_whether_the_last_event_is_whole(journals: Journals) -> None:
    journal = journals()
    assert journal.ends_whole()
    journal.append(b"Event: A", NOW)
    assert not journal.ends_whole()
    journal.append(b"\r\n\r", NOW)
    assert not journal.ends_whole()
    journal.append(b"\n", NOW)
    assert journal.ends_whole()


@pytest.mark.parametrize("cut", range(len(END) + 1))
def test_the_last_event_is_whole_even_if_its_end_is_in_two_segments(journals: Journals, cut: int) -> None:
    journal = journals()
    journal.append(b"Event: A" + END[:cut], NOW)
    journal.roll()
    journal.append(END[cut:], NOW)
    assert journal.ends_whole()


# Reopening.


def test_what_was_written_is_there_after_a_restart(journals: Journals) -> None:
    journal = journals(segment_bytes=5)
    for word in (b"first", b"second", b"third"):
        journal.append(word, NOW)
    journals.close(journal)
    again = journals(segment_bytes=5)
    assert (again.start, again.end) == (0, 16)
    again.append(b"fourth", NOW)
    assert everything(again) == b"firstsecondthirdfourth"


def test_what_was_written_is_there_after_a_crash(
    journals: Journals, directory: Path, pipe: tuple[int, int]
) -> None:
    journal = journals()
    os.write(pipe[1], b"Event: A\r\nCau")
    journal.splice_from(pipe[0], 1000, NOW)
    crashed = journals(after_a_crash(directory))
    assert everything(crashed) == b"Event: A\r\nCau"
    assert not crashed.ends_whole()


def test_other_files_do_not_disturb(journals: Journals, directory: Path) -> None:
    journals.close(journals())
    (directory / "notes.log").write_text("mine")
    (directory / "00000000000000000000.log.bak").write_text("mine")
    (directory / "1.log").write_text("mine")
    assert everything(journals()) == b""


def test_a_second_one_cannot_use_the_directory(journals: Journals, directory: Path) -> None:
    journal = journals()
    journal.append(b"first", NOW)
    with pytest.raises(JournalError, match=r"another amikafka is using this journal"):
        Journal(directory, segment_bytes=100, max_bytes=1000)
    journal.append(b"second", NOW)
    journals.close(journal)
    assert everything(journals()) == b"firstsecond"


def test_a_directory_that_cannot_be_used_is_an_error_in_words(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(
        JournalError, match=r"file/journal: the journal's directory cannot be used: Not a dir"
    ):
        Journal(tmp_path / "file" / "journal", segment_bytes=100, max_bytes=1000)


def test_a_segment_that_cannot_be_opened_is_an_error_and_leaves_the_directory_free(
    journals: Journals, directory: Path
) -> None:
    segment = directory / "00000000000000000000.log"
    segment.mkdir(parents=True)
    with pytest.raises(JournalError, match=r"Is a directory"):
        Journal(directory, segment_bytes=100, max_bytes=1000)
    segment.rmdir()
    assert journals().end == 0


def test_a_checkpoint_beyond_the_end_is_where_it_goes_on(journals: Journals, directory: Path) -> None:
    journal = journals()
    journal.append(b"what had reached the disk", NOW)
    journals.close(journal)
    ahead = journals(start_at=1000)
    assert ahead.end == 1000
    assert ahead.next_readable(25) == 1000
    assert ahead.read(1000, 10) == b""
    assert ahead.ends_whole()
    ahead.append(b"after the power cut", NOW)
    assert ahead.read(1000, 100) == b"after the power cut"
    ahead.release(1000)
    assert segments(directory) == [1000]


def test_a_gap_that_a_power_cut_left_is_stepped_over(journals: Journals) -> None:
    journal = journals()
    journal.append(b"before", NOW)
    journals.close(journal)
    ahead = journals(start_at=1000)
    ahead.append(b"after", NOW)
    journals.close(ahead)
    again = journals(start_at=1000)
    assert (again.start, again.end) == (0, 1005)
    assert [again.next_readable(position) for position in (0, 5, 6, 500, 1000, 1004)] == [
        *(0, 5),
        *(1000, 1000, 1000),
        1004,
    ]


def test_a_lost_directory_begins_where_the_checkpoint_is(journals: Journals) -> None:
    journal = journals(start_at=1000)
    assert (journal.start, journal.end) == (1000, 1000)


def test_a_checkpoint_within_the_journal_changes_nothing(journals: Journals, directory: Path) -> None:
    journal = journals()
    journal.append(b"first", NOW)
    journals.close(journal)
    assert journals(start_at=5).end == 5
    assert segments(directory) == [0]


# Releasing.


def test_released_segments_are_deleted_whole(journals: Journals, directory: Path) -> None:
    journal = journals(segment_bytes=10)
    for _ in range(4):
        journal.append(b"0123456789", NOW)
    journal.release(9)
    assert segments(directory) == [0, 10, 20, 30]
    journal.release(29)
    assert segments(directory) == [20, 30]
    assert (journal.start, journal.size) == (20, 20)
    assert sorted(path.name for path in directory.glob("*.times")) == [
        "00000000000000000020.times",
        "00000000000000000030.times",
    ]
    assert everything(journal) == b"0123456789" * 2


def test_the_segment_that_is_written_is_never_deleted(journals: Journals, directory: Path) -> None:
    journal = journals(segment_bytes=10)
    journal.append(b"0123456789", NOW)
    journal.release(10)
    assert segments(directory) == [0]
    journal.append(b"more", NOW)
    journal.release(10)
    assert segments(directory) == [10]
    assert everything(journal) == b"more"


def test_what_is_gone_is_stepped_over(journals: Journals) -> None:
    journal = journals(segment_bytes=10)
    for _ in range(3):
        journal.append(b"0123456789", NOW)
    journal.release(20)
    assert [journal.next_readable(position) for position in (0, 19, 20, 25, 30)] == [20, 20, 20, 25, 30]


def test_a_full_disk_gets_back_what_is_delivered_of_a_segment(journals: Journals, directory: Path) -> None:
    journal = journals(segment_bytes=1 << 20)
    data = bytes(range(1, 251)) * 400
    journal.append(data, NOW)
    blocks_before = (directory / f"{0:020d}.log").stat().st_blocks
    journal.free(50_000)
    assert (directory / f"{0:020d}.log").stat().st_blocks < blocks_before
    assert journal.next_readable(0) == 50_000
    assert journal.next_readable(60_000) == 60_000
    assert journal.read(50_000, 1 << 20) == data[50_000:]
    assert journal.end == len(data)


def test_what_was_given_back_stays_so_after_a_restart(journals: Journals, directory: Path) -> None:
    journal = journals(segment_bytes=1 << 20)
    data = bytes(range(1, 251)) * 400
    journal.append(data, NOW)
    journal.free(50_000)
    again = journals(after_a_crash(directory))
    journals.close(journal)
    again = journals()
    first = again.next_readable(0)
    assert 50_000 - 4096 <= first <= 50_000
    assert again.read(first, 1 << 20).lstrip(b"\0") == data[50_000:]


def test_a_segment_of_which_all_was_given_back_has_nothing_to_read(journals: Journals) -> None:
    journal = journals(segment_bytes=1 << 20)
    journal.append(b"x" * 8192, NOW)
    journal.free(8192)
    assert journal.next_readable(0) == 8192
    journals.close(journal)
    again = journals()
    assert again.next_readable(0) == 8192
    again.append(b"more", NOW)
    assert again.read(again.next_readable(0), 100) == b"more"


# The bound.


def test_a_full_journal_gives_up_its_oldest_segment(journals: Journals, directory: Path) -> None:
    journal = journals(segment_bytes=100, max_bytes=300)
    for number in range(20):
        journal.append(event(number, 50), NOW)
        assert journal.size <= 300
    assert segments(directory) == [700, 800, 900]
    assert everything(journal) == b"".join(event(number, 50) for number in range(14, 20))
    assert journal.dropped == [Dropped(start, start + 100, 2) for start in range(0, 700, 100)]


def test_what_is_over_the_bound_is_at_most_one_write(journals: Journals) -> None:
    journal = journals(segment_bytes=100, max_bytes=300)
    for number in range(50):
        journal.append(event(number, 77), NOW)
        assert journal.size < 300 + 77


def test_what_is_delivered_is_not_lost(journals: Journals) -> None:
    journal = journals(segment_bytes=100, max_bytes=300)
    for number in range(6):
        journal.append(event(number, 50), NOW)
    journal.release(50)
    journal.append(event(6, 50), NOW)
    assert journal.dropped == [Dropped(50, 100, 1)]
    journal.dropped.clear()
    journal.release(200)
    for number in range(7, 10):
        journal.append(event(number, 50), NOW)
    assert journal.dropped == []


def test_what_was_delivered_before_the_restart_is_not_lost(journals: Journals) -> None:
    journal = journals(segment_bytes=100, max_bytes=300)
    for number in range(6):
        journal.append(event(number, 50), NOW)
    journals.close(journal)
    again = journals(segment_bytes=100, max_bytes=300, start_at=150)
    for number in range(6, 10):
        again.append(event(number, 50), NOW)
    assert again.dropped == [Dropped(150, 200, 1)]


@pytest.mark.parametrize("size", range(90, 111))
def test_lost_events_are_counted_exactly(journals: Journals, size: int) -> None:
    journal = journals(segment_bytes=100, max_bytes=1000)
    stream = b"".join(event(number, size) for number in range(200))
    for start in range(0, len(stream), 100):
        journal.append(stream[start : start + 100], NOW)
    lost = sum(dropped.events for dropped in journal.dropped)
    assert lost == stream[: journal.start].count(END)


def test_an_end_across_two_reads_of_the_count_is_counted_once(
    journals: Journals, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("amikafka_tail.journal.journal._COUNTED_AT_ONCE", 7)
    journal = journals(segment_bytes=200, max_bytes=400)
    for number in range(16):
        journal.append(event(number, 50), NOW)
    assert [dropped.events for dropped in journal.dropped] == [4, 4]


def test_the_mark_of_a_connection_is_not_counted_as_an_event(journals: Journals) -> None:
    journal = journals(segment_bytes=100, max_bytes=300)
    journal.begin_connection(PBX, NOW)
    for number in range(10):
        journal.append(event(number, 50), NOW)
    first = journal.dropped[0]
    assert (first.start, first.events) == (0, 2)


def read_only(_path: Path, **_options: bool) -> None:
    raise OSError(errno.EROFS, "Read-only file system")


def test_a_segment_that_cannot_be_deleted_is_not_given_up(
    journals: Journals, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = journals(segment_bytes=100, max_bytes=300)
    for number in range(6):
        journal.append(event(number, 50), NOW)
    kept = everything(journal)
    with monkeypatch.context() as disk:
        disk.setattr(Path, "unlink", read_only)
        for _ in range(5):
            with pytest.raises(OSError, match="Read-only"):
                journal.append(event(6, 50), NOW)
    assert everything(journal) == kept
    assert journal.dropped == []
    journal.append(event(6, 50), NOW)
    assert journal.dropped == [Dropped(0, 100, 2)]


def test_what_is_delivered_and_cannot_be_deleted_is_deleted_later(
    journals: Journals, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = journals(segment_bytes=100)
    for number in range(6):
        journal.append(event(number, 50), NOW)
    with monkeypatch.context() as disk:
        disk.setattr(Path, "unlink", read_only)
        journal.release(250)
    assert segments(directory) == [0, 100, 200]
    journal.release(250)
    assert segments(directory) == [200]


# Moments.


def test_a_move_has_the_moment_at_which_it_came(journals: Journals) -> None:
    journal = journals()
    journal.append(b"first", NOW)
    journal.append(b"second", NOW + 20)
    journal.append(b"third", NOW + 10)
    assert journal.capture_times(0, 16) == [
        CaptureTime(0, NOW),
        CaptureTime(5, NOW + 20),
        CaptureTime(11, NOW + 10),
    ]


def test_the_first_moment_is_the_one_that_holds_at_the_start(journals: Journals) -> None:
    journal = journals()
    journal.append(b"first", NOW)
    journal.append(b"second", NOW + 20)
    assert journal.capture_times(4, 5)[0] == CaptureTime(0, NOW)
    assert journal.capture_times(5, 8)[0] == CaptureTime(5, NOW + 20)
    assert journal.capture_times(10, 11)[0] == CaptureTime(5, NOW + 20)


def test_moves_within_one_ms_are_one_moment(journals: Journals, directory: Path) -> None:
    journal = journals()
    for _ in range(10):
        journal.append(b"x", NOW)
    assert journal.capture_times(0, 10) == [CaptureTime(0, NOW)]
    assert (directory / f"{0:020d}.times").stat().st_size == 16


def test_spliced_bytes_have_their_moments_too(journals: Journals, pipe: tuple[int, int]) -> None:
    journal = journals()
    for number in range(3):
        os.write(pipe[1], b"12345")
        journal.splice_from(pipe[0], 1000, NOW + number)
    assert journal.capture_times(0, 14) == [
        CaptureTime(0, NOW),
        CaptureTime(5, NOW + 1),
        CaptureTime(10, NOW + 2),
    ]


def test_every_segment_has_moments_of_its_own(journals: Journals) -> None:
    journal = journals(segment_bytes=5)
    journal.append(b"first", NOW)
    journal.append(b"second", NOW)
    journal.release(5)
    assert journal.capture_times(5, 11) == [CaptureTime(5, NOW)]


def test_moments_that_come_later_are_seen(journals: Journals) -> None:
    journal = journals()
    journal.append(b"first", NOW)
    assert journal.capture_times(0, 4) == [CaptureTime(0, NOW)]
    journal.append(b"second", NOW + 1)
    assert journal.capture_times(0, 10) == [CaptureTime(0, NOW), CaptureTime(5, NOW + 1)]


def test_moments_outlive_the_process(journals: Journals) -> None:
    journal = journals()
    journal.append(b"first", NOW)
    journals.close(journal)
    again = journals()
    again.append(b"second", NOW)
    again.append(b"third", NOW + 1)
    assert [again.capture_times(position, position)[0].captured_ms for position in (0, 5, 11)] == [
        NOW,
        NOW,
        NOW + 1,
    ]


@pytest.mark.parametrize("half", range(1, 16))
def test_half_a_moment_that_a_crash_left_is_written_over(
    journals: Journals, directory: Path, half: int
) -> None:
    journal = journals()
    journal.append(b"first", NOW)
    journal.append(b"second", NOW + 1)
    journals.close(journal)
    times = directory / f"{0:020d}.times"
    times.write_bytes(times.read_bytes()[: 16 + half])
    again = journals()
    again.append(b"third", NOW + 2)
    assert again.capture_times(0, 16) == [CaptureTime(0, NOW), CaptureTime(11, NOW + 2)]


def test_bytes_whose_moment_is_lost_were_taken_when_their_file_was_last_written(
    journals: Journals, directory: Path
) -> None:
    before_ms = int(time.time() * 1000) - 1000
    journal = journals()
    journal.append(b"first", NOW)
    journals.close(journal)
    (directory / f"{0:020d}.times").unlink()
    ((offset, captured_ms),) = journals().capture_times(0, 5)
    assert offset == 0
    assert before_ms <= captured_ms <= int(time.time() * 1000) + 1000


def test_a_lost_moment_leaves_no_bytes_without_one(journals: Journals, directory: Path) -> None:
    journal = journals()
    journal.append(b"first", NOW)
    journals.close(journal)
    (directory / f"{0:020d}.times").unlink()
    again = journals()
    again.append(b"second", NOW + 1)
    first, *later = again.capture_times(0, 11)
    assert first.offset <= 0
    assert first.captured_ms > 0
    assert later in ([], [CaptureTime(5, NOW + 1)])


# Connections.


def test_a_connection_begins_with_a_mark_that_no_stream_contains(journals: Journals) -> None:
    journal = journals()
    journal.append(b"Event: A\r\nCau", NOW)
    journal.begin_connection(PBX, NOW)
    assert everything(journal) == b"Event: A\r\nCau\0\r\n\r\n"
    assert BOUNDARY == b"\0\r\n\r\n"
    assert journal.ends_whole()


def test_who_the_asterisk_is_holds_from_its_connection_on(journals: Journals) -> None:
    journal = journals()
    assert journal.identity_at(0) is None
    journal.append(b"from before", NOW)
    journal.begin_connection(PBX, NOW)
    journal.append(b"first", NOW)
    journal.begin_connection(UPGRADED, NOW)
    assert journal.identity_at(10) is None
    assert journal.identity_at(11) == PBX
    assert journal.identity_at(20) == PBX
    assert journal.identity_at(21) == UPGRADED
    assert journal.identity_at(10_000) == UPGRADED


def test_only_a_mark_of_its_own_begins_a_connection(journals: Journals) -> None:
    journal = journals()
    journal.append(BOUNDARY, NOW)
    journal.begin_connection(PBX, NOW)
    assert [journal.connection_in(position, position + 1) for position in (0, 5, 6, 10)] == [
        None,
        5,
        None,
        None,
    ]


def test_connections_outlive_the_process(journals: Journals, directory: Path) -> None:
    journal = journals()
    journal.begin_connection(PBX, NOW)
    journal.append(b"first", NOW)
    journal.begin_connection(UPGRADED, NOW)
    again = journals(after_a_crash(directory))
    assert [again.identity_at(position) for position in (0, 9, 10)] == [PBX, PBX, UPGRADED]
    assert again.connection_in(0, 0 + 1) == 0
    assert again.connection_in(10, 10 + 1) == 10


def test_a_connection_that_was_noted_and_never_began_is_none_after_a_restart(
    journals: Journals, directory: Path
) -> None:
    journal = journals(segment_bytes=10_000)
    journal.begin_connection(PBX, NOW)
    journal.append(event(0, 1000), NOW)
    end = journal.end
    with files_end_at(end), pytest.raises(OSError, match="File too large"):
        journal.begin_connection(UPGRADED, NOW, lost_ms=NOW - 1)
    crashed = after_a_crash(directory)
    again = journals(crashed)
    assert again.identity_at(end) == PBX
    again.begin_connection(UPGRADED, NOW + 60_000, lost_ms=NOW)
    third = journals(after_a_crash(crashed))
    assert third.disconnection_before(end) == Disconnection(60_000, NOW + 60_000)


def test_a_connection_whose_bytes_a_power_cut_took_hides_no_later_one(
    journals: Journals, directory: Path
) -> None:
    journal = journals(segment_bytes=1000)
    journal.begin_connection(PBX, NOW)
    journal.append(event(0), NOW)
    cut = journal.end
    journal.append(event(1), NOW)
    journal.begin_connection(PBX, NOW)
    journals.close(journal)
    os.truncate(directory / f"{0:020d}.log", cut)
    again = journals(segment_bytes=1000)
    again.begin_connection(UPGRADED, NOW)
    again.append(event(2) * 3, NOW)
    for each in (again, journals(after_a_crash(directory))):
        assert each.connection_in(cut, each.end) == cut
        assert [each.identity_at(at) for at in (0, cut - 1, cut, each.end)] == [PBX, PBX, UPGRADED, UPGRADED]


def test_how_many_filters_asterisk_applied_holds_from_its_connection_on(
    journals: Journals, directory: Path
) -> None:
    journal = journals()
    journal.append(b"from before", NOW)
    journal.begin_connection(PBX, NOW, filters=3)
    journal.append(b"first", NOW)
    journal.begin_connection(UPGRADED, NOW, lost_ms=NOW - 1)
    for each in (journal, journals(after_a_crash(directory))):
        assert [each.filters_at(position) for position in (10, 11, 20, 21)] == [0, 3, 3, 0]


def test_half_a_note_that_a_crash_left_is_ignored(journals: Journals, directory: Path) -> None:
    journal = journals()
    journal.begin_connection(PBX, NOW)
    journals.close(journal)
    with (directory / "connections.jsonl").open("a") as file:
        file.write('{"offset": 5, "entity_id": "00:1')
    again = journals()
    again.begin_connection(UPGRADED, NOW)
    journals.close(again)
    third = journals()
    assert [third.identity_at(position) for position in (0, 4, 5)] == [PBX, PBX, UPGRADED]


@pytest.mark.parametrize(
    "line", ["", "null", "[]", "{}", '{"offset": 3}', '{"offset": "x", "entity_id": "a"}', "\0\0", "\xff"]
)
def test_a_damaged_note_spoils_no_other(journals: Journals, directory: Path, line: str) -> None:
    journal = journals()
    journal.begin_connection(PBX, NOW)
    journal.begin_connection(UPGRADED, NOW)
    journals.close(journal)
    notes = directory / "connections.jsonl"
    first, second = notes.read_text().splitlines()
    notes.write_text(f"{first}\n{line}\n{second}\n", encoding="latin-1")
    again = journals()
    assert [again.identity_at(position) for position in (0, 5)] == [PBX, UPGRADED]


def test_connections_that_ended_before_what_is_delivered_take_no_memory(journals: Journals) -> None:
    journal = journals(segment_bytes=10_000)
    for _ in range(100):
        journal.begin_connection(PBX, NOW)
    journal.begin_connection(UPGRADED, NOW)
    last = journal.end - len(BOUNDARY)
    assert journal.connection_in(0, last) == 0
    journal.release(last - 1)
    assert [journal.identity_at(at) for at in (last - 1, last)] == [PBX, UPGRADED]
    journal.release(journal.end)
    assert journal.connection_in(0, journal.end) == last
    assert journal.identity_at(journal.end) == UPGRADED


def test_connections_that_ended_before_the_oldest_byte_are_forgotten(
    journals: Journals, directory: Path
) -> None:
    journal = journals(segment_bytes=10)
    for number in range(10):
        version = Identity(entity_id="a", system_name="", asterisk_version=str(number), hostname="vm")
        journal.begin_connection(version, NOW)
        journal.append(b"x" * 5, NOW)
    journal.release(75)
    journals.close(journal)
    again = journals()
    notes = [json.loads(line) for line in (directory / "connections.jsonl").read_text().splitlines()]
    assert [note["offset"] for note in notes] == [70, 80, 90]
    versions = [again.identity_at(position) for position in (70, 75, 80, 99)]
    assert [version and version.asterisk_version for version in versions] == ["7", "7", "8", "9"]


# Full disks.


def test_a_full_disk_leaves_in_the_pipe_what_it_did_not_take(
    journals: Journals, pipe: tuple[int, int]
) -> None:
    journal = journals(segment_bytes=10_000)
    data = b"".join(event(number) for number in range(10))
    os.write(pipe[1], data)
    left = len(data)
    with files_end_at(250), pytest.raises(OSError, match="File too large"):
        while left:
            left -= journal.splice_from(pipe[0], left, NOW)
    assert everything(journal) == data[: len(data) - left]
    while left:
        left -= journal.splice_from(pipe[0], left, NOW)
    assert everything(journal) == data


def test_a_disk_that_is_too_full_for_a_moment_loses_no_bytes(
    journals: Journals, pipe: tuple[int, int]
) -> None:
    # Each moment takes sixteen bytes, so with moves of one byte it is the moments that fill the disk.
    journal = journals(segment_bytes=10_000)
    data = bytes(range(100))
    os.write(pipe[1], data)
    left = len(data)
    failed = 0
    for now_ms in range(NOW, NOW + 300):
        with files_end_at(400 if now_ms < NOW + 50 else 100_000):
            try:
                left -= journal.splice_from(pipe[0], 1, now_ms) if left else 0
            except OSError:
                failed += 1
    assert failed
    assert left == 0
    assert everything(journal) == data


def test_after_a_full_disk_nothing_of_an_append_is_in_the_journal(journals: Journals) -> None:
    journal = journals(segment_bytes=10_000)
    journal.append(b"first", NOW)
    with files_end_at(50), pytest.raises(OSError, match="File too large"):
        journal.append(b"x" * 100, NOW)
    assert (journal.end, everything(journal)) == (5, b"first")
    journal.append(b"second", NOW)
    assert everything(journal) == b"firstsecond"


def test_what_a_full_disk_took_in_part_does_not_stand_twice_after_a_restart(journals: Journals) -> None:
    journal = journals(segment_bytes=10_000)
    journal.append(event(0), NOW)
    with files_end_at(100), pytest.raises(OSError, match="File too large"):
        journal.append(event(1), NOW)
    journal.roll()
    journals.close(journal)
    again = journals(segment_bytes=10_000)
    again.begin_connection(PBX, NOW)
    again.append(event(2), NOW)
    assert everything(again) == event(0) + BOUNDARY + event(2)


@pytest.mark.parametrize("size", [0, 3, 30])
def test_a_connection_that_a_full_disk_cannot_note_can_begin_again(journals: Journals, size: int) -> None:
    journal = journals()
    with files_end_at(size), pytest.raises(OSError, match="File too large"):
        journal.begin_connection(PBX, NOW)
    journal.begin_connection(UPGRADED, NOW)
    journal.append(event(0), NOW)
    at = journal.end - len(event(0))
    assert journal.identity_at(at) == UPGRADED
    assert journal.connection_in(at - len(BOUNDARY), at - len(BOUNDARY) + 1) == at - len(BOUNDARY)
    journals.close(journal)
    again = journals()
    assert again.identity_at(at) == UPGRADED
    assert again.connection_in(at - len(BOUNDARY), at - len(BOUNDARY) + 1) == at - len(BOUNDARY)


def test_a_full_disk_does_not_keep_a_journal_from_being_opened(journals: Journals) -> None:
    journal = journals()
    journal.begin_connection(PBX, NOW)
    journal.append(event(0), NOW)
    journals.close(journal)
    with files_end_at(0):
        again = journals()
    assert everything(again) == BOUNDARY + event(0)
    assert again.identity_at(5) == PBX


def test_a_segment_that_a_full_disk_did_not_let_begin_is_none_after_a_restart(
    journals: Journals, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real_open = os.open

    def full(path: Path, *arguments: int) -> int:
        if Path(path).suffix == ".times":
            raise OSError(errno.ENOSPC, "No space left on device")
        return real_open(path, *arguments)

    journal = journals()
    journal.append(event(0), NOW)
    with monkeypatch.context() as disk:
        disk.setattr(os, "open", full)
        with pytest.raises(OSError, match="No space left"):
            journal.roll()
    journal.append(event(1), NOW)
    again = journals(after_a_crash(directory))
    assert (again.end, everything(again)) == (journal.end, event(0) + event(1))


# Syncing.


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> set[int]:
    """Collect the inodes of all that is synced."""
    inodes: set[int] = set()
    real_fsync = os.fsync

    def fsync(descriptor: int) -> None:
        inodes.add(os.fstat(descriptor).st_ino)
        real_fsync(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    return inodes


def test_a_sync_reaches_the_bytes_their_moments_and_the_directory(
    journals: Journals, directory: Path, synced: set[int]
) -> None:
    journal = journals(segment_bytes=10)
    journal.append(b"0123456789", NOW)
    journal.append(b"0123456789", NOW)
    journal.sync()
    written = [directory, *directory.glob("*.log"), *directory.glob("*.times")]
    assert [path.name for path in written if path.stat().st_ino not in synced] == []


def test_a_sync_reaches_the_notes_of_connections(
    journals: Journals, directory: Path, synced: set[int]
) -> None:
    journal = journals()
    journal.begin_connection(PBX, NOW)
    journal.sync()
    assert (directory / "connections.jsonl").stat().st_ino in synced


def test_a_sync_reaches_every_segment_that_was_written_since_the_last(
    journals: Journals, directory: Path, synced: set[int]
) -> None:
    journal = journals(segment_bytes=10)
    journal.append(b"0123456789", NOW)
    journal.sync()
    synced.clear()
    for _ in range(5):
        journal.append(b"0123456789", NOW)
    journal.sync()
    written = sorted(directory.glob("*.log"))[1:]
    assert [path.name for path in written if path.stat().st_ino not in synced] == []


def test_what_comes_while_a_sync_is_under_way_is_reached_by_the_next(
    journals: Journals, directory: Path, synced: set[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = journals()
    journal.append(b"0123456789", NOW)
    real_pwrite = os.pwrite

    def pwrite(descriptor: int, data: bytes, offset: int) -> int:
        journal.sync()  # the other thread's
        return real_pwrite(descriptor, data, offset)

    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(os, "pwrite", pwrite)
        journal.append(b"0123456789", NOW)
    synced.clear()
    journal.sync()
    assert (directory / f"{0:020d}.log").stat().st_ino in synced


def test_a_sync_in_another_thread_does_not_mind_what_the_first_one_does(journals: Journals) -> None:
    journal = journals(segment_bytes=10)
    done = threading.Event()
    errors: list[BaseException] = []

    def sync() -> None:
        try:
            while not done.is_set():
                journal.sync()
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=sync)
    thread.start()
    try:
        for _ in range(300):
            journal.append(b"0123456789", NOW)
            journal.release(journal.end - 10)
    finally:
        done.set()
        thread.join()
    assert errors == []


# The epoch.


def test_the_epoch_is_the_checkpoints_and_outlives_it(journals: Journals, directory: Path) -> None:
    journal = journals(start_at=0)
    assert journal.epoch == "a"
    journals.close(journal)
    assert journals().epoch == "a"


def test_a_checkpoint_of_another_journal_is_refused(journals: Journals, directory: Path) -> None:
    journals.close(journals())
    with pytest.raises(JournalError, match=r"of another journal .* move the checkpoint away"):
        Journal(directory, segment_bytes=100, max_bytes=1000, checkpoint=Checkpoint(epoch="b", offset=0))
    assert journals().epoch != "b", "the lock is free again"


def test_when_the_last_byte_came_is_known(journals: Journals) -> None:
    journal = journals()
    assert journal.last_moment() is None
    journal.append(b"x" * 150, NOW)
    journal.append(b"y", NOW + 7)
    assert journal.last_moment() == NOW + 7
    journal.roll()
    assert journal.last_moment() == NOW + 7


def test_a_byte_that_a_full_disk_did_not_take_did_not_come(journals: Journals) -> None:
    journal = journals()
    journal.append(event(0), NOW)
    with files_end_at(journal.end), pytest.raises(OSError, match="File too large"):
        journal.append(event(1), NOW + 60_000)
    assert journal.last_moment() == NOW


def test_however_long_it_is_few_files_are_open(journals: Journals, directory: Path) -> None:
    def open_files() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    journal = journals(segment_bytes=100, max_bytes=1_000_000)
    before = open_files()
    for number in range(300):
        journal.append(b"%0100d" % number, NOW + number)
    assert open_files() <= before + 4
    assert everything(journal) == b"".join(b"%0100d" % number for number in range(300))
    assert open_files() <= before + 4
    assert [journal.capture_times(at, at)[0].captured_ms for at in (29_900, 0, 5_000)] == [
        NOW + 299,
        NOW,
        NOW + 50,
    ]
    journals.close(journal)
    again = journals(segment_bytes=100, max_bytes=1_000_000)
    assert open_files() <= before + 4
    assert again.end == 30_000
    again.release(29_950)
    assert again.start == 29_900


@pytest.mark.parametrize("zeros", [1, 3, 40, 300])
def test_zeros_that_a_power_cut_leaves_among_the_times_are_no_times(
    journals: Journals, directory: Path, zeros: int
) -> None:
    journal = journals(segment_bytes=100_000)
    for number in range(50):
        journal.append(b"x" * 10, NOW + number)
    journals.close(journal)
    (times,) = directory.glob("*.times")
    times.write_bytes(times.read_bytes() + bytes(16 * zeros))
    journal = journals(segment_bytes=100_000)
    for number in range(50, 100):
        journal.append(b"x" * 10, NOW + number)
    found = [journal.capture_times(number * 10, number * 10)[0].captured_ms for number in range(100)]
    assert found == [NOW + number for number in range(100)]
    assert journal.last_moment() == NOW + 99


def test_a_page_of_zeros_within_the_times_leaves_the_times_before_it(
    journals: Journals, directory: Path
) -> None:
    journal = journals(segment_bytes=100_000)
    for number in range(50):
        journal.append(b"x" * 10, NOW + number)
    journals.close(journal)
    (times,) = directory.glob("*.times")
    pairs = times.read_bytes()
    for first, last in ((20, 30), (0, 10)):
        times.write_bytes(pairs[: first * 16] + bytes((last - first) * 16) + pairs[last * 16 :])
        journal = journals(segment_bytes=100_000)
        found = [journal.capture_times(number * 10, number * 10)[0].captured_ms for number in range(50)]
        nearest = first - 1 if first else last
        assert found == [NOW + (nearest if first <= number < last else number) for number in range(50)]
        journals.close(journal)


def test_times_of_bytes_that_did_not_reach_the_disk_are_forgotten(
    journals: Journals, directory: Path
) -> None:
    journal = journals(segment_bytes=100_000)
    for number in range(50):
        journal.append(b"x" * 10, NOW + number)
    journals.close(journal)
    (log,) = directory.glob("*.log")
    os.truncate(log, 200)
    journal = journals(segment_bytes=100_000)
    journal.append(b"y" * 10, NOW + 1000)
    assert [journal.capture_times(at, at)[0].captured_ms for at in (190, 200, 205)] == [
        NOW + 19,
        *[NOW + 1000] * 2,
    ]


def open_files_in(directory: Path) -> list[str]:
    """Return the names of this process's open files in a directory, those that are deleted too."""
    links = []
    for descriptor in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):
            links.append(str(descriptor.readlink()))
    return sorted(link for link in links if link.startswith(str(directory)))


def test_connections_leave_no_file_open(journals: Journals, directory: Path) -> None:
    journal = journals(segment_bytes=10_000)
    journal.begin_connection(PBX, NOW)
    before = open_files_in(directory)
    for _ in range(3):
        journal.begin_connection(PBX, NOW)
    assert open_files_in(directory) == before
    assert str(directory / "connections.jsonl") not in before


def test_no_released_segment_is_still_open(journals: Journals, directory: Path) -> None:
    journal = journals(segment_bytes=20)
    for _ in range(5):
        journal.append(b"0123456789" * 2, NOW)
    assert journal.read(0, 5) == b"01234", "which opens it"
    assert any(name.endswith(f"{0:020d}.log") for name in open_files_in(directory))
    journal.release(journal.end)
    assert journal.start == 80
    assert not [name for name in open_files_in(directory) if name.endswith("(deleted)")]


@given(data=st.binary(min_size=1, max_size=40), freed=st.integers(0, 40))
def test_what_stands_before_a_position_is_what_was_written_there(data: bytes, freed: int) -> None:
    with TemporaryDirectory() as directory:
        journal = Journal(Path(directory), segment_bytes=1_000, max_bytes=10_000)
        try:
            journal.append(data, NOW)
            for position in range(len(data) + 1):
                assert journal.before(position) == data[max(0, position - 4) : position]
            journal.free(freed)
            gone = journal.next_readable(0)
            for position in range(gone, len(data) + 1):
                known = data[max(gone, position - 4) : position]
                # What was given back to the disk ended with an event.
                assert journal.before(position) == (known or (END if gone else b""))
        finally:
            journal.close()

"""The journal: the bytes of the manager connection on disk, in segments named by their first offset.

    <directory>/00000000000000000000.log    the bytes, exactly as Asterisk sent them
    <directory>/00000000000000000000.times  when they came: pairs of (offset, ms since the epoch)
    <directory>/connections.jsonl           where each connection begins, and who the Asterisk behind it is

Offsets count from the journal's first byte and never go back. Where a connection begins, one block that no
AMI stream can contain is written, a NUL and an empty line, so that an event which a lost connection cut off
is never merged with what follows. What a crash of the process must not lose is in the page cache; `sync`
says how much a power cut may lose.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import json
import os
import struct
from array import array
from bisect import bisect_left, bisect_right
from dataclasses import asdict
from operator import attrgetter, itemgetter
from pathlib import Path
from typing import NamedTuple

from amikafka_tail.ami.framing import END
from amikafka_tail.config.identity import Identity
from amikafka_tail.durable import replace_file, write_at
from amikafka_tail.errors import JournalError

BOUNDARY = b"\0" + END
_MOVE = struct.Struct("=QQ")
_COUNTED_AT_ONCE = 1 << 20
_KEEP_SIZE, _PUNCH_HOLE = 1, 2
_libc = ctypes.CDLL(None, use_errno=True)
_libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]


class Moment(NamedTuple):
    """From `offset` on, bytes were taken from Asterisk at `captured_ms`."""

    offset: int
    captured_ms: int


class Dropped(NamedTuple):
    """What a full journal had to give up: from `start` to `end`, with the blocks that ended there."""

    start: int
    end: int
    events: int


class _Connection(NamedTuple):
    offset: int
    identity: Identity


class _Segment:
    """One segment, kept open for reading; the last one is open for writing too."""

    def __init__(self, directory: Path, start: int, *, create: bool = False) -> None:
        self.path = directory / f"{start:020d}.log"
        self.times_path = self.path.with_suffix(".times")
        self.start = start
        flags = os.O_RDWR | os.O_CLOEXEC | (os.O_CREAT if create else 0)
        self.fd = os.open(self.path, flags, 0o640)
        try:
            self.times_fd = os.open(self.times_path, flags | os.O_CREAT, 0o640)
        except OSError:
            os.close(self.fd)
            raise
        self.end = start + os.fstat(self.fd).st_size
        self.readable_from = start + _first_data(self.fd)
        # A crash may have left half a pair.
        self.times_size = os.fstat(self.times_fd).st_size // _MOVE.size * _MOVE.size
        self._offsets = array("Q")
        self._times = array("Q")

    def moments(self, start: int, end: int) -> list[Moment]:
        """Return the moments that hold between two offsets, the first for `start` itself."""
        offsets, times = self._offsets, self._times
        if (loaded := len(offsets) * _MOVE.size) < self.times_size:
            pairs = array("Q", os.pread(self.times_fd, self.times_size - loaded, loaded))
            offsets += pairs[::2]
            times += pairs[1::2]
        first = max(bisect_right(offsets, start) - 1, 0)
        last = bisect_right(offsets, end)
        found = list(map(Moment, offsets[first:last], times[first:last]))
        if not found or found[0].offset > start:
            # The note of when these bytes came did not survive; what came next is the nearest that is known.
            known = times[0] if times else int(os.fstat(self.fd).st_mtime * 1000)
            found.insert(0, Moment(start, known))
        return found

    def read(self, position: int, size: int) -> bytes:
        """Return up to `size` bytes at `position`; none where the segment has none."""
        size = min(size, self.end - position)
        return os.pread(self.fd, size, position - self.start) if size > 0 else b""

    def close(self) -> None:
        os.close(self.fd)
        os.close(self.times_fd)

    def delete(self) -> None:
        self.close()
        self.path.unlink(missing_ok=True)
        self.times_path.unlink(missing_ok=True)


class Journal:
    """The journal directory, opened by one process at a time. Nothing here blocks but the disk.

    `dropped` lists what was lost because the journal was full; whoever reports it clears it.
    Raises `JournalError` where the directory cannot be used.
    """

    def __init__(self, directory: Path, *, segment_bytes: int, max_bytes: int, start_at: int = 0) -> None:
        self._directory = directory
        self._segment_bytes = segment_bytes
        self._max_bytes = max_bytes
        self._notes = directory / "connections.jsonl"
        self._last_move_ms = 0
        self._released = start_at
        self._dropped_tail = (0, b"")
        self._unsynced: set[Path] = set()
        self.dropped: list[Dropped] = []
        self._lock = lock_directory(directory)
        try:
            self._segments = [_Segment(directory, start) for start in _starts(directory)]
            if not self._segments or self._segments[-1].end < start_at:
                # After a power cut the checkpoint can be ahead of what had reached the disk.
                self._segments.append(_Segment(directory, start_at, create=True))
            self._connections = self._load_connections()
        except OSError as error:
            os.close(self._lock)
            raise JournalError(f"{directory}: {error.strerror} ({error.filename})") from error

    @property
    def start(self) -> int:
        """Offset of the oldest byte that is kept."""
        return self._segments[0].start

    @property
    def end(self) -> int:
        """Offset of the next byte to come."""
        return self._segments[-1].end

    @property
    def size(self) -> int:
        """Bytes kept on disk, without the notes of times."""
        return sum(segment.end - segment.start for segment in self._segments)

    # Writing: the recorder's side.

    def splice_from(self, pipe: int, count: int, now_ms: int) -> int:
        """Move up to `count` bytes from a pipe to the journal's end; return how many were moved.

        The bytes do not pass through this process. Raises `OSError` (ENOSPC): what was not moved is still
        in the pipe.
        """
        segment = self._writable()
        # The note first: if the disk has no room for it, nothing is moved.
        self._note(segment, now_ms)
        moved = os.splice(pipe, segment.fd, count, offset_dst=segment.end - segment.start)
        segment.end += moved
        return moved

    def append(self, data: bytes, now_ms: int) -> None:
        """Write bytes that are already in this process: a TLS connection's. Raises `OSError` (ENOSPC).

        After an error nothing of `data` is in the journal.
        """
        segment = self._writable()
        self._note(segment, now_ms)
        write_at(segment.fd, data, segment.end - segment.start)
        segment.end += len(data)

    def begin_connection(self, identity: Identity, now_ms: int) -> None:
        """Mark that another connection begins here, and who the Asterisk behind it is. Raises `OSError`."""
        # The note first: a boundary without one would be taken for garbage from the network.
        connection = _Connection(self.end, identity)
        line = _note_of(connection)
        file = os.open(self._notes, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o640)
        try:
            write_at(file, line.encode(), os.fstat(file).st_size)
        finally:
            os.close(file)
        self._unsynced.add(self._notes)
        self.append(BOUNDARY, now_ms)
        self._connections.append(connection)

    def ends_whole(self) -> bool:
        """Tell whether the last byte written ends an event."""
        tail, position = b"", self.end
        for segment in reversed(self._segments):
            wanted = len(END) - len(tail)
            if segment.end != position or not wanted:
                break
            position = segment.start
            tail = segment.read(max(position, segment.end - wanted), wanted) + tail
        return tail in (b"", END)

    def roll(self) -> None:
        """Begin a new segment, so that the one before can be deleted once delivered. Raises `OSError`."""
        if self.end == self._segments[-1].start:
            return
        self._make_room()
        self._segments.append(_Segment(self._directory, self.end, create=True))
        self._last_move_ms = 0

    def _writable(self) -> _Segment:
        segment = self._segments[-1]
        if segment.end - segment.start >= self._segment_bytes:
            self.roll()
        return self._segments[-1]

    def _make_room(self) -> None:
        while len(self._segments) > 1 and self.size + self._segment_bytes > self._max_bytes:
            oldest = self._segments.pop(0)
            lost_from = max(oldest.start, self._released)
            if lost_from < oldest.end:
                self.dropped.append(Dropped(lost_from, oldest.end, self._count_events(oldest, lost_from)))
            oldest.delete()

    def _count_events(self, segment: _Segment, position: int) -> int:
        """Count the events and responses that end in a segment at or after `position`, which is dropped."""
        dropped_until, before = self._dropped_tail
        before = before if dropped_until == position else b""
        tail = before[1 - len(END) :]
        count = 0
        for start in range(position, segment.end, _COUNTED_AT_ONCE):
            data = tail + segment.read(start, _COUNTED_AT_ONCE)
            count += data.count(END)
            tail = data[-(len(END) - 1) :]
        last = segment.read(max(position, segment.end - len(END)), len(END))
        self._dropped_tail = (segment.end, (before + last)[-len(END) :])
        for connection in self._connections:
            if position <= connection.offset < segment.end:
                # Its mark ends like an event; an event that it cut off is one that is lost.
                at = max(position, connection.offset - len(END))
                preceding = segment.read(at, connection.offset - at)
                count -= preceding in (b"", END)
        return count

    def _note(self, segment: _Segment, now_ms: int) -> None:
        if now_ms != self._last_move_ms:
            segment.times_size += os.pwrite(
                segment.times_fd, _MOVE.pack(segment.end, now_ms), segment.times_size
            )
            self._last_move_ms = now_ms
        self._unsynced.add(segment.path)

    def sync(self) -> None:
        """Wait until all that has been written is on the disk. May be called from another thread."""
        unsynced, self._unsynced = self._unsynced, set()
        try:
            for path in sorted(unsynced):
                # Files of its own: the other thread may close or delete its own at any moment.
                with contextlib.suppress(FileNotFoundError):
                    _sync(path)
                    if path.suffix == ".log":
                        _sync(path.with_suffix(".times"))
            _sync(self._directory)
        except OSError:
            self._unsynced |= unsynced
            raise

    # Reading: the pipeline's side.

    def next_readable(self, position: int) -> int:
        """Return `position`, or the next offset that is still there where its bytes are gone."""
        for segment in self._segments:
            if position < segment.end:
                return max(position, segment.readable_from)
        return max(position, self.end)

    def read(self, position: int, size: int) -> bytes:
        """Return up to `size` bytes at `position`, which is readable; none at the end."""
        return self._segment_at(position).read(position, size)

    def moments(self, start: int, end: int) -> list[Moment]:
        """Return when the bytes from `start` to `end`, which are of one read, were taken from Asterisk.

        The first moment holds for `start`.
        """
        return self._segment_at(start).moments(start, end)

    def identity_at(self, position: int) -> Identity | None:
        """Return who the Asterisk was whose bytes stand at `position`, `None` where nothing is known."""
        index = bisect_right(self._connections, position, key=itemgetter(0))
        return self._connections[index - 1].identity if index else None

    def connection_in(self, start: int, end: int) -> int | None:
        """Return the offset of the first connection that begins between two offsets."""
        index = bisect_left(self._connections, start, key=itemgetter(0))
        if index < len(self._connections) and self._connections[index].offset < end:
            return self._connections[index].offset
        return None

    def before(self, position: int) -> bytes:
        """Return the four bytes before a readable position, fewer where they are not known any more."""
        segment = self._segment_at(position)
        start = max(segment.readable_from, position - len(END))
        known = segment.read(start, position - start)
        if known or segment.readable_from > segment.start:
            # What was given back to a full disk ended with an event.
            return known or END
        dropped_until, tail = self._dropped_tail
        return tail if dropped_until == position else b""

    def release(self, position: int) -> None:
        """Delete the segments of which nothing at or after `position` is needed any more."""
        self._released = position
        while len(self._segments) > 1 and self._segments[0].end <= position:
            self._segments.pop(0).delete()

    def free(self, position: int) -> None:
        """Give the disk back what the oldest segment holds before `position`: for when the disk is full.

        Only whole segments can be deleted, and the oldest one may be needed for an event that could not be
        written to its end. Does nothing where the file system cannot do it.
        """
        oldest = self._segments[0]
        length = min(position, oldest.end) - oldest.start
        if length > 0 and not _libc.fallocate(oldest.fd, _PUNCH_HOLE | _KEEP_SIZE, 0, length):
            oldest.readable_from = oldest.start + length

    def close(self) -> None:
        """Close the files and let another process have the directory."""
        for segment in self._segments:
            segment.close()
        os.close(self._lock)

    def _segment_at(self, position: int) -> _Segment:
        index = bisect_right(self._segments, position, key=attrgetter("start"))
        return self._segments[max(index - 1, 0)]

    def _load_connections(self) -> list[_Connection]:
        """Read the notes of connections; drop those that end before the oldest byte."""
        if not self._notes.exists():
            return []
        connections: list[_Connection] = []
        lines = self._notes.read_text(encoding="utf-8", errors="replace").splitlines()
        for line in lines:
            # A crash may have left half a line; the connection it noted had not begun.
            with contextlib.suppress(ValueError, KeyError, TypeError, AttributeError):
                fields = json.loads(line)
                connections.append(_Connection(int(fields.pop("offset")), Identity(**fields)))
        needed = [each for each in connections if each.offset > self.start]
        current = [each for each in connections if each.offset <= self.start][-1:]
        connections = current + needed
        if len(connections) < len(lines):
            # A full disk may keep it as it is.
            with contextlib.suppress(OSError):
                replace_file(self._notes, "".join(map(_note_of, connections)).encode())
        return connections


def lock_directory(directory: Path) -> int:
    """Keep other processes out of a directory; return the descriptor to close. Raises `JournalError`."""
    try:
        directory.mkdir(mode=0o750, parents=True, exist_ok=True)
        descriptor = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
    except OSError as error:
        raise JournalError(
            f"{directory}: the journal's directory cannot be used: {error.strerror} ([journal] directory)"
        ) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        raise JournalError(
            f"{directory}: another amikafka is using this journal; give each its own [journal] directory"
        ) from error
    return descriptor


def _starts(directory: Path) -> list[int]:
    """Return the first offsets of the segments, oldest first."""
    return sorted(int(path.stem) for path in directory.glob("*.log") if path.stem.isdigit())


def _first_data(fd: int) -> int:
    """Return where a file's data begins: behind what `Journal.free` gave back, in whole pages."""
    try:
        return os.lseek(fd, 0, os.SEEK_DATA)
    except OSError:  # there is none
        return os.fstat(fd).st_size


def _note_of(connection: _Connection) -> str:
    return json.dumps({"offset": connection.offset, **asdict(connection.identity)}) + "\n"


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

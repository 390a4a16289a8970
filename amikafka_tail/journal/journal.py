"""The journal: the bytes of the manager connection on disk, in segments named by their first offset.

    <directory>/00000000000000000000.log    the bytes, exactly as Asterisk sent them
    <directory>/00000000000000000000.times  when they came: pairs of (offset, ms since the epoch)
    <directory>/connections.jsonl           where each connection begins, and who the Asterisk behind it is
    <directory>/epoch                       the name of this life of the journal

Offsets count from the journal's first byte and never go back. Where a connection begins, one block that no
AMI stream can contain is written, a NUL and an empty line, so that an event which a lost connection cut off
is never merged with what follows. What a crash of the process must not lose is in the page cache; `sync`
says how much a power cut may lose.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import threading
import uuid
from bisect import bisect_left, bisect_right
from dataclasses import asdict
from operator import attrgetter, itemgetter
from pathlib import Path
from typing import NamedTuple

from amikafka_tail.ami.framing import END
from amikafka_tail.journal.checkpoint import Checkpoint
from amikafka_tail.journal.durable import make_directory, replace_file, sync, write_at
from amikafka_tail.journal.segment import CaptureTime, Segment
from amikafka_tail.model.errors import JournalError
from amikafka_tail.model.identity import Identity

BOUNDARY = b"\0" + END
_COUNTED_AT_ONCE = 1 << 20


class Dropped(NamedTuple):
    """What a full journal had to give up: from `start` to `end`, with the blocks that ended there."""

    start: int
    end: int
    events: int


class Disconnection(NamedTuple):
    """There was no connection for `ms` milliseconds, until `until_ms` since the epoch."""

    ms: int
    until_ms: int


class _Connection(NamedTuple):
    offset: int
    identity: Identity
    lost_ms: int = 0
    """Since when there had been no connection; 0 where there had been one until then, or never."""
    begun_ms: int = 0
    filters: int = 0
    """By how many filters Asterisk decided what to send."""


class Journal:
    """The journal directory, opened by one process at a time. Nothing here blocks but the disk.

    `checkpoint` is what was stored last, if anything was. `epoch` names one life of the journal: it is noted
    beside the segments, so that it outlives a checkpoint that is lost. `dropped` lists what was lost because
    the journal was full; whoever reports it clears it. Raises `JournalError` where the directory cannot be
    used.
    """

    def __init__(
        self, directory: Path, *, segment_bytes: int, max_bytes: int, checkpoint: Checkpoint | None = None
    ) -> None:
        start_at = checkpoint.offset if checkpoint else 0
        self._directory = directory
        self._segment_bytes = segment_bytes
        self._max_bytes = max_bytes
        self._notes = directory / "connections.jsonl"
        self._last_move_ms = 0
        self._released = start_at
        self._dropped_tail = (0, b"")
        self._read_last: Segment | None = None
        self._unsynced: set[Path] = set()
        self._syncing = threading.Lock()
        self.dropped: list[Dropped] = []
        self._lock = lock_directory(directory)
        try:
            self.epoch = self._load_epoch(checkpoint)
            self._segments = [Segment(directory, start) for start in _starts(directory)]
            if not self._segments or self._segments[-1].end < start_at:
                # After a power cut the checkpoint can be ahead of what had reached the disk.
                self._segments.append(Segment(directory, start_at, create=True))
            self._connections = self._load_connections()
        except OSError as error:
            os.close(self._lock)
            raise JournalError(f"{directory}: {error.strerror} ({error.filename})") from error
        except JournalError:
            os.close(self._lock)
            raise

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
        self._has_written(segment, moved)
        return moved

    def append(self, data: bytes, now_ms: int) -> None:
        """Write bytes that are already in this process: a TLS connection's. Raises `OSError` (ENOSPC).

        After an error nothing of `data` is in the journal.
        """
        segment = self._writable()
        self._note(segment, now_ms)
        write_at(segment.fd, data, segment.end - segment.start)
        self._has_written(segment, len(data))

    def begin_connection(
        self, identity: Identity, now_ms: int, *, lost_ms: int = 0, filters: int = 0
    ) -> None:
        """Mark that another connection begins here, and who the Asterisk behind it is. Raises `OSError`.

        `lost_ms` is when the one before was lost, 0 where nothing can be missing; `filters` says by how many
        filters Asterisk decides what to send on it.
        """
        # The note first: a boundary without one would be taken for garbage from the network.
        connection = _Connection(self.end, identity, lost_ms, now_ms, filters)
        line = _note_of(connection)
        file = os.open(self._notes, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o640)
        try:
            write_at(file, line.encode(), os.fstat(file).st_size)
        finally:
            os.close(file)
        self._unsynced.add(self._notes)
        self.append(BOUNDARY, now_ms)
        self._connections.append(connection)

    def last_moment(self) -> int | None:
        """Return when the last byte came, in ms since the epoch, `None` where none ever came."""
        for segment in reversed(self._segments):
            if segment.end > segment.start and segment.times_size:
                # Not the moment of what a full disk did not take, which is noted first.
                return segment.capture_times(segment.end - 1, segment.end - 1)[0].captured_ms
        return None

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
        self._segments[-1].rest()
        self._segments.append(Segment(self._directory, self.end, create=True))
        self._last_move_ms = 0

    def _writable(self) -> Segment:
        segment = self._segments[-1]
        if segment.end - segment.start >= self._segment_bytes:
            self.roll()
        return self._segments[-1]

    def _make_room(self) -> None:
        while len(self._segments) > 1 and self.size + self._segment_bytes > self._max_bytes:
            oldest = self._segments[0]
            with contextlib.suppress(FileNotFoundError):
                oldest.opened()  # what was in it is counted when it is gone
            self._delete_oldest()
            lost_from = max(oldest.start, self._released)
            if lost_from < oldest.end:
                self.dropped.append(Dropped(lost_from, oldest.end, self._count_events(oldest, lost_from)))
            oldest.rest()

    def _delete_oldest(self) -> None:
        # Its files first: where they cannot be deleted it is not given up, and can still be read.
        self._segments[0].delete()
        del self._segments[0]

    def _count_events(self, segment: Segment, position: int) -> int:
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

    def _note(self, segment: Segment, now_ms: int) -> None:
        if now_ms != self._last_move_ms:
            segment.note(now_ms)
            self._last_move_ms = now_ms

    def _has_written(self, segment: Segment, count: int) -> None:
        # Between the bytes and their end: a sync that comes before misses them, one that comes after is due.
        self._unsynced.add(segment.path)
        segment.end += count

    def sync(self) -> None:
        """Wait until all that has been written is on the disk. May be called from any thread."""
        with self._syncing:
            self._sync_all()

    def _sync_all(self) -> None:
        unsynced = {self._unsynced.pop() for _ in range(len(self._unsynced))}
        try:
            for path in sorted(unsynced):
                # Files of its own: the other thread may close or delete its own at any moment.
                with contextlib.suppress(FileNotFoundError):
                    sync(path)
                    if path.suffix == ".log":
                        sync(path.with_suffix(".times"))
            sync(self._directory)
        except OSError:
            self._unsynced |= unsynced
            raise

    # Reading: the pipeline's side.

    is_ours = True
    """Nobody but amikafka has asked for anything on the connections."""

    def next_readable(self, position: int) -> int:
        """Return `position`, or the next offset that is still there where its bytes are gone."""
        for segment in self._segments:
            if position < segment.end:
                return max(position, segment.readable_from)
        return max(position, self.end)

    def read(self, position: int, size: int) -> bytes:
        """Return up to `size` bytes at `position`, which is readable; none at the end."""
        return self._segment_at(position).read(position, size)

    def capture_times(self, start: int, end: int) -> list[CaptureTime]:
        """Return when the bytes from `start` to `end`, which are of one read, were taken from Asterisk.

        The first moment holds for `start`.
        """
        return self._segment_at(start).capture_times(start, end)

    def identity_at(self, position: int) -> Identity | None:
        """Return who the Asterisk was whose bytes stand at `position`, `None` where nothing is known."""
        connection = self._connection_at(position)
        return connection.identity if connection else None

    def filters_at(self, position: int) -> int:
        """Return by how many filters Asterisk decided what to send of what stands at `position`."""
        connection = self._connection_at(position)
        return connection.filters if connection else 0

    def _connection_at(self, position: int) -> _Connection | None:
        index = bisect_right(self._connections, position, key=itemgetter(0))
        return self._connections[index - 1] if index else None

    def connection_in(self, start: int, end: int) -> int | None:
        """Return the offset of the first connection that begins between two offsets."""
        index = bisect_left(self._connections, start, key=itemgetter(0))
        if index < len(self._connections) and self._connections[index].offset < end:
            return self._connections[index].offset
        return None

    def disconnection_before(self, offset: int) -> Disconnection | None:
        """Return how long there was no connection before the one that begins at an offset."""
        index = bisect_left(self._connections, offset, key=itemgetter(0))
        connection = self._connections[index]
        if not connection.lost_ms:
            return None
        return Disconnection(max(0, connection.begun_ms - connection.lost_ms), connection.begun_ms)

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

    def release(self, position: int, *, stored: int | None = None) -> None:
        """Delete the segments of which nothing at or after `position` is needed any more, nor after `stored`.

        That is where the next process will begin, if this one is killed; `None` where it does not matter. Who
        the Asterisk was before `position` is not known from then on.
        """
        self._released = position
        needed_from = position if stored is None else min(position, stored)
        # What cannot be deleted now is deleted later; on such a disk it is the writing that is complained of.
        with contextlib.suppress(OSError):
            while len(self._segments) > 1 and self._segments[0].end <= needed_from:
                self._segments[0].rest()
                self._delete_oldest()
        if (needed := bisect_right(self._connections, position, key=itemgetter(0)) - 1) > 0:
            del self._connections[:needed]

    def free(self, position: int) -> None:
        """Give the disk back what the oldest segment holds before `position`: for when the disk is full.

        Only whole segments can be deleted, and the oldest one may be needed for an event that could not be
        written to its end. Does nothing where the file system cannot do it.
        """
        self._segments[0].free(position)

    def close(self) -> None:
        """Close the files and let another process have the directory."""
        for segment in self._segments:
            segment.rest()
        os.close(self._lock)

    def _segment_at(self, position: int) -> Segment:
        index = bisect_right(self._segments, position, key=attrgetter("start"))
        found = self._segments[max(index - 1, 0)]
        if found is not self._read_last:
            # However long the journal is, few of its files are open.
            if self._read_last is not None and self._read_last is not self._segments[-1]:
                self._read_last.rest()
            self._read_last = found
        return found

    def _load_epoch(self, checkpoint: Checkpoint | None) -> str:
        """Return its epoch, or note one. Raises `JournalError` where the checkpoint differs."""
        path = self._directory / "epoch"
        noted = path.read_text(encoding="ascii", errors="replace").strip() if path.exists() else ""
        if not noted:
            noted = checkpoint.epoch if checkpoint else uuid.uuid4().hex
            # A full disk may keep it out; it is noted at the next start then, from the checkpoint.
            with contextlib.suppress(OSError):
                replace_file(path, noted.encode() + b"\n")
        elif checkpoint and checkpoint.epoch != noted:
            raise JournalError(
                f"{self._directory}: the checkpoint beside it is of another journal (of epoch"
                f" {checkpoint.epoch}, this one is {noted}): move the checkpoint away, to send all that this"
                " journal still has again"
            )
        return noted

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
                offset = int(fields.pop("offset"))
                lost_ms, begun_ms = int(fields.pop("lost_ms", 0)), int(fields.pop("begun_ms", 0))
                filters = int(fields.pop("filters", 0))
                connection = _Connection(offset, Identity(**fields), lost_ms, begun_ms, filters)
                # Those at or behind it lost their bytes to a full disk or a power cut.
                _forget_from(connections, offset)
                connections.append(connection)
        _forget_from(connections, self.end)
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
        make_directory(directory)
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
    return sorted(int(path.stem) for path in directory.glob("[0-9]" * 20 + ".log"))


def _forget_from(connections: list[_Connection], offset: int) -> None:
    while connections and connections[-1].offset >= offset:
        connections.pop()


def _note_of(connection: _Connection) -> str:
    noted = {"offset": connection.offset, **asdict(connection.identity)}
    if connection.lost_ms:
        noted |= {"lost_ms": connection.lost_ms, "begun_ms": connection.begun_ms}
    if connection.filters:
        noted["filters"] = connection.filters
    return json.dumps(noted) + "\n"

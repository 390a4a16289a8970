"""One file that is read to its end while it may still grow, and what tells it from any other.

An inode is not enough: it is used again for the next file, and a copy or a compressed file has another. A
file is known by its first bytes, a place in it by the bytes before that place, a file that is done with by
its first bytes, its last bytes and its size.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import re
import zlib
from collections.abc import Callable
from dataclasses import asdict, dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, Protocol

from amikafka_tail.ami.debuglog import Found, LogFramer
from amikafka_tail.model.errors import InputError

HEAD = 1024
"""Bytes from its beginning that a file is known by."""
BEFORE = 256
"""Bytes before a place that have to be there again."""
COMPRESSED = ".gz"
EXAMPLE = 100
"""Bytes of a line that are shown as an example."""
MOST_LINES = 100
"""Lines among which an example is looked for."""
_SECRET = re.compile(rb"secret|passw|\bkey\b", re.IGNORECASE)
KEPT = 512 * 1024
"""Bytes kept of what was read last of a compressed file: looking back in one takes reading all before it."""


UNKNOWN = -1


class Fingerprint(NamedTuple):
    """What a file that is done with is known by again: `head` and `tail` are SHA-256 of bytes.

    `size` is `UNKNOWN` for a compressed file that nobody has read: then its time counts. One that an earlier
    version stored has only the first two.
    """

    head_bytes: int
    head: str
    size: int = UNKNOWN
    tail: str = ""
    inode: int = UNKNOWN
    modified_ns: int = UNKNOWN


class Likeness(IntEnum):
    """How surely a file is that of a mark, whose bytes it has in each case. More is surer."""

    PREFIX = 1
    """The mark knows few bytes: another file may begin with them, too."""
    FULL_HEAD = 2
    """The mark knows as many bytes as are ever noted: a copy, or the compressed file."""
    INODE = 3
    """It is the same file, unless its inode was used again for one that begins with the same bytes."""


class Place(NamedTuple):
    """How far a file was read, and what it was known by then: kept in memory, it outlives the bytes."""

    start: int
    """Offset of the first byte that may still be needed."""
    offset: int
    head: bytes
    tail: bytes
    """The bytes before `offset`, at most `BEFORE`."""
    modified_ns: int


@dataclass(frozen=True, kw_only=True)
class Mark:
    """A place in a file, in a form that can be stored. `head` and `before` are SHA-256 of bytes."""

    path: str
    device: int
    inode: int
    head_bytes: int
    head: str
    offset: int
    before: str
    modified_ns: int
    form: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return what `from_dict` takes."""
        return asdict(self)

    @classmethod
    def from_dict(cls, stored: dict[str, Any]) -> Mark:
        """Return a stored mark. Raises `InputError` where it is none."""
        try:
            mark = cls(**stored)
        except TypeError as error:
            raise InputError(f"the note of where reading stood is damaged: {error}") from error
        numbers = (mark.device, mark.inode, mark.head_bytes, mark.offset, mark.modified_ns)
        texts = (mark.path, mark.head, mark.before, mark.form or "")
        if not (all(type(each) is int for each in numbers) and all(type(each) is str for each in texts)):
            raise InputError(f"the note of where reading stood is damaged: {stored}")
        return mark


class Framing(Protocol):
    """Cuts a file into records, wherever the reads happened to end; `LogFramer` describes each."""

    @property
    def form(self) -> Any:
        """What was recognised of the file, as text, so that reading may begin in its middle."""
        ...

    @property
    def position(self) -> int:
        """Offset in the file of the first byte that may still be needed."""
        ...

    @property
    def held_back(self) -> bytes:
        """What has come of a record whose end has not."""
        ...

    def feed(self, data: bytes) -> list[Found]:
        """Take the next bytes of the file; return the records that are complete with them."""
        ...

    def finish(self) -> Found | None:
        """The file ends here: return what is left of a record."""
        ...


class LogFile:
    """An open file, plain or gzip. `offset` is where the next read begins. Raises `OSError`."""

    def __init__(self, path: Path, framer: Callable[[int, Any], Framing] = LogFramer) -> None:
        self.path = path
        self.offset = 0
        self._make_framer = framer
        self.framer = framer(0, None)
        self._file: BinaryIO = path.open("rb", buffering=0)
        status = os.fstat(self._file.fileno())
        self.device, self.inode = status.st_dev, status.st_ino
        self.compressed = path.suffix == COMPRESSED
        self._plain: gzip.GzipFile | None = gzip.GzipFile(fileobj=self._file) if self.compressed else None
        self._recent = b""
        self._tail = b""
        self.has_events = False
        """Whether an event was found in it."""
        self.line_ends = 0
        """Lines of it that were read whole."""
        self._ends_line = True
        self._first_line = b""
        self._seen_ns = status.st_mtime_ns
        self.damage = ""
        """Why the last bytes that were asked for cannot be had, where it is a compressed file's fault."""
        self.head = b""
        try:
            self.head = self.read_at(0, HEAD)
        except OSError:
            self.close()
            raise

    @property
    def modified_ns(self) -> int:
        """When it was last written to."""
        return os.fstat(self._file.fileno()).st_mtime_ns

    @property
    def is_deleted(self) -> bool:
        """Whether no directory has it any more."""
        return os.fstat(self._file.fileno()).st_nlink == 0

    @property
    def size(self) -> int:
        """How many bytes it has now; of a compressed one as many as have been read."""
        return self.offset if self.compressed else os.fstat(self._file.fileno()).st_size

    @property
    def place(self) -> Place:
        """Where it is read on."""
        return Place(self.framer.position, self.offset, self.head, self._tail, self._seen_ns)

    def holds(self, other: LogFile) -> bool:
        """Tell whether all that another file has stands here, too. May read all of a compressed one."""
        if not self.head.startswith(other.head):
            return False
        size = other.size
        if other.compressed:
            size = len(other.head)
            while data := other.read_at(size, KEPT):
                size += len(data)
        begin = max(0, size - BEFORE)
        return self.read_at(begin, size - begin) == other.read_at(begin, size - begin)

    def start_at(self, offset: int, form: str | None = None) -> None:
        """Read from an offset on at which an event may begin."""
        begin = max(0, offset - BEFORE)
        self._tail = self.read_at(begin, offset - begin)
        self.offset = offset
        self.framer = self._make_framer(offset, form)
        self._recent = b""

    def read(self, size: int) -> bytes:
        """Return the next bytes, none at the end. They are for `framer`, unless `unread` takes them back."""
        data = self.read_at(self.offset, size)
        if self.offset <= len(self.head) < HEAD:
            # A place has to be marked by these bytes: an inode alone is the truncated file's as well.
            self.head += data[len(self.head) - self.offset :][: HEAD - len(self.head)]
        self.offset += len(data)
        self._tail = (self._tail + data[-BEFORE:])[-BEFORE:]
        if self.compressed:
            self._recent = (self._recent + data)[-KEPT:]
        return data

    def unread(self, place: Place) -> None:
        """Take back a read that gave nothing to `framer`; `place` is that before it."""
        _, self.offset, self.head, self._tail, self._seen_ns = place
        self._recent = b""

    def read_at(self, offset: int, size: int) -> bytes:
        """Return bytes at an offset, fewer at the end. Of a damaged gzip file, those before the damage."""
        if self._plain is None:
            return os.pread(self._file.fileno(), size, offset)
        kept_from = self.offset - len(self._recent)
        if kept_from <= offset and offset + size <= self.offset:
            return self._recent[offset - kept_from :][:size]
        data = b""
        self.damage = ""
        try:
            self._plain.seek(offset)
            while len(data) < size and (more := self._plain.read1(size - len(data))):
                data += more
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            self.damage = str(error)
        return data

    def feed(self, data: bytes) -> list[Found]:
        """Give the bytes of a read to `framer`; return the records that are complete with them."""
        found = self.framer.feed(data)
        self.line_ends += data.count(b"\n")
        self._ends_line = data.endswith(b"\n")
        if not self.has_events:
            self.has_events = any(not each.torn for each in found)
            self._first_line = self._first_line or _telling_line(data)
        return found

    def go_on_from(self, other: LogFile) -> None:
        """Count what is read here as more of another file."""
        self.has_events = other.has_events
        self.line_ends, self._ends_line = other.line_ends, other._ends_line
        self._first_line = other._first_line

    @property
    def lines(self) -> int:
        """How many lines were read of it."""
        return self.line_ends + (not self._ends_line)

    @property
    def example(self) -> str:
        """The beginning of its first line that is not empty, as text without control characters."""
        text = self._first_line.decode("utf-8", "replace")
        return "".join(each if each.isprintable() else "?" for each in text)

    def was_rewritten(self, place: Place) -> bool:
        """Tell whether it was truncated since a place was read, and perhaps written to again."""
        if self.compressed:
            return False
        before = place.offset - len(place.tail)
        return (
            self.size < place.offset
            or self.read_at(0, len(place.head)) != place.head
            or self.read_at(before, len(place.tail)) != place.tail
        )

    def mark(self, offset: int) -> Mark:
        """Return the mark of an offset."""
        start = max(0, offset - BEFORE)
        before = self.read_at(start, offset - start)
        self._seen_ns = self.modified_ns
        return self._mark(offset, self.head, before, self._seen_ns)

    def mark_of(self, place: Place) -> Mark:
        """Return the mark of what is read up to a place, even if those bytes are gone from the file."""
        return self._mark(place.offset, place.head, place.tail, place.modified_ns)

    def _mark(self, offset: int, head: bytes, before: bytes, modified_ns: int) -> Mark:
        return Mark(
            path=str(self.path),
            device=self.device,
            inode=self.inode,
            head_bytes=len(head),
            head=_digest(head),
            offset=offset,
            before=_digest(before),
            modified_ns=modified_ns,
            form=self.framer.form,
        )

    def likeness(self, mark: Mark) -> Likeness | None:
        """Tell how surely this is the file of a mark, `None` where a byte that the mark knows is not here."""
        if _digest(self.read_at(0, mark.head_bytes)) != mark.head:
            return None
        start = max(0, mark.offset - BEFORE)
        before = self.read_at(start, mark.offset - start)
        if len(before) != mark.offset - start or _digest(before) != mark.before:
            return None
        if (self.device, self.inode) == (mark.device, mark.inode):
            return Likeness.INODE
        return Likeness.FULL_HEAD if mark.head_bytes == HEAD else Likeness.PREFIX

    def has(self, mark: Mark) -> bool:
        """Tell whether this is the file of a mark, under whatever name, and the place is still in it."""
        likeness = self.likeness(mark)
        return likeness is not None and (mark.head_bytes > 0 or likeness is Likeness.INODE)

    def is_at(self, other: LogFile) -> bool:
        """Tell whether both are the same file under two names, as both are open."""
        return (self.device, self.inode) == (other.device, other.inode)

    @property
    def fingerprint(self) -> Fingerprint:
        """What it is known by again when it has been read to its end, or is not going to be read."""
        size, tail, unread = self.offset, self._tail, not self.offset
        if unread and self.compressed:
            size, tail = UNKNOWN, b""
        elif unread:
            size = self.size
            tail = self.read_at(max(0, size - BEFORE), min(size, BEFORE))
        digest = _digest(tail) if tail else ""
        return Fingerprint(len(self.head), _digest(self.head), size, digest, self.inode, self.modified_ns)

    def matches(self, done: Fingerprint) -> bool:
        """Tell whether this is a file that is done with, a copy of it, or the compressed one.

        Another file that only begins like it is none. May read all of a compressed file that begins so.
        """
        known = self.head[: done.head_bytes]
        if not done.head_bytes or len(known) < done.head_bytes or _digest(known) != done.head:
            return False
        if done.size == UNKNOWN:
            return done.modified_ns in (UNKNOWN, self.modified_ns)
        begin = max(0, done.size - BEFORE)
        tail = self.read_at(begin, done.size - begin + 1)
        if len(tail) < done.size - begin:
            return self.damage != ""  # gzip is still writing it
        if self.inode != done.inode and len(tail) > done.size - begin:
            return False
        return _digest(tail[: done.size - begin]) == done.tail

    def close(self) -> None:
        """Close it."""
        self._file.close()


def _telling_line(data: bytes) -> bytes:
    """Return the beginning of the first line that is not empty and can hold no secret."""
    for line in data.split(b"\n", MOST_LINES)[:MOST_LINES]:
        if (text := line.strip()) and not _SECRET.search(text):
            return text[:EXAMPLE]
    return b""


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()

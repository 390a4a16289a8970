"""One file that is read to its end while it may still grow, and what tells it from any other.

An inode is not enough: it is used again for the next file, and a copy or a compressed file has another. A
file is known by its first bytes, and a place in it by the bytes before that place.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import zlib
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, Protocol

from amikafka_tail.ami.debuglog import Found, LogFramer
from amikafka_tail.model.errors import InputError

HEAD = 1024
"""Bytes from its beginning that a file is known by."""
BEFORE = 256
"""Bytes before a place that have to be there again."""
COMPRESSED = ".gz"
KEPT = 512 * 1024
"""Bytes kept of what was read last of a compressed file: looking back in one takes reading all before it."""


class Fingerprint(NamedTuple):
    """So many first bytes of a file, as SHA-256."""

    size: int
    digest: str


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
            return cls(**stored)
        except TypeError as error:
            raise InputError(f"the note of where reading stood is damaged: {error}") from error


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
        self.damage = ""
        """Why the last bytes that were asked for cannot be had, where it is a compressed file's fault."""
        self.head = b""
        try:
            self.learn_head()
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

    def start_at(self, offset: int, form: str | None = None) -> None:
        """Read from an offset on at which an event may begin."""
        self.offset = offset
        self.framer = self._make_framer(offset, form)
        self._recent = b""

    def read(self, size: int) -> bytes:
        """Return the next bytes, none at the end."""
        data = self.read_at(self.offset, size)
        if self.offset <= len(self.head) < HEAD:
            # A place has to be marked by these bytes: an inode alone is the truncated file's as well.
            self.head += data[len(self.head) - self.offset :][: HEAD - len(self.head)]
        self.offset += len(data)
        if self.compressed:
            self._recent = (self._recent + data)[-KEPT:]
        return data

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

    def learn_head(self) -> None:
        """Know a file that has grown by more of its first bytes."""
        if len(self.head) < HEAD:
            head = self.read_at(0, HEAD)
            if head.startswith(self.head):
                self.head = head

    def was_rewritten(self) -> bool:
        """Tell whether it was truncated since, and perhaps written to again."""
        if self.compressed:
            return False
        return self.size < self.offset or self.read_at(0, len(self.head)) != self.head

    def is_same(self, other: LogFile) -> bool:
        """Tell whether it has the same beginning as another: a copy, or the compressed one."""
        common = min(len(self.head), len(other.head))
        return common > 0 and self.head[:common] == other.head[:common]

    @property
    def fingerprint(self) -> Fingerprint:
        """What it can be known by again, as far as it is known now."""
        return Fingerprint(len(self.head), _digest(self.head))

    def matches(self, fingerprint: Fingerprint) -> bool:
        """Tell whether a fingerprint is of this file, taken when it had fewer bytes perhaps."""
        return fingerprint.size > 0 and (
            Fingerprint(len(self.head[: fingerprint.size]), _digest(self.head[: fingerprint.size]))
            == fingerprint
        )

    def mark(self, offset: int) -> Mark:
        """Return the mark of an offset."""
        head = self.head
        start = max(0, offset - BEFORE)
        return Mark(
            path=str(self.path),
            device=self.device,
            inode=self.inode,
            head_bytes=len(head),
            head=_digest(head),
            offset=offset,
            before=_digest(self.read_at(start, offset - start)),
            modified_ns=self.modified_ns,
            form=self.framer.form,
        )

    def has(self, mark: Mark) -> bool:
        """Tell whether this is the file of a mark, under whatever name, and the place is still in it."""
        if not mark.head_bytes:
            return (self.device, self.inode) == (mark.device, mark.inode)
        if _digest(self.read_at(0, mark.head_bytes)) != mark.head:
            return False
        start = max(0, mark.offset - BEFORE)
        before = self.read_at(start, mark.offset - start)
        return len(before) == mark.offset - start and _digest(before) == mark.before

    def close(self) -> None:
        """Close it."""
        self._file.close()


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()

"""One segment of the journal: a file of bytes, and a file that says when they came."""

from __future__ import annotations

import contextlib
import ctypes
import os
import struct
from array import array
from bisect import bisect_right
from pathlib import Path
from typing import NamedTuple

_MOVE = struct.Struct("=QQ")
_KEEP_SIZE, _PUNCH_HOLE = 1, 2
_libc = ctypes.CDLL(None, use_errno=True)
_libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]


class CaptureTime(NamedTuple):
    """From `offset` on, bytes were taken from Asterisk at `captured_ms`."""

    offset: int
    captured_ms: int


class Segment:
    """One segment. Its files are opened when they are needed, and stay open until `rest`."""

    def __init__(self, directory: Path, start: int, *, create: bool = False) -> None:
        self.path = directory / f"{start:020d}.log"
        self.times_path = self.path.with_suffix(".times")
        self.start = start
        self._descriptors: tuple[int, int] | None = None
        self._create = os.O_CREAT if create else 0
        fd, times_fd = self.opened()
        self._create = 0
        self.end = start + os.fstat(fd).st_size
        self.readable_from = start + _first_data(fd)
        self.times_size = _valid_times(times_fd, start, self.end)
        self._offsets = array("Q")
        self._times = array("Q")
        self.rest()

    @property
    def fd(self) -> int:
        """The descriptor of the file of bytes."""
        return self.opened()[0]

    def opened(self) -> tuple[int, int]:
        """Return the descriptors of both files, opened now if they are not."""
        if self._descriptors is None:
            flags = os.O_RDWR | os.O_CLOEXEC
            fd = os.open(self.path, flags | self._create, 0o640)
            try:
                self._descriptors = fd, os.open(self.times_path, flags | os.O_CREAT, 0o640)
            except OSError:
                os.close(fd)
                if self._create:
                    # The segment before is written on: after a restart this one would hide what is in there.
                    self.path.unlink()
                raise
        return self._descriptors

    def capture_times(self, start: int, end: int) -> list[CaptureTime]:
        """Return the moments that hold between two offsets, the first for `start` itself."""
        offsets, times = self._offsets, self._times
        if (loaded := len(offsets) * _MOVE.size) < self.times_size:
            pairs = array("Q", _pread(self.opened()[1], self.times_size - loaded, loaded, self.times_path))
            offsets += pairs[::2]
            times += pairs[1::2]
            if 0 in pairs[1::2]:
                _replace_zeros(offsets, times)
        first = max(bisect_right(offsets, start) - 1, 0)
        last = bisect_right(offsets, end)
        found = list(map(CaptureTime, offsets[first:last], times[first:last]))
        if not found or found[0].offset > start:
            # The note of when these bytes came did not survive; what came next is the nearest that is known.
            known = times[0] if times else int(os.fstat(self.fd).st_mtime * 1000)
            found.insert(0, CaptureTime(start, known))
        return found

    def read(self, position: int, size: int) -> bytes:
        """Return up to `size` bytes at `position`; none where the segment has none."""
        size = min(size, self.end - position)
        return _pread(self.fd, size, position - self.start, self.path) if size > 0 else b""

    def note(self, now_ms: int) -> None:
        """Note when the bytes came that are written next. Raises `OSError`."""
        self.times_size += os.pwrite(self.opened()[1], _MOVE.pack(self.end, now_ms), self.times_size)

    def free(self, position: int) -> None:
        """Give the disk back what stands before an offset, where the file system can do that."""
        length = min(position, self.end) - self.start
        if length > 0 and not _libc.fallocate(self.fd, _PUNCH_HOLE | _KEEP_SIZE, 0, length):
            self.readable_from = self.start + length

    def rest(self) -> None:
        """Close its files, and forget what can be read from them again."""
        if self._descriptors is not None:
            for descriptor in self._descriptors:
                os.close(descriptor)
            self._descriptors = None
            self._offsets, self._times = array("Q"), array("Q")

    def delete(self) -> None:
        """Delete its files. What is open can be read until `rest`. Raises `OSError`: then it is as it was."""
        self.path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            self.times_path.unlink(missing_ok=True)


def _pread(fd: int, size: int, offset: int, path: Path) -> bytes:
    try:
        return os.pread(fd, size, offset)
    except OSError as error:
        error.filename = str(path)  # it ends the daemon, whose last words are what file it was
        raise


def _valid_times(fd: int, start: int, end: int) -> int:
    """Return the size of the notes of times without what a crash left at their end.

    That may be half a pair, zeros (the file system had reserved the page and not written it), or pairs for
    bytes that did not reach the disk themselves.
    """
    size = os.fstat(fd).st_size // _MOVE.size * _MOVE.size
    while size:
        offset, captured_ms = _MOVE.unpack(os.pread(fd, _MOVE.size, size - _MOVE.size))
        if captured_ms and start <= offset <= end:
            break
        size -= _MOVE.size
    return size


def _replace_zeros(offsets: array[int], times: array[int]) -> None:
    """Replace pairs that a crash has zeroed by the pair before them, the first ones by the next."""
    pairs = list(zip(offsets, times, strict=True))
    last = next(pair for pair in pairs if pair[1])
    for index, pair in enumerate(pairs):
        last = pair if pair[1] else last
        offsets[index], times[index] = last


def _first_data(fd: int) -> int:
    """Return where a file's data begins: behind what `Journal.free` gave back, in whole pages."""
    try:
        return os.lseek(fd, 0, os.SEEK_DATA)
    except OSError:  # there is none
        return os.fstat(fd).st_size

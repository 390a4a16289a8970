"""A captured stream in a file, as a log that the pipeline reads."""

from __future__ import annotations

import os
import shutil
import tempfile
from typing import BinaryIO

from amikafka_tail.ami.framing import END
from amikafka_tail.journal.journal import Disconnection
from amikafka_tail.journal.segment import CaptureTime
from amikafka_tail.model.identity import Identity


def copied(pipe: BinaryIO) -> BinaryIO:
    """Return a temporary file with all that comes from a pipe. Blocks until its end."""
    copy = tempfile.TemporaryFile()  # noqa: SIM115, the caller closes it
    shutil.copyfileobj(pipe, copy)
    copy.flush()
    return copy


class Recording:
    """A captured stream as a log that the pipeline reads. A pipe is copied to a temporary file first."""

    is_ours = False
    """Whoever captured the stream may have asked for anything."""

    def __init__(self, file: BinaryIO, name: str) -> None:
        if not file.seekable():
            file = copied(file)
        self.name = name
        self._file = file
        status = os.fstat(file.fileno())
        self._captured_ms = int(status.st_mtime * 1000)
        self.end = status.st_size

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def next_readable(self, position: int) -> int:
        """Return `position`: nothing of a file goes away."""
        return position

    def read(self, position: int, size: int) -> bytes:
        """Return up to `size` bytes at `position`; none at the end."""
        return os.pread(self._file.fileno(), size, position)

    def capture_times(self, start: int, _end: int) -> list[CaptureTime]:
        """Return the file's own time: when each byte came is not known."""
        return [CaptureTime(start, self._captured_ms)]

    def identity_at(self, _position: int) -> Identity | None:
        """Return nothing: a captured stream does not say who it is from."""
        return None

    def connection_in(self, _start: int, _end: int) -> int | None:
        """Return nothing: a NUL is only a NUL."""
        return None

    def filters_at(self, _position: int) -> int:
        """Return 0: a captured stream does not say how it came about."""
        return 0

    def disconnection_before(self, _offset: int) -> Disconnection | None:
        """Return nothing: nobody says when there was no connection."""
        return None

    def before(self, position: int) -> bytes:
        """Return the four bytes before `position`."""
        start = max(0, position - len(END))
        return self.read(start, position - start)

"""A captured stream in a file, as a log that the pipeline reads."""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
from typing import BinaryIO

from amikafka_tail.ami.framing import END
from amikafka_tail.journal.journal import Disconnection
from amikafka_tail.journal.segment import CaptureTime
from amikafka_tail.model.identity import Identity

HEAD_BYTES = 64 * 1024
"""Bytes by which the line ends of a stream are told."""

log = logging.getLogger("amikafka.replay")


def copied(pipe: BinaryIO) -> BinaryIO:
    """Return a temporary file with all that comes from a pipe. Blocks until its end."""
    copy = tempfile.TemporaryFile()  # noqa: SIM115, the caller closes it
    shutil.copyfileobj(pipe, copy)
    copy.flush()
    return copy


def with_crlf(file: BinaryIO) -> BinaryIO:
    """Return a temporary file with the same lines, whose ends were LF alone: some captures lose the CR."""
    copy = tempfile.TemporaryFile()  # noqa: SIM115, the caller closes it
    file.seek(0)
    for line in file:
        copy.write(line.removesuffix(b"\n") + b"\r\n" if line.endswith(b"\n") else line)
    copy.flush()
    file.close()
    return copy


def _lacks_cr(head: bytes) -> bool:
    """Tell whether these are lines of a manager interface that end with LF alone, all of them."""
    return b"\r" not in head and (head.startswith(b"Event: ") or b"\nEvent: " in head)


class Recording:
    """A captured stream as a log that the pipeline reads. A pipe is copied to a temporary file first."""

    is_ours = False
    """Whoever captured the stream may have asked for anything."""

    def __init__(self, file: BinaryIO, name: str) -> None:
        if not file.seekable():
            file = copied(file)
        self.name = name
        self._captured_ms = int(os.fstat(file.fileno()).st_mtime * 1000)
        if _lacks_cr(os.pread(file.fileno(), HEAD_BYTES, 0)):
            log.warning("%s: its lines end with LF alone: read as if they ended with CRLF", name)
            file = with_crlf(file)
        self._file = file
        self.end = os.fstat(file.fileno()).st_size

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

"""What has come on one connection and is not shown yet: a stream in memory, of bounded size."""

from __future__ import annotations

import logging
import threading
from collections import deque
from typing import NamedTuple

from amikafka_tail.ami.framing import END
from amikafka_tail.journal.journal import Disconnection
from amikafka_tail.journal.segment import CaptureTime
from amikafka_tail.model.identity import Identity

MAX_BYTES = 16 * 1024 * 1024
"""What waits to be shown at most; beyond that the oldest goes, because Asterisk must not be kept waiting."""

log = logging.getLogger("amikafka.tap")


class _Piece(NamedTuple):
    """What one read of the connection gave."""

    start: int
    captured_ms: int
    data: bytes
    before: bytes
    """The four bytes before it."""

    @property
    def end(self) -> int:
        return self.start + len(self.data)


class Window:
    """The bytes of one connection, as the `Stream` of a `StreamReader` that reads each of them once.

    One thread calls `put` and `end_with`, which never wait, not even for a log, and another all the rest.
    """

    def __init__(self, identity: Identity, *, filters: int = 0, max_bytes: int = MAX_BYTES) -> None:
        self.ended: str | None = None
        """Why nothing more will come, `None` while there is a connection."""
        self.dropped = 0
        """Bytes that nobody read in time."""
        self._identity = identity
        self._filters = filters
        self._max_bytes = max_bytes
        self._end = 0
        self._last = b""
        self._pieces: deque[_Piece] = deque()
        self._waiting = 0
        self._present = _Piece(0, 0, b"", b"")
        self._changed = threading.Condition()

    def put(self, data: bytes, now_ms: int) -> None:
        """Take what has come at `now_ms`."""
        if not data:
            return
        with self._changed:
            self._pieces.append(_Piece(self._end, now_ms, data, self._last))
            self._end += len(data)
            self._last = (self._last + data)[-len(END) :]
            self._waiting += len(data)
            while self._waiting > self._max_bytes and len(self._pieces) > 1:
                oldest = len(self._pieces.popleft().data)
                self._waiting -= oldest
                self.dropped += oldest
            self._changed.notify_all()

    def end_with(self, reason: str) -> None:
        """Take notice that nothing more will come."""
        with self._changed:
            self.ended = reason
            self._changed.notify_all()

    def wait(self, position: int, seconds: float) -> None:
        """Wait until there is something behind `position`, or nothing more to come; at most `seconds`."""
        with self._changed:
            self._changed.wait_for(lambda: self._end > position or self.ended is not None, seconds)

    @property
    def end(self) -> int:
        """Offset of the next byte to come."""
        return self._end

    def next_readable(self, position: int) -> int:
        """Return `position`, or the next offset that is still there where its bytes are gone."""
        if self._present.start <= position < self._present.end:
            return position
        with self._changed:
            if not self._pieces:
                return position
            # What is to be read next may not go any more.
            self._present = self._pieces.popleft()
            self._waiting -= len(self._present.data)
        if self._present.start != position:
            log.warning("events come faster than they can be printed: some are passed over")
        return self._present.start

    def read(self, position: int, size: int) -> bytes:
        """Return up to `size` bytes at a position that `next_readable` gave; none at the end."""
        start = position - self._present.start
        return self._present.data[start : start + size]

    def capture_times(self, _start: int, _end: int) -> list[CaptureTime]:
        """Return when the bytes that were read last had come."""
        return [CaptureTime(self._present.start, self._present.captured_ms)]

    def before(self, _position: int) -> bytes:
        """Return the four bytes before those that are read next."""
        return self._present.before

    def identity_at(self, _position: int) -> Identity:
        """Return who the Asterisk is."""
        return self._identity

    def filters_at(self, _position: int) -> int:
        """Return by how many filters Asterisk decides what to send."""
        return self._filters

    def connection_in(self, _start: int, _end: int) -> None:
        """Return nothing: there is one connection."""

    def disconnection_before(self, _offset: int) -> Disconnection | None:
        """Return nothing: there is one connection."""
        return None

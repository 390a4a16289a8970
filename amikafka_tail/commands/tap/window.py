"""The bytes of one connection that are not shown yet: a bounded stream in memory."""

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
"""Bytes that may wait. Beyond that the oldest are dropped, because Asterisk must never wait."""

log = logging.getLogger("amikafka.tap")


class _Piece(NamedTuple):
    """The bytes of one read from the connection."""

    start: int
    captured_ms: int
    data: bytes
    before: bytes
    """The four bytes before it."""

    @property
    def end(self) -> int:
        return self.start + len(self.data)


class Window:
    """The bytes of one connection, as the `Stream` of a `StreamReader` that reads each byte once.

    One thread calls `put` and `end_with`, which never block, not even on the log; another calls the rest.
    """

    is_ours = True
    """Only amikafka has sent actions on the connection."""

    def __init__(self, identity: Identity, *, filters: int = 0, max_bytes: int = MAX_BYTES) -> None:
        self.ended: str | None = None
        """Why the connection ended, `None` while it is open."""
        self.dropped = 0
        """Bytes that were not read in time."""
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
        """Add the bytes received at `now_ms`."""
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
        """Note that the connection has ended."""
        with self._changed:
            self.ended = reason
            self._changed.notify_all()

    def wait(self, position: int, seconds: float) -> None:
        """Wait until there are bytes after `position` or the connection ends; at most `seconds`."""
        with self._changed:
            self._changed.wait_for(lambda: self._end > position or self.ended is not None, seconds)

    @property
    def end(self) -> int:
        """Offset of the next byte to be received."""
        return self._end

    def next_readable(self, position: int) -> int:
        """Return `position`, or the next offset that still exists if its bytes were dropped."""
        if self._present.start <= position < self._present.end:
            return position
        with self._changed:
            if not self._pieces:
                return position
            # The piece to be read next must not be dropped any more.
            self._present = self._pieces.popleft()
            self._waiting -= len(self._present.data)
        if self._present.start != position:
            log.warning("events arrive faster than they can be printed: some are skipped")
        return self._present.start

    def read(self, position: int, size: int) -> bytes:
        """Return up to `size` bytes at a position that `next_readable` returned; none at the end."""
        start = position - self._present.start
        return self._present.data[start : start + size]

    def capture_times(self, _start: int, _end: int) -> list[CaptureTime]:
        """Return when the bytes that were read last were received."""
        return [CaptureTime(self._present.start, self._present.captured_ms)]

    def before(self, _position: int) -> bytes:
        """Return the four bytes before those that are read next."""
        return self._present.before

    def identity_at(self, _position: int) -> Identity:
        """Return the identity of the Asterisk."""
        return self._identity

    def filters_at(self, _position: int) -> int:
        """Return how many filters Asterisk applies."""
        return self._filters

    def connection_in(self, _start: int, _end: int) -> None:
        """Return nothing: there is one connection."""

    def disconnection_before(self, _offset: int) -> Disconnection | None:
        """Return nothing: there is one connection."""
        return None

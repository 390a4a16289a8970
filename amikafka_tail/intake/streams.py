"""What a `StreamReader` reads: the bytes of an AMI stream at offsets."""

from __future__ import annotations

from typing import Protocol

from amikafka_tail.journal.journal import Disconnection
from amikafka_tail.journal.segment import CaptureTime
from amikafka_tail.model.identity import Identity


class Stream(Protocol):
    """Bytes of an AMI stream at offsets. `Journal` describes each."""

    @property
    def end(self) -> int:
        """Offset of the next byte to come."""
        ...

    def next_readable(self, position: int) -> int:
        """Return `position`, or the next offset that is still there where its bytes are gone."""

    def read(self, position: int, size: int) -> bytes:
        """Return up to `size` bytes at `position`; none at the end."""

    def capture_times(self, start: int, end: int) -> list[CaptureTime]:
        """Return when the bytes of one read were captured; the first moment holds for `start`."""

    def identity_at(self, position: int) -> Identity | None:
        """Return who the Asterisk was whose bytes stand at `position`."""

    def filters_at(self, position: int) -> int:
        """Return by how many filters Asterisk decided what to send of what stands at `position`."""
        ...

    def connection_in(self, start: int, end: int) -> int | None:
        """Return the offset of the first connection that begins between two offsets: a NUL stands there."""

    def disconnection_before(self, offset: int) -> Disconnection | None:
        """Return how long there was no connection before the one that begins at an offset."""

    def before(self, position: int) -> bytes:
        """Return the four bytes before a position, fewer where they are not known any more."""
        ...

    @property
    def is_ours(self) -> bool:
        """Whether nobody but amikafka has asked for anything on its connections."""

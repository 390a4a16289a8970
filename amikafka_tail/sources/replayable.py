"""What the pipeline reads from: a log that can be read at an offset, again whenever it is asked to."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, NamedTuple, Protocol, final

from amikafka_tail.ami.event import Event
from amikafka_tail.config.identity import Identity


@final
class Unpublishable(NamedTuple):
    """Bytes that are no event; they are kept in the dead letters and counted under `kind`."""

    raw: bytes
    position: int
    reason: str
    kind: Literal["torn", "malformed"]


class Chunk(NamedTuple):
    """What one read gave. `start` to `end` are its offsets; nothing between them is needed once all of
    `events` are delivered. All are from the Asterisk that `identity` names, as far as that is known.
    """

    start: int
    end: int
    identity: Identity | None
    events: Iterator[Event | Unpublishable]


class Reader(Protocol):
    """Reads a log from an offset on. Called from one thread. Blocks for nothing but the disk.

    Offsets only grow: those of a chunk begin at or after the end of the chunk before.
    """

    @property
    def end(self) -> int:
        """Offset of the next byte to come, as far as it is known."""
        ...

    @property
    def position(self) -> int:
        """Offset that the next read begins at."""
        ...

    @property
    def partial(self) -> bytes:
        """The start of an event whose end has not come yet."""
        ...

    def seek(self, position: int) -> None:
        """Go on reading at the end of a chunk, or at another offset where an event may begin."""

    def read(self) -> Chunk | None:
        """Return what comes next, `None` when there is nothing now. Raises `OSError`.

        A chunk whose `start` is its `end` has no events: bytes were read that complete none.
        """

    def again(self, start: int, end: int) -> Iterator[tuple[Event, Identity | None]]:
        """Return the events of a chunk once more, fewer where its bytes are gone. Disturbs no `read`."""
        ...

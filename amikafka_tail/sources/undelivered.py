"""What has been read of files and is not delivered: kept in memory, so that a rewind gives the same again."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from typing import Generic, NamedTuple, TypeVar

from amikafka_tail.model.event import Event
from amikafka_tail.model.identity import Identity
from amikafka_tail.model.replayable_source import Chunk, Unpublishable

Place = TypeVar("Place")


class _Piece(NamedTuple, Generic[Place]):
    """A chunk that was read, and the place behind it."""

    start: int
    end: int
    identity: Identity | None
    kept: list[tuple[bytes, int, int] | Event | Unpublishable]
    place: Place


class Undelivered(Generic[Place]):
    """The chunks of one reader that are not delivered, each with the place where its file is read on.

    A rewind gives the same events at the same offsets, whatever has become of the files: they are read and
    counted once. Memory is bounded by whoever reads, as the pipeline reads no further than
    `MAX_UNDELIVERED` bytes ahead of what is delivered.
    """

    def __init__(self, position: int) -> None:
        self.end = position
        """The offset up to which files have been read."""
        self._given: deque[_Piece[Place]] = deque()
        self._to_give: deque[_Piece[Place]] = deque()

    @property
    def position(self) -> int:
        """Offset that the next read begins at."""
        return self._to_give[0].start if self._to_give else self.end

    @property
    def places(self) -> Iterator[Place]:
        """The places behind the chunks, in the order in which they were read."""
        for piece in (*self._given, *self._to_give):
            yield piece.place

    def up_to(self, position: int) -> Iterator[Place]:
        """Return the places of the chunks that end at an offset or before it."""
        for piece in (*self._given, *self._to_give):
            if piece.end > position:
                return
            yield piece.place

    def add(
        self, end: int, identity: Identity | None, events: Iterable[Event | Unpublishable], place: Place
    ) -> Chunk:
        """Take a chunk that was read, from the present end to `end`; return it."""
        found = list(events)
        start, self.end = self.end, end
        # A filter may change an event that it gets: what it is made of is kept.
        kept: list[tuple[bytes, int, int] | Event | Unpublishable] = [
            (each.raw, each.position, each.captured_ms) if type(each) is Event else each for each in found
        ]
        if end > start:
            self._given.append(_Piece(start, end, identity, kept, place))
        return Chunk(start, end, identity, iter(found))

    def again(self) -> Chunk | None:
        """Return the next chunk that was given before the last rewind, `None` when all are given again."""
        if not self._to_give:
            return None
        piece = self._to_give.popleft()
        self._given.append(piece)
        return Chunk(piece.start, piece.end, piece.identity, _events(piece.kept))

    def seek(self, position: int) -> None:
        """Give all that is behind an offset again. It is the end of a chunk. Raises `ValueError`."""
        pieces = deque([*self._given, *self._to_give])
        if position not in (self.end, *(piece.start for piece in pieces)):
            raise ValueError(f"offset {position} is no end of a chunk that is not delivered")
        self._given = deque(piece for piece in pieces if piece.end <= position)
        self._to_give = deque(piece for piece in pieces if piece.end > position)

    def release(self, position: int) -> list[Place]:
        """Forget the chunks that end at an offset or before it; return their places."""
        places = []
        for pieces in (self._given, self._to_give):
            while pieces and pieces[0].end <= position:
                places.append(pieces.popleft().place)
        return places


def _events(
    kept: list[tuple[bytes, int, int] | Event | Unpublishable],
) -> Iterator[Event | Unpublishable]:
    for each in kept:
        if isinstance(each, (Event, Unpublishable)):
            yield each
        else:
            yield Event(*each)

"""What the pipeline reads from: a log that can be read at an offset, again whenever it is asked to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol, final, runtime_checkable

from amikafka_tail.model.counters import Counters
from amikafka_tail.model.event import Event
from amikafka_tail.model.identity import Identity

NOWHERE = -1
"""A position before the first of any log."""


class FirstReadings:
    """Tells what a reader comes upon for the first time, by its offsets, however often it reads it."""

    def __init__(self) -> None:
        self._last: dict[str, int] = {}

    def is_first(self, what: str, position: int) -> bool:
        """Tell whether `what` stands behind the last place of its kind; from now on this is that place."""
        if position <= self._last.get(what, NOWHERE):
            return False
        self._last[what] = position
        return True


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


class FollowingReader(Reader, Protocol):
    """Reads files that others write: where it stands is stored by the host, in words of its own."""

    @property
    def problem(self) -> str | None:
        """Why something cannot be read now, in words."""
        ...

    @property
    def directories(self) -> set[Path]:
        """Where something happens when there is more to read."""
        ...

    def look_for_files(self) -> None:
        """Take notice of files that are new. Called now and then."""

    def release(self, position: int) -> None:
        """Everything before an offset is delivered: it will not be asked for again."""

    def bookmark(self, position: int) -> dict[str, Any]:
        """Return where to go on once everything before `position` is delivered, as JSON can hold it.

        `position` is the end of a chunk, at or after the one that was released last.
        """
        ...

    def close(self) -> None:
        """Close all files."""


@runtime_checkable
class ReplayableSource(Protocol):
    """A source whose events are in files: nothing has to be recorded."""

    @property
    def watch(self) -> Literal["inotify", "poll"]:
        """How to learn of new data."""
        ...

    @property
    def poll_interval(self) -> float:
        """Seconds between two looks where nothing else tells of new data."""
        ...

    def remarks(self) -> list[str]:
        """Return what a person should know before it runs, for `amikafka check`."""
        ...

    def open(
        self,
        *,
        position: int,
        bookmark: dict[str, Any] | None,
        counters: Counters,
        identify: Callable[[str, str], Identity],
    ) -> FollowingReader:
        """Return a reader that goes on at `bookmark`, its offsets at `position`. Raises `AmikafkaError`.

        `identify` says who the Asterisk is, given its version and system name as far as the files tell.
        """
        ...

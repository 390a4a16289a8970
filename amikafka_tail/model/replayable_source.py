"""What the pipeline reads from: a log that can be read from any offset, as often as needed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol, final, runtime_checkable

from amikafka_tail.model.counters import Counters
from amikafka_tail.model.event import Event
from amikafka_tail.model.identity import Identity

NOWHERE = -1
"""A position before the start of any log."""


class FirstReadings:
    """Recognises by its offset what a reader sees for the first time, however often it rereads."""

    def __init__(self) -> None:
        self._last: dict[str, int] = {}

    def is_first(self, what: str, position: int) -> bool:
        """Return whether `position` is after the last one of its kind, and make it the last one."""
        if position <= self._last.get(what, NOWHERE):
            return False
        self._last[what] = position
        return True


@final
class Unpublishable(NamedTuple):
    """Bytes that are not an event; they go to the dead letters and are counted under `kind`."""

    raw: bytes
    position: int
    reason: str
    kind: Literal["torn", "malformed"]


class Chunk(NamedTuple):
    """The result of one read, from offset `start` to `end`. Once all `events` are delivered, nothing in that
    range is needed again. All are from the Asterisk that `identity` names, if that is known.
    """

    start: int
    end: int
    identity: Identity | None
    events: Iterator[Event | Unpublishable]


class Reader(Protocol):
    """Reads a log from an offset. Called from one thread. Blocks only on the disk.

    Offsets only grow: a chunk starts at or after the end of the previous chunk.
    """

    @property
    def end(self) -> int:
        """Offset of the end of the data, as far as it is known."""
        ...

    @property
    def position(self) -> int:
        """Offset where the next read starts."""
        ...

    @property
    def partial(self) -> bytes:
        """The beginning of an event whose end has not arrived yet."""
        ...

    def seek(self, position: int) -> None:
        """Continue reading at the end of a chunk, or at another offset where an event may begin.

        The same events come again at the same offsets, which identify dead letters.
        """

    def read(self) -> Chunk | None:
        """Return the next chunk, `None` if there is none yet. Raises `OSError`.

        A chunk whose `start` equals its `end` has no events: the bytes read so far complete none.
        """


@runtime_checkable
class KeepsDeadLetters(Protocol):
    """A reader that wants to know which of its events are in the dead letters. No reader has to."""

    def note_dead_letter(self, position: int) -> None:
        """Note that what was read at an offset is in the dead letters. It may be noted again."""


class FollowingReader(Reader, Protocol):
    """Reads files that others write. The host stores its position as a bookmark of the reader's own form."""

    @property
    def problem(self) -> str | None:
        """Why something cannot be read now, `None` if all is readable."""
        ...

    @property
    def directories(self) -> set[Path]:
        """The directories that change when there is more to read."""
        ...

    def look_for_files(self) -> None:
        """Look for new files. Called from time to time."""

    def release(self, position: int) -> None:
        """Note that everything before an offset is delivered and will not be read again."""

    def bookmark(self, position: int) -> dict[str, Any]:
        """Return, as JSON values, where to continue once everything before `position` is delivered.

        `position` is the end of a chunk, at or after the last released one.
        """
        ...

    def close(self) -> None:
        """Close all files."""


@runtime_checkable
class ReplayableSource(Protocol):
    """A source whose events are in files, so nothing has to be recorded."""

    @property
    def watch(self) -> Literal["inotify", "poll"]:
        """How to notice new data."""
        ...

    @property
    def poll_interval(self) -> float:
        """Seconds between two checks for new data if nothing else reports it."""
        ...

    def remarks(self) -> list[str]:
        """Return notes for the user, for `amikafka check`."""
        ...

    def open(
        self,
        *,
        position: int,
        bookmark: dict[str, Any] | None,
        counters: Counters,
        identify: Callable[[str, str], Identity],
    ) -> FollowingReader:
        """Return a reader that continues at `bookmark`, with offsets from `position`. Raises `AmikafkaError`.

        `identify` returns the Asterisk's identity, given its version and system name if the files have them.
        """
        ...

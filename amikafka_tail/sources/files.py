"""Reads given files to their ends, one after the other: for `amikafka replay --from eventlog`."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence as Paths
from pathlib import Path
from typing import Any, NamedTuple

from amikafka_tail.ami.debuglog import Found, LogFramer
from amikafka_tail.ami.sequence import Sequence
from amikafka_tail.model.counters import Counters
from amikafka_tail.model.errors import InputError
from amikafka_tail.model.identity import Identity
from amikafka_tail.model.replayable_source import Chunk
from amikafka_tail.sources.eventlog import EventLogOptions, log_events
from amikafka_tail.sources.logevents import name_of, version_of
from amikafka_tail.sources.logfile import LogFile, Mark
from amikafka_tail.sources.rotation import say_damage

CHUNK = 128 * 1024


class WithoutEvents(NamedTuple):
    """A file that holds no event: how many lines it has, and the beginning of the first that is not empty."""

    path: Path
    lines: int
    example: str


class FilesReader:
    """Reads files that do not change; see `Reader`. All are the logs of one Asterisk, the oldest first.

    With the `bookmark` of an earlier run it goes on there. `options` are those of
    `[eventlog]`. Raises `OSError` for a file that cannot be opened,
    `InputError` where no file has the bookmark's place.
    """

    def __init__(
        self,
        paths: Paths[Path],
        *,
        bookmark: dict[str, Any] | None = None,
        counters: Counters,
        identity: Identity,
        options: EventLogOptions | None = None,
    ) -> None:
        self._paths = list(paths)
        self._make = log_events(options, counters)
        self._identity = identity
        self._sequence = Sequence()
        self._begun: list[tuple[int, Path]] = []
        self._ends: set[int] = set()
        """Offsets at which a file has been read to its end, one after its last byte."""
        self._position = 0
        self._file: LogFile | None = None
        self.without_events: list[WithoutEvents] = []
        """The files that have been read to their ends and hold no event."""
        self._is_fruitless = True
        """Whether nothing was found yet in the file that is being read, which was begun at its beginning."""
        self._sizes = {path: path.stat().st_size for path in self._paths}
        if bookmark is not None:
            self._resume(Mark.from_dict(bookmark))

    def _resume(self, mark: Mark) -> None:
        while self._paths:
            file = LogFile(self._paths[0])
            if file.has(mark):
                self._take(file)
                file.start_at(mark.offset, mark.form)
                self._is_fruitless = False
                self._begun[0] = (-mark.offset, file.path)
                return
            file.close()
            self._paths.pop(0)
        raise InputError(f"no input has the place where {mark.path} was left: are these the same files?")

    def _take(self, file: LogFile) -> None:
        self._paths.pop(0)
        self._file = file
        self._begun.append((self._position, file.path))
        self._is_fruitless = True

    @property
    def position(self) -> int:
        """Offset that the next read begins at."""
        return self._position

    @property
    def end(self) -> int:
        """Offset of the end, as far as it is known: a compressed file counts as it is until it is read."""
        rest = sum(self._sizes[path] + 1 for path in self._paths)
        if self._file is not None:
            rest += max(0, self._file.size - self._file.framer.position) + 1
        return self._position + rest

    @property
    def partial(self) -> bytes:
        """Nothing: what the end of a file cuts off is set aside."""
        return b""

    def read(self) -> Chunk | None:
        """Return what comes next. Raises `OSError`."""
        if self._file is None:
            if not self._paths:
                return None
            self._take(LogFile(self._paths[0]))
        file = self._file
        assert file is not None
        start, first = file.framer.position, self._position
        data = file.read(CHUNK)
        if data:
            found = file.feed(data)
            self._position += file.framer.position - start
        else:
            found = _rest(file)
            say_damage(file)
            # One more, so that an offset belongs to one file alone.
            self._position += file.offset - start + 1
            self._ends.add(self._position)
            self._file = None
        self._note_found(found, file, is_end=not data)
        events = list(self._make.events(found, file, self._sequence, first - start))
        if not data:
            if not self._paths:
                events += self._make.finish(self._sequence, self._position - 1, file)
            file.close()
        return Chunk(first, self._position, self._identity, iter(events))

    def _note_found(self, found: list[Found], file: LogFile, *, is_end: bool) -> None:
        self._is_fruitless = self._is_fruitless and not found
        if is_end and self._is_fruitless and file.example:
            self.without_events.append(WithoutEvents(file.path, file.lines, file.example))

    def seek(self, position: int) -> None:
        """Go on at the end of a chunk. Copies of what comes before it may be published again."""
        if self._file is not None:
            self._file.close()
            self._file = None
        is_end = position in self._ends
        while self._begun and (self._begun[-1][0] > position or (is_end and self._begun[-1][0] == position)):
            self._paths.insert(0, self._begun.pop()[1])
        self._sequence = Sequence()
        self._position = position
        if not is_end and (self._begun or self._paths):
            start, path = self._begun.pop() if self._begun else (0, self._paths.pop(0))
            self._begun.append((start, path))
            self._file = LogFile(path)
            self._file.start_at(position - start)
            self._is_fruitless = False

    def close(self) -> None:
        """Close the file that is being read."""
        if self._file is not None:
            self._file.close()

    def bookmark(self, position: int) -> dict[str, Any] | None:
        """Return the place of an offset up to which all is delivered, `None` before the first file."""
        is_end = position in self._ends
        begun = next((each for each in reversed(self._begun) if each[0] <= position - is_end), None)
        if begun is None:
            return None
        file = LogFile(begun[1])
        try:
            return file.mark(position - begun[0] - is_end).as_dict()
        finally:
            file.close()


def _rest(file: LogFile) -> list[Found]:
    """Return all that the end of a file leaves of events."""
    framer = file.framer
    assert isinstance(framer, LogFramer)
    return framer.rest()


def identified(identify: Callable[[str, str], Identity], paths: Paths[Path]) -> Identity:
    """Return who the Asterisk is whose logs these are, as the beginning of the first that tells says."""
    version = name = ""
    for path in paths:
        file = LogFile(path)
        events = LogFramer().feed(file.read_at(0, CHUNK))
        version = version or version_of(file)
        name = name or next((found for found in map(name_of, events) if found), "")
        file.close()
    return identify(version, name)

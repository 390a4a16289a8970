"""The source `eventlog`: the manager debug log, or any file of AMI events, with all its rotations."""

from __future__ import annotations

import glob
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

from amikafka_tail.ami.debuglog import MARKER, LogFramer, debug_headers
from amikafka_tail.ami.event import Event
from amikafka_tail.ami.sequence import Sequence
from amikafka_tail.config.files import why_unreadable
from amikafka_tail.config.identity import Identity
from amikafka_tail.hookspecs import API_VERSION, Register, hookimpl
from amikafka_tail.metrics import Counters
from amikafka_tail.sources.logevents import LogEvents, name_of, version_of
from amikafka_tail.sources.logfile import Fingerprint, LogFile, Mark
from amikafka_tail.sources.logtime import LogTimes
from amikafka_tail.sources.replayable import Chunk
from amikafka_tail.sources.rotation import CHUNK, Batch, Log, Start

WARM_UP = 1024 * 1024
"""Bytes before a place that are read again, to know which SequenceNumbers have been seen."""


@dataclass(frozen=True, kw_only=True)
class EventLogOptions:
    """Options of the section `[eventlog]`."""

    path: tuple[str, ...] = ("/var/log/asterisk/full",)
    """Files or patterns, separated by commas; each file is one Asterisk's log, with its rotations."""
    start: Start = "checkpoint"
    """Where there is no checkpoint: `checkpoint` begins with the present file, `beginning` with the oldest
    rotated one, `end` with what comes from now on."""
    keep_debug_headers: bool = False
    """Whether SequenceNumber, File, Line and Func stay in the events."""
    dateformat: str = ""
    """logger.conf's dateformat, where it is none of the usual ones; for events without a Timestamp."""
    watch: Literal["inotify", "poll"] = "inotify"
    """How to learn of new lines; `poll` for file systems such as NFS."""
    poll_interval: float = field(default=1.0, metadata={"unit": "seconds", "minimum": 0.01, "maximum": 3600})

    def __post_init__(self) -> None:
        if not self.path:
            raise ValueError("path is empty")
        for path in self.path:
            if not path.startswith("/"):
                raise ValueError(f'path "{path}" is not absolute')
        LogTimes(self.dateformat)


class _Followed:
    """One log that is followed: where it is read, what has been seen, how far it is delivered."""

    def __init__(self, log: Log, stored: dict[str, Any] | None) -> None:
        self.log = log
        self.sequence = Sequence()
        self.stored = stored
        self.system_name = ""

    def deliver(self, mark: Mark, finished: tuple[Fingerprint, ...]) -> None:
        """Note that all before a place in a file, and all files read before it, are delivered."""
        self.stored = {"mark": mark.as_dict(), "finished": list(map(list, finished))}


class _Slice(NamedTuple):
    """Between two of the reader's offsets stands what was read from a file."""

    start: int
    end: int
    followed: _Followed
    file: LogFile
    file_start: int
    file_end: int
    mark: Mark
    finished: tuple[Fingerprint, ...]


class EventLogReader:
    """Reads all logs by turns; see `Reader`. Its offsets count what has been read in this process' life.

    `identify` says who the Asterisk is, given what its log says of its version and its system name.
    `bookmark` is what the method of that name returned before.
    """

    def __init__(
        self,
        options: EventLogOptions,
        *,
        position: int = 0,
        bookmark: dict[str, Any] | None = None,
        counters: Counters,
        identify: Callable[[str, str], Identity],
    ) -> None:
        self._options = options
        self._identify = identify
        self._identities: dict[tuple[str, str], Identity] = {}
        self._make = LogEvents(
            keep_debug_headers=options.keep_debug_headers,
            times=LogTimes(options.dateformat),
            counters=counters,
        )
        self._slices: deque[_Slice] = deque()
        self._position = position
        self._followed: dict[Path, _Followed] = {}
        self._stored = bookmark or {}
        self._turn = 0
        self.look_for_files()

    @property
    def end(self) -> int:
        """Offset of the next byte to come, as far as it is known: rotated files not begun are not counted."""
        return self._position + sum(each.log.backlog for each in self._followed.values())

    @property
    def position(self) -> int:
        """Offset that the next read begins at."""
        return self._position

    @property
    def partial(self) -> bytes:
        """The start of an event whose end has not come yet, of the first log that has one."""
        held = (each.log.file.framer.held_back for each in self._followed.values() if each.log.file)
        return next((each for each in held if MARKER in each or each.startswith(b"Event: ")), b"")

    @property
    def problem(self) -> str | None:
        """Why one of the logs cannot be read now, in words."""
        if not self._followed:
            return f"no file matches {', '.join(self._options.path)}"
        return next((each.log.problem for each in self._followed.values() if each.log.problem), None)

    @property
    def directories(self) -> set[Path]:
        """Where something happens when there is more to read."""
        parents = {str(Path(pattern).parent) for pattern in self._options.path}
        patterns = {Path(parent) for parent in parents if not glob.has_magic(parent)}
        logs = {directory for path in self._followed for directory in (path.parent, path.resolve().parent)}
        return {directory for directory in patterns | logs if directory.is_dir()}

    def look_for_files(self) -> None:
        """Follow the files that match by now; those that are followed already stay."""
        for pattern in self._options.path:
            magic = glob.has_magic(pattern)
            names = sorted(glob.glob(pattern)) if magic else [pattern]  # noqa: PTH207, absolute
            for name in names:
                path = Path(name)
                if path not in self._followed:
                    self._followed[path] = self._follow(path, self._stored.get(name))

    def _follow(self, path: Path, stored: dict[str, Any] | None, known: Iterable[LogFile] = ()) -> _Followed:
        mark, finished = None, []
        if stored is not None:
            mark = Mark.from_dict(stored["mark"])
            finished = [Fingerprint(*each) for each in stored["finished"]]
        log = Log(path, mark=mark, start=self._options.start, known=known, finished=finished)
        return _Followed(log, stored)

    def seek(self, position: int) -> None:
        """Go on at the end of a chunk."""
        self.release(position)
        files: dict[Path, list[LogFile]] = {}
        for path, followed in self._followed.items():
            known = [each.file for each in self._slices if each.followed is followed]
            current = [followed.log.file] if followed.log.file is not None else []
            files[path] = list(dict.fromkeys([*known, *current]))
        self._slices.clear()
        self._position = position
        for path, followed in list(self._followed.items()):
            self._followed[path] = self._follow(path, followed.stored, files[path])

    def read(self) -> Chunk | None:
        """Return what comes next from one of the logs."""
        followed = list(self._followed.values())
        for _ in followed:
            self._turn = (self._turn + 1) % len(followed)
            chosen = followed[self._turn]
            if chosen.log.file is None and (opened := chosen.log.open()) is not None:
                self._begin(chosen, opened)
            batch = chosen.log.read()
            if batch is not None:
                return self._chunk(chosen, batch)
        return None

    def _begin(self, followed: _Followed, file: LogFile) -> None:
        """Note where a log is begun, and learn which numbers came shortly before."""
        if followed.stored is None:
            followed.deliver(file.mark(file.offset), followed.log.finished)
        warm_from = max(0, file.offset - WARM_UP)
        if file.offset > warm_from:
            framer = LogFramer(warm_from, file.framer.form)
            for found in framer.feed(file.read_at(warm_from, file.offset - warm_from)):
                _, number = debug_headers(found.raw)
                if number is not None and not found.torn:
                    followed.sequence.is_new(number, found.raw)
            followed.sequence.duplicates = followed.sequence.gaps = followed.sequence.restarts = 0

    def _chunk(self, followed: _Followed, batch: Batch) -> Chunk:
        start = self._position
        self._position += batch.end - batch.start
        if batch.end > batch.start:
            finished = followed.log.finished
            self._slices.append(
                _Slice(
                    start, self._position, followed, batch.file, batch.start, batch.end, batch.mark, finished
                )
            )
        self._close_if_done(followed, batch.file)
        events = self._make.events(batch.events, batch.file, followed.sequence, start - batch.start)
        if batch.events:
            followed.system_name = name_of(batch.events[0]) or followed.system_name
        return Chunk(start, self._position, self._identity_of(followed, batch.file), events)

    def _identity_of(self, followed: _Followed, file: LogFile) -> Identity:
        said = (version_of(file), followed.system_name)
        if said not in self._identities:
            self._identities[said] = self._identify(*said)
        return self._identities[said]

    def again(self, start: int, end: int) -> Iterator[tuple[Event, Identity | None]]:
        """Return the events of a chunk once more."""
        for piece in self._slices:
            if (piece.start, piece.end) == (start, end):
                framer = LogFramer(piece.file_start, piece.file.framer.form)
                found = framer.feed(piece.file.read_at(piece.file_start, piece.file_end - piece.file_start))
                identity = self._identity_of(piece.followed, piece.file)
                for event in self._make.again(found, start - piece.file_start):
                    yield event, identity

    def release(self, position: int) -> None:
        """Everything before an offset is delivered."""
        while self._slices and self._slices[0].end <= position:
            piece = self._slices.popleft()
            piece.followed.deliver(piece.mark, piece.finished)
            self._close_if_done(piece.followed, piece.file)

    def _close_if_done(self, followed: _Followed, file: LogFile) -> None:
        if file is not followed.log.file and all(each.file is not file for each in self._slices):
            file.close()

    def bookmark(self) -> dict[str, Any]:
        """Return what is delivered, to be stored. May be called from another thread."""
        delivered = {str(path): each.stored for path, each in list(self._followed.items()) if each.stored}
        return {**self._stored, **delivered}

    def close(self) -> None:
        """Close all files."""
        for followed in self._followed.values():
            followed.log.close()
        for piece in self._slices:
            piece.file.close()


class EventLogSource:
    """Makes readers of the logs that the options name."""

    def __init__(self, options: EventLogOptions) -> None:
        self._options = options
        self.watch = options.watch
        self.poll_interval = options.poll_interval

    def remarks(self) -> list[str]:
        """Say of each log whether its events can be told from their copies, judging by its end."""
        said = []
        for pattern in self._options.path:
            paths = sorted(map(Path, glob.glob(pattern)))  # noqa: PTH207, absolute
            if not paths:
                said.append(f"{pattern}: is not there yet")
            for path in paths:
                try:
                    remark = _remark(path)
                except OSError as error:
                    remark = why_unreadable(path, error)
                if remark:
                    said.append(f"{path}: {remark}")
        return said

    def open(
        self,
        *,
        position: int,
        bookmark: dict[str, Any] | None,
        counters: Counters,
        identify: Callable[[str, str], Identity],
    ) -> EventLogReader:
        """Return a reader that goes on at the bookmark."""
        return EventLogReader(
            self._options, position=position, bookmark=bookmark, counters=counters, identify=identify
        )


def _remark(path: Path) -> str:
    """Say what is not as it should be with a log, judging by its end; nothing where all is well."""
    with closing(LogFile(path)) as file:
        framer = LogFramer()
        framer.feed(file.read_at(0, CHUNK))
        start = max(0, file.size - WARM_UP)
        found = LogFramer(start, framer.form).feed(file.read_at(start, WARM_UP))
    if not found:
        return (
            "has no events at its end: Asterisk writes them after `manager set debug on`, to a file with"
            " verbose(5) in logger.conf, and while there is a manager session"
        )
    if any(debug_headers(each.raw)[1] is None and each.logged_at for each in found):
        return (
            "its events have no SequenceNumber, so copies for several manager sessions cannot be told apart"
            " and are all published: `manager set debug on` numbers them"
        )
    return ""


AMIKAFKA_API = API_VERSION


@hookimpl
def register_sources(register: Register) -> None:
    """Register the source."""
    register("eventlog", EventLogOptions, EventLogSource)

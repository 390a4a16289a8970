"""Follows logs through their rotations, whatever stands in them."""

from __future__ import annotations

import glob
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

from amikafka_tail.ami.debuglog import Found
from amikafka_tail.config.files import why_unreadable
from amikafka_tail.model.counters import Counters
from amikafka_tail.model.errors import InputError
from amikafka_tail.model.event import Event
from amikafka_tail.model.identity import Identity
from amikafka_tail.model.replayable_source import Chunk, Unpublishable
from amikafka_tail.sources.logfile import Fingerprint, Framing, LogFile, Mark
from amikafka_tail.sources.losses import FEW_LINES, Losses
from amikafka_tail.sources.rotation import Batch, Log, Start
from amikafka_tail.sources.undelivered import Undelivered


@dataclass(frozen=True, kw_only=True)
class LogOptions:
    """What every source of logs can be told."""

    path: tuple[str, ...] = ()
    """Files or patterns, separated by commas; each file is read with its rotations."""
    start: Start = "checkpoint"
    """Where there is no checkpoint: `checkpoint` begins with the present file, `beginning` with the oldest
    rotated one, `end` with what comes from now on."""
    watch: Literal["inotify", "poll"] = "inotify"
    """How to learn of new lines; `poll` for file systems such as NFS."""
    poll_interval: float = field(default=1.0, metadata={"unit": "seconds", "minimum": 0.01, "maximum": 3600})
    """How often to look, with `poll` or where inotify cannot be used."""

    def __post_init__(self) -> None:
        if not self.path:
            raise ValueError("path is empty")
        for path in self.path:
            if not path.startswith("/"):
                raise ValueError(f'path "{path}" is not absolute')


class Interpreter(Protocol):
    """Makes events of what was found in one log."""

    def learn(self, found: list[Found]) -> None:
        """See what stands before the place where reading begins; nothing of it is published."""

    def events(self, found: list[Found], file: LogFile, distance: int) -> Iterator[Event | Unpublishable]:
        """Return the events of one read of a file; `distance` is added to their offsets."""
        ...

    def is_begun(self, held: bytes) -> bool:
        """Tell whether bytes that wait for more are the start of an event."""
        ...

    def asterisk(self, file: LogFile) -> tuple[str, str]:
        """Return version and system name of the Asterisk, as far as the log has told."""
        ...


class LogKind(Protocol):
    """What stands in logs of one kind."""

    @property
    def learn_bytes(self) -> int:
        """How many bytes before the first place an `Interpreter` wants to see."""
        ...

    @property
    def framer(self) -> Callable[[int, Any], Framing]:
        """Makes what cuts a file from an offset on, given the form that was found before."""
        ...

    def interpreter(self) -> Interpreter:
        """Make the interpreter of one log."""
        ...


class _Followed:
    """One log that is followed: where it is read, what has been seen, how far it is delivered."""

    def __init__(self, log: Log, interpreter: Interpreter, stored: dict[str, Any] | None) -> None:
        self.log = log
        self.interpreter = interpreter
        self.stored = stored
        self.first: LogFile | None = None
        """The file that reading began with: it may be an old one, which would have events by now."""

    def deliver(self, mark: Mark, finished: tuple[Fingerprint, ...]) -> None:
        """Note that all before a place in a file, and all files read before it, are delivered."""
        self.stored = _stored(mark, finished)


def _stored(mark: Mark, finished: tuple[Fingerprint, ...]) -> dict[str, Any]:
    return {"mark": mark.as_dict(), "finished": list(map(list, finished))}


class _Place(NamedTuple):
    """Where a log is read on behind a chunk."""

    followed: _Followed
    mark: Mark
    finished: tuple[Fingerprint, ...]


class LogsReader:
    """Reads all logs by turns; see `FollowingReader`. Its offsets count what this process has read, over all.

    What is read and not delivered is kept in memory: `seek` replays the same chunks at the same offsets, and
    touches no file.

    `paths` are files or patterns. `bookmark` is what the method of that name returned before; without one
    `start` says where to begin. `losses` is told of files without an event. `identify` says who the Asterisk
    is, given what its log says of its version and its system name.
    """

    def __init__(
        self,
        paths: tuple[str, ...],
        start: Start,
        kind: LogKind,
        *,
        losses: Losses,
        position: int = 0,
        bookmark: dict[str, Any] | None = None,
        identify: Callable[[str, str], Identity],
    ) -> None:
        self._paths = paths
        self._start: Start = start
        self._kind = kind
        self._losses = losses
        self._identify = identify
        self._identities: dict[tuple[str, str], Identity] = {}
        self._undelivered: Undelivered[_Place] = Undelivered(position)
        self._followed: dict[Path, _Followed] = {}
        self._stored = bookmark or {}
        self._turn = 0
        self.look_for_files()
        if start == "end":
            self._start = "checkpoint"  # all of a file that is not there yet comes from now on

    @property
    def end(self) -> int:
        """Offset of the next byte to come, as far as it is known: rotated files not begun are not counted."""
        return self._undelivered.end + sum(each.log.backlog for each in self._followed.values())

    @property
    def position(self) -> int:
        """Offset that the next read begins at."""
        return self._undelivered.position

    @property
    def partial(self) -> bytes:
        """The start of an event whose end has not come yet, of the first log that has one."""
        for each in self._followed.values():
            if each.log.file and each.interpreter.is_begun(held := each.log.file.framer.held_back):
                return held
        return b""

    @property
    def problem(self) -> str | None:
        """Why one of the logs cannot be read now, in words."""
        if not self._followed:
            return f"no file matches {', '.join(self._paths)}"
        return next((each.log.problem for each in self._followed.values() if each.log.problem), None)

    @property
    def directories(self) -> set[Path]:
        """Where something happens when there is more to read."""
        parents = {str(Path(pattern).parent) for pattern in self._paths}
        patterns = {Path(parent) for parent in parents if not glob.has_magic(parent)}
        logs = {directory for path in self._followed for directory in (path.parent, path.resolve().parent)}
        # Unlike `Path.is_dir` this tells of one that is closed to us too.
        return {directory for directory in patterns | logs if os.path.isdir(directory)}  # noqa: PTH112

    def look_for_files(self) -> None:
        """Follow the files that match by now, and no longer those that are gone for good."""
        for path in [path for path in self._followed if self._is_over(path)]:
            followed = self._followed.pop(path)
            assert followed.log.file is not None
            self._losses.no_event(followed.log.file, ended=True)
            followed.log.close()
            self._stored.pop(str(path), None)
        for pattern in self._paths:
            magic = glob.has_magic(pattern)
            names = sorted(glob.glob(pattern)) if magic else [pattern]  # noqa: PTH207, absolute
            for name in names:
                path = Path(name)
                if path not in self._followed:
                    self._followed[path] = self._follow(path, self._stored.get(name))

    def _is_over(self, path: Path) -> bool:
        """Tell whether a file that a pattern named is deleted, read and delivered to its end."""
        followed = self._followed[path]
        file = followed.log.file
        if str(path) in self._paths or os.path.lexists(path) or file is None or not file.is_deleted:
            return False
        is_read = not followed.log.backlog and not followed.interpreter.is_begun(file.framer.held_back)
        return is_read and all(each.followed is not followed for each in self._undelivered.places)

    def _follow(self, path: Path, stored: dict[str, Any] | None) -> _Followed:
        mark, finished = None, []
        if stored is not None:
            try:
                mark = Mark.from_dict(stored["mark"])
                finished = [Fingerprint(*each) for each in stored["finished"]]
            except (KeyError, TypeError) as error:
                raise InputError(f"the note of where reading {path} stood is damaged: {error!r}") from error
        log = Log(path, mark=mark, start=self._start, finished=finished, framer=self._kind.framer)
        return _Followed(log, self._kind.interpreter(), stored)

    def seek(self, position: int) -> None:
        """Go on at the end of a chunk that is not released."""
        self._undelivered.seek(position)
        self.release(position)

    def read(self) -> Chunk | None:
        """Return what comes next: what was read before the last `seek`, then more from one of the logs."""
        if (chunk := self._undelivered.again()) is not None:
            return chunk
        followed = list(self._followed.values())
        for _ in followed:
            self._turn = (self._turn + 1) % len(followed)
            chosen = followed[self._turn]
            if chosen.log.file is None:
                chosen.log.open(partial(self._begin, chosen))
            batch = chosen.log.read()
            if batch is not None:
                return self._chunk(chosen, batch)
            self._see_end(chosen)
        return None

    def _see_end(self, followed: _Followed) -> None:
        """Say that a file has no event where there is nothing more to read of it now."""
        file = followed.log.file
        if file is None or file.has_events or not file.line_ends:
            return
        if followed.interpreter.is_begun(file.framer.held_back):
            return
        if file is followed.first or file.lines > FEW_LINES:
            self._losses.no_event(file, ended=False)

    def _begin(self, followed: _Followed, file: LogFile) -> None:
        """Note where a log is begun, and learn what came shortly before."""
        begin = max(0, file.offset - self._kind.learn_bytes)
        before = file.read_at(begin, file.offset - begin)
        if followed.stored is None:
            followed.deliver(file.mark(file.offset), followed.log.finished)
        if before:
            framer = self._kind.framer(begin, file.framer.form)
            found = framer.feed(before)
            followed.interpreter.learn(found)
            file.has_events = any(not each.torn for each in found)
        followed.first = file

    def _chunk(self, followed: _Followed, batch: Batch) -> Chunk:
        start = self._undelivered.end
        events = followed.interpreter.events(batch.events, batch.file, start - batch.start)
        chunk = self._undelivered.add(
            start + batch.end - batch.start,
            self._identity_of(followed, batch.file),
            events,
            _Place(followed, batch.mark, batch.finished),
        )
        if batch.events:
            self._losses.recognized(batch.file)
        if batch.file is not followed.log.file:
            if not batch.is_copied:
                self._losses.no_event(batch.file, ended=True)
            batch.file.close()
        return chunk

    def _identity_of(self, followed: _Followed, file: LogFile) -> Identity:
        said = followed.interpreter.asterisk(file)
        if said not in self._identities:
            self._identities[said] = self._identify(*said)
        return self._identities[said]

    def release(self, position: int) -> None:
        """Everything before an offset is delivered."""
        for followed, mark, finished in self._undelivered.release(position):
            followed.deliver(mark, finished)

    def bookmark(self, position: int) -> dict[str, Any]:
        """Return where to go on in each log once everything before an offset is delivered."""
        delivered = {str(path): each.stored for path, each in self._followed.items() if each.stored}
        for followed, mark, finished in self._undelivered.up_to(position):
            delivered[str(followed.log.path)] = _stored(mark, finished)
        return {**self._stored, **delivered}

    def close(self) -> None:
        """Close all files."""
        for followed in self._followed.values():
            if followed.log.file is not None:
                self._losses.leave(followed.log.file)
            followed.log.close()


def _open_once(path: Path) -> str:
    """Say nothing of a file that can be opened. Raises `OSError`."""
    path.open("rb").close()
    return ""


class FollowedLogs:
    """A source of logs of one kind; see `ReplayableSource`.

    `remark` says what is not as it should be with one log, nothing where all is well; it may raise `OSError`.
    """

    def __init__(
        self,
        options: LogOptions,
        kind: Callable[[Counters], LogKind],
        *,
        remark: Callable[[Path], str] = _open_once,
    ) -> None:
        self._options = options
        self._kind = kind
        self._remark = remark
        self.watch = options.watch
        self.poll_interval = options.poll_interval

    def remarks(self) -> list[str]:
        """Say which logs are not there, cannot be read, or are not as they should be."""
        said = []
        for pattern in self._options.path:
            paths = sorted(map(Path, glob.glob(pattern)))  # noqa: PTH207, absolute
            if not paths:
                said.append(f"{pattern}: is not there yet")
            for path in paths:
                try:
                    remark = self._remark(path)
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
    ) -> LogsReader:
        """Return a reader that goes on at the bookmark."""
        return LogsReader(
            self._options.path,
            self._options.start,
            self._kind(counters),
            losses=Losses(counters),
            position=position,
            bookmark=bookmark,
            identify=identify,
        )

"""The source `spool`: a directory into which finished files of events are put."""

from __future__ import annotations

import contextlib
import fcntl
import fnmatch
import json
import logging
import os
import shutil
import signal
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from amikafka_tail.journal.durable import make_directory
from amikafka_tail.model.counters import Counters
from amikafka_tail.model.errors import SourceDisconnected
from amikafka_tail.model.identity import Identity
from amikafka_tail.model.replayable_source import Chunk
from amikafka_tail.plugins.hookspecs import API_VERSION, Register, hookimpl
from amikafka_tail.sources.eventlog import EventLogOptions, log_events
from amikafka_tail.sources.logfile import LogFile, Mark
from amikafka_tail.sources.losses import Losses
from amikafka_tail.sources.spooled import Spooled, is_marked
from amikafka_tail.sources.undelivered import Undelivered

CHUNK = 128 * 1024
REASON = ".reason"
MAX_OPEN = 64
"""Files that may wait for Kafka at once; reading on waits for the first."""
MAX_MARKS = 256
"""Files that are delivered and cannot be taken away, and are known as such after a restart."""

log = logging.getLogger("amikafka.spool")


@dataclass(frozen=True, kw_only=True)
class SpoolOptions:
    """Options of the section `[spool]`."""

    directory: Path = Path("/var/spool/amikafka")
    """Where files are put, written elsewhere and renamed into it, or closed when they are finished."""
    pattern: str = "*.ami"
    """Names of the files; others are left alone."""
    after: Literal["delete", "archive"] = "delete"
    """What becomes of a file when Kafka has acknowledged every event in it."""
    archive_directory: Path | None = None
    """Where delivered files go with `after = archive`."""
    bad_directory: Path | None = None
    """Where files go that cannot be read or hold no events; `bad` in the spool directory by default."""
    dead_letters: Literal["bad", "archive"] = "bad"
    """Where a file goes of which something is in the dead letters: it is never deleted."""
    settle: float = field(default=2.0, metadata={"unit": "seconds", "minimum": 0, "maximum": 3600})
    """How long a file must not have changed, where the kernel does not say whether somebody writes to it."""
    watch: Literal["inotify", "poll"] = "inotify"
    """How to learn of new files; `poll` for file systems such as NFS."""
    poll_interval: float = field(default=1.0, metadata={"unit": "seconds", "minimum": 0.01, "maximum": 3600})
    """How often to look, with `poll` or where inotify cannot be used."""

    def __post_init__(self) -> None:
        if (self.after == "archive") != (self.archive_directory is not None):
            raise ValueError("after = archive needs archive_directory, and the other way round")
        if self.dead_letters == "archive" and self.archive_directory is None:
            raise ValueError("dead_letters = archive needs after = archive and archive_directory")
        if "/" in self.pattern:
            raise ValueError(f'pattern "{self.pattern}" is for names of files, without directories')


class SpoolReader:
    """Reads whole files in order of their names; see `FollowingReader`. `now` gives the time of day.

    A file is finished when nobody has it open for writing, which the kernel tells about one's own files
    (fcntl(2), F_SETLEASE), or else when it has not changed for `settle` seconds.
    """

    def __init__(
        self,
        options: SpoolOptions,
        *,
        position: int = 0,
        bookmark: dict[str, Any] | None = None,
        counters: Counters,
        identity: Identity,
        log_options: EventLogOptions | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._options = options
        self._identity = identity
        self._now = now
        self._make = log_events(log_options, counters)
        self._losses = Losses(counters)
        self._bad = options.bad_directory or options.directory / "bad"
        self._open: deque[Spooled] = deque()
        self._grown: deque[Spooled] = deque()
        """Files to read on before any other: they were written to after they had been read."""
        self._undelivered: Undelivered[tuple[Spooled, Mark | None]] = Undelivered(position)
        self._names: deque[str] = deque()
        self._stuck: set[str] = set()
        """Names of files that are done with and could not be taken away: they are not read again."""
        self._said: set[str] = set()
        """Names of files of which it was said that they can be neither read nor moved."""
        stored = (bookmark or {}).get("files", ())
        self._marks = {
            each["mark"]["path"]: (
                Mark.from_dict(each["mark"]),
                each["events"],
                each.get("dead_letters", False),
            )
            for each in stored
        }
        self.problem: str | None = None
        for directory in (options.directory, self._bad, options.archive_directory):
            if directory is not None:
                _make_directory(directory)
        self.look_for_files()

    @property
    def position(self) -> int:
        """Offset that the next read begins at."""
        return self._undelivered.position

    @property
    def end(self) -> int:
        """Offset of the end of the file that is being read; the files after it are not counted."""
        present = self._present
        left = max(0, present.file.size - present.file.framer.position) if present else 0
        return self._undelivered.end + left

    @property
    def partial(self) -> bytes:
        """Nothing: a file is finished."""
        return b""

    @property
    def directories(self) -> set[Path]:
        """The spool directory."""
        return {self._options.directory}

    @property
    def _present(self) -> Spooled | None:
        return self._open[-1] if self._open and self._open[-1].end is None else None

    def look_for_files(self) -> None:
        """Take notice of files that are new. Raises nothing: what is wrong is in `problem`."""
        try:
            entries = [path.name for path in self._options.directory.iterdir()]
        except OSError as error:
            before, self.problem = self.problem, f"{self._options.directory}: {error.strerror}"
            if self.problem != before:
                log.warning("cannot be read now: %s", self.problem)
            return
        self.problem = None
        here = set(entries)
        self._stuck &= here
        self._said &= here
        self._marks = {
            path: mark
            for path, mark in self._marks.items()
            if Path(path).name in here or Path(path).parent != self._options.directory
        }
        begun = {spooled.file.path.name for spooled in (*self._open, *self._grown)}
        names = [
            name
            for name in here - begun - self._stuck
            if not name.startswith(".") and fnmatch.fnmatchcase(name, self._options.pattern)
        ]
        self._names = deque(sorted(names))

    def read(self) -> Chunk | None:
        """Return what comes next: what was read before the last `seek`, then more of the files."""
        if (chunk := self._undelivered.again()) is not None:
            return chunk
        if self._present is None:
            self._begin_next()
        spooled = self._present
        if spooled is None:
            return None
        file = spooled.file
        start, mark = file.framer.position, spooled.read_to
        try:
            data = file.read(CHUNK)
            spooled.wrong = f"is damaged: {file.damage}" if file.damage and not data else ""
        except OSError as error:
            data, spooled.wrong = b"", f"cannot be read to its end: {error.strerror}"
        if data:
            found = file.feed(data)
        else:
            rest = file.framer.finish()
            found = [] if rest is None else [rest]
        end = file.framer.position if data else file.offset
        if end > (mark.offset if mark is not None else 0) and not spooled.wrong:
            mark = spooled.read_to = file.mark(end)
        spooled.held_events |= any(not each.torn for each in found)
        position = self._undelivered.end + end - start
        if not data:
            # One more, so that an offset belongs to one file alone.
            position += 1
            spooled.end = position
            if not spooled.held_events:
                self._losses.no_event(file, ended=True)
        events = self._make.events(found, file, spooled.sequence, spooled.start)
        return self._undelivered.add(position, self._identity, events, (spooled, mark))

    def _begin_next(self) -> None:
        if len(self._open) >= MAX_OPEN:
            return
        if self._grown:
            self._read_on(self._grown[0])
            return
        while self._names:
            name = self._names[0]
            path = self._options.directory / name
            try:
                if not path.is_file():
                    path.lstat()  # somebody may have taken it away
                    raise OSError(0, "it is no regular file")
                if not self._is_finished(path):
                    self.problem = f"{path}: somebody still writes to it"
                    return  # the order of names is the order of events: those after it wait
                spooled = self._opened(path)
            except FileNotFoundError:
                self._names.popleft()
                continue
            except OSError as error:
                self._names.popleft()
                self._set_aside(path, f"cannot be read: {error.strerror}")
                continue
            self._names.popleft()
            self._open.append(spooled)
            return

    def _opened(self, path: Path) -> Spooled:
        """Open a file, to be read on where it is marked. Raises `OSError`."""
        file = LogFile(path)
        mark, held_events, dead_letters = self._marks.pop(str(path), (None, False, False))
        if mark is not None and is_marked(file, mark):
            file.start_at(mark.offset, mark.form)
        else:
            held_events = dead_letters = False
        spooled = Spooled(file, held_events=held_events, has_dead_letters=dead_letters)
        spooled.begin(self._undelivered.end)
        return spooled

    def _read_on(self, spooled: Spooled) -> None:
        with contextlib.suppress(FileNotFoundError):
            if not self._is_finished(spooled.file.path):
                self.problem = f"{spooled.file.path}: somebody still writes to it"
                return
        spooled.begin(self._undelivered.end)
        self._open.append(self._grown.popleft())

    def _is_finished(self, path: Path) -> bool:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            # Whoever opens it for writing just now waits for a moment, and we hear of it by a signal.
            fcntl.fcntl(descriptor, fcntl.F_SETSIG, signal.SIGURG)  # which is ignored unless asked for
            fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
            fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
        except BlockingIOError:
            return False
        except OSError:  # another's file, or a file system without leases
            return self._now() - os.fstat(descriptor).st_mtime >= self._options.settle
        finally:
            os.close(descriptor)
        return True

    def seek(self, position: int) -> None:
        """Go on at the end of a chunk that is not released."""
        self._undelivered.seek(position)
        self.release(position)

    def note_dead_letter(self, position: int) -> None:
        """Keep the file of an event, or of what is none, that is in the dead letters."""
        for spooled in self._open:
            if spooled.start <= position and (spooled.end is None or position < spooled.end):
                spooled.has_dead_letters = True

    def release(self, position: int) -> None:
        """Everything before an offset is delivered: see to the files that are done."""
        for spooled, mark in self._undelivered.release(position):
            spooled.delivered_to = mark
        while self._open and self._open[0].end is not None and self._open[0].end <= position:
            self._finish(self._open.popleft())

    def _finish(self, spooled: Spooled) -> None:
        path, file = spooled.file.path, spooled.file
        try:
            if path.stat().st_ino != file.inode:
                file.close()
                return  # another file has its name by now, which is to be read yet
            if not spooled.wrong and file.size > file.offset:
                # Somebody has written to it since. That is read too.
                file.start_at(file.offset, file.framer.form)
                self._grown.append(spooled)
                return
            file.close()
            if spooled.wrong or not spooled.held_events:
                self._set_aside(path, spooled.wrong or "holds no events", done=True)
            elif spooled.has_dead_letters and self._options.dead_letters == "bad":
                self._set_aside(path, "some of it is in the dead letters", done=True)
            elif self._options.archive_directory is not None:
                _move(path, self._options.archive_directory)
            else:
                path.unlink(missing_ok=True)
        except FileNotFoundError:
            file.close()  # somebody has taken it away
        except OSError as error:
            log.error("%s: is delivered and cannot be taken away: %s", path, error.strerror)
            self._stuck.add(path.name)
            mark = spooled.delivered_to
            if mark is not None and len(self._marks) < MAX_MARKS:
                self._marks[str(path)] = (mark, True, spooled.has_dead_letters)

    def _set_aside(self, path: Path, reason: str, *, done: bool = False) -> None:
        try:
            moved = _move(path, self._bad)
            moved.with_name(moved.name + REASON).write_text(
                json.dumps({"file": path.name, "reason": reason}) + "\n"
            )
        except OSError as error:
            if done:
                self._stuck.add(path.name)
            self.problem = f"{path}: {reason}"
            if path.name not in self._said:
                self._said.add(path.name)
                log.error("%s: %s, and it cannot be moved to %s: %s", path, reason, self._bad, error.strerror)
            return
        log.error("%s: %s: moved to %s", path, reason, moved)

    def bookmark(self, position: int) -> dict[str, Any]:
        """Return up to where the files that are there are delivered."""
        marks = dict(self._marks)
        places = [(spooled, spooled.delivered_to) for spooled in (*self._open, *self._grown)]
        for spooled, mark in (*places, *self._undelivered.up_to(position)):
            if mark is not None:
                marks[mark.path] = (mark, spooled.held_events, spooled.has_dead_letters)
        return {
            "files": [
                {"mark": mark.as_dict(), "events": events, "dead_letters": dead_letters}
                for mark, events, dead_letters in marks.values()
            ]
        }

    def close(self) -> None:
        """Close the files."""
        for spooled in (*self._open, *self._grown):
            spooled.file.close()


def _make_directory(directory: Path) -> None:
    try:
        make_directory(directory)
    except OSError as error:
        raise SourceDisconnected(f"{directory}: cannot be made: {error.strerror} ([spool])") from error


def _move(path: Path, directory: Path) -> Path:
    """Move a file into a directory under a name that is free there; return where it is."""
    target, number = directory / path.name, 1
    while target.exists():
        target, number = directory / f"{path.name}.{number}", number + 1
    shutil.move(path, target)
    return target


class SpoolSource:
    """Makes readers of the spool directory."""

    def __init__(self, options: SpoolOptions) -> None:
        self._options = options
        self._log_options: EventLogOptions | None = None
        self.watch = options.watch
        self.poll_interval = options.poll_interval

    def reading_logs_as(self, options: EventLogOptions | None) -> SpoolSource:
        """Return this source; in it logs are read as `[eventlog]` says."""
        self._log_options = options
        return self

    def remarks(self) -> list[str]:
        """Return nothing: what is wrong is said when it runs."""
        return []

    def open(
        self,
        *,
        position: int,
        bookmark: dict[str, Any] | None,
        counters: Counters,
        identify: Callable[[str, str], Identity],
    ) -> SpoolReader:
        """Return a reader that goes on at the bookmark."""
        return SpoolReader(
            self._options,
            position=position,
            bookmark=bookmark,
            counters=counters,
            identity=identify("", ""),
            log_options=self._log_options,
        )


AMIKAFKA_API = API_VERSION


@hookimpl
def register_sources(register: Register) -> None:
    """Register the source."""
    register("spool", SpoolOptions, SpoolSource)

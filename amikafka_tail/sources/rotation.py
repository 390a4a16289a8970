"""One log with what rotation made of it: the file at its path, and the older ones beside it.

Rotation is recognised in each of its forms: renamed and created anew (Asterisk's three strategies,
logrotate), copied and truncated, deleted and created anew, a symbolic link that moves, several at once while
nobody was reading. Older generations are put in order by the time they were last written to, which neither a
new name nor gzip changes.
"""

from __future__ import annotations

import contextlib
import logging
import re
import stat
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

from amikafka_tail.ami.debuglog import Found, LogFramer
from amikafka_tail.config.files import why_unreadable
from amikafka_tail.sources.logfile import Fingerprint, Framing, LogFile, Mark

CHUNK = 128 * 1024
MAX_FINISHED = 64
"""Generations remembered as read, so that a copy of one is not read again."""
_ROTATION = r"(?:[.\-_](?:\d[\d\-_.:T]*|old))+"
Start = Literal["checkpoint", "beginning", "end"]

log = logging.getLogger("amikafka.eventlog")


class Batch(NamedTuple):
    """What one read of a file gave: its events between two offsets, or what the end of a file cut off."""

    file: LogFile
    start: int
    end: int
    events: list[Found]
    mark: Mark
    """That of `end`, taken before anybody can have truncated the file."""


class Log:
    """The log at `path`, read in order through its generations. Not for two threads.

    `mark` says where to go on, `finished` what has been read before, `known` files that are still open and
    may not have a name any more. Without a mark `start` decides.
    """

    def __init__(
        self,
        path: Path,
        *,
        mark: Mark | None = None,
        start: Start = "checkpoint",
        known: Iterable[LogFile] = (),
        finished: Iterable[Fingerprint] = (),
        framer: Callable[[int, Any], Framing] = LogFramer,
    ) -> None:
        self.path = path
        self.problem: str | None = None
        """Why it cannot be read now, in words."""
        self.file: LogFile | None = None
        self._mark = mark
        self._framer = framer
        stem, extension = re.escape(path.stem), re.escape(path.suffix)
        # full.1, full.log-20261123.gz, full-20261123.log; but full.json is another log.
        self._rotated = re.compile(
            rf"{stem}(?:{extension}{_ROTATION}|{_ROTATION}{extension})(?:\.gz)?", re.ASCII
        )
        self.start: Start = start
        """Where to begin without a mark."""
        self._known = list(known)
        self.finished = tuple(finished)
        self._superseded = False
        self._looked_at: tuple[object, ...] | None = None

    @property
    def backlog(self) -> int:
        """Bytes of the present file that have not been read."""
        return 0 if self.file is None else max(0, self.file.size - self.file.offset)

    @property
    def open_files(self) -> list[LogFile]:
        """The present file, or those that may be needed to find it."""
        return [*self._known, *([] if self.file is None else [self.file])]

    def open(self, begin: Callable[[LogFile], None]) -> None:
        """Open the file to begin with, where that is possible now.

        `begin` is told of it, and may raise `OSError`: then it is opened anew.
        """
        mark, file = self._mark, None
        try:
            if (file := self._open_first()) is not None:
                begin(file)
                self.file = file
        except OSError as error:
            self._say_why(error)
            if file is not None and mark is not None:
                self._mark, self._known = mark, [file]
            elif file is not None:
                file.close()

    def read(self) -> Batch | None:
        """Return what comes next, `None` when there is nothing now. An empty batch was not complete."""
        file = self.file
        if file is None:
            return None
        start, offset = file.framer.position, file.offset
        try:
            batch = self._read(file)
        except OSError as error:
            self._say_why(error)
            self._looked_at = None
            if file.offset != offset:
                file.start_at(start, file.framer.form)  # what has come was given to nobody
            return None
        self._say(None)
        return batch

    def _say_why(self, error: OSError) -> None:
        path = Path(error.filename or self.path)
        self._say(f"{path}: {why_unreadable(path, error)}")

    def _read(self, file: LogFile) -> Batch | None:
        start, head, held = file.framer.position, file.head, file.framer.held_back
        data = file.read(CHUNK)
        events = file.framer.feed(data) if data else []
        mark = file.mark(file.framer.position)
        if file.was_rewritten():
            file.head = head
            file.start_at(start, file.framer.form)
            file.framer.feed(held)
            file.offset += len(held)
            return self._leave(file, self._after_truncation(file, start), start)
        file.learn_head()
        if data:
            self._looked_at = None
            return Batch(file, start, file.framer.position, events, mark)
        following = self._following(file)
        return None if following is None else self._leave(file, following, start)

    def _leave(self, file: LogFile, following: LogFile, start: int) -> Batch:
        """Go on with another file; return what the one before leaves unfinished after `start`."""
        is_same = following.is_same(file)
        rest = None if is_same else file.framer.finish()
        say_damage(file)
        end = start if rest is None else file.offset
        batch = Batch(file, start, end, [] if rest is None else [rest], file.mark(end))
        if file.head and not is_same:
            self.finished = (*self.finished, file.fingerprint)[-MAX_FINISHED:]
        self._superseded = False
        self._looked_at = None
        self.file = following
        return batch

    # Finding the file to read.

    def _open_first(self) -> LogFile | None:
        active = self._open(self.path)
        mark = self._mark
        if mark is None:
            return self._open_without_mark(active)
        candidates = [active] if active else []
        known = self._known
        try:
            candidates += [*known, *self._generations()]
            stored = Path(mark.path)
            if all(each.path != stored for each in candidates) and (found := self._open(stored)) is not None:
                candidates.append(found)
            chosen = next((each for each in candidates if each.has(mark)), None)
        except OSError:
            _close_others((each for each in candidates if each not in known), None)
            raise
        if chosen is None:
            # Those that were written to last before it were read before, or are not wanted.
            newer = [each for each in candidates if each.modified_ns >= mark.modified_ns]
            chosen = min(newer, key=lambda each: each.modified_ns, default=active)
            if chosen is None:
                _close_others(candidates, None)
                return None
            log.error(
                "%s: the file that was being read is gone: what it had after offset=%d is lost, unless it was"
                " read before",
                mark.path,
                mark.offset,
            )
            chosen.start_at(0)
        else:
            chosen.start_at(mark.offset, mark.form)
        self._mark = None
        self._known = []
        _close_others(candidates, chosen)
        return chosen

    def _open_without_mark(self, active: LogFile | None) -> LogFile | None:
        if self.start == "beginning":
            candidates = [*self._generations(), *([active] if active else [])]
            if not candidates:
                return None
            oldest = candidates[0]
            _close_others(candidates, oldest)
            return oldest
        if active is None:
            self.start = "checkpoint"  # one that appears later is all new
            return None
        with contextlib.suppress(OSError):
            # What is older is not wanted, whatever a clock that is set back makes of its time.
            older = self._generations()
            self.finished = tuple(each.fingerprint for each in older)[-MAX_FINISHED:]
            _close_others(older, None)
        if self.start == "end":
            # In the middle of an event perhaps, whose rest is no event.
            active.start_at(active.size)
        return active

    def _following(self, file: LogFile) -> LogFile | None:
        """Return the file that comes after one that is read to its end, `None` while it may still grow."""
        try:
            status = self.path.stat()
        except FileNotFoundError:
            status = None
        if status is not None and (status.st_dev, status.st_ino) == (file.device, file.inode):
            return None
        has_active = status is not None and status.st_size > 0
        look = (self.path.parent.stat().st_mtime_ns, status and status.st_ino, has_active, self._superseded)
        if look == self._looked_at:
            return None  # nothing has changed since the last time there was nothing
        self._looked_at = look
        generations = self._generations()
        newer = [each for each in generations if self._is_newer(each, file)]
        following = None
        if newer or has_active:
            if self._superseded:
                following = newer[0] if newer else self._open(self.path)
            else:
                # Its writer has moved on. What it had written before is there by now: one more look.
                self._superseded = True
                following = self._following(file) if file.size <= file.offset else None
        _close_others(generations, following)
        return following

    def _is_newer(self, candidate: LogFile, file: LogFile) -> bool:
        # Of the same time, as on a file system that counts seconds, it is not known to be older.
        if candidate.modified_ns < file.modified_ns or not candidate.head:
            return False
        return not candidate.is_same(file) and not any(map(candidate.matches, self.finished))

    def _after_truncation(self, file: LogFile, start: int) -> LogFile:
        """Return the copy that was made before a file was truncated, at the same place, or the file anew."""
        generations = self._generations()
        copies = (each for each in generations if each.inode != file.inode and each.is_same(file))
        copy = next((each for each in copies if each.read_at(start, 1)), None)
        _close_others(generations, copy)
        if copy is not None:
            copy.start_at(start, file.framer.form)
            log.info("%s: copied to %s and truncated", file.path, copy.path)
            return copy
        log.warning("%s: truncated at offset=%d: reading it from its beginning", file.path, start)
        again = self._open(self.path)
        if again is None:
            again = file
            again.head = b""
            again.start_at(0)
        return again

    def _generations(self) -> list[LogFile]:
        """Open the older files beside the path, the oldest first; of two that are the same the plain one."""
        found: list[LogFile] = []
        for path in sorted(self._names(), key=lambda each: each.suffix == ".gz"):
            try:
                file = self._open(path)
            except OSError:
                _close_others(found, None)
                raise
            if file is None:
                continue
            if any(file.is_same(each) for each in found):
                file.close()
            else:
                found.append(file)
        return sorted(found, key=lambda each: each.modified_ns)

    def _names(self) -> Iterator[Path]:
        """Return the names that rotation gives: the log's own with something behind it."""
        directories = dict.fromkeys([self.path.parent, self.path.resolve().parent])
        for directory in directories:
            try:
                entries = list(directory.iterdir())
            except FileNotFoundError:
                continue
            for entry in entries:
                if self._rotated.fullmatch(entry.name):
                    yield entry

    def _open(self, path: Path) -> LogFile | None:
        try:
            if not stat.S_ISREG(path.stat().st_mode):
                self._say(f"{path}: is not a regular file")
                return None
            return LogFile(path, self._framer)
        except FileNotFoundError:
            if path == self.path:
                self._say(f"{path}: is not there yet")
            return None

    def _say(self, problem: str | None) -> None:
        if problem != self.problem:
            self.problem = problem
            if problem is not None:
                log.warning("cannot be read now: %s", problem)

    def close(self) -> None:
        """Close all files."""
        for file in self.open_files:
            file.close()


def say_damage(file: LogFile) -> None:
    """Say where a compressed file that was read ends too early."""
    if file.compressed and not file.read_at(file.offset, 1) and file.damage:
        log.error(
            "%s: is damaged: what it had after offset=%d is lost: %s", file.path, file.offset, file.damage
        )


def _close_others(files: Iterable[LogFile], kept: LogFile | None) -> None:
    for file in files:
        if file is not kept:
            file.close()

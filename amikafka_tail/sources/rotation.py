"""One log with what rotation made of it: the file at its path, and the older ones beside it.

Rotation is recognised in each of its forms: renamed and created anew (Asterisk's three strategies,
logrotate), copied and truncated, deleted and created anew, a symbolic link that moves, several at once while
nobody was reading. Older generations are put in order by the time they were last written to, which neither a
new name nor gzip changes.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Literal, NamedTuple

from amikafka_tail.ami.debuglog import Found, LogFramer
from amikafka_tail.config.files import why_unreadable
from amikafka_tail.sources.generations import MAX_FINISHED, Generations, choose, close_others
from amikafka_tail.sources.logfile import HEAD, Fingerprint, Framing, Likeness, LogFile, Mark, Place

CHUNK = 128 * 1024
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
    finished: tuple[Fingerprint, ...]
    """The files that were read before this one."""
    is_copied: bool = False
    """Whether reading goes on in a copy of the file."""


class Log:
    """The log at `path`, read in order through its generations. Not for two threads.

    `mark` says where to go on, `finished` what has been read before. Without a mark `start` decides.

    One file is read at a time, in stages: it is chosen (`_open_first`), it is read, its bytes may be gone
    (`_moved_bytes`), it is read to its end and another one follows it (`_successor`).
    """

    def __init__(
        self,
        path: Path,
        *,
        mark: Mark | None = None,
        start: Start = "checkpoint",
        finished: Iterable[Fingerprint] = (),
        framer: Callable[[int, Any], Framing] = LogFramer,
    ) -> None:
        self.path = path
        self.problem: str | None = None
        """Why it cannot be read now, in words."""
        self.file: LogFile | None = None
        self.start: Start = start
        """Where to begin without a mark."""
        self.finished = tuple(finished)
        self._mark = mark
        self._generations = Generations(path, framer)
        self._looked_at: tuple[object, ...] | None = None
        self._looked_for_copies: int | None = None

    @property
    def backlog(self) -> int:
        """Bytes of the present file that have not been read."""
        return 0 if self.file is None else max(0, self.file.size - self.file.offset)

    def open(self, begin: Callable[[LogFile], None]) -> None:
        """Open the file to begin with, where that is possible now.

        `begin` is told of it, and may raise `OSError`: then it is opened anew.
        """
        file = None
        try:
            if (file := self._open_first()) is not None:
                begin(file)
                self._mark = file.mark(file.offset)
                self.file = file
        except OSError as error:
            self._say_why(error)
            if file is not None:
                file.close()

    def read(self) -> Batch | None:
        """Return what comes next, `None` when there is nothing now. An empty batch was not complete."""
        if self.file is None:
            return None
        try:
            batch = self._read(self.file)
        except OSError as error:
            self._say_why(error)
            self._looked_at = self._looked_for_copies = None
            return None
        self._say(None)
        return batch

    def _read(self, file: LogFile) -> Batch | None:
        place = file.place
        try:
            data = file.read(CHUNK)
            elsewhere = self._moved_bytes(file, place, has_grown=bool(data))
        except OSError:
            file.unread(place)
            raise
        if elsewhere is not None:
            file.unread(place)
            following, is_copy = elsewhere
            return self._leave(file, following, is_copy=is_copy)
        if not data:
            successor = self._successor(file)
            return None if successor is None else self._leave(file, successor[0], is_copy=successor[1])
        self._looked_at = None
        events = file.feed(data)
        end = file.framer.position
        return Batch(file, place.start, end, events, self._mark_at(file, end), self.finished)

    def _mark_at(self, file: LogFile, offset: int) -> Mark:
        """Return the mark of a place that was just read, or the last one where its bytes are gone already."""
        assert self._mark is not None
        with contextlib.suppress(OSError):
            mark = file.mark(offset)
            if not file.was_rewritten(file.place):
                self._mark = mark
        return self._mark

    def _leave(self, file: LogFile, following: LogFile, *, is_copy: bool) -> Batch:
        """Go on with another file; return what the present one leaves unfinished.

        What was not complete stands in a copy as well, and is read there.
        """
        start, finished = file.framer.position, self.finished
        rest = None if is_copy else file.framer.finish()
        end = start if rest is None else file.offset
        left = file.mark_of(file.place)
        try:
            if not is_copy:
                say_damage(file)
            if not is_copy and file.head:
                self.finished = (*finished, file.fingerprint)[-MAX_FINISHED:]
            if following is file:
                file.head = b""
                file.start_at(0)
            self._mark = following.mark(following.offset)
        except OSError:
            self.finished = finished
            close_others([following], file)
            raise
        self._looked_at = self._looked_for_copies = None
        if is_copy:
            following.go_on_from(file)
        self.file = following
        return Batch(file, start, end, [] if rest is None else [rest], left, finished, is_copy)

    # Finding the file to read.

    def _open_first(self) -> LogFile | None:
        active = self._open_active()
        mark = self._mark
        if mark is None:
            return self._open_without_mark(active)
        candidates = [] if active is None else [active]
        chosen = None
        try:
            for each in self._generations.older():
                if active is not None and each.is_at(active):
                    each.close()  # the active one under another name, where a symbolic link points to it
                else:
                    candidates.append(each)
            if (stored := self._stored_path(mark, candidates)) is not None:
                candidates.append(stored)
            if (chosen := choose(candidates, mark, self.finished, active=self.path)) is not None:
                chosen.start_at(mark.offset, mark.form)
            elif (chosen := self._after_loss(candidates, mark, active)) is not None:
                chosen.start_at(0)
        except OSError:
            close_others(candidates, None)
            raise
        close_others(candidates, chosen)
        return chosen

    def _stored_path(self, mark: Mark, candidates: list[LogFile]) -> LogFile | None:
        stored = Path(mark.path)
        if any(each.path == stored for each in candidates):
            return None
        try:
            return self._generations.open(stored)
        except FileNotFoundError:
            return None

    def _after_loss(self, candidates: list[LogFile], mark: Mark, active: LogFile | None) -> LogFile | None:
        """Return where to go on when the file of the mark is gone."""
        # Those that were written to last before it were read before, or are not wanted.
        newer = [
            each
            for each in candidates
            if each.modified_ns >= mark.modified_ns and not any(map(each.matches, self.finished))
        ]
        chosen = min(newer, key=lambda each: (each is active, each.modified_ns), default=active)
        if chosen is not None:
            log.error(
                "%s: the file that was being read is gone: what it had after offset=%d is lost, unless it was"
                " read before",
                mark.path,
                mark.offset,
            )
        return chosen

    def _open_without_mark(self, active: LogFile | None) -> LogFile | None:
        if self.start == "beginning":
            candidates = [*self._generations.older(), *([active] if active else [])]
            if not candidates:
                return None
            oldest = candidates[0]
            close_others(candidates, oldest)
            return oldest
        if active is None:
            self.start = "checkpoint"  # one that appears later is all new
            return None
        with contextlib.suppress(OSError):
            # What is older is not wanted, whatever a clock that is set back makes of its time.
            older = self._generations.older()
            self.finished = tuple(each.fingerprint for each in older if each.head)[-MAX_FINISHED:]
            close_others(older, None)
        if self.start == "end":
            # In the middle of an event perhaps, whose rest is no event.
            active.start_at(active.size)
        return active

    # A file whose bytes are gone.

    def _moved_bytes(self, file: LogFile, place: Place, *, has_grown: bool) -> tuple[LogFile, bool] | None:
        """Return where to go on when a file was truncated, and whether that is a copy, else `None`.

        Its first bytes and those before the place are other ones then. Where files begin alike they may be
        the same, so a copy that holds what the file does not is looked for, too: whenever something was
        renamed or made beside it, and whenever a file of which little is known has grown.
        """
        if file.was_rewritten(place):
            return self._after_truncation(file, place)
        look = self._directory()
        knows_little = len(place.head) < HEAD
        if look == self._looked_for_copies and not (knows_little and has_grown):
            return None
        if file.compressed:
            return None
        copy = self._copy(file, place, is_missed=True)
        self._looked_for_copies = look
        return None if copy is None else (copy, True)

    def _after_truncation(self, file: LogFile, place: Place) -> tuple[LogFile, bool]:
        copy = self._copy(file, place)
        if copy is not None:
            return copy, True
        log.warning("%s: truncated at offset=%d: reading it from its beginning", file.path, place.start)
        if not self._is_active(file):
            generations = self._generations.older()
            newer = self._newer(generations, file, place.modified_ns)
            close_others(generations, newer)
            if newer is not None:
                return newer, False
        return self._open_active() or file, False

    def _copy(self, file: LogFile, place: Place, *, is_missed: bool = False) -> LogFile | None:
        """Return the copy that was made before a file was truncated, at the same place.

        One that `is_missed` has something that the file has not, and was not written to after it.
        """
        generations = self._generations.older()
        copy = None
        try:
            copies = [each for each in generations if not each.is_at(file)]
            if is_missed and not self._is_active(file):
                # It was renamed since: those written to after it came after it.
                copies = [each for each in copies if each.modified_ns < file.modified_ns]
            if is_missed:
                copies = [each for each in copies if not file.holds(each)]
            copy = choose(copies, file.mark_of(place), self.finished, active=self.path)
            if copy is not None:
                copy.start_at(place.start, file.framer.form)
                log.info("%s: copied to %s and truncated", file.path, copy.path)
        except OSError:
            close_others(generations, None)
            raise
        close_others(generations, copy)
        return copy

    # A file that is read to its end.

    def _successor(self, file: LogFile) -> tuple[LogFile, bool] | None:
        """Return the file that comes next, and whether it is a copy; `None` while this one may still grow."""
        status = self._status()
        if status is not None and (status.st_dev, status.st_ino) == (file.device, file.inode):
            return None
        has_active = status is not None and status.st_size > 0
        look = (self._directory(), self._generations.names(), status and status.st_ino, has_active)
        if look == self._looked_at:
            return None  # nothing has changed since the last time there was nothing
        generations = self._generations.older()
        following = None
        try:
            following = self._newer(generations, file, file.modified_ns)
            if following is None and has_active:
                following = self._open_active()
            is_copy = following is not None and self._goes_on(following, file)
        except OSError:
            close_others([*generations, following], None)
            raise
        close_others(generations, following)
        if following is None:
            self._looked_at = look
            return None
        if file.size > file.offset:
            # Its writer has moved on. What it had written before is there by now, and is read first.
            following.close()
            return None
        return following, is_copy

    def _goes_on(self, following: LogFile, file: LogFile) -> bool:
        """Let a file that is surely a copy of another, and perhaps more, be read on at the same place."""
        likeness = following.likeness(file.mark_of(file.place))
        if likeness is None or likeness is Likeness.PREFIX:
            return False
        following.start_at(file.framer.position, file.framer.form)
        return True

    def _newer(self, generations: list[LogFile], file: LogFile, since_ns: int) -> LogFile | None:
        """Return the oldest generation that was written to after a file and is not read yet."""
        present = file.fingerprint
        for each in generations:
            # Of the same time, as on a file system that counts seconds, it is not known to be older.
            if each.modified_ns < since_ns or not each.head or each.is_at(file):
                continue
            if not any(map(each.matches, (present, *self.finished))):
                return each
        return None

    # What is there.

    def _status(self) -> os.stat_result | None:
        try:
            return self.path.stat()
        except FileNotFoundError:
            return None

    def _is_active(self, file: LogFile) -> bool:
        status = self._status()
        return status is not None and (status.st_dev, status.st_ino) == (file.device, file.inode)

    def _directory(self) -> int:
        """Return when something was last renamed, made or deleted there."""
        return self.path.parent.stat().st_mtime_ns

    def _open_active(self) -> LogFile | None:
        try:
            file = self._generations.open(self.path)
        except FileNotFoundError:
            self._say(f"{self.path}: is not there yet")
            return None
        if file is None:
            self._say(f"{self.path}: is not a regular file")
        return file

    def _say_why(self, error: OSError) -> None:
        path = Path(error.filename or self.path)
        self._say(f"{path}: {why_unreadable(path, error)}")

    def _say(self, problem: str | None) -> None:
        if problem != self.problem:
            self.problem = problem
            if problem is not None:
                log.warning("cannot be read now: %s", problem)

    def close(self) -> None:
        """Close the file."""
        if self.file is not None:
            self.file.close()


def say_damage(file: LogFile) -> None:
    """Say where a compressed file that was read ends too early."""
    if file.compressed and not file.read_at(file.offset, 1) and file.damage:
        log.error(
            "%s: is damaged: what it had after offset=%d is lost: %s", file.path, file.offset, file.damage
        )

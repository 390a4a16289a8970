"""The older generations of a log: the files beside it that rotation made of it."""

from __future__ import annotations

import re
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from amikafka_tail.sources.logfile import COMPRESSED, Fingerprint, Framing, Likeness, LogFile, Mark

MAX_FINISHED = 64
"""Generations remembered as read, so that a copy of one is not read again."""
_ROTATION = r"(?:[.\-_](?:\d[\d\-_.:T]*|old))+"


class Generations:
    """Opens what belongs to the log at `path`. Raises `OSError`."""

    def __init__(self, path: Path, framer: Callable[[int, Any], Framing]) -> None:
        self._path = path
        self._framer = framer
        stem, extension = re.escape(path.stem), re.escape(path.suffix)
        # full.1, full.log-20261123.gz, full-20261123.log; but full.json is another log.
        self._rotated = re.compile(
            rf"{stem}(?:{extension}{_ROTATION}|{_ROTATION}{extension})(?:\.gz)?", re.ASCII
        )

    def open(self, path: Path) -> LogFile | None:
        """Open one file, `None` where it is no regular file. Raises `FileNotFoundError`, too."""
        return LogFile(path, self._framer) if stat.S_ISREG(path.stat().st_mode) else None

    def older(self) -> list[LogFile]:
        """Open the older files, the oldest first; of one and its compressed copy the plain one."""
        found: list[LogFile] = []
        plain: list[Fingerprint] = []
        try:
            for path in sorted(self._names(), key=lambda each: each.suffix == COMPRESSED):
                try:
                    file = self.open(path)
                except FileNotFoundError:
                    continue
                if file is None:
                    continue
                if any(map(file.is_at, found)) or (file.compressed and any(map(file.matches, plain))):
                    file.close()
                    continue
                found.append(file)
                if not file.compressed:
                    plain.append(file.fingerprint)
            return sorted(found, key=lambda each: each.modified_ns)
        except OSError:
            close_others(found, None)
            raise

    def names(self) -> frozenset[str]:
        """Return what they are called."""
        return frozenset(path.name for path in self._names())

    def _names(self) -> Iterator[Path]:
        """Find the names that rotation gives: the log's own with something behind it."""
        for directory in dict.fromkeys([self._path.parent, self._path.resolve().parent]):
            try:
                entries = list(directory.iterdir())
            except FileNotFoundError:
                continue
            for entry in entries:
                if self._rotated.fullmatch(entry.name):
                    yield entry


def choose(
    candidates: Iterable[LogFile], mark: Mark, finished: Sequence[Fingerprint], *, active: Path
) -> LogFile | None:
    """Return the file of a mark, `None` where it is not among the candidates. Raises `OSError`.

    Several may begin with the bytes that the mark knows. Then rotated ones come before the `active` one, the
    one written to first comes first, and the likest of those written to at once: all that follow it are read
    after it, so a wrong choice repeats events, and loses none.
    """
    likely = []
    for file in candidates:
        likeness = file.likeness(mark)
        if likeness is None:
            continue
        # Where the finished ones are not all remembered, time tells that a file was read before.
        by_time = likeness is Likeness.PREFIX and (not mark.head_bytes or len(finished) == MAX_FINISHED)
        is_older = by_time and file.modified_ns < mark.modified_ns
        if likeness is Likeness.INODE or not (is_older or any(map(file.matches, finished))):
            likely.append(((file.path == active, file.modified_ns, -likeness), file))
    return min(likely, key=lambda each: each[0])[1] if likely else None


def close_others(files: Iterable[LogFile | None], kept: LogFile | None) -> None:
    """Close files but one."""
    for file in files:
        if file is not None and file is not kept:
            file.close()

"""The source `eventlog`: the manager debug log, or any file of AMI events, with all its rotations."""

from __future__ import annotations

import glob
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from amikafka_tail.ami.debuglog import MARKER, Found, LogFramer, debug_headers
from amikafka_tail.ami.event import Event
from amikafka_tail.ami.sequence import Sequence
from amikafka_tail.config.files import why_unreadable
from amikafka_tail.config.identity import Identity
from amikafka_tail.hookspecs import API_VERSION, Register, hookimpl
from amikafka_tail.metrics import Counters
from amikafka_tail.sources.logevents import LogEvents, name_of, version_of
from amikafka_tail.sources.logfile import LogFile
from amikafka_tail.sources.logs import LogsReader
from amikafka_tail.sources.logtime import LogTimes
from amikafka_tail.sources.replayable import Unpublishable
from amikafka_tail.sources.rotation import CHUNK, Start

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


class _DebugLog:
    """What stands in one log: each event once, though it is logged once per session; see `Interpreter`."""

    def __init__(self, make: LogEvents) -> None:
        self._make = make
        self._sequence = Sequence()
        self._system_name = ""

    def learn(self, found: list[Found]) -> None:
        """Learn which numbers came shortly before."""
        for each in found:
            _, number = debug_headers(each.raw)
            if number is not None and not each.torn:
                self._sequence.is_new(number, each.raw)
        self._sequence.duplicates = self._sequence.gaps = self._sequence.restarts = 0

    def events(self, found: list[Found], file: LogFile, distance: int) -> Iterator[Event | Unpublishable]:
        """Return the events, each once."""
        if found:
            self._system_name = name_of(found[0]) or self._system_name
        return self._make.events(found, file, self._sequence, distance)

    def again(self, found: list[Found], _file: LogFile, distance: int) -> Iterator[Event]:
        """Return the events once more, copies included."""
        return self._make.again(found, distance)

    def is_begun(self, held: bytes) -> bool:
        """Tell whether an event has begun."""
        return MARKER in held or held.startswith(b"Event: ")

    def asterisk(self, file: LogFile) -> tuple[str, str]:
        """Return version and system name."""
        return version_of(file), self._system_name


class _DebugLogs:
    """Logs of Asterisk's manager; see `LogKind`."""

    learn_bytes = WARM_UP
    framer = LogFramer

    def __init__(self, options: EventLogOptions, counters: Counters) -> None:
        self._make = LogEvents(
            keep_debug_headers=options.keep_debug_headers,
            times=LogTimes(options.dateformat),
            counters=counters,
        )

    def interpreter(self) -> _DebugLog:
        """Make the interpreter of one log."""
        return _DebugLog(self._make)


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
    ) -> LogsReader:
        """Return a reader that goes on at the bookmark."""
        return LogsReader(
            self._options.path,
            self._options.start,
            _DebugLogs(self._options, counters),
            position=position,
            bookmark=bookmark,
            identify=identify,
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

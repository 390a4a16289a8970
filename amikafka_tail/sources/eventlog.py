"""The source `eventlog`: the manager debug log, or any file of AMI events, with all its rotations."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from amikafka_tail.ami.debuglog import MARKER, Found, LogFramer, debug_headers
from amikafka_tail.ami.sequence import Sequence
from amikafka_tail.model.counters import Counters
from amikafka_tail.model.event import Event
from amikafka_tail.model.replayable_source import Unpublishable
from amikafka_tail.plugins.hookspecs import API_VERSION, Register, hookimpl
from amikafka_tail.sources.logevents import WARM_UP, LogEvents, learn, name_of, version_of
from amikafka_tail.sources.logfile import LogFile
from amikafka_tail.sources.logs import FollowedLogs, LogOptions
from amikafka_tail.sources.logtime import LogTimes
from amikafka_tail.sources.losses import Losses
from amikafka_tail.sources.rotation import CHUNK


@dataclass(frozen=True, kw_only=True)
class EventLogOptions(LogOptions):
    """Options of the section `[eventlog]`. Each file is one Asterisk's log, with its rotations."""

    path: tuple[str, ...] = ("/var/log/asterisk/full",)
    keep_debug_headers: bool = False
    """Whether SequenceNumber, File, Line and Func stay in the events."""
    dateformat: str = ""
    """logger.conf's dateformat, where it is none of the usual ones; for events without a Timestamp. All that
    strftime knows, and `%q` with 1 to 9 digits. `replay` and `source = spool` read logs with it too."""

    def __post_init__(self) -> None:
        super().__post_init__()
        LogTimes(self.dateformat)


def log_events(options: EventLogOptions | None, counters: Counters) -> LogEvents:
    """Make what makes events of logs as `[eventlog]` says, however the logs are read."""
    options = options or EventLogOptions()
    return LogEvents(
        keep_debug_headers=options.keep_debug_headers,
        times=LogTimes(options.dateformat),
        losses=Losses(counters),
    )


class _DebugLog:
    """What stands in one log: each event once, though it is logged once per session; see `Interpreter`."""

    def __init__(self, make: LogEvents) -> None:
        self._make = make
        self._sequence = Sequence()
        self._system_name = ""

    def learn(self, found: list[Found]) -> None:
        """Learn which numbers came shortly before."""
        learn(found, self._sequence)

    def events(self, found: list[Found], file: LogFile, distance: int) -> Iterator[Event | Unpublishable]:
        """Return the events, each once."""
        if found:
            self._system_name = name_of(found[0]) or self._system_name
        return self._make.events(found, file, self._sequence, distance)

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
        self._make = log_events(options, counters)

    def interpreter(self) -> _DebugLog:
        """Make the interpreter of one log."""
        return _DebugLog(self._make)


class EventLogSource(FollowedLogs):
    """Makes readers of the logs that the options name."""

    def __init__(self, options: EventLogOptions) -> None:
        super().__init__(options, lambda counters: _DebugLogs(options, counters), remark=_remark)


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

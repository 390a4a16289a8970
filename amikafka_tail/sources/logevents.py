"""From what stands in a log file to the events as a manager session gets them."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from pathlib import Path

from amikafka_tail.ami.debuglog import Found, debug_headers, system_name
from amikafka_tail.ami.sequence import Sequence
from amikafka_tail.model.event import Event
from amikafka_tail.model.replayable_source import Unpublishable
from amikafka_tail.sources.logfile import LogFile
from amikafka_tail.sources.logtime import LogTimes
from amikafka_tail.sources.losses import Losses

WARM_UP = 1024 * 1024
"""Bytes before a place that are read again, to know which SequenceNumbers have been seen."""
# What an event's `happened_ms` is read from: no other time is needed then.
_OWN_TIMESTAMP = re.compile(
    rb"Event: [^\r\n]*\r\nPrivilege: [^\r\n]*\r\nTimestamp: \d{1,12}(?:\.\d*)?(?:\r\n|\Z)"
)
DUMPS = ("ami", "ami-lf")
"""Forms of a file without lines of a log, and so without dates."""
TORN = "cut off at the end of a log file, or by other lines in it"

log = logging.getLogger("amikafka.eventlog")


class LogEvents:
    """Makes events of what a `LogFramer` found: each once, without the lines that manager debug adds.

    With `keep_debug_headers` those lines stay.
    """

    def __init__(self, *, keep_debug_headers: bool, times: LogTimes, losses: Losses) -> None:
        self._keep = keep_debug_headers
        self._times = times
        self._losses = losses
        self._wrapper_times = LogTimes()
        self._unnumbered: set[Path] = set()
        self._undated: set[Path] = set()
        """Files of which it was said that their dates cannot be read."""

    def events(
        self, found: list[Found], file: LogFile, sequence: Sequence, distance: int
    ) -> Iterator[Event | Unpublishable]:
        """Return the events of one read of a file; `distance` is added to their offsets."""
        for each in found:
            position = each.position + distance
            if each.too_long:
                yield self._losses.too_long(position, file)
                continue
            if each.torn:
                yield Unpublishable(each.raw, position, each.reason or TORN, "torn")
                continue
            raw, number = debug_headers(each.raw)
            if number is None:
                self._warn_unnumbered(each, file)
            else:
                is_copy = not sequence.is_new(number, each.raw)
                if sequence.has_holes:
                    happened_ms = self._happened_ms(each, raw, file)
                    if missing := sequence.ended_gap(happened_ms):
                        yield self._losses.missing(missing, position, happened_ms, number, file)
                if is_copy:
                    self._losses.copy(position)
                    continue
            yield self._event(each, raw, position, file)

    def finish(self, sequence: Sequence, position: int, file: LogFile) -> Iterator[Event | Unpublishable]:
        """Return what stands for the events that turn out to be missing where the last file ends."""
        if missing := sequence.close():
            number = sequence.highest or 0
            yield self._losses.missing(missing, position, file.modified_ns // 1_000_000, number, file)

    def _happened_ms(self, found: Found, raw: bytes, file: LogFile) -> int:
        event = self._event(found, raw, 0, file)
        return event.happened_ms

    def _event(self, found: Found, raw: bytes, position: int, file: LogFile) -> Event:
        captured_ms = 0
        if not _OWN_TIMESTAMP.match(raw):
            captured_ms = self._logged_ms(found, file)
        return Event(found.raw if self._keep else raw, position, captured_ms)

    def _logged_ms(self, found: Found, file: LogFile) -> int:
        """Return when the line of an event was logged, or else when the file was last written to."""
        modified_ms = file.modified_ns // 1_000_000
        logged_ms = self._times.read(found.logged_at, modified_ms) if found.logged_at else None
        if logged_ms is None and found.wrapped_at:
            logged_ms = self._wrapper_times.read(found.wrapped_at, modified_ms)
        if logged_ms is not None:
            return logged_ms
        if file.path not in self._undated and not (file.framer.form or "").endswith(DUMPS):
            self._undated.add(file.path)
            log.warning(
                "%s: the date of its lines cannot be read: the time when the file was last written to counts"
                " for events without a Timestamp: date=%r dateformat=%r ([eventlog] dateformat is to be"
                " logger.conf's)",
                file.path,
                (found.logged_at or found.wrapped_at).decode(errors="replace"),
                self._times.dateformat,
            )
        return modified_ms

    def _warn_unnumbered(self, found: Found, file: LogFile) -> None:
        if file.path not in self._unnumbered and (found.logged_at or found.wrapped_at):
            self._unnumbered.add(file.path)
            log.warning(
                "%s: its events have no SequenceNumber: with several manager sessions each event comes once"
                " per session, and nothing tells the copies apart (`manager set debug on` numbers them)",
                file.path,
            )


def learn(found: list[Found], sequence: Sequence) -> None:
    """See which numbers came before the place where reading begins; nothing of it counts."""
    for each in found:
        _, number = debug_headers(each.raw)
        if number is not None and not each.torn:
            sequence.is_new(number, each.raw)
            if sequence.has_holes:
                # What has been missing for long was told before.
                sequence.ended_gap(Event(each.raw).happened_ms or None)
    sequence.forget_counts()


def version_of(file: LogFile) -> str:
    """Return Asterisk's version, which it writes at the beginning of each log (main/logger.c)."""
    _, found, rest = file.head.partition(b"] Asterisk ")
    version, built, _ = rest.partition(b" built by ")
    return version.decode(errors="replace") if found and built and b"\n" not in version else ""


def name_of(found: Found) -> str:
    """Return the system name that Asterisk itself wrote into an event, empty where it did not."""
    return "" if found.torn else system_name(found.raw).decode(errors="replace")

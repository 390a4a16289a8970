"""From what stands in a log file to the events as a manager session gets them."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator

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
        self._warned = False

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
                yield Unpublishable(each.raw, position, TORN, "torn")
                continue
            raw, number = debug_headers(each.raw)
            if number is None:
                self._warn_unnumbered(each, file)
            else:
                is_copy = not sequence.is_new(number, each.raw)
                if missing := sequence.ended_gap():
                    yield self._losses.missing(missing, position, Event(raw).happened_ms, number, file)
                if is_copy:
                    self._losses.copy(position)
                    continue
            yield self._event(each, raw, position, file)

    def _event(self, found: Found, raw: bytes, position: int, file: LogFile) -> Event:
        captured_ms = 0
        if not _OWN_TIMESTAMP.match(raw):
            captured_ms = self._times.milliseconds(found.logged_at, file.modified_ns // 1_000_000)
        return Event(found.raw if self._keep else raw, position, captured_ms)

    def _warn_unnumbered(self, found: Found, file: LogFile) -> None:
        if not self._warned and found.logged_at:
            self._warned = True
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
    sequence.duplicates = sequence.gaps = sequence.restarts = 0


def version_of(file: LogFile) -> str:
    """Return Asterisk's version, which it writes at the beginning of each log (main/logger.c)."""
    _, found, rest = file.head.partition(b"] Asterisk ")
    version, built, _ = rest.partition(b" built by ")
    return version.decode(errors="replace") if found and built and b"\n" not in version else ""


def name_of(found: Found) -> str:
    """Return the system name that Asterisk itself wrote into an event, empty where it did not."""
    return "" if found.torn else system_name(found.raw).decode(errors="replace")

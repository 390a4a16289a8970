"""What stands in a log and is not published: counted and logged once, however often it is read again."""

from __future__ import annotations

import logging

from amikafka_tail.ami.framing import MAX_BLOCK
from amikafka_tail.model.counters import Counters, Unrecognized
from amikafka_tail.model.gaps import Gap, gap
from amikafka_tail.model.replayable_source import FirstReadings
from amikafka_tail.sources.logfile import LogFile

MOST_FILES = 50
"""Files without an event that are remembered: the last ones."""
FEW_LINES = 100
"""A new log may have as many lines before its first event: Asterisk's own beginning, and a quiet hour."""

log = logging.getLogger("amikafka.eventlog")


class Losses:
    """Counts what one reader comes upon, and makes the events that stand in place of what is lost.

    A reader that reads its files again after a rewind brings the same losses at the same offsets: those are
    not counted again.
    """

    def __init__(self, counters: Counters) -> None:
        self._counters = counters
        self._first_readings = FirstReadings()

    def too_long(self, position: int, file: LogFile) -> Gap:
        """An event, or a line, was longer than any that is held."""
        if self._first_readings.is_first("too long", position):
            self._counters.overlong += 1
            log.error("%s: passed over: an event longer than %d bytes", file.path, MAX_BLOCK)
        return gap("TooLong", position, file.modified_ns // 1_000_000)

    def missing(self, events: int, position: int, happened_ms: int, number: int, file: LogFile) -> Gap:
        """Events before the one with this SequenceNumber are not in the log."""
        if self._first_readings.is_first("missing", position):
            self._counters.gaps += events
            log.warning(
                "%s: events are missing, as SequenceNumber tells: lost_events=%d before=%d",
                file.path,
                events,
                number,
            )
        return gap("SequenceGap", position, happened_ms, LostEvents=events)

    def no_event(self, file: LogFile, *, ended: bool) -> None:
        """Note that there is no event in what was read of a file; log it once.

        Nothing is said of a file that has one, or of which nothing was read.
        """
        if file.has_events or not file.lines:
            return
        seen, key = self._counters.unrecognized, (str(file.path), file.inode)
        if key not in seen:
            log.warning(
                "%s: there is no event in it: lines=%d example=%r: it is not in a form that amikafka reads,"
                " or Asterisk writes no events to it",
                file.path,
                file.lines,
                file.example,
            )
            while len(seen) >= MOST_FILES:
                del seen[next(iter(seen))]
        seen[key] = Unrecognized(str(file.path), file.lines, file.example, ended)

    def recognized(self, file: LogFile) -> None:
        """Take back that there is no event in a file."""
        if self._counters.unrecognized and file.has_events:
            self._counters.unrecognized.pop((str(file.path), file.inode), None)

    def leave(self, file: LogFile) -> None:
        """Note that a file is not read on."""
        key = (str(file.path), file.inode)
        if key in self._counters.unrecognized:
            self._counters.unrecognized[key] = self._counters.unrecognized[key]._replace(ended=True)

    def copy(self, position: int) -> None:
        """An event was there before: it is logged once for each manager session."""
        if self._first_readings.is_first("copy", position):
            self._counters.duplicates += 1

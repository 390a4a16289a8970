"""What stands in a log and is not published: counted and logged once, however often it is read again."""

from __future__ import annotations

import logging

from amikafka_tail.ami.framing import MAX_BLOCK
from amikafka_tail.model.counters import Counters
from amikafka_tail.model.gaps import Gap, gap
from amikafka_tail.model.replayable_source import FirstReadings
from amikafka_tail.sources.logfile import LogFile

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

    def copy(self, position: int) -> None:
        """An event was there before: it is logged once for each manager session."""
        if self._first_readings.is_first("copy", position):
            self._counters.duplicates += 1

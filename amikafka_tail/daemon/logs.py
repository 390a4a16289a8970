"""Logging: under systemd to the journal with priorities and fields, else to the terminal, and no storm."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import sys
from pathlib import Path
from typing import NamedTuple

from amikafka_tail.daemon import journald
from amikafka_tail.daemon.journald import PRIORITIES, JournalHandler
from amikafka_tail.daemon.log_throttle import LogThrottle

ROOT = "amikafka"
SILENT = logging.CRITICAL + 1
MOST_TEXT = 16_000
"""Characters of a message; a plugin's exception may hold a whole event."""
# C0, DEL and C1 of ECMA-48, but for the newline and the tab.
_CONTROLS = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160)) if code not in (9, 10)}


class Remembered(NamedTuple):
    """A warning or an error, when it came last, and how often it has come."""

    at: float
    level: str
    text: str
    times: int


class Recent(logging.Handler):
    """Remembers the last warnings and errors, for who asks the daemon how it is.

    One that comes again takes no other's place, so that what repeats by turns does not drive out all else.
    """

    def __init__(self, most: int = 20) -> None:
        super().__init__(logging.WARNING)
        self._most = most
        self._last: dict[str, Remembered] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """Remember a record. Its numbers may differ from those of the one before: the text is the newer."""
        text = printable(record.getMessage()[:MOST_TEXT])
        words = _words(text)
        before = self._last.pop(words, None)
        times = before.times + 1 if before is not None else 1
        self._last[words] = Remembered(record.created, record.levelname.lower(), text, times)
        if len(self._last) > self._most:
            del self._last[next(iter(self._last))]

    def all(self) -> list[Remembered]:
        """Return them, the oldest first."""
        with self.lock or contextlib.nullcontext():
            return list(self._last.values())


def _words(text: str) -> str:
    return re.sub(r"\d+", "", text)


recent = Recent()
"""What this process has said."""


def printable(text: str) -> str:
    """Return text that can do nothing to a terminal: control characters are written as `\\x1b`."""
    return text.translate(_CONTROLS)


class _Formatter(logging.Formatter):
    """Lets no control character through, wherever in a message it came from, and no endless text."""

    default_msec_format = "%s.%03d"

    def format(self, record: logging.LogRecord) -> str:
        text = printable(super().format(record))
        more = len(text) - MOST_TEXT
        return f"{text[:MOST_TEXT]} ... and {more} more characters" if more > 0 else text


class _PriorityFormatter(_Formatter):
    """Puts the syslog priority in front, which the systemd journal reads and removes (sd-daemon(3))."""

    def format(self, record: logging.LogRecord) -> str:
        priority = f"<{PRIORITIES.get(record.levelno, 6)}>"
        return priority + super().format(record).replace("\n", f"\n{priority}")


def set_up(level: str = "info", *, journal: Path = journald.SOCKET) -> None:
    """Send the log to where standard error leads; `journal` is journald's socket. Called by the command."""
    handler: logging.Handler = logging.StreamHandler(sys.stderr)
    if journald.is_standard_error(os.environ):
        handler.setFormatter(_PriorityFormatter())
        handler = JournalHandler(journal, instead=handler)
        handler.setFormatter(_Formatter())
    else:
        handler.setFormatter(_Formatter("%(asctime)s %(levelname)-7s %(message)s"))
    handler.addFilter(LogThrottle())
    logger = logging.getLogger(ROOT)
    for before in logger.handlers:
        if before is not recent:
            before.close()
    # The count of what was folded is for the log alone.
    logger.handlers = [recent, handler]
    logger.propagate = False
    set_level(level)


def set_level(level: str) -> None:
    """Log what is at least as grave as `level`: debug, info, warning or error."""
    logging.getLogger(ROOT).setLevel(level.upper())
    # librdkafka tells of every connection it loses; what matters of it, fatal errors too, comes as errors.
    logging.getLogger(f"{ROOT}.librdkafka").setLevel(logging.DEBUG if level == "debug" else SILENT)


def tell_of_storms(*, at_once: bool = False) -> None:
    """Write how many messages were folded in storms that are over; with `at_once`, in the others too."""
    for handler in logging.getLogger(ROOT).handlers:
        for each in handler.filters:
            if isinstance(each, LogThrottle):
                for record in each.ended(at_once=at_once):
                    if logging.getLogger(record.name).isEnabledFor(record.levelno):
                        handler.handle(record)


def complain(text: str) -> None:
    """Say why a command cannot go on: on standard error or, where that is the journal, as an error there."""
    if not journald.is_standard_error(os.environ):
        sys.stderr.write(f"{journald.IDENTIFIER}: {printable(text)}\n")
        return
    logger = logging.getLogger(ROOT)
    if not logger.handlers:
        set_up()
    logger.error("%s", text)

"""Logging: under systemd to journald with priorities and fields, else to standard error; throttled."""

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
# C0, DEL and C1 of ECMA-48, except newline and tab.
_CONTROLS = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160)) if code not in (9, 10)}


class Remembered(NamedTuple):
    """A warning or an error: when it was last logged, and how often."""

    at: float
    level: str
    text: str
    times: int


class Recent(logging.Handler):
    """Remembers the last warnings and errors, for the status.

    A repeated one replaces its own entry, so that alternating messages do not displace all others.
    """

    def __init__(self, most: int = 20) -> None:
        super().__init__(logging.WARNING)
        self._most = most
        self._last: dict[str, Remembered] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """Remember a record. Records that differ only in numbers are equal; the newest text is kept."""
        text = printable(record.getMessage()[:MOST_TEXT])
        words = _words(text)
        before = self._last.pop(words, None)
        times = before.times + 1 if before is not None else 1
        self._last[words] = Remembered(record.created, record.levelname.lower(), text, times)
        if len(self._last) > self._most:
            del self._last[next(iter(self._last))]

    def all(self) -> list[Remembered]:
        """Return the entries, the oldest first."""
        with self.lock or contextlib.nullcontext():
            return list(self._last.values())


def _words(text: str) -> str:
    return re.sub(r"\d+", "", text)


recent = Recent()
"""The recent warnings and errors of this process."""


def printable(text: str) -> str:
    """Return text that is safe for a terminal: control characters become `\\x1b`."""
    return text.translate(_CONTROLS)


class _Formatter(logging.Formatter):
    """Escapes control characters anywhere in a message, and limits its length."""

    default_msec_format = "%s.%03d"

    def format(self, record: logging.LogRecord) -> str:
        text = printable(super().format(record))
        more = len(text) - MOST_TEXT
        return f"{text[:MOST_TEXT]} ... and {more} more characters" if more > 0 else text


class _PriorityFormatter(_Formatter):
    """Prepends the syslog priority, which journald reads and removes (sd-daemon(3))."""

    def format(self, record: logging.LogRecord) -> str:
        priority = f"<{PRIORITIES.get(record.levelno, 6)}>"
        return priority + super().format(record).replace("\n", f"\n{priority}")


def set_up(level: str = "info", *, journal: Path = journald.SOCKET) -> None:
    """Log to journald if standard error is connected to it, else to standard error. Called by the command.

    `journal` is journald's socket.
    """
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
    # Only the log throttles; `recent` sees every record.
    logger.handlers = [recent, handler]
    logger.propagate = False
    set_level(level)


def set_level(level: str) -> None:
    """Log records of at least `level`: debug, info, warning or error."""
    logging.getLogger(ROOT).setLevel(level.upper())
    # librdkafka logs every lost connection; what matters, fatal errors too, also arrives as errors.
    logging.getLogger(f"{ROOT}.librdkafka").setLevel(logging.DEBUG if level == "debug" else SILENT)


def tell_of_storms(*, at_once: bool = False) -> None:
    """Write how many messages were suppressed in bursts that are over; with `at_once`, also in the others."""
    for handler in logging.getLogger(ROOT).handlers:
        for each in handler.filters:
            if isinstance(each, LogThrottle):
                for record in each.ended(at_once=at_once):
                    if logging.getLogger(record.name).isEnabledFor(record.levelno):
                        handler.handle(record)


def complain(text: str) -> None:
    """Report why a command failed: on standard error or, if that is journald, as an error there."""
    if not journald.is_standard_error(os.environ):
        sys.stderr.write(f"{journald.IDENTIFIER}: {printable(text)}\n")
        return
    logger = logging.getLogger(ROOT)
    if not logger.handlers:
        set_up()
    logger.error("%s", text)

"""Logging: to the journal with priorities under systemd, else to the terminal; a storm is folded."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import sys
import time
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

ROOT = "amikafka"
SILENT = logging.CRITICAL + 1
_PRIORITIES = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3, logging.CRITICAL: 2}
# C0, DEL and C1 of ECMA-48, but for the newline and the tab.
_CONTROLS = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160)) if code not in (9, 10)}


class FoldRepeats(logging.Filter):
    """Lets a message through `burst` times in `seconds`, then says once how many more there were.

    Messages are the same when their text before formatting is.
    """

    def __init__(
        self, burst: int = 10, seconds: float = 60.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__()
        self._burst = burst
        self._seconds = seconds
        self._clock = clock
        self._seen: dict[tuple[str, int], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Tell whether to write a record; add the count of those folded before it."""
        key = (record.msg if isinstance(record.msg, str) else "", record.levelno)
        now = self._clock()
        since, count = self._seen.get(key, (now, 0))
        if now - since >= self._seconds:
            if count > self._burst:
                record.msg = f"{record.msg} (and {count - self._burst} more like this in {now - since:.0f} s)"
            since, count = now, 0
        self._seen[key] = (since, count + 1)
        return count < self._burst


class Remembered(NamedTuple):
    """A warning or an error, and how often it came in a row."""

    at: float
    level: str
    text: str
    times: int


class Recent(logging.Handler):
    """Remembers the last warnings and errors, for who asks the daemon how it is."""

    def __init__(self, most: int = 20) -> None:
        super().__init__(logging.WARNING)
        self._last: deque[Remembered] = deque(maxlen=most)

    def emit(self, record: logging.LogRecord) -> None:
        """Remember a record. Its numbers may differ from those of the one before: the text is the newer."""
        text = printable(record.getMessage())
        times = 1
        if self._last and _words(self._last[-1].text) == _words(text):
            times += self._last.pop().times
        self._last.append(Remembered(record.created, record.levelname.lower(), text, times))

    def all(self) -> list[Remembered]:
        """Return them, the oldest first."""
        with self.lock or contextlib.nullcontext():
            return list(self._last)


def _words(text: str) -> str:
    return re.sub(r"\d+", "", text)


recent = Recent()
"""What this process has said."""


def printable(text: str) -> str:
    """Return text that can do nothing to a terminal: control characters are written as `\\x1b`."""
    return text.translate(_CONTROLS)


class _Formatter(logging.Formatter):
    """Lets no control character through, wherever in a message it came from."""

    default_msec_format = "%s.%03d"

    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record))


class _PriorityFormatter(_Formatter):
    """Puts the syslog priority in front, which the systemd journal reads and removes (sd-daemon(3))."""

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record).replace("\n", f"\n<{_PRIORITIES[record.levelno]}>")
        return f"<{_PRIORITIES[record.levelno]}>{text}"


def set_up(level: str = "info") -> None:
    """Send the log to standard error. Called once, by the command."""
    handler = logging.StreamHandler(sys.stderr)
    if "JOURNAL_STREAM" in os.environ:
        handler.setFormatter(_PriorityFormatter("%(message)s"))
    else:
        handler.setFormatter(_Formatter("%(asctime)s %(levelname)-7s %(message)s"))
    handler.addFilter(FoldRepeats())
    logger = logging.getLogger(ROOT)
    logger.handlers = [handler, recent]
    logger.propagate = False
    set_level(level)


def set_level(level: str) -> None:
    """Log what is at least as grave as `level`: debug, info, warning or error."""
    logging.getLogger(ROOT).setLevel(level.upper())
    # librdkafka tells of every connection it loses; what matters of it, fatal errors too, comes as errors.
    logging.getLogger(f"{ROOT}.librdkafka").setLevel(logging.DEBUG if level == "debug" else SILENT)

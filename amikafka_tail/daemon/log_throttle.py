"""Throttles repeated log messages: writes a few of them and counts the rest."""

from __future__ import annotations

import copy
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from amikafka_tail.model.log_limits import Limit

MOST_MESSAGES = 1000
"""Different messages that are tracked at the same time."""

Key = tuple[str, int]


@dataclass
class _Seen:
    since: float
    limit: Limit
    count: int = 0
    last: logging.LogRecord | None = None
    """The last one that was not written."""


class LogThrottle(logging.Filter):
    """Lets a message through `burst` times in `seconds`, then reports once how many were suppressed.

    The count is added to the next equal message or, if there is none, returned by `ended`. Messages are equal
    if their text before formatting is equal; for a message that is only a value, the value counts. Beyond
    MOST_MESSAGES different ones, all others of a level count as equal. A record may have its own limit
    (`RARELY`). DEBUG is not throttled, because all lines of librdkafka have the same text before formatting.
    `clock` gives monotonic seconds.
    """

    def __init__(
        self, burst: int = 10, seconds: float = 60.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__()
        self._usual = Limit(burst, seconds)
        self._clock = clock
        self._seen: dict[Key, _Seen] = {}
        self._lock = threading.Lock()

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether to write a record; add the count of those suppressed before it."""
        if record.levelno <= logging.DEBUG:
            return True
        with self._lock:
            now = self._clock()
            key = self._key(record)
            seen = self._seen.get(key)
            if seen is None or now - seen.since >= seen.limit.seconds:
                if seen is not None:
                    _add_count(record, seen.count - seen.limit.burst, now - seen.since)
                seen = self._seen[key] = _Seen(now, getattr(record, "limit", self._usual))
            seen.count += 1
            if seen.count <= seen.limit.burst:
                return True
            seen.last = record
            return False

    def ended(self, *, at_once: bool = False) -> list[logging.LogRecord]:
        """Return the last message of each burst whose time is over, with the count of suppressed ones.

        With `at_once`, also those of the bursts that are not over.
        """
        with self._lock:
            now = self._clock()
            over = [
                key for key, seen in self._seen.items() if at_once or now - seen.since >= seen.limit.seconds
            ]
            found = []
            for seen in map(self._seen.pop, over):
                if seen.last is not None:
                    last = copy.copy(seen.last)
                    _add_count(last, seen.count - seen.limit.burst - 1, now - seen.since)
                    found.append(last)
            return found

    def _key(self, record: logging.LogRecord) -> Key:
        is_value = not isinstance(record.msg, str) or record.msg == "%s" or hasattr(record, "limit")
        key = (record.getMessage() if is_value else record.msg, record.levelno)
        if key not in self._seen and len(self._seen) >= MOST_MESSAGES:
            return ("", record.levelno)
        return key


def suppressed_before(record: logging.LogRecord) -> int:
    """Return how many messages equal to a record were suppressed before it."""
    return int(getattr(record, "folded", 0))


def _add_count(record: logging.LogRecord, folded: int, seconds: float) -> None:
    if folded > 0:
        record.__dict__["folded"] = folded
        record.msg = f"{record.msg} (and {folded} more like this in {seconds:.0f} s)"

"""Formats numbers for people."""

from __future__ import annotations

MINUTE, HOUR, DAY = 60, 3600, 86400
YEAR = 365 * DAY


def span(seconds: float) -> str:
    """Return a span of time: `45 s`, `12 min`, `3 h 20 min`, `4 d 2 h`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 2 * MINUTE:
        return f"{whole} s"
    if whole < 2 * HOUR:
        return f"{whole // MINUTE} min"
    if whole < 2 * DAY:
        return f"{whole // HOUR} h {whole % HOUR // MINUTE} min"
    return f"{whole // DAY:,} d {whole % DAY // HOUR} h"


def room(hours: float) -> str:
    """Return how long there is room; a huge number from few events says no more than a year."""
    return span(hours * HOUR) if hours * HOUR < YEAR else "more than a year"


def size(count: float) -> str:
    """Return a number of bytes: `512 B`, `1.5 MB`. A kB is 1000 bytes."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" or count >= 100 else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:,.1f} TB"


def counted(number: int, one: str, many: str | None = None) -> str:
    """Return a number with its noun: `1 event`, `2,000 events`."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def rate(per_second: float) -> str:
    """Return a rate, `0.4/s` or `1,234/s`."""
    return f"{per_second:.1f}/s" if 0 < per_second < 10 else f"{per_second:,.0f}/s"

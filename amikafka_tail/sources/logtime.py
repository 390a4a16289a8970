"""When a line was logged: the date as logger.conf's `dateformat` writes it, in local time."""

from __future__ import annotations

import re
from datetime import datetime

# The default, "%b %e %T", and what the samples of logger.conf suggest; a fraction may follow.
_USUAL = ("%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S", "%b %d %H:%M:%S")
_FRACTION = re.compile(rb"(.*:\d\d)[.,](\d{1,9})(.*)")
_OWN_FRACTION = re.compile(r"[.,]?%\d?q")


class LogTimes:
    """Reads the times of log lines. `dateformat` is logger.conf's, empty for the usual ones.

    Raises `ValueError` for a format that cannot be read back.
    """

    def __init__(self, dateformat: str = "") -> None:
        self._formats = (_OWN_FRACTION.sub("", dateformat.replace("%e", "%d")),) if dateformat else _USUAL
        self._last: tuple[bytes, int | None] = (b"", None)
        if dateformat:
            now = datetime.now()
            try:
                datetime.strptime(now.strftime(self._formats[0]), self._formats[0])
            except ValueError as error:
                raise ValueError(f'dateformat "{dateformat}" cannot be read back: {error}') from None

    def milliseconds(self, text: bytes, modified_ms: int) -> int:
        """Return the time in ms since the epoch, or `modified_ms` where it cannot be read.

        A date without a year is the last one before `modified_ms`, when the file was last written to.
        """
        fraction = 0
        if (match := _FRACTION.fullmatch(text)) is not None:
            text, digits = match[1] + match[3], match[2]
            fraction = int(digits[:3].ljust(3, b"0"))
        if text != self._last[0]:
            self._last = (text, self._parse(text, modified_ms))
        seconds = self._last[1]
        return modified_ms if seconds is None else seconds * 1000 + fraction

    def _parse(self, text: bytes, modified_ms: int) -> int | None:
        written = datetime.fromtimestamp(modified_ms / 1000)
        for each in self._formats:
            dated = "%Y" in each or "%y" in each or "%s" in each or "%c" in each
            try:
                if dated:
                    return int(datetime.strptime(text.decode(), each).timestamp())
                found = datetime.strptime(f"{written.year} {text.decode()}", f"%Y {each}")
                if found.timestamp() > written.timestamp() + 86400:
                    found = found.replace(year=written.year - 1)
                return int(found.timestamp())
            except (ValueError, OverflowError):
                continue
        return None

"""When a line was logged: the date as logger.conf's `dateformat` writes it, in local time.

main/logger.c gives `dateformat` to ast_strftime (main/stdtime/localtime.c): that is the C library's strftime
in English, with `%q` added, the fraction of a second in 1 to 9 digits (`%3q`: milliseconds).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone

# The default, "%b %e %T", what the samples of logger.conf suggest, and what can be nothing else. `%D` is not
# here: 11/12/26 is a day of November in one country and of December in the other.
_USUAL = (
    "%Y-%m-%d %H:%M:%S",
    "%b %e %H:%M:%S",
    "%Y-%m-%dT%H:%M:%S",
    "%Y%m%d %H:%M:%S",
    "%Y/%m/%d %H:%M:%S",
    "%d.%m.%Y %H:%M:%S",
    "%d/%b/%Y:%H:%M:%S",
    "%d %b %Y %H:%M:%S",
    "%b %e %Y %H:%M:%S",
    "%a %b %e %H:%M:%S %Y",
    "%s.%q",
)
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS = r"(?:mon|tue|wed|thu|fri|sat|sun)[a-z]*"
_FRACTION = re.compile(rb"(.*:\d\d)[.,](\d{1,9})(.*)")
_DIRECTIVE = re.compile(r"([.,]?)%(?:([1-9])q|([_\-0^#]*)\d*[EO]?(.))|(\s+)|(.)", re.DOTALL)
_TOGETHER = {
    "D": "%m/%d/%y",
    "F": "%Y-%m-%d",
    "R": "%H:%M",
    "T": "%H:%M:%S",
    "X": "%H:%M:%S",
    "c": "%a %b %e %H:%M:%S %Y",
    "h": "%b",
    "r": "%I:%M:%S %p",
    "x": "%m/%d/%y",
}
_NUMBERS = {"m": "month", "d": "day", "H": "hour", "I": "hour12", "M": "minute", "S": "second"}
_PADDED = {"e": "day", "k": "hour", "l": "hour12"}
_SINGLE = {
    "Y": r"(?P<year>\d{4})",
    "y": r"(?P<short_year>\d\d)",
    "C": r"(?P<century>\d\d)",
    "b": rf"(?P<name>{'|'.join(_MONTHS)})[a-z]*",
    "B": rf"(?P<name>{'|'.join(_MONTHS)})[a-z]*",
    "j": r"(?P<of_year>\d{3})",
    "p": r"(?P<half>[ap]\.?m\.?)",
    "P": r"(?P<half>[ap]\.?m\.?)",
    "s": r"(?P<epoch>-?\d{1,12})",
    "z": r"(?P<offset>[+-]\d\d:?\d\d|z)",
    "Z": r"(?P<zone>[a-z]+|[+-]\d\d(?:\d\d)?)",
    "a": _DAYS,
    "A": _DAYS,
    **dict.fromkeys("uw", r"\d"),
    **dict.fromkeys("UVWg", r"\d\d"),
    "G": r"\d{4}",
    **dict.fromkeys("nt", r"\s+"),
    "%": "%",
}
_ZONE_MAY_FOLLOW = r"(?:\s?(?P<offset>z|[+-]\d\d:?\d\d)|\s(?P<zone>utc|gmt))?"
_YEARS_BACK = 8
"""How far back the last 29th of February can be."""


class LogTimes:
    """Reads the times of log lines. `dateformat` is logger.conf's, empty for the usual ones.

    Raises `ValueError` for a format that cannot be read back.
    """

    def __init__(self, dateformat: str = "") -> None:
        self.dateformat = dateformat
        self._formats: list[re.Pattern[str]]
        if dateformat:
            try:
                self._formats = [_pattern(dateformat)]
            except ValueError as error:
                raise ValueError(f'dateformat "{dateformat}" cannot be read back: {error}') from None
        else:
            self._formats = [_pattern(each, end=_ZONE_MAY_FOLLOW) for each in _USUAL]
        self._last: tuple[bytes, int | None] = (b"", None)

    def milliseconds(self, text: bytes, modified_ms: int) -> int:
        """Return the time in ms since the epoch, or `modified_ms` where it cannot be read.

        A date without a year is the last one before `modified_ms`, when the file was last written to.
        """
        found = self.read(text, modified_ms)
        return modified_ms if found is None else found

    def read(self, text: bytes, modified_ms: int) -> int | None:
        """Return the time in ms since the epoch, `None` where it cannot be read."""
        fraction = 0
        if (match := _FRACTION.fullmatch(text)) is not None:
            text, digits = match[1] + match[3], match[2]
            fraction = int(digits[:3].ljust(3, b"0"))
        if text != self._last[0]:
            self._last = (text, self._parse(text, modified_ms))
        read = self._last[1]
        return None if read is None else read + fraction

    def _parse(self, text: bytes, modified_ms: int) -> int | None:
        said = text.decode("ascii", "replace").strip()
        for each in self._formats:
            if (match := each.fullmatch(said)) is None:
                continue
            try:
                return _milliseconds(match.groupdict(), modified_ms)
            except (ValueError, OverflowError, OSError):
                continue
        return None


def _pattern(dateformat: str, *, end: str = "") -> re.Pattern[str]:
    """Return what matches the dates that a format writes. Raises `ValueError` where they tell no moment."""
    pattern = _expression(dateformat) + end
    try:
        compiled = re.compile(pattern, re.IGNORECASE | re.ASCII)
    except re.error:
        raise ValueError("it says the same twice") from None
    has = compiled.groupindex.keys()
    if "epoch" not in has and not ("hour" in has or {"hour12", "half"} <= has):
        raise ValueError("it does not tell the hour")
    if "epoch" not in has and ("day" in has) != bool({"month", "name"} & has):
        raise ValueError("it does not tell both the day and the month")
    return compiled


def _expression(dateformat: str) -> str:
    parts = []
    for before, digits, flags, letter, blanks, other in _DIRECTIVE.findall(dateformat):
        if digits or letter == "q":
            parts.append(rf"(?:{re.escape(before)}(?P<fraction>\d{{1,9}}))?")
        elif not letter:
            parts.append(r"\s+" if blanks else re.escape(other))
        else:
            parts.append(re.escape(before) + _directive(letter, flags))
    return "".join(parts)


def _directive(letter: str, flags: str) -> str:
    if letter in _TOGETHER:
        return _expression(_TOGETHER[letter])
    if letter in _PADDED or (letter in _NUMBERS and set(flags) & {"-", "_"}):
        return rf"\s?(?P<{_PADDED.get(letter) or _NUMBERS[letter]}>\d{{1,2}})"
    if letter in _NUMBERS:
        return rf"(?P<{_NUMBERS[letter]}>\d\d)"
    if letter not in _SINGLE:
        raise ValueError(f"%{letter} is not known")
    return _SINGLE[letter]


def _milliseconds(said: Mapping[str, str | None], modified_ms: int) -> int:
    """Return the moment in ms. Raises `ValueError` for a date that is on no calendar."""
    thousandths = int((said.get("fraction") or "0")[:3].ljust(3, "0"))
    if (epoch := said.get("epoch")) is not None:
        return int(epoch) * 1000 + thousandths
    zone = _zone(said)
    written = datetime.fromtimestamp(modified_ms / 1000, zone)
    moment = written.replace(
        hour=_hour(said), minute=int(said.get("minute") or 0), second=min(59, int(said.get("second") or 0))
    ).replace(microsecond=0)
    year = _year(said)
    latest = written + timedelta(days=1)
    if not (said.get("day") or said.get("of_year")):
        # Only the time of day: the last one before the file was written to.
        if moment > written + timedelta(hours=1):
            moment -= timedelta(days=1)
    elif year is not None:
        moment = _on_day(moment, year, said)
    else:
        for back in range(_YEARS_BACK + 1):
            try:
                dated = _on_day(moment, written.year + 1 - back, said)
            except ValueError:
                continue
            if dated <= latest:
                moment = dated
                break
        else:
            raise ValueError("there is no such day")
    return int(moment.timestamp()) * 1000 + thousandths


def _on_day(moment: datetime, year: int, said: Mapping[str, str | None]) -> datetime:
    if (of_year := said.get("of_year")) is not None:
        return moment.replace(year=year, month=1, day=1) + timedelta(days=int(of_year) - 1)
    name = said.get("name")
    month = int(said["month"] or 0) if name is None else _MONTHS.index(name[:3].lower()) + 1
    return moment.replace(year=year, month=month, day=int(said["day"] or 0))


def _year(said: Mapping[str, str | None]) -> int | None:
    if (year := said.get("year")) is not None:
        return int(year)
    short = said.get("short_year")
    if short is None:
        return None
    century = said.get("century")
    if century is not None:
        return int(century) * 100 + int(short)
    return int(short) + (2000 if int(short) < 69 else 1900)  # strptime(3)


def _hour(said: Mapping[str, str | None]) -> int:
    if (hour := said.get("hour")) is not None:
        return int(hour)
    is_afternoon = (said.get("half") or "").lower().startswith("p")
    return int(said["hour12"] or 0) % 12 + 12 * is_afternoon


def _zone(said: Mapping[str, str | None]) -> timezone | None:
    """Return the zone of a date, `None` for the machine's own."""
    zone = (said.get("zone") or "").lower()
    offset = (said.get("offset") or "").lower()
    if offset == "z" or zone in ("utc", "gmt"):
        return timezone.utc
    offset = offset or (zone if zone[:1] in ("+", "-") else "")
    if not offset:
        return None
    minutes = int(offset[1:3]) * 60 + int(offset[3:].strip(":") or 0)
    return timezone(timedelta(minutes=-minutes if offset[0] == "-" else minutes))

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amikafka_tail.sources.logtime import LogTimes

# 2026-11-23 09:30:23 in Berlin.
MOMENT = int(datetime.fromisoformat("2026-11-23T08:30:23+00:00").timestamp() * 1000)
WRITTEN = MOMENT + 3_600_000


@pytest.fixture(autouse=True)
def berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"2026-11-23 09:30:23.739", MOMENT + 739),
        (b"2026-11-23 09:30:23.7", MOMENT + 700),
        (b"2026-11-23 09:30:23.739123", MOMENT + 739),
        (b"2026-11-23 09:30:23", MOMENT),
        (b"2026-11-23T09:30:23", MOMENT),
        (b"Nov 23 09:30:23", MOMENT),
        (b"Nov 23 09:30:23.250", MOMENT + 250),
        (b"Dec  1 00:00:00", int(datetime.fromisoformat("2025-11-30T23:00:00+00:00").timestamp() * 1000)),
        (b"yesterday", WRITTEN),
        (b"\xff", WRITTEN),
        (b"", WRITTEN),
    ],
)
def test_the_usual_dates_are_read_in_local_time(text: bytes, expected: int) -> None:
    assert LogTimes().milliseconds(text, WRITTEN) == expected


def test_a_format_of_ones_own_is_read_as_logger_conf_has_it() -> None:
    times = LogTimes("%d.%m.%y %H:%M:%S.%3q")
    assert times.milliseconds(b"23.11.26 09:30:23.007", WRITTEN) == MOMENT + 7
    assert times.milliseconds(b"2026-11-23 09:30:23", WRITTEN) == WRITTEN


def test_a_format_that_cannot_be_read_back_is_refused() -> None:
    with pytest.raises(ValueError, match='dateformat "%!" cannot be read back'):
        LogTimes("%!")


FORMATS = [
    "%F %T",
    "%D %T",
    "%b %e %T",
    "%s.%6q",
    "%Y%m%d %H:%M:%S.%3q",
    "%FT%T.%3q%z",
    "%F %T.%3q %z",
    "%d/%b/%Y:%H:%M:%S",
    "%c",
    "%x %X",
    "%r %F",
    "%A %d %B %Y, %k:%M:%S",
    "%l:%M:%S %p %m/%d/%Y",
    "%j %Y %T",
    "%s",
    "%C%y-%m-%d %R:%S",
    "%F_%H-%M-%S.%q",
    "%-d.%-m.%Y %-H:%M:%S",
    "%T %Z %F",
    "%F%t%T",
    "%% %F %T",
    "%^b %d %Y %T",
    "%G-W%V %F %T",
    *(f"%F %T.%{digits}q" for digits in range(1, 10)),
]


@pytest.mark.parametrize("dateformat", FORMATS)
@given(moment=st.integers(1_600_000_000_000, WRITTEN), digits=st.integers(1, 9))
def test_what_the_c_library_writes_is_read_back(dateformat: str, moment: int, digits: int) -> None:
    if "%Y" not in dateformat and "b" in dateformat:
        moment = WRITTEN - moment % (300 * 86_400_000)  # a date without a year is of the last twelve months
    nanoseconds = f"{moment % 1000 * 1_000_000:09}"
    written = re.sub(r"%(\d?)q", lambda found: nanoseconds[: int(found[1] or digits)], dateformat)
    text = time.strftime(written, time.localtime(moment // 1000)).encode()
    read = LogTimes(dateformat).read(text, WRITTEN)
    assert read is not None
    # Of the hour that comes twice in autumn, a date without a zone does not say which one it is.
    assert (read // 1000 - moment // 1000) in (0, 3600, -3600)
    if abs(read // 1000 - moment // 1000) == 3600:
        assert "%z" not in dateformat
        assert time.localtime(moment // 1000)[:5] == time.localtime(read // 1000)[:5]
    known = nanoseconds[
        : digits if "%q" in dateformat else int((re.findall(r"%(\d)q", dateformat) or "0")[0])
    ]
    assert read % 1000 == int(known[:3].ljust(3, "0"))


@pytest.mark.parametrize("dateformat", ["%Q %T", "%F", "%m %T", "%I:%M %F", "%F %F %T"])
def test_a_format_that_tells_no_moment_is_refused(dateformat: str) -> None:
    with pytest.raises(ValueError, match="cannot be read back"):
        LogTimes(dateformat)


@pytest.mark.parametrize(
    "text", [b"11/12/26 09:30:23", b"2026-13-01 00:00:00", b"Feb 30 00:00:00", b"2026-11-23 25:00:00"]
)
def test_what_may_mean_two_days_or_none_is_not_guessed(text: bytes) -> None:
    assert LogTimes().read(text, WRITTEN) is None


def test_only_the_time_of_day_is_of_the_day_before_the_file_was_written() -> None:
    times = LogTimes("%T")
    assert times.read(b"09:30:23", WRITTEN) == MOMENT
    assert times.read(b"23:00:00", WRITTEN) == MOMENT - (10 * 3600 + 30 * 60 + 23) * 1000

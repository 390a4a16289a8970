from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime

import pytest

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

"""Rates, sizes and spans."""

from __future__ import annotations

import pytest

from amikafka_tail.daemon.status.rates import LONG, USUAL_EVENT_BYTES, Rates, Sample
from amikafka_tail.model.humanize import counted, rate, size, span


def steady(rates: Rates, seconds: int, per_second: int = 10, event_bytes: int = 100) -> Sample:
    """Add a sample every five seconds; return the last."""
    for at in range(0, seconds + 1, 5):
        events = at * per_second
        sample = Sample(float(at), events, events, events * event_bytes, events * event_bytes)
        rates.add(sample)
    return sample


def test_nothing_is_known_at_the_beginning() -> None:
    rates = Rates()
    now = Sample(0.0, 0, 0, 0, 0)
    assert rates.read_per_second(now) == rates.delivered_per_second(now) == rates.bytes_per_second(now) == 0
    assert rates.event_bytes == USUAL_EVENT_BYTES
    assert rates.came_by(0) is None


def test_a_steady_load() -> None:
    rates = Rates()
    now = steady(rates, 60)
    assert rates.read_per_second(now) == rates.delivered_per_second(now) == 10
    assert rates.bytes_per_second(now) == 1000
    assert rates.event_bytes == 100


def test_the_present_rate_forgets_what_was_before() -> None:
    rates = Rates()
    last = steady(rates, 60)
    for at in (65.0, 70.0, 75.0):
        rates.add(last._replace(at=at))
    now = last._replace(at=76.0)
    assert rates.read_per_second(now) == 0
    assert 700 < rates.bytes_per_second(now) < 1000


def test_samples_are_kept_for_ten_minutes_only() -> None:
    rates = Rates()
    steady(rates, 3600)
    assert len(rates._samples) <= LONG / 5 + 1


def test_going_back_to_the_checkpoint_makes_no_rate_negative() -> None:
    rates = Rates()
    rates.add(Sample(0.0, 100, 100, 1000, 1000))
    now = Sample(5.0, 100, 100, 1000, 0)
    rates.add(now)
    assert rates.read_per_second(now._replace(at=6.0, read=90)) == 0
    assert rates.event_bytes == USUAL_EVENT_BYTES


def test_the_mean_size_follows_the_events() -> None:
    rates = Rates()
    steady(rates, 600, per_second=100, event_bytes=100)
    last = rates._samples[-1]
    for step in range(1, 60):
        rates.add(
            Sample(
                last.at + 5 * step,
                last.read + 500 * step,
                0,
                last.end + 500_000 * step,
                last.position + 500_000 * step,
            )
        )
    assert 900 < rates.event_bytes <= 1000


def test_when_something_came() -> None:
    rates = Rates()
    steady(rates, 60)
    assert rates.came_by(0) == 5.0
    assert rates.came_by(10_000) == 15.0
    assert rates.came_by(10**9) is None


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.04, "0.0 s"),
        (9.9, "9.9 s"),
        (119, "119 s"),
        (121, "2 min"),
        (7440, "2 h 4 min"),
        (200_000, "2 d 7 h"),
        (10**8, "1,157 d 9 h"),
    ],
)
def test_spans(seconds: float, text: str) -> None:
    assert span(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (1500, "1.5 kB"), (250_000, "250 kB"), (10**10, "10.0 GB")],
)
def test_sizes(count: int, text: str) -> None:
    assert size(count) == text


def test_counts_and_rates() -> None:
    assert counted(1, "event") == "1 event"
    assert counted(2000, "event") == "2,000 events"
    assert counted(2, "entry", "entries") == "2 entries"
    assert [rate(each) for each in (0, 0.42, 12.3, 1234.5)] == ["0/s", "0.4/s", "12/s", "1,234/s"]

"""What is done for every event stays cheap: ratios inside one process, with wide margins.

CPU time, by turns with a yardstick over the same events: a busy machine slows both. `make bench` has the
figures.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable

import pytest

from amikafka_tail import testing
from amikafka_tail.ami.eventfilter import EventFilterOptions
from amikafka_tail.ami.framing import END, Framer
from amikafka_tail.delivery.envelope import envelopes
from amikafka_tail.filters.eventfilter import eventfilter
from amikafka_tail.formats.json import JsonOptions, json_format
from amikafka_tail.model import speedups
from amikafka_tail.model.event import Event
from amikafka_tail.model.pushed_filters import FilterLine
from benchmarks.filter_sets import ADVANCED

EVENTS = testing.recorded_events()
ROUNDS = 15


def ratio(one: Callable[[], object], other: Callable[[], object]) -> float:
    """Return how much CPU time one takes to the other's: the median of rounds by turns."""
    one(), other()
    found = []
    for _ in range(ROUNDS):
        times = [time.process_time_ns()]
        for work in (one, other):
            work()
            times.append(time.process_time_ns())
        found.append((times[1] - times[0]) / (times[2] - times[1]))
    return statistics.median(found)


def rendering() -> Callable[[], None]:
    """Return what makes messages of all events: key, headers, time, payload."""
    envelope = envelopes(testing.ASTERISK, "json")
    render = json_format(JsonOptions(), testing.context())

    def work() -> None:
        for event in EVENTS:
            envelope(event)
            render(event)

    return work


def filtering() -> Callable[[], None]:
    """Return what asks ten advanced filters about all events."""
    lines = tuple(FilterLine(criteria, pattern) for criteria, pattern in ADVANCED.items())
    keep = eventfilter(EventFilterOptions(lines=lines))

    def work() -> None:
        assert all(map(keep, EVENTS))

    return work


def textbook() -> None:
    """Make messages as one would at first."""
    for event in EVENTS:
        lines = dict(line.split(": ", 1) for line in event.raw.decode().split("\r\n") if ": " in line)
        headers = {"event_type": lines["Event"], "event_category": lines["Privilege"], "format": "json"}
        assert headers
        json.dumps(lines).encode()


@pytest.fixture
def python_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speedups, "native", lambda: None)


@pytest.mark.usefixtures("python_alone")
def test_a_message_costs_much_less_than_parsing_and_dumping_its_event() -> None:
    found = ratio(rendering(), textbook)
    assert found < 0.8, f"{found:.2f} of the textbook's CPU time"  # 0.5 when this was written


@pytest.mark.parametrize("made", [rendering, filtering])
def test_the_speedups_are_three_times_as_fast_as_their_twins(
    monkeypatch: pytest.MonkeyPatch, made: Callable[[], Callable[[], None]]
) -> None:
    pytest.importorskip("amikafka_speedups")
    native = made()
    monkeypatch.setattr(speedups, "native", lambda: None)
    found = ratio(made(), native)
    # 4.3 for rendering and 6 for filtering when this was written
    assert found > 3, f"only {found:.1f} times as fast"


@pytest.mark.usefixtures("python_alone")
def test_ten_advanced_filters_cost_a_part_of_what_is_done_anyway() -> None:
    stream = b"".join(event.raw + END for event in EVENTS)
    render = rendering()

    def pipeline() -> None:
        list(map(Event, Framer().feed(stream)))
        render()

    found = ratio(filtering(), pipeline)
    # 0.35 when this was written
    assert found < 0.7, f"{found:.2f} of the CPU time of framing, Event, envelope and render"

"""The stream in memory, read as the journal is."""

from __future__ import annotations

import logging
import threading
import time

import pytest

from amikafka_tail.commands.tap.window import Window
from amikafka_tail.intake.stream_reader import StreamReader
from amikafka_tail.model.counters import Counters
from amikafka_tail.model.gaps import Gap
from amikafka_tail.model.identity import Identity
from amikafka_tail.model.replayable_source import Unpublishable
from tests.support.waiting import BOUND

IDENTITY = Identity(entity_id="pbx", system_name="", asterisk_version="22", hostname="vm")


def event(number: int) -> bytes:
    return b"Event: Numbered\r\nPrivilege: call,all\r\nNumber: %d\r\n\r\n" % number


def read(reader: StreamReader) -> list[tuple[bytes, int]]:
    """Return all events that can be read now, with the moments when they came."""
    found = []
    while (chunk := reader.read()) is not None:
        assert chunk.identity == IDENTITY
        for each in chunk.events:
            assert not isinstance(each, Unpublishable)
            if type(each) is not Gap:  # of which tap shows none
                found.append((each.raw + b"\r\n\r\n", each.captured_ms))
    return found


def numbers(found: list[tuple[bytes, int]]) -> list[int]:
    return [int(raw.split(b"Number: ")[1]) for raw, _ in found]


@pytest.mark.parametrize("size", [1, 7, 50, 1000])
def test_the_events_are_read_wherever_they_were_cut(size: int) -> None:
    data = b"".join(map(event, range(40)))
    window = Window(IDENTITY)
    reader = StreamReader(window, 0, counters=Counters())
    found = []
    for start in range(0, len(data), size):
        window.put(data[start : start + size], start)
        if start % 3 == 0:
            found += read(reader)
    found += read(reader)
    assert b"".join(raw for raw, _ in found) == data
    assert window.end == len(data)


def test_an_event_came_when_its_first_byte_did() -> None:
    window = Window(IDENTITY)
    window.put(event(0), 1000)
    window.put(event(1)[:10], 2000)
    window.put(event(1)[10:] + event(2), 3000)
    found = read(StreamReader(window, 0, counters=Counters()))
    assert [moment for _, moment in found] == [1000, 2000, 3000]


def test_what_is_not_read_in_time_goes_the_oldest_first(caplog: pytest.LogCaptureFixture) -> None:
    window = Window(IDENTITY, max_bytes=1000)
    reader = StreamReader(window, 0, counters=Counters())
    data = b"".join(map(event, range(100)))
    with caplog.at_level(logging.WARNING):
        for start in range(0, len(data), 33):  # so that the first piece that is left begins in an event
            window.put(data[start : start + 33], 0)
        found = numbers(read(reader))
    assert found == list(range(100 - len(found), 100))
    assert 10 < len(found) < 20
    assert window.dropped > len(data) - 1000
    assert "some are skipped" in caplog.text
    assert caplog.text.count("are skipped") == 1
    window.put(event(100), 0)
    assert numbers(read(reader)) == [100]


def test_what_is_being_read_does_not_go() -> None:
    window = Window(IDENTITY, max_bytes=1000)
    reader = StreamReader(window, 0, counters=Counters())
    first = b"".join(map(event, range(2000)))
    window.put(first, 0)
    chunk = reader.read()
    assert chunk is not None
    assert chunk.end < len(first), "one read does not take all of it"
    begun = [each.raw + b"\r\n\r\n" for each in chunk.events if not isinstance(each, Unpublishable)]
    for number in range(2000, 2100):
        window.put(event(number), 0)
    found = [raw for raw, _ in read(reader)]
    assert b"".join(begun + found).startswith(first)


def test_whoever_waits_is_woken_by_bytes_and_by_the_end() -> None:
    window = Window(IDENTITY)
    window.wait(0, 0.01)
    for act in (lambda: window.put(event(0), 0), lambda: window.end_with("gone")):
        thread = threading.Timer(0.05, act)
        thread.start()
        begun = time.monotonic()
        window.wait(window.end, 2 * BOUND)
        assert time.monotonic() - begun < BOUND
        thread.join(BOUND)
    assert window.ended == "gone"

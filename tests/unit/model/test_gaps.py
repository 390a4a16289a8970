"""What is missing is said: in the log, in the counters, and on the topic for those who want that."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from amikafka_tail.ami.framing import END, MAX_BLOCK
from amikafka_tail.delivery.envelope import envelopes
from amikafka_tail.delivery.event_ids import with_event_id
from amikafka_tail.delivery.messages import Messages, Route, chain
from amikafka_tail.delivery.pipeline import Pipeline
from amikafka_tail.intake import stream_reader as reader_module
from amikafka_tail.intake.stream_reader import StreamReader
from amikafka_tail.journal.dead_letters import DeadLetters
from amikafka_tail.journal.journal import Journal
from amikafka_tail.kafka.producer import KafkaError, KafkaException
from amikafka_tail.model.counters import Counters
from amikafka_tail.model.event import Event
from amikafka_tail.model.gaps import Gap, gap
from amikafka_tail.model.identity import Identity

NOW = 1_795_426_158_000
PBX = Identity(entity_id="a", system_name="pbx", asterisk_version="22", hostname="vm")
REFUSED = KafkaError(KafkaError.POLICY_VIOLATION)


class Message:
    def __init__(self, value: bytes) -> None:
        self._value = value

    def value(self) -> bytes:
        return self._value


class Sender:
    """Delivers at once, but for what `fails` or `refuses` says."""

    fatal: str | None = None
    has_room = True

    def __init__(self, world: World) -> None:
        self._world = world
        self._queue: list[tuple[bytes, list[tuple[str, bytes]], Callable[[Any, Any], None]]] = []

    def __len__(self) -> int:
        return len(self._queue)

    def produce(self, *arguments: Any) -> None:
        _, value, _, _, report, _, _, headers = arguments
        if self._world.refuses(value):
            raise KafkaException(REFUSED)
        if self._world.refuses_for_now(value):
            raise KafkaException(KafkaError(KafkaError._STATE))
        self._queue.append((value, headers, report))

    def poll(self, seconds: float) -> int:
        queue, self._queue = self._queue, []
        for value, headers, report in queue:
            if self._world.fails(value):
                report(REFUSED, Message(value))
            else:
                self._world.published.append((value, dict(headers)))
                report(None, Message(value))
        return len(queue)

    def purge(self) -> None:
        pass

    def has_leaders(self, topic: str, seconds: float) -> bool:
        return True

    def discard(self) -> None:
        self._queue.clear()


class World:
    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.journal = Journal(directory / "journal", segment_bytes=1 << 20, max_bytes=1 << 30)
        self.counters = Counters()
        self.dead_letters = DeadLetters(directory / "dead-letter.jsonl")
        self.published: list[tuple[bytes, dict[str, bytes]]] = []
        self.gap_events = True
        self.now = 0.0
        self.fails: Callable[[bytes], bool] = lambda _value: False
        self.refuses: Callable[[bytes], bool] = lambda _value: False
        self.refuses_for_now: Callable[[bytes], bool] = lambda _value: False
        self.render: Callable[[Event], bytes] = lambda event: event.raw
        self.keeps: Callable[[Event], bool | Event | None] = lambda event: True

    def write(self, *events: bytes) -> None:
        self.journal.append(b"".join(event + END for event in events), NOW)

    def run(self, position: int = 0) -> list[bytes]:
        """Publish what the journal holds; return the messages."""
        self.published.clear()

        def route(identity: Identity) -> Route:
            envelope = envelopes(identity, "raw")
            return Route(with_event_id(envelope, identity.entity_id, "e", with_digest=False), self.render)

        pipeline = Pipeline(
            StreamReader(self.journal, position, counters=self.counters),
            messages=Messages(
                topic="t",
                format_name="raw",
                choose=chain([("keeps", self.keeps)]),
                route=route,
                fallback=PBX,
                gap_events=self.gap_events,
            ),
            connect=lambda batch_size=None: Sender(self),
            dead_letters=self.dead_letters,
            counters=self.counters,
            clock=lambda: self.now,
        )
        for _ in range(1000):
            self.now += 1.0
            pipeline.step()
            if pipeline.exhausted:
                return [value for value, _ in self.published]
        raise AssertionError("not delivered")

    @property
    def ids(self) -> list[str]:
        return [headers["event_id"].decode() for _, headers in self.published]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.journal.close()


def event(number: int) -> bytes:
    return b"Event: A\r\nPrivilege: call,all\r\nNumber: %d" % number


def fields(raw: bytes) -> dict[str, str]:
    return dict(Event(raw).headers())


def test_a_time_without_a_connection_is_an_event_where_the_next_one_begins(world: World) -> None:
    world.journal.begin_connection(PBX, NOW)
    world.write(event(0))
    world.journal.begin_connection(PBX, NOW, lost_ms=NOW - 2500)
    world.write(event(1))
    before, told, after = world.run()
    assert (before, after) == (event(0), event(1))
    assert fields(told) == {
        "Event": "AmikafkaGap",
        "Privilege": "system,all",
        "Reason": "Disconnected",
        "Seconds": "2.500",
    }


def test_who_goes_on_where_a_connection_begins_is_told_of_the_time_before_it(world: World) -> None:
    world.write(event(0))
    world.journal.begin_connection(PBX, NOW, lost_ms=NOW - 2500)
    world.write(event(1))
    reader = StreamReader(world.journal, 0, counters=world.counters)
    first = reader.read()
    assert first is not None
    assert [each.position for each in first.events] == [0]
    told, after = world.run(first.end)
    assert (fields(told)["Reason"], after) == ("Disconnected", event(1))


def test_a_time_without_a_connection_outlives_that_kafka_is_away(world: World) -> None:
    world.write(event(0))
    world.run()
    world.journal.begin_connection(PBX, NOW, lost_ms=NOW - 2500)
    world.write(event(1))
    failures = [True]
    world.refuses_for_now = lambda value: bool(failures) and b"AmikafkaGap" in value and failures.pop()
    told, after = world.run(len(event(0) + END))
    assert (fields(told)["Reason"], after) == ("Disconnected", event(1))
    assert world.counters.rewinds == 1


def test_the_first_connection_and_one_that_overlaps_leave_no_gap(world: World) -> None:
    world.journal.begin_connection(PBX, NOW)
    world.write(event(0))
    world.journal.begin_connection(PBX, NOW)
    world.write(event(1))
    assert world.run() == [event(0), event(1)]


def test_how_long_there_was_no_connection_outlives_the_process(world: World) -> None:
    world.journal.begin_connection(PBX, NOW, lost_ms=NOW - 1)
    world.write(event(0))
    world.journal.close()
    world.journal = Journal(world.directory / "journal", segment_bytes=1 << 20, max_bytes=1 << 30)
    assert b"Seconds: 0.001" in world.run()[0]


def test_a_clock_that_was_set_back_makes_no_negative_time(world: World) -> None:
    world.journal.begin_connection(PBX, NOW, lost_ms=NOW + 5000)
    assert b"Seconds: 0.000" in world.run()[0]


def test_no_filter_is_asked_about_a_gap_and_nobody_gets_one_unasked(world: World) -> None:
    world.journal.begin_connection(PBX, NOW, lost_ms=NOW - 2500)
    world.write(event(0))
    world.keeps = lambda event: False
    assert len(world.run()) == 1
    world.gap_events = False
    assert world.run() == []


def test_an_event_that_was_cut_off_leaves_a_gap(world: World) -> None:
    world.journal.begin_connection(PBX, NOW)
    world.journal.append(event(0)[:20], NOW)
    world.journal.begin_connection(PBX, NOW)
    world.write(event(1))
    told, after = world.run()
    assert (fields(told)["Reason"], after) == ("Torn", event(1))


def test_what_a_full_journal_gave_up_leaves_a_gap_with_its_size(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.journal.close()
    world.journal = Journal(world.directory / "small", segment_bytes=200, max_bytes=400)
    for number in range(50):
        world.write(event(number))
    start = world.journal.start
    with caplog.at_level(logging.WARNING):
        told, *events = world.run()
    assert (fields(told)["Reason"], fields(told)["LostBytes"]) == ("JournalFull", str(start))
    assert events == [event(number) for number in range(50 - len(events), 50)]
    assert f"{start} bytes are gone that were not read" in caplog.text


def test_a_segment_that_somebody_cut_short_leaves_a_gap(world: World) -> None:
    world.journal.close()
    small = {"segment_bytes": 200, "max_bytes": 10_000}
    world.journal = Journal(world.directory / "cut", **small)
    for number in range(20):
        world.write(event(number))
    world.journal.close()
    second = sorted((world.directory / "cut").glob("*.log"))[1]
    second.write_bytes(second.read_bytes()[:10])
    world.journal = Journal(world.directory / "cut", **small)
    values = world.run()
    assert sum(fields(value).get("Reason") == "JournalFull" for value in values) == 1
    assert values[-1] == event(19)


def test_an_event_that_is_too_long_leaves_a_gap(world: World) -> None:
    world.write(event(0), b"Event: " + b"A" * (MAX_BLOCK + 100_000), event(1))
    before, told, after = world.run()
    assert (before, fields(told)["Reason"], after) == (event(0), "TooLong", event(1))


def test_what_is_missing_between_asterisks_own_numbers_is_said_once(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(reader_module, "SEQUENCE_WINDOW", 8)
    lines = (
        b"Event: A\r\nPrivilege: call,all\r\nSequenceNumber: %d\r\nFile: a.c\r\nLine: 1\r\nFunc: f\r\nX: y"
    )
    numbers = [number for number in range(100) if number not in (40, 41, 42, 60)]
    world.write(*[lines % number for number in numbers])
    with caplog.at_level(logging.WARNING):
        values = world.run()
    told = [fields(value) for value in values if b"AmikafkaGap" in value]
    assert [(each["Reason"], each["LostEvents"]) for each in told] == [
        ("SequenceGap", "3"),
        ("SequenceGap", "1"),
    ]
    assert world.counters.gaps == 4
    assert caplog.text.count("as SequenceNumber tells") == 2


def numbered(*numbers: int) -> list[bytes]:
    lines = (
        b"Event: A\r\nPrivilege: call,all\r\nSequenceNumber: %d\r\nFile: a.c\r\nLine: 1\r\nFunc: f\r\nX: y"
    )
    return [lines % number for number in numbers]


def test_what_asterisk_filters_is_not_missing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader_module, "SEQUENCE_WINDOW", 8)
    world.journal.begin_connection(PBX, NOW)
    world.write(*numbered(*range(10)))
    world.journal.begin_connection(PBX, NOW, filters=1)
    world.write(*numbered(*range(10, 500, 7)))
    assert world.run() == [*numbered(*range(10)), *numbered(*range(10, 500, 7))]
    assert world.counters.gaps == 0
    # Nor are its numbers missing on the connection that comes after it; but what is missing there is.
    world.journal.begin_connection(PBX, NOW)
    world.write(*numbered(*(number for number in range(500, 600) if number != 550)))
    told = [fields(value) for value in world.run() if b"AmikafkaGap" in value]
    assert [(each["Reason"], each["LostEvents"]) for each in told] == [("SequenceGap", "1")]


def test_a_number_in_the_body_of_an_event_is_no_number_of_asterisk(world: World) -> None:
    world.write(*[event(0) + b"\r\nSequenceNumber: %d" % number for number in (1, 500, 1000)])
    assert len(world.run()) == 3
    assert world.counters.gaps == 0


def test_an_event_that_a_plugin_fails_on_leaves_a_gap_in_its_place(world: World) -> None:
    def render(event: Event) -> bytes:
        if event.raw.endswith(b"Number: 1"):
            raise ValueError("no\r\nsuch \x1b[31mschema")
        return event.raw

    world.render = render
    world.write(event(0), event(1), event(2))
    before, told, after = world.run()
    assert (before, after) == (event(0), event(2))
    assert (fields(told)["Reason"], fields(told)["LostEvents"]) == ("SetAside", "1")
    assert b"\x1b" not in told


def test_a_format_that_fails_on_gaps_too_does_not_go_round_in_circles(world: World) -> None:
    def render(event: Event) -> bytes:
        raise ValueError("never")

    world.render = render
    world.write(event(0))
    assert world.run() == []
    assert world.counters.dead_letters == 2


@pytest.mark.parametrize("how", ["refuses", "fails"])
def test_an_event_that_kafka_refuses_leaves_a_gap(world: World, how: str) -> None:
    setattr(world, how, lambda value: value.endswith(b"Number: 1"))
    world.write(event(0), event(1), event(2))
    values = list(dict.fromkeys(world.run()))
    (told,) = [fields(value) for value in values if b"AmikafkaGap" in value]
    assert told["Reason"] == "SetAside"
    assert "policy" in told["Detail"].lower()
    assert [value for value in values if b"AmikafkaGap" not in value] == [event(0), event(2)]


@pytest.mark.parametrize("how", ["refuses", "fails"])
def test_a_gap_that_kafka_refuses_for_ever_is_set_aside_too(world: World, how: str) -> None:
    setattr(world, how, lambda value: b"AmikafkaGap" in value or value.endswith(b"Number: 1"))
    world.journal.begin_connection(PBX, NOW, lost_ms=NOW - 2500)
    world.write(event(0), event(1), event(2))
    assert set(world.run()) == {event(0), event(2)}
    assert world.counters.dead_letters == 3


@pytest.mark.parametrize("how", ["refuses", "fails", "render"])
def test_a_gap_that_cannot_be_published_takes_the_event_behind_it_nowhere(
    world: World, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    def render(event: Event) -> bytes:
        if type(event) is Gap:
            raise ValueError("no gaps")
        return event.raw

    monkeypatch.setattr(reader_module, "SEQUENCE_WINDOW", 8)
    setattr(world, how, render if how == "render" else lambda value: b"AmikafkaGap" in value)
    events = numbered(*(number for number in range(100) if number != 40))
    world.write(*events)
    assert list(dict.fromkeys(world.run())) == events
    assert world.counters.dead_letters == 1


def test_what_is_missing_counts_once_however_often_it_is_read(
    world: World, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader_module, "SEQUENCE_WINDOW", 256)
    numbered = (
        b"Event: A\r\nPrivilege: call,all\r\nSequenceNumber: %d\r\nFile: a.c\r\nLine: 1\r\nFunc: f\r\nX: y"
    )
    world.write(*[numbered % number for number in range(600) if number != 100])
    reader = StreamReader(world.journal, 0, counters=world.counters)
    for _ in range(2):
        found: list[Any] = []
        while (chunk := reader.read()) is not None:
            found += chunk.events
        assert [type(each) for each in found].count(Gap) == 1, "who goes on from here is told again"
        reader.seek(0)
    assert world.counters.gaps == 1
    assert len(caplog.messages) == 1


def test_a_gap_that_kafka_does_not_take_is_tried_again_with_its_chunk(world: World) -> None:
    refused = [True]
    world.fails = lambda value: value.endswith(b"Number: 1")
    world.refuses = lambda value: b"AmikafkaGap" in value and bool(refused) and refused.pop()
    world.write(event(0), event(1), event(2))
    values = world.run()
    assert any(b"AmikafkaGap" in value for value in values)


# Ids.


def test_an_event_has_the_same_id_whenever_it_is_sent_and_no_other_has_it(world: World) -> None:
    world.journal.begin_connection(PBX, NOW, lost_ms=NOW - 2500)
    world.write(*[event(number) for number in range(10)])
    world.run()
    ids = world.ids
    assert len(set(ids)) == 11
    world.run()
    assert world.ids == ids
    assert ids[0].startswith("a/e/")
    assert "-gap-" in ids[0]


def test_two_gaps_in_one_place_are_not_taken_for_one(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader_module, "SEQUENCE_WINDOW", 8)
    events = numbered(*(number for number in range(100) if number != 40))
    told_before = events[48]  # where the missing number is given up
    world.refuses = lambda value: value == told_before
    world.write(*events)
    reasons = [fields(value).get("Reason") for value in world.run()]
    assert [each for each in reasons if each] == ["SequenceGap", "SetAside"]
    assert len(set(world.ids)) == len(reasons)


def test_a_filter_that_makes_another_event_does_not_change_the_id(world: World) -> None:
    world.write(event(0), event(1))
    world.run()
    ids = world.ids
    world.keeps = lambda event: Event(event.raw + b"\r\nMore: x")
    values = world.run()
    assert values[1].endswith(b"More: x")
    assert world.ids == ids


def test_where_offsets_may_shift_the_id_tells_the_events_apart() -> None:
    envelope = with_event_id(envelopes(PBX, "raw"), "a", "e", with_digest=True)
    names = {dict(envelope(Event(event(number), 7))[1])["event_id"] for number in (1, 2)}
    assert len(names) == 2
    assert all(name.startswith(b"a/e/7-") for name in names)


def test_the_other_headers_are_those_without_it() -> None:
    plain = envelopes(PBX, "raw")(Event(event(1), 7, NOW))
    key, headers, moment = with_event_id(envelopes(PBX, "raw"), "a", "e", with_digest=False)(
        Event(event(1), 7, NOW)
    )
    assert (key, headers[:-1], moment) == plain
    assert headers[-1] == ("event_id", b"a/e/7")


def test_a_gap_is_one_line_a_field() -> None:
    made = gap("SetAside", 5, NOW, Detail="first\r\nEvent: Forged\r\n\r\n" + "x" * 1000)
    assert type(made) is Gap
    assert made.headers()[-1] == ("Detail", "first")

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amikafka_tail.delivery import dead_letter_policy
from amikafka_tail.delivery.dead_letter_policy import DeadLetterPolicy
from amikafka_tail.delivery.messages import FilterFailed, Messages, Route
from amikafka_tail.journal.dead_letters import DeadLetters
from amikafka_tail.model.counters import Counters
from amikafka_tail.model.errors import DeliveryFailed
from amikafka_tail.model.event import Event
from amikafka_tail.model.gaps import Gap, gap
from amikafka_tail.model.identity import Identity
from amikafka_tail.model.replayable_source import Unpublishable

NOW = 1_795_426_158_000
NOBODY = Identity(entity_id="x", system_name="", asterisk_version="", hostname="vm")
MOST = 8


class Letters(DeadLetters):
    """Dead letters in memory."""

    def __init__(self) -> None:
        super().__init__(Path("/nowhere/dead-letter.jsonl"))
        self.kept: list[tuple[bytes, dict[str, object]]] = []
        self.forgotten = 0
        self.error: OSError | None = None

    def keep(self, raw: bytes, **more: object) -> int:
        if self.error is not None:
            raise self.error
        self.kept.append((raw, more))
        return self.forgotten

    def sync(self) -> None:
        if self.error is not None:
            raise self.error


class World:
    def __init__(self, *, gap_events: bool = False) -> None:
        self.letters = Letters()
        self.counters = Counters()
        self.delivered = 0
        self.policy = DeadLetterPolicy(
            self.letters,
            Messages(
                topic="t",
                format_name="json",
                choose=None,
                route=lambda _: Route(lambda _event: (None, [], 0), lambda event: event.raw),
                fallback=NOBODY,
                gap_events=gap_events,
            ),
            self.counters,
            lambda: self.delivered,
        )


def event(position: int) -> Event:
    return Event(b"Event: A\r\nNumber: %d" % position, position, NOW)


@pytest.fixture(autouse=True)
def few_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dead_letter_policy, "MAX_REMEMBERED", MOST)


def test_as_long_as_there_are_few_every_position_is_remembered() -> None:
    world = World()
    world.delivered = 1_000
    for position in range(MOST):
        world.policy.refused(event(position), "no")
    assert list(world.policy.given_up) == list(range(MOST))


@given(
    steps=st.lists(st.tuples(st.integers(0, 30), st.booleans(), st.integers(0, 4)), max_size=60),
)
def test_what_may_be_read_again_is_remembered_and_the_rest_is_bounded(
    steps: list[tuple[int, bool, int]],
) -> None:
    world = World(gap_events=True)
    events: set[int] = set()
    gaps: dict[tuple[int, bytes], Gap] = {}
    for ahead, is_gap, progress in steps:
        world.delivered += progress
        position = world.delivered + ahead
        if is_gap:
            found = gap("Disconnected", position, NOW, Seconds=ahead)
            gaps[position, found.raw] = found
            world.policy.refused(found, "no")
        else:
            events.add(position)
            world.policy.refused(event(position), "no")
        assert {each for each in events if each >= world.delivered} <= set(world.policy.given_up)
        for place, found in gaps.items():
            if place[0] >= world.delivered:
                assert not world.policy.may_tell(found)
        told_again = [found for found in gaps.values() if not world.policy.may_tell(found)]
        remembered = len(world.policy.given_up) + len(told_again)
        needed = [each for each in world.policy.given_up if each >= world.delivered]
        needed += [found.position for found in told_again if found.position >= world.delivered]
        assert remembered <= max(MOST, len(needed))


def test_a_refused_event_is_kept_counted_and_named_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    world = World()
    world.letters.forgotten = 3
    assert world.policy.refused(event(7), "Broker: Policy violation") is None
    assert world.letters.kept == [
        (
            event(7).raw,
            {
                "position": 7,
                "reason": "Broker: Policy violation",
                "kind": "refused",
                "plugin": None,
                "captured_ms": NOW,
            },
        )
    ]
    assert (world.counters.dead_letters, world.counters.forgotten_letters) == (1, 3)
    world.policy.refused(event(8), "Broker: Policy violation")
    assert (world.counters.dead_letters, world.counters.forgotten_letters) == (2, 6)
    assert "refused by Kafka: Broker: Policy violation: event='A' offset=7" in caplog.text


def test_what_takes_the_place_of_an_event_says_where_and_why() -> None:
    world = World(gap_events=True)
    told = world.policy.refused(event(7), "Broker: Policy violation")
    assert told is not None
    assert (told.position, told.captured_ms) == (7, NOW)
    assert (told.get("Reason"), told.get("LostEvents"), told.get("Detail")) == (
        "SetAside",
        "1",
        "Broker: Policy violation",
    )
    assert world.policy.given_up == {7: told}


def test_nothing_takes_the_place_of_a_gap_that_took_an_events_place() -> None:
    world = World(gap_events=True)
    told = world.policy.refused(event(7), "too large")
    assert told is not None
    assert world.policy.refused(told, "too large") is None
    assert world.policy.given_up == {7: None}


def test_a_readers_gap_is_silenced_without_giving_up_the_event_at_its_position() -> None:
    world = World(gap_events=True)
    found = gap("Disconnected", 7, NOW, Seconds=1)
    assert world.policy.may_tell(found)
    assert world.policy.refused(found, "too large") is None
    assert world.policy.given_up == {}
    assert not world.policy.may_tell(found)
    assert world.policy.may_tell(gap("JournalFull", 7, NOW, LostEvents=1)), "another one"


def test_gaps_are_told_only_to_those_who_want_them() -> None:
    assert not World().policy.may_tell(gap("Disconnected", 7, NOW, Seconds=1))


@pytest.mark.parametrize(
    ("kind", "reason", "counts"), [("torn", "Torn", (1, 0)), ("malformed", "SetAside", (0, 1))]
)
def test_bytes_that_are_no_event_are_kept_and_counted_by_their_kind(
    kind: str, reason: str, counts: tuple[int, int], caplog: pytest.LogCaptureFixture
) -> None:
    world = World(gap_events=True)
    told = world.policy.unpublishable(Unpublishable(b"x" * 100, 40, "because", kind=kind))  # type: ignore[arg-type]
    ((raw, more),) = world.letters.kept
    assert (raw, more["kind"], more["position"], more["reason"]) == (b"x" * 100, kind, 40, "because")
    assert (world.counters.torn, world.counters.malformed) == counts
    assert told is not None
    assert told.get("Reason") == reason
    assert f"set aside: because: offset=40 {b'x' * 80!r}" in caplog.text
    assert "x" * 81 not in caplog.text


def test_what_a_plugin_cannot_handle_is_counted_for_each_plugin(caplog: pytest.LogCaptureFixture) -> None:
    world = World()
    for position in (1, 2):
        world.policy.failed(event(position), ValueError("no schema"))
    assert world.counters.plugin_failures == {"json": 2}
    assert [(more["plugin"], more["kind"]) for _, more in world.letters.kept] == [("json", "refused")] * 2
    assert list(world.policy.given_up) == [1, 2]
    assert "plugin \"json\" failed: ValueError: no schema: event='A'" in caplog.text


def test_a_filter_is_blamed_by_its_name_for_what_it_raised() -> None:
    world = World()
    raised = FilterFailed("night")
    raised.__cause__ = ZeroDivisionError("division by zero")
    assert world.policy.blamed(raised) == ("night", raised.__cause__)
    world.policy.failed(event(1), raised)
    ((_, more),) = world.letters.kept
    assert more["plugin"] == "night"
    assert str(more["reason"]).strip() == "ZeroDivisionError: division by zero"


def test_a_format_is_blamed_for_the_error_itself_and_not_for_its_cause() -> None:
    world = World()
    raised = ValueError("no schema")
    raised.__cause__ = KeyError("x")
    assert world.policy.blamed(raised) == ("json", raised)


@pytest.mark.parametrize("way", ["refused", "failed", "unpublishable", "sync"])
def test_where_the_disk_takes_nothing_nothing_is_given_up_or_counted(way: str) -> None:
    world = World(gap_events=True)
    world.letters.error = OSError(28, "No space left on device")
    with pytest.raises(DeliveryFailed, match=r"letter\.jsonl cannot be written: No space left on device"):
        if way == "refused":
            world.policy.refused(event(7), "too large")
        elif way == "failed":
            world.policy.failed(event(7), ValueError("no schema"))
        elif way == "unpublishable":
            world.policy.unpublishable(Unpublishable(b"x", 7, "because", kind="torn"))
        else:
            world.policy.sync()
    assert world.policy.given_up == {}
    assert vars(world.counters).items() >= {"dead_letters": 0, "torn": 0, "plugin_failures": {}}.items()

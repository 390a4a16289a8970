"""Names that were asked for and do not come."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from amikafka_tail.commands.tap import selection
from amikafka_tail.commands.tap.requested_names import MOST_NAMES, PATIENCE, RequestedNames
from amikafka_tail.delivery.messages import Messages, chain
from amikafka_tail.model.event import Event

UNUSED: Any = None


def named(name: str) -> Event:
    return Event(f"Event: {name}\r\nPrivilege: call,all".encode())


def watching(*names: str, filters: Any = ()) -> tuple[RequestedNames, Callable[[str], Event | None]]:
    """Return what is wanted, and a function that lets an event of a name come."""
    wanted = RequestedNames(names)
    messages = wanted.over(
        Messages(
            topic="t",
            format_name="json",
            choose=chain([*filters, *selection.filters([], names)]),
            route=UNUSED,
            fallback=UNUSED,
        )
    )
    assert messages.choose is not None
    choose = messages.choose
    return wanted, lambda name: choose(named(name))


def test_a_name_that_comes_is_not_spoken_of_whatever_its_capitals() -> None:
    wanted, come = watching("hangup")
    assert come("Newchannel") is None
    assert come("Hangup") is not None
    assert wanted.remarks(0) == []
    assert wanted.remarks(PATIENCE) == []


def test_nothing_is_said_as_long_as_nothing_comes() -> None:
    wanted, come = watching("Hangup")
    assert wanted.remarks(1000) == []
    come("Newchannel")
    assert wanted.remarks(2000) == []
    assert wanted.remarks(2000 + PATIENCE - 1) == []
    assert len(wanted.remarks(2000 + PATIENCE)) == 1


def test_what_came_instead_is_said_once_the_most_frequent_first() -> None:
    wanted, come = watching("Nonsense", "Hangup")
    for number in range(9):
        come(f"E{number}")
    come("VarSet")
    come("VarSet")
    come("Hangup")
    wanted.remarks(0)
    assert wanted.remarks(PATIENCE) == [
        'no event "Nonsense" received yet; received so far: VarSet, E0, E1, E2, E3, E4, E5, E6 and 3 more'
    ]
    assert wanted.remarks(2 * PATIENCE) == []


def test_a_name_like_one_that_comes_is_said_at_once() -> None:
    wanted, come = watching("Hangpu", "Hold")
    come("VarSet")
    assert wanted.remarks(0) == []
    come("Hangup")
    assert wanted.remarks(0.1) == [
        'no event "Hangpu" received yet (did you mean "Hangup"?); received so far: VarSet, Hangup'
    ]
    assert wanted.remarks(0.2) == []


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("DialBegin", "DialEnd"),
        ("Hold", "Unhold"),
        ("BridgeEnter", "BridgeLeave"),
        ("AgentLogin", "AgentLogoff"),
        ("QueueMemberAdded", "QueueMemberRemoved"),
        ("MusicOnHoldStart", "MusicOnHoldStop"),
    ],
)
def test_two_events_of_asterisk_are_not_taken_for_each_other(one: str, other: str) -> None:
    wanted, come = watching(one)
    come(other)
    assert wanted.remarks(0) == []
    (said,) = wanted.remarks(PATIENCE)
    assert "did you mean" not in said


def test_what_the_configuration_keeps_back_is_said() -> None:
    wanted, come = watching("varset", filters=[("eventfilter", lambda event: event.name != "VarSet")])
    assert come("VarSet") is None
    wanted.remarks(0)
    assert wanted.remarks(PATIENCE) == [
        '"varset" arrives but filters exclude it; --all ignores the configured filters'
    ]


def test_names_without_end_take_no_memory_without_end() -> None:
    wanted, come = watching("Hangpu")
    for number in range(MOST_NAMES + 50):
        come(f"Made up {number}")
    wanted.remarks(0)
    (said,) = wanted.remarks(PATIENCE)
    assert said.endswith(f"and {MOST_NAMES - 8} more")


def test_no_name_does_harm_to_a_terminal() -> None:
    wanted, come = watching("Hangpu")
    come("a\x1b[2Jb")
    wanted.remarks(0)
    assert "\x1b" not in wanted.remarks(PATIENCE)[0]

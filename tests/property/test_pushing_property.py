"""Whatever Asterisk takes of the filters and whatever not, the messages are the same."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amikafka_tail.ami.eventfilter import EventFilterOptions, parse
from amikafka_tail.ami.framing import END, Framer
from amikafka_tail.ami.pushing import EVERYTHING, push
from amikafka_tail.filters.eventfilter import eventfilter
from amikafka_tail.model.event import Event
from amikafka_tail.model.pushed_filters import FilterLine, Pushed
from tests.fakes.event_filters import EventFilters
from tests.support.fuzzing import many

DATA = Path(__file__).parents[1] / "data"
SETS: dict[str, dict[str, Any]] = json.loads((DATA / "eventfilter-oracle.json").read_text())
STREAM = [
    block
    for block in Framer().feed((DATA / "eventfilter-oracle.ami").read_bytes())
    if block.startswith(b"Event: ")
]


def is_right(criteria: str, pattern: str) -> bool:
    try:
        parse(criteria, pattern)
    except ValueError:
        return False
    return True


LINES = [
    FilterLine(criteria, pattern)
    for each in SETS.values()
    for criteria, pattern in each["filters"]
    if is_right(criteria, pattern)
]


def hand_over(
    lines: Iterable[FilterLine], asterisk: EventFilters, refuses: Callable[[str], bool] = lambda _: False
) -> Pushed:
    """Let an Asterisk take what it takes."""
    outcome = Pushed()
    asking = push(list(lines), outcome)
    answer: str | None = None
    while True:
        try:
            fields = dict(asking.send(answer))
        except StopIteration:
            return outcome
        criteria, pattern = fields.get("MatchCriteria", ""), fields.get("Filter", "")
        answer = "no" if refuses(criteria + pattern) else asterisk.add(_bytes(criteria), _bytes(pattern))


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def kept(lines: Iterable[FilterLine], events: Iterable[bytes]) -> list[bytes]:
    keep = eventfilter(EventFilterOptions(lines=tuple(lines)))
    return [event for event in events if keep(Event(event))]


def sent(asterisk: EventFilters, events: Iterable[bytes]) -> list[bytes]:
    return [event for event in events if asterisk.sends(event + END)]


@pytest.mark.parametrize("name", SETS)
def test_all_that_a_real_asterisk_takes_is_taken_and_filters_as_here(name: str) -> None:
    lines = [FilterLine(*line) for line in SETS[name]["filters"] if is_right(*line)]
    asterisk = EventFilters()
    assert hand_over(lines, asterisk).taken == len(lines)
    assert sent(asterisk, STREAM) == kept(lines, STREAM)


WORDS = st.sampled_from(
    ["Hangup", "Newchannel", "Channel", "Local/", "Context", "lab", "Zoë", "M\udcfcller", "16"]
)
METHODS = st.sampled_from(["regex", "exact", "starts_with", "ends_with", "contains"])
LEGACY = st.builds(
    lambda mark, word: FilterLine("eventfilter", mark + word), st.sampled_from(["", "!"]), WORDS
)
ADVANCED = st.builds(
    lambda action, header, method, word: FilterLine(
        f"eventfilter(action({action}),header({header}),method({method}))", word
    ),
    st.sampled_from(["include", "exclude"]),
    st.sampled_from(["Channel", "Context", "Cause", "CallerIDName"]),
    METHODS,
    WORDS,
)
NAMED = st.builds(
    lambda action, name: FilterLine(f"eventfilter(action({action}),name({name}))", ""),
    st.sampled_from(["include", "exclude"]),
    WORDS,
)
ODD = st.builds(
    lambda name, lines: b"\r\n".join([b"Event: " + name, b"Privilege: call,all", *lines]),
    st.sampled_from([b"Hangup", b"UserEvent", b"Newchannel"]),
    st.lists(
        st.builds(
            lambda name, gap, value: name + b":" + gap + value,
            st.sampled_from([b"Channel", b"Context", b"Cause", b"CallerIDName", b"Event"]),
            st.sampled_from([b"", b" ", b" \t\x01 "]),
            st.one_of(
                st.sampled_from([b"Local/1@lab", b"lab", b"Zo\xc3\xab", b"M\xfcller", b"16", b""]),
                st.binary(max_size=8).map(lambda value: value.translate(None, b"\0\r\n")),
            ),
        ),
        max_size=6,
    ),
)


@many(150)
@given(
    st.lists(st.one_of(LEGACY, ADVANCED, NAMED, st.sampled_from(LINES)), max_size=6),
    st.lists(st.one_of(ODD, st.sampled_from(STREAM)), max_size=20),
    st.sets(st.integers(0, 5), max_size=2),
    st.booleans(),
)
def test_what_asterisk_holds_back_would_be_held_back_here(
    lines: list[FilterLine], events: list[bytes], unwanted: set[int], knows_criteria: bool
) -> None:
    refused = {lines[index].pattern for index in unwanted if index < len(lines) and lines[index].pattern}
    asterisk = EventFilters(knows_criteria=knows_criteria)
    everything = dict(EVERYTHING)["Filter"]
    outcome = hand_over(
        lines,
        asterisk,
        lambda text: text != everything and any(text.endswith(pattern) for pattern in refused),
    )
    assert kept(lines, sent(asterisk, events)) == kept(lines, events)
    assert outcome.taken + len(outcome.refused) == outcome.wanted == len(lines)
    if not outcome.refused:
        assert sent(asterisk, events) == kept(lines, events)

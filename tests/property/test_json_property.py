"""The json format has a fast way for kinds of events that it knows, and an exact one: the bytes are the same.

A renderer that has seen nothing takes the exact way. One that has seen the same lines with other values takes
the fast way where it can. With amikafka_speedups there is one way, and the same holds.
"""

from __future__ import annotations

import json

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from amikafka_tail.formats.json import JsonOptions, json_format
from amikafka_tail.model.event import Event
from amikafka_tail.model.identity import Identity
from tests.support.events import (
    ENTITY,
    IDENTITIES,
    OPTIONS,
    OWN_LINES,
    PROTECTED,
    ordinary_events,
    similar_events,
)
from tests.support.formats import context
from tests.support.fuzzing import many

MANY = many(150)
pytestmark = pytest.mark.usefixtures("twin")


class Unparsed(Event):
    """An event that only its bytes are known of."""

    def headers(self, fallback: str = "latin-1") -> list[tuple[str, str]]:
        raise AssertionError("parsed, though its kind is known")


def text_of(value: bytes) -> str:
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return value.decode("latin-1")


def plain_model(raw: bytes, options: JsonOptions, identity: Identity) -> list[tuple[str, object]]:
    """What the object holds, said in the plainest way."""
    lines = [line for line in raw.replace(b"\r", b"\n").split(b"\n") if line]
    pairs = []
    for line in lines:
        mark = b": " if b": " in line else b":"
        name, _, value = line.partition(mark)
        pairs.append((text_of(name), text_of(value)))
    true = {"Event": pairs[0][1], "EntityID": identity.entity_id}
    if identity.system_name:
        true["SystemName"] = identity.system_name
    found: dict[str, list[str]] = {name: [value] for name, value in true.items()}
    forged = []
    for index, (name, value) in enumerate(pairs[1:], 1):
        before = {other for other, _ in pairs[1:index]}
        if name == "Privilege" or (name == "SystemName" and before <= {*PROTECTED, *OWN_LINES}):
            true.setdefault(name, value)
            found.setdefault(name, [true[name]])
        if name not in PROTECTED:
            found.setdefault(name, []).append(value)
        elif value != true.get(name):
            forged.append((name, value))
    members: list[tuple[str, object]] = []
    for name, values in found.items():
        members.append((name, values if options.duplicates == "list" and len(values) > 1 else values[-1]))
    for protected in dict.fromkeys(name for name, _ in forged):
        values = [value for name, value in forged if name == protected]
        members += [(f"{protected}[{number}]", value) for number, value in enumerate(values, 2)]
    return members


@MANY
@given(similar_events(), OPTIONS, IDENTITIES)
def test_a_renderer_that_knows_the_kind_gives_the_bytes_of_one_that_does_not(
    case: tuple[list[bytes], bytes], options: JsonOptions, identity: Identity
) -> None:
    similar, raw = case
    exact = json_format(options, context(identity))(Event(raw))
    render = json_format(options, context(identity))
    for known in similar * 2:
        render(Event(known))
    assert render(Event(raw)) == exact
    # Learning the event itself must not change its bytes either.
    assert [render(Event(raw)) for _ in range(3)] == [exact] * 3


@MANY
@given(similar_events(), OPTIONS, IDENTITIES)
def test_the_object_holds_what_the_lines_say_and_who_it_is_from(
    case: tuple[list[bytes], bytes], options: JsonOptions, identity: Identity
) -> None:
    similar, raw = case
    assume(b"Event[2]" not in raw)  # which place it takes beside a forged line is not fixed
    render = json_format(options, context(identity))
    for known in similar * 2:
        render(Event(known))
    payload = json.loads(render(Event(raw)), object_pairs_hook=list)
    assert [tuple(pair) for pair in payload] == plain_model(raw, options, identity)


@MANY
@given(similar_events(), OPTIONS, IDENTITIES)
def test_what_the_protected_names_hold_is_true_whatever_the_event_says(
    case: tuple[list[bytes], bytes], options: JsonOptions, identity: Identity
) -> None:
    similar, raw = case
    render = json_format(options, context(identity))
    for known in similar * 2:
        render(Event(known))
    payload = json.loads(render(Event(raw)), object_pairs_hook=list)
    names = [name for name, _ in payload]
    true = [["Event", Event(raw).name], ["EntityID", identity.entity_id]]
    if identity.system_name:
        true.append(["SystemName", identity.system_name])
    assert [list(pair) for pair in payload[: len(true)]] == true
    assert len(set(names)) == len(names)


@MANY
@given(ordinary_events(), OPTIONS)
def test_what_asterisk_sends_takes_the_fast_way_and_gives_the_same_bytes(
    case: tuple[list[bytes], bytes], options: JsonOptions
) -> None:
    similar, raw = case
    identity = Identity(entity_id=ENTITY, system_name="pbx-01", asterisk_version="22", hostname="vm")
    render = json_format(options, context(identity))
    for known in similar:
        render(Event(known))
    assert render(Unparsed(raw)) == json_format(options, context(identity))(Event(raw))


@MANY
@given(st.lists(similar_events(), min_size=2, max_size=5), OPTIONS, IDENTITIES)
def test_many_kinds_in_one_renderer_do_not_disturb_each_other(
    cases: list[tuple[list[bytes], bytes]], options: JsonOptions, identity: Identity
) -> None:
    every = [raw for similar, last in cases for raw in (*similar, last)]
    render = json_format(options, context(identity))
    for raw in every * 3:
        assert render(Event(raw)) == json_format(options, context(identity))(Event(raw))

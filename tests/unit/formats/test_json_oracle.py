"""What app_ami_kafka published from a stream is what we publish from it (Asterisk 22.10.1, see the data)."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from amikafka_tail.delivery.envelope import envelopes
from amikafka_tail.formats.json import JsonOptions, json_format
from amikafka_tail.model.event import Event
from amikafka_tail.model.identity import Identity
from tests.support.events import captured_events
from tests.support.formats import context

pytestmark = pytest.mark.usefixtures("twin")
CAPTURES = Path(__file__).parents[2] / "data" / "captures"
EVENTS = 1549
# The module published these before and after the capture's own connection.
OUTSIDE_THE_CAPTURE = 9
Message = tuple[bytes, tuple[tuple[str, bytes], ...], bytes]


@pytest.fixture(scope="module")
def published() -> list[dict[str, Any]]:
    lines = (CAPTURES / "calls-22.app_ami_kafka-json.jsonl").read_bytes().split(b"\n")
    return [json.loads(line) for line in lines if line]


@pytest.fixture(scope="module")
def identity(published: list[dict[str, Any]]) -> Identity:
    headers = dict(published[0]["h"])
    return Identity(
        entity_id=headers["entity_id"],
        system_name=headers["system_name"],
        asterisk_version=headers["asterisk_version"],
        hostname=headers["hostname"],
    )


@pytest.fixture(scope="module")
def events() -> list[Event]:
    return list(captured_events())


@pytest.fixture(scope="module")
def theirs(published: list[dict[str, Any]]) -> Counter[Message]:
    return Counter(
        (
            message["k"].encode(),
            tuple((name, value.encode()) for name, value in message["h"]),
            message["v"].encode(),
        )
        for message in published
    )


@pytest.fixture(scope="module")
def ours(events: list[Event], identity: Identity, twin: str) -> list[Message]:
    render = json_format(JsonOptions(), context(identity))
    envelope = envelopes(identity, "json")
    made = []
    for event in events:
        key, headers, _ = envelope(event)
        made.append((key, tuple(headers), render(event)))
    return made


def test_every_message_is_the_modules_own_in_key_headers_and_value(
    ours: list[Message], theirs: Counter[Message]
) -> None:
    assert len(ours) == EVENTS
    assert Counter(ours) - theirs == Counter()


def test_the_module_has_published_nothing_else_but_what_is_outside_the_capture(
    ours: list[Message], theirs: Counter[Message]
) -> None:
    assert (theirs - Counter(ours)).total() == OUTSIDE_THE_CAPTURE


def test_the_timestamp_is_the_events_own_which_the_module_reads_a_little_later(
    events: list[Event], identity: Identity, published: list[dict[str, Any]]
) -> None:
    theirs = {message["v"].encode(): message["ts"] for message in published}
    render = json_format(JsonOptions(), context(identity))
    envelope = envelopes(identity, "json")
    for event in events:
        assert 0 <= theirs[render(event)] - envelope(event)[2] <= 10


def test_a_second_pass_when_every_shape_is_known_gives_the_same_bytes(
    events: list[Event], identity: Identity, ours: list[Message]
) -> None:
    render = json_format(JsonOptions(), context(identity))
    for event in events:
        render(event)
    assert [render(event) for event in events] == [value for _, _, value in ours]

"""What is published is what the official SDK reads."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from cloudevents.core.bindings.kafka import KafkaMessage, from_binary, from_structured
from cloudevents.core.formats.json import JSONFormat

from amikafka_cloudevents import CloudEventsOptions
from amikafka_tail import testing
from amikafka_tail.model.errors import ConfigError

Read = Callable[[testing.Message], tuple[dict[str, Any], Any]]
TestBinary = testing.format_contract("cloudevents")
TestStructured = testing.format_contract("cloudevents", mode="structured", duplicates="list")
HANGUP = testing.event(
    "Hangup", ("Privilege", "call,all"), ("Timestamp", "1795426158.220602"), ("Channel", 'a"b\\ü')
)


@pytest.fixture(params=["binary", "structured"])
def mode(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def read(mode: str) -> Read:
    """Read a message with the SDK, which takes every header for text: the host's may be any bytes."""

    def read(message: testing.Message) -> tuple[dict[str, Any], Any]:
        own = {name: value for name, value in message.headers if name.startswith(("ce_", "content-"))}
        kafka = KafkaMessage(headers=own, key=None, value=message.value)
        event = (from_binary if mode == "binary" else from_structured)(kafka, JSONFormat())
        return event.get_attributes(), event.get_data()

    return read


def published(tmp_path: Path, events: Any, options: str = "") -> list[testing.Message]:
    general = "[general]\nformat = cloudevents\nentity_id = 00:11\nsystem_name = pbx-01\nhostname = vm\n"
    made = testing.publish(f"{general}[cloudevents]\n{options}", events, tmp_path)
    assert made.dead_letters == []
    return made.messages


def test_the_sdk_reads_what_is_published(tmp_path: Path, read: Read, mode: str) -> None:
    (message,) = published(tmp_path, [HANGUP], f"mode = {mode}")
    attributes, data = read(message)
    assert attributes["specversion"] == "1.0"
    assert attributes["type"] == "org.asterisk.ami.Hangup"
    assert attributes["source"] == "/asterisk/00%3A11"
    assert attributes["time"] == datetime(2026, 11, 23, 9, 29, 18, 220000, timezone.utc)
    assert len(attributes["id"]) == 32
    assert (attributes["entityid"], attributes["systemname"], attributes["hostname"]) == (
        "00:11",
        "pbx-01",
        "vm",
    )
    assert data == {
        "Event": "Hangup",
        "EntityID": "00:11",
        "SystemName": "pbx-01",
        "Privilege": "call,all",
        "Timestamp": "1795426158.220602",
        "Channel": 'a"b\\ü',
    }


def test_the_sdk_reads_every_event_whatever_its_bytes(tmp_path: Path, read: Read, mode: str) -> None:
    events = testing.recorded_events(100) + testing.odd_events() + testing.random_events(200)
    messages = published(tmp_path, events, f"mode = {mode}")
    assert len(messages) == len(events)
    identities = set()
    for message, event in zip(messages, events, strict=True):
        attributes, data = read(message)
        assert isinstance(data, dict)
        assert attributes["type"].startswith("org.asterisk.ami.")
        assert attributes["datacontenttype"] == "application/json"
        assert data["Event"] == event.name
        identities.add(attributes["id"])
    assert len(identities) == len(events)


def test_the_hosts_headers_are_there_too(tmp_path: Path, mode: str) -> None:
    (message,) = published(tmp_path, [HANGUP], f"mode = {mode}")
    names = [name for name, _ in message.headers]
    assert names[:3] == ["entity_id", "system_name", "asterisk_version"]
    assert message.header("format") == b"cloudevents"
    assert len(names) == len(set(names))


def test_source_and_type_may_be_said(tmp_path: Path) -> None:
    options = "source = https://pbx.example.com/ami\ntype_prefix = com.example."
    (message,) = published(tmp_path, [HANGUP], options)
    assert message.header("ce_source") == b"https://pbx.example.com/ami"
    assert message.header("ce_type") == b"com.example.Hangup"


def test_an_event_of_no_calendar_has_no_time(tmp_path: Path) -> None:
    event = testing.event("A", ("Privilege", "a"), ("Timestamp", "999999999999.0"))
    (message,) = published(tmp_path, [event])
    assert message.header("ce_time") is None
    assert json.loads(message.value)["Timestamp"] == "999999999999.0"


def test_a_source_that_is_no_uri_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is not a URI reference"):
        published(tmp_path, [], "source = my pbx")
    with pytest.raises(ValueError, match="does not allow"):
        CloudEventsOptions(type_prefix="a\x01")

"""What app_ami_kafka publishes of an event: its `ami_body_to_json` and its hook, line by line, in Python."""

from __future__ import annotations

import json
import re

from amikafka_tail.delivery.envelope import envelopes
from amikafka_tail.formats.ami import AmiOptions, ami_format
from amikafka_tail.formats.json import JsonOptions, json_format
from amikafka_tail.kafka.topic_reader import Message
from amikafka_tail.model.event import Event
from amikafka_tail.model.identity import Identity
from amikafka_tail.model.payload import Headers
from tests.support.formats import context

PBX = Identity(entity_id="00:11:22:33:44:55", system_name="pbx-01", asterisk_version="22.10.1", hostname="vm")


def module_value(raw: bytes, identity: Identity = PBX, format_name: str = "json") -> bytes:
    """Return the value of the module's message."""
    if format_name == "ami":
        front = f"EntityID: {identity.entity_id}\r\n"
        if identity.system_name:
            front += f"SystemName: {identity.system_name}\r\n"
        return front.encode() + raw + b"\r\n\r\n"
    members = {"Event": Event(raw).name, "EntityID": identity.entity_id}
    if identity.system_name:
        members["SystemName"] = identity.system_name
    for line in re.split(rb"[\r\n]+", raw):
        name, separator, value = line.partition(b": ")
        if separator:
            try:
                members[name.decode()] = value.decode()
            except UnicodeDecodeError:
                continue  # jansson refuses it
    return json.dumps(members, ensure_ascii=False, separators=(",", ":")).encode()


def module_message(
    raw: bytes, time_ms: int = 0, *, identity: Identity = PBX, format_name: str = "json", offset: int = 0
) -> Message:
    """Return the module's message of an event; its key and headers are as amikafka's by default."""
    key, headers, happened_ms = envelopes(identity, format_name)(Event(raw, captured_ms=time_ms))
    value = module_value(raw, identity, format_name)
    return Message(0, offset, key, headers, value, time_ms or happened_ms)


def our_message(
    raw: bytes,
    time_ms: int = 0,
    *,
    identity: Identity = PBX,
    format_name: str = "json",
    duplicates: str = "last",
    key: str = "event",
    more_headers: Headers | None = None,
    offset: int = 0,
) -> Message:
    """Return amikafka's message of an event, made by its own format and envelope."""
    event = Event(raw, captured_ms=time_ms)
    name, headers, happened_ms = envelopes(identity, format_name, key)(event)
    if format_name == "json":
        options = JsonOptions(duplicates="list" if duplicates == "list" else "last")
        value = json_format(options, context(identity))(event)
    else:
        value = ami_format(AmiOptions(), context(identity))(event)
    return Message(0, offset, name, [*headers, *(more_headers or [])], value, time_ms or happened_ms)


def event(name: str, *lines: str | bytes, stamp: float | None = None) -> bytes:
    """Return an event's text, with a Timestamp of Asterisk's own if there is a `stamp`."""
    head = [f"Event: {name}", "Privilege: call,all"]
    if stamp is not None:
        head.append(f"Timestamp: {stamp:.6f}")
    return b"\r\n".join(each if isinstance(each, bytes) else each.encode() for each in [*head, *lines])

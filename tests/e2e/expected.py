"""What Kafka must hold for an event that the witness saw: plain, and apart from the product's code."""

from __future__ import annotations

import json
import re
import socket
from dataclasses import dataclass

from kafka import Record

OWN_FIELDS = ("Event", "Privilege", "EntityID", "SystemName")
HEADER_NAMES = (
    "entity_id",
    "system_name",
    "asterisk_version",
    "event_type",
    "event_category",
    "format",
    "timestamp",
    "hostname",
)


@dataclass(frozen=True, kw_only=True)
class Origin:
    """The Asterisk that the events come from."""

    entity_id: str
    system_name: str
    asterisk_version: str

    def json(self, event: bytes) -> bytes:
        """Return the JSON payload: app_ami_kafka's, without its losses and with nothing forged."""
        fields = {"Event": name_of(event), "EntityID": self.entity_id, "SystemName": self.system_name}
        forged = {}
        for number, (name, value) in enumerate(lines_of(event)):
            if name not in OWN_FIELDS or (name == "Privilege" and number == 1):
                fields[name] = value
            elif value != fields[name]:
                forged[f"{name}[2]"] = value
        text = json.dumps({**fields, **forged}, separators=(",", ":"), ensure_ascii=False)
        # jansson, which the C module uses, writes hexadecimal digits as capitals.
        return re.sub(r"\\u00[01][0-9a-f]", lambda escape: "\\u" + escape[0][2:].upper(), text).encode()

    def ami(self, event: bytes) -> bytes:
        """Return the AMI payload: the event's bytes with two lines before them."""
        return (
            f"EntityID: {self.entity_id}\r\nSystemName: {self.system_name}\r\n".encode() + event + b"\r\n\r\n"
        )

    def payload(self, event: bytes, form: str) -> bytes:
        """Return the payload in one of the two formats."""
        return self.json(event) if form == "json" else self.ami(event)

    def headers(self, event: bytes, form: str) -> list[tuple[str, bytes]]:
        """Return the eight headers in order; the timestamp is the event's own, in whole seconds."""
        fields = dict(lines_of(event)[:3])
        classes = [part for part in fields["Privilege"].split(",") if part != "all"]
        values = (
            self.entity_id,
            self.system_name,
            self.asterisk_version,
            name_of(event),
            ",".join(classes),
            form,
            fields["Timestamp"].partition(".")[0],
            socket.gethostname(),
        )
        return [(name, value.encode()) for name, value in zip(HEADER_NAMES, values, strict=True)]


def lines_of(event: bytes) -> list[tuple[str, str]]:
    """Return an event's lines as name and value."""
    pairs = []
    for line in re.split(rb"[\r\n]+", event):
        if line:
            name, _, value = line.partition(b": " if b": " in line else b":")
            pairs.append((_text(name), _text(value)))
    return pairs


def name_of(event: bytes) -> str:
    """Return an event's name."""
    first, name = lines_of(event)[0]
    assert first == "Event", event
    return name


def _text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")


def difference(events: list[bytes], records: list[Record], origin: Origin, form: str) -> str:
    """Return the first difference between what was seen and what one partition holds; empty if none.

    From 22.11 and 23.5 on each session of Asterisk has a queue of its own, and two sessions see two orders.
    Only events of one kind keep theirs, so each kind is compared by itself.
    """
    events = sorted(events, key=name_of)
    records = sorted(records, key=lambda record: dict(record.headers)["event_type"].decode())
    for index, (event, record) in enumerate(zip(events, records, strict=False)):
        if record.value != origin.payload(event, form):
            return (
                f"number {index} of {len(events)} seen and {len(records)} in Kafka, payload:\n"
                f"  seen   {origin.payload(event, form)!r}\n  record {record.value!r}"
            )
        if record.key != name_of(event).encode():
            return f"number {index}, key: {record.key!r} of {event!r}"
        wanted = origin.headers(event, form)
        # Where the clock's second turns between the event and its capture either is right.
        if [pair for pair in record.headers if pair[0] != "timestamp"] != [
            pair for pair in wanted if pair[0] != "timestamp"
        ] or abs(int(dict(record.headers)["timestamp"]) - int(dict(wanted)["timestamp"])) > 2:
            return f"number {index}, headers:\n  wanted {wanted}\n  record {record.headers}"
        if [name for name, _ in record.headers] != list(HEADER_NAMES):
            return f"number {index}, order of headers: {record.headers}"
    if len(events) != len(records):
        longer = [event[:200] for event in events[len(records) :]] or [
            r.value[:200] for r in records[len(events) :]
        ]
        return f"{len(events)} seen, {len(records)} in Kafka; the rest begins with {longer[:3]}"
    return ""

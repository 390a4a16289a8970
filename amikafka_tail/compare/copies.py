"""The copies of an event, one on each topic: what a message says, whichever format it is in."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

from amikafka_tail.ami.event import CRLF, Event, split_line
from amikafka_tail.config.identity import Identity
from amikafka_tail.formats.json import JsonOptions, json_format
from amikafka_tail.payload import FormatContext, Headers

Side = Literal["module", "ours"]
OTHER: dict[Side, Side] = {"module": "ours", "ours": "module"}

OPAQUE = "(value)"
"""The one field of a value that is neither a JSON object nor an event of AMI."""
MAX_IDENTITIES = 1000
_STAMP = re.compile(r"\d{9,12}\.\d{6}")


class Message(NamedTuple):
    """A message as it stands on a topic. `time_ms` is when the event happened, as nearly as it says."""

    partition: int
    offset: int
    key: bytes | None
    headers: Headers
    value: bytes
    time_ms: int


class Copy(NamedTuple):
    """What a message says of an event."""

    message: Message
    name: str
    """The event's name: the header event_type, which no line of an event can override."""
    entity_id: str
    stamp: str
    """Asterisk's own Timestamp in microseconds (`timestampevents`), empty where there is none."""
    is_ami: bool
    fields: dict[str, Any]
    headers: dict[str, str]
    digest: int
    """The same for copies with the same fields; of a header with several values the last one counts."""
    bare: int
    """The same, without the Timestamp."""


def reader(fallback: str = "latin-1") -> Callable[[Message], Copy]:
    """Make the function that reads a message; `fallback` is how text is read that is not UTF-8."""
    fields_of = _fields_reader(fallback)

    def read(message: Message) -> Copy:
        headers = {name: _text(value) for name, value in message.headers}
        try:
            fields, is_ami = fields_of(message.value)
            plain = {name: _last(value) for name, value in fields.items()}
        except RecursionError:  # nested without end
            fields, is_ami = {OPAQUE: _text(message.value)}, False
            plain = fields
        stamp = plain.get("Timestamp", "")
        name = headers.get("event_type") or _text(message.key) or plain.get("Event", "")
        bare = frozenset(pair for pair in plain.items() if pair[0] != "Timestamp")
        return Copy(
            message=message,
            name=name,
            entity_id=headers.get("entity_id") or plain.get("EntityID", ""),
            stamp=stamp if _STAMP.fullmatch(stamp) else "",
            is_ami=is_ami,
            fields=fields,
            headers=headers,
            digest=hash((name, bare, stamp)),
            bare=hash((name, bare)),
        )

    return read


def _fields_reader(fallback: str) -> Callable[[bytes], tuple[dict[str, Any], bool]]:
    """Make the function that returns the fields of a value, and whether it was in the ami format."""
    # Of an event in the ami format every value is there, so all of them are compared.
    options = JsonOptions(duplicates="list", fallback_encoding=fallback)
    renderers: dict[bytes, Callable[[Event], bytes]] = {}

    def fields_of(value: bytes) -> tuple[dict[str, Any], bool]:
        front, event, rest = value.partition(b"\r\nEvent: ")
        is_ami = bool(event) and front.startswith(b"EntityID: ")
        try:
            if is_ami:
                if front not in renderers:
                    if len(renderers) >= MAX_IDENTITIES:
                        renderers.clear()
                    renderers[front] = json_format(options, _context(front))
                found = json.loads(renderers[front](Event(b"Event: " + rest.rstrip(CRLF))))
            else:
                found = json.loads(value)
        except ValueError:
            found = None
        return (found, is_ami) if isinstance(found, dict) else ({OPAQUE: _text(value)}, False)

    return fields_of


def _context(front: bytes) -> FormatContext:
    """Return who published an event in the ami format, from the lines before the event."""
    lines = dict(split_line(line) for line in front.decode("utf-8", "replace").split("\r\n"))
    identity = Identity(
        entity_id=lines["EntityID"],
        system_name=lines.get("SystemName", ""),
        asterisk_version="",
        hostname="",
    )
    return FormatContext(identity=identity, topic="")


def _last(value: Any) -> str:
    """Return the last value of a header as text."""
    if isinstance(value, str):
        return value
    if isinstance(value, list) and value:
        return _last(value[-1])
    return json.dumps(value)


def _text(value: str | bytes | None) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else value.decode("utf-8", "backslashreplace")

"""The two copies of an event, one on each topic: the content of a message in either format."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Literal, NamedTuple

from amikafka_tail.formats.json import PROTECTED, JsonOptions, json_format
from amikafka_tail.kafka.topic_reader import Message
from amikafka_tail.model.event import CRLF, Event, split_line
from amikafka_tail.model.identity import Identity
from amikafka_tail.model.payload import FormatContext

Side = Literal["module", "ours"]
OTHER: dict[Side, Side] = {"module": "ours", "ours": "module"}
Value = str | list[str]
"""The value of a field: a list of all values for a repeated header, if the format has them."""

DEBUG_LINES = frozenset({"SequenceNumber", "File", "Line", "Func"})
"""The lines that manager debug adds to an event, and that the log sources remove."""
OPAQUE = "(value)"
"""The only field of a value that is neither a JSON object nor an AMI event."""
MAX_IDENTITIES = 1000
MOST_KEPT = 256
_UNSAFE = PROTECTED | DEBUG_LINES
_STAMP = re.compile(r"\d{9,12}\.\d{6}")


class Content(NamedTuple):
    """The fields of a message's value."""

    fields: dict[str, Value]
    is_ami: bool


class Copy(NamedTuple):
    """One message about an event. Its content is parsed on demand and not kept."""

    message: Message
    name: str
    """The event's name: the header event_type, which no line of an event can override."""
    entity_id: str
    stamp: str
    """Asterisk's own Timestamp in microseconds (`timestampevents`), empty if there is none."""
    digest: int
    """Equal for copies with the same fields. For a repeated header, the last value counts."""
    safe: int
    """Equal for copies that differ only in what the module may lose or allow to be overridden."""
    bare: int
    """Equal for copies that differ only in the Timestamp."""
    content_of: Callable[[bytes], Content]

    @property
    def content(self) -> Content:
        """The fields of the value."""
        return self.content_of(self.message.value)

    @property
    def headers(self) -> dict[str, str]:
        """The message's headers as text."""
        return {name: text_of(value) for name, value in self.message.headers}


def reader(fallback: str = "latin-1") -> Callable[[Message], Copy]:
    """Make the function that reads a message; `fallback` is the encoding of text that is not UTF-8."""
    content_of = _content_reader(fallback)

    def read(message: Message) -> Copy:
        plain = {name: _last(value) for name, value in content_of(message.value).fields.items()}
        headers = dict(message.headers)
        stamp = plain.get("Timestamp", "")
        name = text_of(headers.get("event_type") or message.key) or plain.get("Event", "")
        bare = frozenset(pair for pair in plain.items() if pair[0] != "Timestamp")
        return Copy(
            message=message,
            name=name,
            entity_id=text_of(headers.get("entity_id")) or plain.get("EntityID", ""),
            stamp=stamp if _STAMP.fullmatch(stamp) else "",
            digest=hash((name, bare, stamp)),
            safe=hash((name, frozenset(filter(_is_safe, plain.items())))),
            bare=hash((name, bare)),
            content_of=content_of,
        )

    return read


def _content_reader(fallback: str) -> Callable[[bytes], Content]:
    # The ami format has every value of an event, so compare all of them.
    options = JsonOptions(duplicates="list", fallback_encoding=fallback)
    renderers: dict[bytes, Callable[[Event], bytes]] = {}

    @lru_cache(MOST_KEPT)  # if nothing agrees, each is needed again and again
    def content_of(value: bytes) -> Content:
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
            if isinstance(found, dict):
                return Content({name: _value(value) for name, value in found.items()}, is_ami)
        except (ValueError, RecursionError):
            pass
        return Content({OPAQUE: text_of(value)}, is_ami=False)

    return content_of


def _context(front: bytes) -> FormatContext:
    """Return the identity in a message of the ami format: the lines before the event."""
    lines = dict(split_line(line) for line in front.decode("utf-8", "replace").split("\r\n"))
    identity = Identity(
        entity_id=lines["EntityID"],
        system_name=lines.get("SystemName", ""),
        asterisk_version="",
        hostname="",
    )
    return FormatContext(identity=identity, topic="")


def _is_safe(field: tuple[str, str]) -> bool:
    """Return whether the module's object has a field unchanged, whatever else the event contains."""
    name, value = field
    return bool(value) and value.isascii() and name.isascii() and name not in _UNSAFE


def _value(value: Any) -> Value:
    """Return a member of an object; mark a value that is not text."""
    if isinstance(value, str) or (value and isinstance(value, list) and all(map(_is_text, value))):
        return value
    return f"JSON {json.dumps(value)}"


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _last(value: Value) -> str:
    return value if isinstance(value, str) else value[-1]


def text_of(value: str | bytes | None) -> str:
    """Return a part of a message as text: bytes that are not UTF-8 become `\\xeb`."""
    if value is None:
        return ""
    return value if isinstance(value, str) else value.decode("utf-8", "backslashreplace")

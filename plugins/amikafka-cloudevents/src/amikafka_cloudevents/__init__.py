"""The `cloudevents` format: CloudEvents 1.0 in the Kafka protocol binding, binary or structured.

https://github.com/cloudevents/spec: spec.md, bindings/kafka-protocol-binding.md, formats/json-format.md.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Literal
from urllib.parse import quote

from amikafka_tail.api import Event, FormatContext, JsonOptions, Payload, Register, hookimpl, json_format

AMIKAFKA_API = "1.0"

BINARY_TYPE = (("content-type", b"application/json"),)
STRUCTURED_TYPE = (("content-type", b"application/cloudevents+json; charset=UTF-8"),)
MAX_TYPES = 2048
"""Event names that are cached: a dialplan can invent any number of names."""
# An attribute may not contain control characters or non-characters (spec.md, Type System).
_FORBIDDEN = re.compile("[\x00-\x1f\x7f-\x9f\ufdd0-\ufdef\ufffe\uffff]")


@dataclass(frozen=True, kw_only=True)
class CloudEventsOptions:
    """Options of the section `[cloudevents]`."""

    mode: Literal["binary", "structured"] = "binary"
    """`binary`: attributes are headers `ce_...`, the value is the data. `structured`: all is in the value."""
    type_prefix: str = "org.asterisk.ami."
    """The prefix of the event's name in `type`."""
    source: str = ""
    """The attribute `source`, a URI reference; default: `/asterisk/` and the entity id."""
    duplicates: Literal["last", "list"] = "last"
    """A repeated header in the data: its last value, or a list of all values."""

    def __post_init__(self) -> None:
        if any(char.isspace() or not char.isprintable() for char in self.source):
            raise ValueError(f'source "{self.source}" is not a URI reference')
        if _FORBIDDEN.search(self.type_prefix):
            raise ValueError("type_prefix has characters that CloudEvents does not allow")


def cloudevents(options: CloudEventsOptions, context: FormatContext) -> Callable[[Event], Payload]:
    """CloudEvents 1.0: the Kafka protocol binding, with the event as JSON data."""
    data_of = json_format(JsonOptions(duplicates=options.duplicates), context)
    identity = context.identity
    same = {
        "specversion": "1.0",
        "source": options.source or f"/asterisk/{quote(identity.entity_id, safe='')}",
        "datacontenttype": "application/json",
        # Extensions: in structured mode a consumer may read only the value.
        "entityid": identity.entity_id,
        "systemname": identity.system_name,
        "asteriskversion": identity.asterisk_version,
        "hostname": identity.hostname,
    }
    same = {name: _allowed(value) for name, value in same.items() if value}
    types: dict[bytes, str] = {}

    def attributes(event: Event) -> dict[str, str]:
        name = event.name_bytes
        if name not in types:
            if len(types) >= MAX_TYPES:
                types.clear()
            types[name] = options.type_prefix + _allowed(event.name)
        own = {"id": event.id, "type": types[name], "time": _rfc3339(event.happened_ms)}
        return {name: value for name, value in {**same, **own}.items() if value}

    def binary(event: Event) -> Payload:
        data = data_of(event)
        assert type(data) is bytes
        headers = []
        for name, value in attributes(event).items():
            # The data's content type is the message's content type (kafka-protocol-binding.md, 3.2.1).
            if name != "datacontenttype":
                headers.append((f"ce_{name}", value.encode()))
        return Payload(data, (*BINARY_TYPE, *headers))

    def structured(event: Event) -> Payload:
        # In the JSON format, JSON data is embedded as it is.
        members = json.dumps(attributes(event), ensure_ascii=False, separators=(",", ":"))
        return Payload(members[:-1].encode() + b',"data":' + data_of(event) + b"}", STRUCTURED_TYPE)

    return binary if options.mode == "binary" else structured


def _rfc3339(moment_ms: int) -> str:
    """Return a time in the form of an attribute, empty if it is out of range."""
    try:
        moment = datetime.fromtimestamp(moment_ms // 1000, timezone.utc)
    except (ValueError, OverflowError, OSError):
        return ""
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment_ms % 1000:03}Z"


def _allowed(text: str) -> str:
    return _FORBIDDEN.sub(lambda found: quote(found[0]), text)


@hookimpl
def register_formats(register: Register) -> None:
    """Register the format."""
    register("cloudevents", CloudEventsOptions, cloudevents)

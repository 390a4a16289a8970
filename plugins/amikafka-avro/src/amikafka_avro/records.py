"""Turns events into records: the generic one, which has everything, or one of the user's own types."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from amikafka_tail.api import Event, Identity

MILLIS = {"type": "long", "logicalType": "timestamp-millis"}
GENERIC: dict[str, Any] = {
    "type": "record",
    "name": "AmiEvent",
    "namespace": "org.asterisk.ami",
    "doc": "An event of the Asterisk manager interface, whole.",
    "fields": [
        {"name": "event", "type": "string", "doc": "The event's name, Hangup for example."},
        {"name": "privilege", "type": "string", "doc": "The classes that Asterisk put it in.", "default": ""},
        {"name": "id", "type": "string", "doc": "The same whenever the event is sent again."},
        {"name": "timestamp", "type": MILLIS, "doc": "When it happened."},
        {"name": "captured", "type": MILLIS, "doc": "When it was read from Asterisk."},
        {"name": "entity_id", "type": "string"},
        {"name": "system_name", "type": ["null", "string"], "default": None},
        {"name": "asterisk_version", "type": "string"},
        {"name": "hostname", "type": "string"},
        {
            "name": "headers",
            "type": {"type": "map", "values": {"type": "array", "items": "string"}},
            "doc": "Every other line: the values of each name, in their order.",
        },
    ],
}
# ast_true and ast_false of Asterisk's main/utils.c.
TRUE = frozenset({"yes", "true", "y", "t", "1", "on"})
FALSE = frozenset({"no", "false", "n", "f", "0", "off"})
SUFFIX = ".avsc"
TIMES = {"timestamp-millis": 1000, "timestamp-micros": 1_000_000}

Record = dict[str, Any]
Convert = Callable[[str], Any]


class Lines(NamedTuple):
    """An event, parsed once for all fields."""

    event: Event
    privilege: str
    headers: dict[str, list[str]]


def lines_of(event: Event) -> Lines:
    """Return the lines of an event without its name, grouped by name; the privilege is separate."""
    privilege = ""
    headers: dict[str, list[str]] = {}
    for number, (name, value) in enumerate(event.headers()[1:]):
        if number == 0 and name == "Privilege":
            privilege = value
        else:
            headers.setdefault(name, []).append(value)
    return Lines(event, privilege, headers)


def of_host(identity: Identity) -> dict[str, Callable[[Lines], Any]]:
    """Return the functions for the values that the host knows, by the generic record's field names."""
    return {
        "event": lambda lines: lines.event.name,
        "privilege": lambda lines: lines.privilege,
        "id": lambda lines: lines.event.id,
        "timestamp": lambda lines: lines.event.happened_ms,
        "captured": lambda lines: lines.event.captured_ms,
        "entity_id": lambda _lines: identity.entity_id,
        "system_name": lambda _lines: identity.system_name or None,
        "asterisk_version": lambda _lines: identity.asterisk_version,
        "hostname": lambda _lines: identity.hostname,
        "headers": lambda lines: lines.headers,
    }


def generic(identity: Identity) -> Callable[[Event], Record]:
    """Make the function that returns the generic record of an event."""
    same = {
        "entity_id": identity.entity_id,
        "system_name": identity.system_name or None,
        "asterisk_version": identity.asterisk_version,
        "hostname": identity.hostname,
    }

    def record(event: Event) -> Record:
        _, privilege, headers = lines_of(event)
        return {
            "event": event.name,
            "privilege": privilege,
            "id": event.id,
            "timestamp": event.happened_ms,
            "captured": event.captured_ms,
            **same,
            "headers": headers,
        }

    return record


def load(directory: Path) -> dict[str, dict[str, Any]]:
    """Return the schemas of a directory by event name: `Hangup.avsc` is for Hangup.

    Raises `ValueError` naming the file that cannot be used.
    """
    try:
        paths = sorted(path for path in directory.iterdir() if path.suffix == SUFFIX)
    except OSError as error:
        raise ValueError(f"schemas {directory}: {error.strerror}") from error
    if not paths:
        raise ValueError(f"schemas {directory}: contains no *{SUFFIX} file")
    found = {}
    for path in paths:
        try:
            schema = json.loads(path.read_bytes())
            if not isinstance(schema, dict) or schema.get("type") != "record":
                raise ValueError("is not a record")
            typed(schema, Identity(entity_id="", system_name="", asterisk_version="", hostname=""))
        except OSError as error:
            raise ValueError(f"{path}: {error.strerror}") from error
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{path}: {error}") from error
        found[path.stem] = schema
    return found


def full_name(schema: dict[str, Any]) -> str:
    """Return the full name of a record, with its namespace."""
    name, namespace = schema["name"], schema.get("namespace")
    return name if "." in name or not namespace else f"{namespace}.{name}"


def typed(schema: dict[str, Any], identity: Identity) -> Callable[[Event], Record]:
    """Make the function that returns the record of an event for one of the user's own schemas.

    A field gets the value of the header with its name, or of the header that its attribute `header` names.
    With the attribute `amikafka` it gets a value of the host: that field of the generic record. If an event
    has no such header, the field's default is used. Raises `ValueError` for a type that no header can have;
    the function raises it for a value that does not fit the field's type.
    """
    fields: list[tuple[str, Callable[[Lines], Any]]] = []
    for field in schema["fields"]:
        try:
            fields.append((field["name"], _value_of(field, identity)))
        except ValueError as error:
            raise ValueError(f"field {field['name']}: {error}") from error

    def record(event: Event) -> Record:
        lines = lines_of(event)
        made = {}
        for name, value_of in fields:
            try:
                made[name] = value_of(lines)
            except ValueError as error:
                raise ValueError(f"field {name}: {error}") from error
        return made

    return record


def _value_of(field: dict[str, Any], identity: Identity) -> Callable[[Lines], Any]:
    if (known := field.get("amikafka")) is not None:
        from_host = of_host(identity)
        if known not in from_host:
            raise ValueError(f'"amikafka": "{known}" is unknown: known are {", ".join(from_host)}')
        return from_host[known]
    header = field.get("header", field["name"])
    if isinstance(field["type"], dict) and field["type"].get("type") == "array":
        convert = _converter(field["type"]["items"])
        return lambda lines: [convert(value) for value in lines.headers.get(header, ())]
    convert = _converter(field["type"])
    nullable = isinstance(field["type"], list) and "null" in field["type"]
    has_default, default = "default" in field, field.get("default")
    if has_default and field["type"] == "bytes":
        default = str(default).encode("latin-1")

    def value_of(lines: Lines) -> Any:
        values = lines.headers.get(header)
        if values:
            return convert(values[-1])
        if has_default:
            return default
        if nullable:
            return None
        raise ValueError(f'the event has no header "{header}", and the field has no default')

    return value_of


def _converter(type_: Any) -> Convert:
    """Make the function that converts a header's value to a type. Raises `ValueError` for an unknown type."""
    if isinstance(type_, list):
        return _union(type_)
    name, logical = (
        (type_.get("type"), type_.get("logicalType")) if isinstance(type_, dict) else (type_, None)
    )
    if name == "enum":
        return _enumeration(type_)
    if logical in TIMES and name == "long":
        factor = TIMES[logical]
        return lambda value: _moment(value, factor)
    simple: dict[Any, Convert] = {
        "string": str,
        "int": lambda value: _whole(value, 32),
        "long": lambda value: _whole(value, 64),
        "float": float,
        "double": float,
        "boolean": _boolean,
        "bytes": lambda value: value.encode(),
    }
    if name not in simple or logical is not None:
        raise ValueError(f"a header cannot have the type {json.dumps(type_)}")
    return simple[name]


def _union(types: list[Any]) -> Convert:
    others = [each for each in types if each != "null"]
    converters = [_converter(each) for each in others]
    # Asterisk writes many headers even if they have no value.
    empty_is_null = "null" in types and "string" not in others

    def convert(value: str) -> Any:
        if not value and empty_is_null:
            return None
        reason = ValueError("the union has no type other than null")
        for each in converters:
            try:
                return each(value)
            except ValueError as error:
                reason = error
        raise reason

    return convert


def _enumeration(type_: dict[str, Any]) -> Convert:
    symbols, default = frozenset(type_["symbols"]), type_.get("default")

    def convert(value: str) -> str:
        if value in symbols:
            return value
        if default is None:
            raise ValueError(f'"{value}" is not one of the symbols, and the enum has no default')
        return str(default)

    return convert


def _whole(value: str, bits: int) -> int:
    number = int(value)
    if not -(1 << bits - 1) <= number < 1 << bits - 1:
        raise ValueError(f"{number} does not fit into {bits} bits")
    return number


def _boolean(value: str) -> bool:
    if value.lower() in TRUE:
        return True
    if value.lower() in FALSE:
        return False
    raise ValueError(f'"{value}" is neither yes nor no')


def _moment(value: str, per_second: int) -> int:
    """Parse Asterisk's `<sec>.<usec>`."""
    seconds, _, fraction = value.partition(".")
    if not (seconds.isascii() and seconds.isdigit()) or (fraction and not fraction.isdigit()):
        raise ValueError(f'"{value}" is not a time in seconds since 1970')
    digits = len(str(per_second)) - 1
    return int(seconds) * per_second + int(fraction[:digits].ljust(digits, "0"))

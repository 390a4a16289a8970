"""The `json` format: one flat object per event, byte for byte what app_ami_kafka publishes.

The object is made by rewriting the event's bytes: `\\r\\n` becomes `","` and `: ` becomes `":"`. That is
right only for an event whose lines are all known to be plain, so each event is first held against the shape
that events of its kind had before; whatever does not fit takes the exact way, which is the definition of
the format. Both ways give the same bytes (docs/adr/0003).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Literal, NamedTuple

from amikafka_tail.ami.event import CRLF, Event, decode, split_line
from amikafka_tail.config.identity import Identity
from amikafka_tail.hookspecs import Register, hookimpl

PROTECTED = ("Event", "EntityID", "SystemName", "Privilege")
MAX_SHAPES = 2048
"""Shapes remembered before starting afresh: a dialplan can make up event names without end."""

# jansson's dump.c, whose hexadecimal digits are capitals; DEL and all beyond ASCII stand as they are.
_ESCAPES = {code: f"\\u{code:04X}" for code in range(0x20)} | {
    ord(char): escape
    for char, escape in {
        '"': '\\"',
        "\\": "\\\\",
        "\b": "\\b",
        "\f": "\\f",
        "\n": "\\n",
        "\r": "\\r",
        "\t": "\\t",
    }.items()
}
_CONTROLS = bytes(range(0x20))


@dataclass(frozen=True, kw_only=True)
class JsonOptions:
    """Options of the section `[json]`."""

    duplicates: Literal["last", "list"] = "last"
    """A header that comes several times: its last value at its first place, or a list of all of them."""

    fallback_encoding: str = "latin-1"
    """How a value that is not UTF-8 is read. It must be a single-byte encoding."""

    def __post_init__(self) -> None:
        try:
            bytes(range(256)).decode(self.fallback_encoding, "replace")
        except (LookupError, UnicodeError):
            raise ValueError(f'"{self.fallback_encoding}" is not an encoding that Python knows') from None


class _Shape(NamedTuple):
    """How events of one kind, with one number of lines, have looked so far."""

    prefixes: Sequence[bytes]
    """`Name: ` of each line."""
    fixed: tuple[int, bytes]
    """The index of a line that must be exactly this: the SystemName that Asterisk itself adds."""
    pick: Callable[[Sequence[bytes]], Sequence[bytes]]
    """Takes the lines to be written, in the order of their names' first appearance."""
    head: bytes
    """The object's beginning, up to the first picked name."""


def json_format(options: JsonOptions, identity: Identity) -> Callable[[Event], bytes]:
    """Make the renderer: `Event`, `EntityID`, `SystemName` (if there is one), then the event's lines.

    Every value is a string. The four protected names always hold the real value; a line of the event that
    repeats one of them with another value is kept as `Name[2]`, so that nothing is lost and nothing forged.
    """
    shapes: dict[tuple[bytes, int], _Shape] = {}
    exact = _exact(options, identity)
    begins_with = bytes.startswith

    def render(event: Event) -> bytes:
        raw = event.raw
        if b'"' in raw or b"\\" in raw:
            raw = raw.replace(b"\\", b"\\\\").replace(b'"', b'\\"')
        lines = raw.split(CRLF)
        count = len(lines)
        shape = shapes.get((lines[0], count))
        if shape is None:
            return learn(event)
        index, line = shape.fixed
        if (
            lines[index] != line
            # Each line begins with its own "Name: " ...
            or not all(map(begins_with, lines, shape.prefixes))
            # ... and there is no control character, a bare CR or LF included ...
            or len(raw.translate(None, _CONTROLS)) != len(raw) - 2 * count + 2
            or not (raw.isascii() or _is_utf8(raw))
        ):
            return exact(event)
        picked = shape.pick(lines)
        if raw.count(b": ") == count:
            # ... and has no second ": ".
            return shape.head + b'","'.join(picked).replace(b": ", b'":"') + b'"}'
        return shape.head + b'","'.join([each.replace(b": ", b'":"', 1) for each in picked]) + b'"}'

    def learn(event: Event) -> bytes:
        lines = event.raw.split(CRLF)
        shape = _shape(lines, options, identity)
        if shape is not None:
            if len(shapes) >= MAX_SHAPES:
                shapes.clear()
            shapes[lines[0], len(lines)] = shape
        return exact(event)

    return render


def _exact(options: JsonOptions, identity: Identity) -> Callable[[Event], bytes]:
    """Make the renderer that is right for every event."""
    fallback = options.fallback_encoding
    keep_all = options.duplicates == "list"

    def render(event: Event) -> bytes:
        fields: dict[str, list[str]] = {"Event": [event.name], "EntityID": [identity.entity_id]}
        if identity.system_name:
            fields["SystemName"] = [identity.system_name]
        forged: dict[str, list[str]] = {}
        for name, value in event.headers(fallback)[1:]:
            if name not in PROTECTED or (name == "Privilege" and name not in fields):
                fields.setdefault(name, []).append(value)
            elif value not in fields.get(name, ()):
                forged.setdefault(name, []).append(value)
        for name, values in forged.items():
            for number, value in enumerate(values, 2):
                fields[f"{name}[{number}]"] = [value]
        members = (
            f"{_quote(name)}:{_array(values) if keep_all and len(values) > 1 else _quote(values[-1])}"
            for name, values in fields.items()
        )
        return ("{" + ",".join(members) + "}").encode()

    return render


def _shape(lines: list[bytes], options: JsonOptions, identity: Identity) -> _Shape | None:
    """Return the shape of an event with these lines, `None` where events of this kind need the exact way."""
    if any(b": " not in line for line in lines) or not lines[0].startswith(b"Event: "):
        return None
    names = [split_line(line)[0] for line in lines]
    system_name = b"SystemName: " + identity.system_name.encode()
    last: dict[bytes, int] = {}
    fixed = (0, lines[0])
    for index, name in enumerate(names[1:], 1):
        if name == b"SystemName" and identity.system_name and lines[index] == system_name:
            if fixed[0]:
                return None
            fixed = (index, system_name)
        elif name in (b"Event", b"EntityID", b"SystemName"):
            return None
        elif name in last and (name == b"Privilege" or options.duplicates == "list"):
            return None
        else:
            last[name] = index
    if len(last) < 2:
        return None
    head = f'{{"Event":{_quote(decode(lines[0][7:]))},"EntityID":{_quote(identity.entity_id)},'
    if identity.system_name:
        head += f'"SystemName":{_quote(identity.system_name)},'
    return _Shape(
        prefixes=[name + b": " for name in names],
        fixed=fixed,
        pick=itemgetter(*last.values()),
        head=(head + '"').encode(),
    )


def _is_utf8(raw: bytes) -> bool:
    try:
        raw.decode()
    except UnicodeDecodeError:
        return False
    return True


def _quote(text: str) -> str:
    # Looking a character up in the table costs more than seeing at once that there is nothing to escape.
    if text.isprintable() and '"' not in text and "\\" not in text:
        return f'"{text}"'
    return f'"{text.translate(_ESCAPES)}"'


def _array(values: list[str]) -> str:
    return f"[{','.join(map(_quote, values))}]"


@hookimpl
def register_formats(register: Register) -> None:
    """Register the format."""
    register("json", JsonOptions, json_format)

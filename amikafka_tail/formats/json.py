"""The `json` format: one flat object per event, byte for byte what app_ami_kafka publishes.

Events of one kind have the same lines and differ only in their values. A regular expression takes the values
out of the event's bytes, and a template puts them into the object. Events that do not fit go to the exact
renderer, which defines the format. Both give the same bytes (docs/adr/0003).
"""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

from amikafka_tail.model import speedups
from amikafka_tail.model.event import CRLF, Event, split_line
from amikafka_tail.model.identity import Identity
from amikafka_tail.model.payload import FormatContext
from amikafka_tail.plugins.hookspecs import API_VERSION, Register, hookimpl

PROTECTED = frozenset({"Event", "EntityID", "SystemName", "Privilege"})
OWN_LINES = frozenset({"Timestamp", "SequenceNumber", "File", "Line", "Func"})
"""The lines that Asterisk itself puts between Privilege and its SystemName (main/manager.c)."""
# A dialplan can invent any number of event names and headers, and learning a shape takes a millisecond.
MAX_NAMES = 512
MAX_SHAPES = 8
MAX_LESSONS = 64
MAX_LINES = 256
"""The cost of learning a shape grows with the square of its lines, and an event may have 700,000."""

# As in jansson's dump.c, which uses upper-case hexadecimal digits and does not escape DEL or non-ASCII.
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
_SPECIAL = re.compile(rb'[\x00-\x09\x0b\x0c\x0e-\x1f"\\]')
QUOTE, BACKSLASH = b'"\\'
_SECOND_BYTES = b"0A\\\x80\xa1\xbf\xfe"
"""Second bytes that multi-byte encodings have between them."""
_VALUE = rb"[ -\xff]*"  # no control character, so no line end either


@dataclass(frozen=True, kw_only=True)
class JsonOptions:
    """Options of the section `[json]`."""

    duplicates: Literal["last", "list"] = "last"
    """A repeated header: its last value in its first place, or a list of all values."""

    fallback_encoding: str = "latin-1"
    """The encoding of values that are not UTF-8. It must be a single-byte encoding."""

    def __post_init__(self) -> None:
        try:
            is_single_byte = _is_single_byte(self.fallback_encoding)
        except (LookupError, UnicodeError):
            raise ValueError(
                f'fallback_encoding "{self.fallback_encoding}" is not an encoding that Python knows'
            ) from None
        if not is_single_byte:
            raise ValueError(
                f'fallback_encoding "{self.fallback_encoding}" has characters of several bytes: it must be a'
                " single-byte one such as latin-1 or cp1252"
            )


@functools.cache
def _is_single_byte(encoding: str) -> bool:
    """Tell whether each byte is a character of its own. Raises where there is no such encoding."""
    # What begins another alphabet, or a character by its number, in an encoding that has such.
    text = bytes(range(1, 128)) + rb"\x41\u0041+AGE-~{xx~}" + b"\x1b$B!!\x1b(B"
    pairs = [bytes([first, second]) for first in range(128, 256) for second in _SECOND_BYTES]
    return all(len(each.decode(encoding, "replace")) == len(each) for each in [text, *pairs])


class _Shape(NamedTuple):
    """The form of one kind of event, and the template of its object. `order` is set if the object's members
    are in another order than the event's values.
    """

    pattern: bytes
    values_of: Callable[[bytes], re.Match[bytes] | None]
    order: list[int] | None
    template: bytes


class _Shapes:
    """The shapes of one event name, the newest first. A shape is learned when it is seen the second time."""

    def __init__(self) -> None:
        self.shapes: list[_Shape] = []
        self._seen: set[tuple[bytes, ...]] = set()
        self._lessons = 0

    def learn(self, lines: list[bytes], options: JsonOptions, identity: Identity) -> None:
        if self._lessons >= MAX_LESSONS or len(lines) > MAX_LINES:
            return
        names = tuple(split_line(line)[0] for line in lines)
        if names not in self._seen:
            if len(self._seen) >= MAX_LESSONS:
                self._seen.clear()
            self._seen.add(names)
            return
        self._lessons += 1
        shape = _shape(lines, names, options, identity)
        if shape is not None and all(shape.pattern != known.pattern for known in self.shapes):
            self.shapes.insert(0, shape)
            del self.shapes[MAX_SHAPES:]


def json_format(options: JsonOptions, context: FormatContext) -> Callable[[Event], bytes]:
    """Make the renderer: `Event`, `EntityID`, `SystemName` (if there is one), then the event's lines.

    Every value is a string. The four protected names always have the real value. A line of the event that
    repeats one of them with another value is kept as `Name[2]`, so that nothing is lost and nothing forged.
    If the system name is not known otherwise, it is the line that Asterisk itself adds to its events.
    """
    identity = context.identity
    exact = _exact(options, identity)
    if (native := speedups.native()) is not None:
        made: Callable[[Event], bytes] = native.JsonRenderer(
            exact,
            identity.entity_id.encode(),
            identity.system_name.encode(),
            _who(identity).encode(),
            options.duplicates == "list",
        )
        return made
    return _rewriting(options, identity, exact)


def _rewriting(
    options: JsonOptions, identity: Identity, exact: Callable[[Event], bytes]
) -> Callable[[Event], bytes]:
    """Make the renderer that learns the shapes of events, and uses `exact` for the rest."""
    known: dict[bytes, _Shapes] = {}

    def render(event: Event) -> bytes:
        raw = event.raw
        if QUOTE in raw or BACKSLASH in raw:
            raw = raw.replace(b"\\", b"\\\\").replace(b'"', b'\\"')
        first_line = raw[: raw.find(CRLF)]
        kind = known.get(first_line)
        if kind is None:
            if len(known) >= MAX_NAMES:
                known.clear()
            kind = known[first_line] = _Shapes()
        for _, values_of, order, template in kind.shapes:
            match = values_of(raw)
            if match is not None:
                if raw.isascii() or _is_utf8(raw):
                    return template % (match.groups() if order is None else match.group(*order))
                return exact(event)
        kind.learn(event.raw.split(CRLF), options, identity)
        return exact(event)

    return render


def _exact(options: JsonOptions, identity: Identity) -> Callable[[Event], bytes]:
    """Make the renderer that is correct for every event."""
    fallback = options.fallback_encoding
    keep_all = options.duplicates == "list"

    def render(event: Event) -> bytes:
        headers = event.headers(fallback)
        quote = _quote if _SPECIAL.search(event.raw) else '"{}"'.format
        members = {"Event": quote(headers[0][1]), "EntityID": _quote(identity.entity_id)}
        if identity.system_name:
            members["SystemName"] = _quote(identity.system_name)
        repeated: dict[str, list[str]] = {}
        forged: dict[str, list[str]] = {}
        own_lines = True
        for name, value in headers[1:]:
            quoted = quote(value)
            if name not in PROTECTED:
                own_lines = own_lines and name in OWN_LINES
                if keep_all and name in members:
                    repeated.setdefault(name, [members[name]]).append(quoted)
                else:
                    members[name] = quoted
            elif name not in members and (name == "Privilege" or (name == "SystemName" and own_lines)):
                members[name] = quoted
            elif quoted != members.get(name):
                forged.setdefault(name, []).append(quoted)
        for name, values in repeated.items():
            members[name] = f"[{','.join(values)}]"
        for name, values in forged.items():
            free = (f"{name}[{number}]" for number in itertools.count(2))
            for quoted in values:
                members[next(each for each in free if each not in members)] = quoted
        return ("{" + ",".join([f"{quote(name)}:{value}" for name, value in members.items()]) + "}").encode()

    return render


def _shape(
    lines: list[bytes], names: tuple[bytes, ...], options: JsonOptions, identity: Identity
) -> _Shape | None:
    """Return the shape of events with these lines, `None` if they need the exact renderer."""
    own = b"SystemName: " + identity.system_name.encode() if identity.system_name else None
    if not lines[0].startswith(b"Event: ") or any(b": " not in line for line in lines):
        return None
    if any(_needs_escape(text) for text in (lines[0], own or b"", *names)):
        return None
    keep_all = options.duplicates == "list"
    pattern = [re.escape(lines[0])]
    members: dict[bytes, list[int]] = {}  # the pattern's groups with its values
    groups = itertools.count(1)
    for index, name in enumerate(names[1:], 1):
        if lines[index] == own:
            # Asterisk's own line repeats a member that the object begins with.
            pattern.append(re.escape(own))
            continue
        if name in (b"Event", b"EntityID") or (name == b"SystemName" and not _is_own(index, names, identity)):
            return None
        if name in members and name == b"Privilege":
            return None
        # For a repeated name, the last value counts, or all of them.
        taken = keep_all or name not in names[index + 1 :]
        pattern.append(re.escape(name) + b": " + (b"(%b)" % _VALUE if taken else _VALUE))
        values = members.setdefault(name, [])
        if taken:
            values.append(next(groups))
    head = f'"Event":{_quote(lines[0][7:].decode())},{_who(identity)}'
    template = [head.encode().replace(b"%", b"%%")]
    for name, values in members.items():
        slot = b'"%b"' if len(values) == 1 else b"[" + b",".join([b'"%b"'] * len(values)) + b"]"
        template.append(b'"' + name.replace(b"%", b"%%") + b'":' + slot)
    order = [group for values in members.values() for group in values]
    whole = CRLF.join(pattern)
    return _Shape(
        whole,
        re.compile(whole).fullmatch,
        None if order == sorted(order) else order,
        b"{" + b",".join(template) + b"}",
    )


def _is_own(index: int, names: tuple[bytes, ...], identity: Identity) -> bool:
    """Return whether a SystemName is Asterisk's own and the only one known: only Asterisk writes there."""
    before = {name.decode() for name in names[2:index]}
    return not identity.system_name and names[1] == b"Privilege" and before <= OWN_LINES


def _who(identity: Identity) -> str:
    """Return the members with the identity."""
    entity = f'"EntityID":{_quote(identity.entity_id)}'
    return f'{entity},"SystemName":{_quote(identity.system_name)}' if identity.system_name else entity


def _needs_escape(text: bytes) -> bool:
    return any(byte < 0x20 or byte in b'"\\' for byte in text) or not _is_utf8(text)


def _is_utf8(raw: bytes) -> bool:
    try:
        raw.decode()
    except UnicodeDecodeError:
        return False
    return True


def _quote(text: str) -> str:
    # This check costs less than looking up each character in the table.
    if text.isprintable() and '"' not in text and "\\" not in text:
        return f'"{text}"'
    return f'"{text.translate(_ESCAPES)}"'


AMIKAFKA_API = API_VERSION


@hookimpl
def register_formats(register: Register) -> None:
    """Register the format."""
    register("json", JsonOptions, json_format)

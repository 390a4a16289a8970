"""Shows a message to a person: one line, or with `long` a block. The text is safe for a terminal."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType

from amikafka_tail.daemon.logs import printable
from amikafka_tail.delivery.messages import Messages, Route
from amikafka_tail.delivery.printer import TURNING, Message
from amikafka_tail.model.event import Event
from amikafka_tail.model.identity import Identity
from amikafka_tail.model.payload import Payload

NAME_COLUMNS = 18
PASSED_OVER = frozenset(
    ["Event", "Privilege", "Timestamp", "SequenceNumber", "File", "Line", "Func", "SystemName"]
)
"""Lines that Asterisk puts into every event, and that are shown already or rarely needed."""
OF_EVERY_CHANNEL = (
    "AccountCode",
    "CallerIDName",
    "ChanVariable",
    "ChannelState",
    "ConnectedLineName",
    "ConnectedLineNum",
    "Context",
    "Language",
    "Linkedid",
    "Priority",
    "Uniqueid",
)
"""Suffixes of the lines that repeat for each channel of an event, and that are rarely needed."""
TELLING = frozenset(["Linkedid", "BridgeUniqueid"])
"""Lines that name the call and the bridge: shown in spite of their suffix."""
NOT_SAID = frozenset(["", "<unknown>", "<none>", "(null)"])

PLAIN: Mapping[str, str] = MappingProxyType({})
COLOURS: Mapping[str, str] = MappingProxyType(
    {"time": "2", "name": "1;32", "key": "36", "field": "34", "note": "2"}
)
"""SGR parameters of ECMA-48."""
_ONE_LINE = {9: "\\t", 10: "\\n"} | {code: f"\\u{code:04x}" for code in TURNING}


def harmless(text: str) -> str:
    """Return text on one line, safe for a terminal."""
    return printable(text).translate(_ONE_LINE)


class View:
    """Makes the text of each message. `colours` maps parts of it to SGR parameters; none: no colour.

    The line shows the fields of the event after the filters, in any format; the block shows the fields of the
    message itself.
    """

    def __init__(
        self, *, long: bool = False, headers: bool = False, colours: Mapping[str, str] = PLAIN
    ) -> None:
        self._long = long
        self._headers = headers
        self._colours = colours
        self._event = Event(b"")

    def over(self, messages: Messages) -> Messages:
        """Return the same messages, noting the event that each of them is made from."""

        def route(identity: Identity) -> Route:
            envelope, render = messages.route(identity)
            return Route(envelope, self._noting(render))

        return dataclasses.replace(messages, route=route)

    def _noting(self, render: Callable[[Event], bytes | Payload]) -> Callable[[Event], bytes | Payload]:
        def noted(event: Event) -> bytes | Payload:
            self._event = event
            return render(event)

        return noted

    def __call__(self, message: Message) -> str:
        """Return the text, without a newline at its end."""
        seconds, ms = divmod(message.timestamp_ms, 1000)
        clock = f"{time.strftime('%H:%M:%S', time.localtime(seconds))}.{ms:03d}"
        name = harmless(self._event.name)
        key = "none" if message.key is None else harmless(_text(message.key))
        head = [
            self._in("time", clock),
            self._in("name", name) + " " * (NAME_COLUMNS - len(name)),
            f"{self._in('note', 'key')} {self._in('key', key)}",
        ]
        if self._long:
            return "\n".join([" ".join(head), *self._of_headers(message), *self._of_value(message)])
        fields = [self._field(name, value) for name, value in _main_fields(self._event)]
        return "\n".join(["  ".join([" ".join(head), *fields]), *self._of_headers(message)])

    def _of_headers(self, message: Message) -> Iterator[str]:
        if self._headers:
            for name, value in message.headers:
                yield "    " + self._in("note", "header ") + self._field(name, _text(value))

    def _of_value(self, message: Message) -> Iterator[str]:
        text = _text(message.value)
        if message.header("format") != b"ami" and not _is_text(message.value):
            yield f"    {self._in('note', f'{len(message.value)} bytes')} {harmless(text)}"
            return
        try:
            members = json.loads(text)
        except ValueError:
            members = None
        if isinstance(members, dict):
            for name, member in members.items():
                said = member if isinstance(member, str) else json.dumps(member, ensure_ascii=False)
                yield f"    {self._field(name, said)}"
        else:
            for line in filter(None, text.split("\r\n")):
                yield f"    {harmless(line)}"

    def _field(self, name: str, value: str) -> str:
        return f"{self._in('field', harmless(name) + ':')} {harmless(value)}"

    def _in(self, part: str, text: str) -> str:
        colour = self._colours.get(part)
        return f"\x1b[{colour}m{text}\x1b[0m" if colour else text


def _main_fields(event: Event) -> Iterator[tuple[str, str]]:
    for name, value in event.headers():
        of_every_channel = name.endswith(OF_EVERY_CHANNEL) and name not in TELLING
        if name not in PASSED_OVER and not of_every_channel and value not in NOT_SAID:
            yield name, value


def _text(value: bytes) -> str:
    """Return bytes as text; those that are not UTF-8 become `\\xff`."""
    return value.decode(errors="backslashreplace")


def _is_text(value: bytes) -> bool:
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True

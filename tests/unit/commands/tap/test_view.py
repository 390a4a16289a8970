"""What a person sees."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator

import pytest

from amikafka_tail.commands.tap.view import COLOURS, View, harmless
from amikafka_tail.delivery.messages import Messages, Route
from amikafka_tail.delivery.printer import Message
from amikafka_tail.model.event import Event
from amikafka_tail.model.identity import Identity

IDENTITY = Identity(entity_id="pbx", system_name="", asterisk_version="22", hostname="vm")
HANGUP = (
    b"Event: Hangup\r\nPrivilege: call,all\r\nTimestamp: 1795426158.220602\r\nSystemName: pbx-01\r\n"
    b"Channel: PJSIP/alice-1\r\nChannelState: 6\r\nChannelStateDesc: Up\r\nCallerIDNum: <unknown>\r\n"
    b"Language: en\r\nAccountCode: \r\nContext: lab\r\nExten: 100\r\nPriority: 7\r\nUniqueid: 1.1\r\n"
    b"Linkedid: 1.0\r\nChanVariable: A=b\r\nCause: 16\r\nCause-txt: Normal Clearing"
)
Headers = list[tuple[str, bytes]]
HEADERS: Headers = [("event_type", b"Hangup"), ("format", b"json")]
ESCAPES = re.compile(r"\x1b\[[0-9;]+m")
# CSI, OSC and DCS in their 7-bit and 8-bit forms, what rings, erases and moves, and a change of direction.
HOSTILE = "\x1b[2J\x1b]0;owned\x07\x1bP+q\x1b\\ \x9b31m\x9d0;x\x9c\x90q \b\r\v\f\a\x7f\x00 \x85"
HOSTILE += " \u2028\u202e\u2066 ü 日本"


@pytest.fixture(autouse=True)
def utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def shown(
    view: View, raw: bytes, value: bytes = b"{}", key: bytes | None = b"Hangup", headers: Headers = HEADERS
) -> str:
    """Return what the view makes of a message whose value is `value`."""
    messages = Messages(
        topic="events",
        format_name="x",
        choose=None,
        route=lambda _identity: Route(lambda event: (key, headers, event.happened_ms), lambda _event: value),
        fallback=IDENTITY,
    )
    envelope, render = view.over(messages).route(IDENTITY)
    event = Event(raw)
    assert render(event) == value
    made_key, made_headers, moment_ms = envelope(event)
    return view(Message("events", made_key, value, made_headers, moment_ms))


def is_harmless(text: str) -> bool:
    return not re.search(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]", text)


def test_an_event_is_a_line_with_what_one_looks_at_first() -> None:
    assert shown(View(), HANGUP) == (
        "09:29:18.220 Hangup             key Hangup  Channel: PJSIP/alice-1  ChannelStateDesc: Up  Exten: 100"
        "  Linkedid: 1.0  Cause: 16  Cause-txt: Normal Clearing"
    )


def test_a_key_that_is_another_or_none_is_said() -> None:
    assert "  key 1.0  " in shown(View(), HANGUP, key=b"1.0")
    assert "  key none  " in shown(View(), HANGUP, key=None)


def test_the_fields_are_the_event_s_whatever_the_format() -> None:
    assert shown(View(), HANGUP, b"\x00\xff\x02") == shown(View(), HANGUP, b'{"Cause":"16"}')


def test_headers_stand_below() -> None:
    line, *below = shown(View(headers=True), HANGUP).split("\n")
    assert line == shown(View(), HANGUP)
    assert below == ["    header event_type: Hangup", "    header format: json"]


def test_the_long_form_is_the_value_field_by_field() -> None:
    value = '{"Event":"Hangup","Empty":"","Name":"Müller","List":["a","b"],"Number":1}'.encode()
    assert shown(View(long=True), HANGUP, value).split("\n") == [
        "09:29:18.220 Hangup             key Hangup",
        "    Event: Hangup",
        "    Empty: ",
        "    Name: Müller",
        '    List: ["a", "b"]',
        "    Number: 1",
    ]


def test_the_long_form_of_a_value_that_is_no_object_is_its_lines() -> None:
    assert shown(View(long=True), HANGUP, HANGUP + b"\r\n\r\n").split("\n")[1:] == [
        f"    {line}" for line in HANGUP.decode().split("\r\n")
    ]
    assert shown(View(long=True), HANGUP, b"[1]").split("\n")[1:] == ["    [1]"]


def test_the_long_form_of_ami_is_its_lines_though_a_name_is_not_utf_8() -> None:
    ami: Headers = [("format", b"ami")]
    text = shown(View(long=True), HANGUP, b"Event: A\r\nName: M\xfcller\r\n\r\n", headers=ami)
    assert text.split("\n")[1:] == ["    Event: A", "    Name: M\\xfcller"]


def test_the_long_form_of_a_value_that_is_no_text_can_be_read_as_far_as_it_is() -> None:
    text = shown(View(long=True), HANGUP, b"\x00\x0cHangup\r\n\xff\x9b2J")
    assert text.split("\n")[1:] == ["    14 bytes \\x00\\x0cHangup\\x0d\\n\\xff\\x9b2J"]


def test_colour_is_nothing_but_colour() -> None:
    for options in ({}, {"long": True, "headers": True}):
        coloured = shown(View(**options, colours=COLOURS), HANGUP, b'{"Cause":"16"}')
        assert coloured != shown(View(**options), HANGUP, b'{"Cause":"16"}')
        assert ESCAPES.sub("", coloured) == shown(View(**options), HANGUP, b'{"Cause":"16"}')
        assert all(line.count("\x1b") % 2 == 0 for line in coloured.split("\n")), "each is ended"


def test_hostile_text_is_harmless_and_still_to_be_recognised() -> None:
    text = harmless(HOSTILE)
    assert is_harmless(text)
    assert "\\x1b[2J\\x1b]0;owned\\x07" in text
    assert "\\x9b31m" in text
    assert "\\u202e" in text
    assert text.endswith("ü 日本")
    assert harmless("a\nb\tc") == "a\\nb\\tc"


@pytest.mark.parametrize("long", [False, True])
@pytest.mark.parametrize("kind", ["json", "ami", "binary"])
def test_nothing_of_a_hostile_event_reaches_the_terminal(*, long: bool, kind: str) -> None:
    """In its name, its key, the names and values of its lines, the headers, and the value of each format."""
    evil = HOSTILE.encode()
    line = evil.replace(b"\r", b"")
    raw = b"Event: " + line + b"\r\nPrivilege: user,all\r\n" + line + b": " + line + b"\r\nX: \x9b2J\xff"
    values = {
        "json": b'{"' + b"\\u001b[2J" + '\x9b"'.encode() + b':"\\u001b]0;x\\u0007\\n\\u009b2J"}',
        "ami": raw + b"\r\n\r\nA\nB\x0bC",
        "binary": b"\xff" + evil + b"\x9b\x1b[2J",
    }
    view = View(long=long, headers=True)
    headers = [("format", kind.encode()), ("evil\x1b[2J\x9b", evil + b"\xff\x9b\n")]
    lines = shown(view, raw, values[kind], key=evil + b"\n\x9b", headers=headers).split("\n")
    assert all(map(is_harmless, lines))
    assert len(lines) == 1 + 2 + {"json": 1, "ami": 5, "binary": 1}[kind] * long

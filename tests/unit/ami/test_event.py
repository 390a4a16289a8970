from __future__ import annotations

import pytest

from amikafka_tail.model.event import Event, decode, split_line

NEWCHANNEL = (
    b"Event: Newchannel\r\nPrivilege: call,all\r\nChannel: PJSIP/alice-00000001\r\nAccountCode: \r\n"
    b"ChanVariable: A=1\r\nChanVariable: B=2: 3\r\nLinkedid: pbx-1"
)


def test_text_is_utf_8_where_the_bytes_are() -> None:
    assert decode("Zoë \u2028 \x85".encode()) == "Zoë \u2028 \x85"


def test_bytes_that_are_not_utf_8_are_latin_1() -> None:
    assert decode(b"Zo\xeb") == "Zoë"


def test_the_fallback_can_be_another_encoding() -> None:
    assert decode(b"\xa4", "iso8859-15") == "\N{EURO SIGN}"
    assert decode(b"a\x81", "cp1252") == "a\N{REPLACEMENT CHARACTER}"


@pytest.mark.parametrize(
    ("line", "name", "value"),
    [
        (b"Cause: 16", b"Cause", b"16"),
        (b"AccountCode: ", b"AccountCode", b""),
        (b"Empty:", b"Empty", b""),
        (b"NoSpace:value", b"NoSpace", b"value"),
        (b"no colon at all", b"no colon at all", b""),
        (b"Data: a: b", b"Data", b"a: b"),
        (b"Data:  two blanks", b"Data", b" two blanks"),
        (b"Time:12:30: late", b"Time:12:30", b"late"),
        (b": value", b"", b"value"),
        (b":value", b"", b"value"),
        (b"", b"", b""),
    ],
)
def test_a_line_is_split_as_app_ami_kafka_does_and_loses_nothing(
    line: bytes, name: bytes, value: bytes
) -> None:
    assert split_line(line) == (name, value)


def test_an_event_knows_where_and_when_it_was_read() -> None:
    event = Event(NEWCHANNEL, 4711, 1_795_426_158_220)
    assert (event.raw, event.position, event.captured_ms) == (NEWCHANNEL, 4711, 1_795_426_158_220)


def test_the_text_ends_with_an_empty_line_as_asterisk_sent_it() -> None:
    assert Event(NEWCHANNEL).text == NEWCHANNEL + b"\r\n\r\n"


def test_the_name_is_what_the_first_line_says() -> None:
    event = Event(b"Event: UserEvent\r\nPrivilege: user,all\r\nEvent: Hangup")
    assert (event.name, event.name_bytes) == ("UserEvent", b"UserEvent")


def test_an_event_may_be_its_name_and_nothing_more() -> None:
    event = Event(b"Event: Reload")
    assert event.name == "Reload"
    assert event.headers() == [("Event", "Reload")]


@pytest.mark.parametrize("line_end", [b"\r\n", b"\r", b"\n"])
def test_the_name_ends_with_its_line_whatever_ends_that(line_end: bytes) -> None:
    assert Event(b"Event: Reload" + line_end + b"Module: x").name == "Reload"


def test_a_name_that_is_not_utf_8_can_be_read() -> None:
    event = Event(b"Event: Caf\xe9\r\nPrivilege: user,all")
    assert (event.name, event.name_bytes) == ("Café", b"Caf\xe9")


def test_headers_keep_their_order_and_repeats() -> None:
    assert Event(NEWCHANNEL).headers() == [
        ("Event", "Newchannel"),
        ("Privilege", "call,all"),
        ("Channel", "PJSIP/alice-00000001"),
        ("AccountCode", ""),
        ("ChanVariable", "A=1"),
        ("ChanVariable", "B=2: 3"),
        ("Linkedid", "pbx-1"),
    ]


def test_each_value_is_decoded_for_itself() -> None:
    event = Event("Event: A\r\nX: ë".encode() + b"\r\nY: \xeb")
    assert event.headers()[1:] == [("X", "ë"), ("Y", "ë")]
    assert event.headers("cp437")[1:] == [("X", "ë"), ("Y", "δ")]


@pytest.mark.parametrize(
    "raw",
    [
        b"Event: A\r\nX: 1\nY: 2",
        b"Event: A\r\nX: 1\rY: 2",
        b"Event: A\r\nX: 1\n\rY: 2",
        b"Event: A\r\nX: 1\r\n\nY: 2",
        b"\r\nEvent: A\r\nX: 1\r\nY: 2\r\n",
        b"Event: A\rX: 1\nY: 2",
    ],
)
def test_a_bare_return_or_feed_ends_a_line_too(raw: bytes) -> None:
    assert Event(raw).lines() == [b"Event: A", b"X: 1", b"Y: 2"]


def test_other_separators_of_unicode_end_no_line() -> None:
    text = "Event: A\r\nX: a\x0bb\x0cc\x1cd\x1de\x1ef\x85g\u2028h\u2029i"
    assert Event(text.encode()).headers() == [
        ("Event", "A"),
        ("X", "a\x0bb\x0cc\x1cd\x1de\x1ef\x85g\u2028h\u2029i"),
    ]


def test_a_header_is_found_by_its_name() -> None:
    event = Event(NEWCHANNEL)
    assert event.get("Channel") == "PJSIP/alice-00000001"
    assert event.get("Linkedid") == "pbx-1"
    assert event.get_bytes(b"Linkedid") == b"pbx-1"


def test_the_first_of_repeated_headers_is_found() -> None:
    assert Event(NEWCHANNEL).get("ChanVariable") == "A=1"


def test_an_empty_header_is_not_a_missing_one() -> None:
    assert Event(NEWCHANNEL).get("AccountCode") == ""
    assert Event(NEWCHANNEL).get("Uniqueid") is None
    assert Event(NEWCHANNEL).get_bytes(b"Uniqueid") is None


def test_names_of_headers_are_case_sensitive_and_whole() -> None:
    event = Event(b"Event: A\r\nDestUniqueid: 2\r\nData: Uniqueid: 3\r\nUniqueid: 1")
    assert event.get("Uniqueid") == "1"
    assert event.get("uniqueid") is None
    assert event.get("Unique") is None


def test_a_header_that_is_not_ascii_can_be_asked_for() -> None:
    event = Event("Event: A\r\nGröße: 5".encode() + b"\r\nX: \xe9")
    assert event.get("Größe") == "5"
    assert event.get("X") == "é"
    assert event.get_bytes(b"X") == b"\xe9"


def test_the_repr_names_the_event_and_not_what_it_carries() -> None:
    assert repr(Event(NEWCHANNEL, 12)) == f"Event('Newchannel', position=12, bytes={len(NEWCHANNEL)})"


def test_an_event_has_the_same_id_whenever_it_is_read_from_where_it_stands() -> None:
    event = Event(b"Event: A\r\nX: 1", 100, 5)
    assert event.id == Event(b"Event: A\r\nX: 1", 100, 5).id
    assert len(event.id) == 32
    others = [Event(b"Event: A\r\nX: 2", 100, 5), Event(event.raw, 101, 5), Event(event.raw, 100, 6)]
    assert len({event.id, *(other.id for other in others)}) == 4


@pytest.mark.parametrize(
    ("raw", "happened_ms"),
    [
        (b"Event: A\r\nPrivilege: call,all\r\nTimestamp: 1795426158.220602\r\nX: 1", 1795426158220),
        (b"Event: A\r\nPrivilege: call,all\r\nTimestamp: soon", 7),
        (b"Event: A\r\nPrivilege: call,all\r\nX: 1\r\nTimestamp: 1795426158.220602", 7),
        (b"Event: A\r\nTimestamp: 1795426158.220602\r\nX: 1", 7),
        (b"Event: A", 7),
    ],
)
def test_an_event_happened_when_asterisk_says_or_when_it_was_captured(raw: bytes, happened_ms: int) -> None:
    assert Event(raw, 0, 7).happened_ms == happened_ms

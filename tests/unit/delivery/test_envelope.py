from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from amikafka_tail.delivery.envelope import LINKEDIDS, MAX_KINDS, UNIQUEIDS, envelopes
from amikafka_tail.model.counters import KindCounts
from amikafka_tail.model.event import Event
from amikafka_tail.model.identity import Identity

pytestmark = pytest.mark.usefixtures("twin")
PBX = Identity(entity_id="00:11:22:33:44:55", system_name="pbx-01", asterisk_version="22.10.1", hostname="vm")
NAMELESS = Identity(entity_id="00:11:22:33:44:55", system_name="", asterisk_version="22.10.1", hostname="vm")
PROJECT = Path(__file__).parents[3]
CAPTURED = 1_795_426_158_220
HEAD = b"Event: Hangup\r\nPrivilege: call,all"


def hangup(*lines: bytes, captured_ms: int = CAPTURED) -> Event:
    return Event(b"\r\n".join([HEAD, *lines]), 0, captured_ms)


def moment(*lines: bytes) -> int:
    """Return the timestamp of an event, which is the same when its kind is known already."""
    envelope = envelopes(PBX, "json")
    first = envelope(hangup(*lines))[2]
    envelope(hangup(b"Timestamp: 1700000000.000000"))
    assert envelope(hangup(*lines))[2] == first
    return first


def header(event: Event, name: str, identity: Identity = PBX) -> bytes:
    _, headers, _ = envelopes(identity, "json")(event)
    value = dict(headers)[name]
    assert isinstance(value, bytes)
    return value


def test_the_headers_are_app_ami_kafkas_in_its_order() -> None:
    key, headers, timestamp_ms = envelopes(PBX, "json")(hangup(b"Timestamp: 1795426157.748433"))
    assert key == b"Hangup"
    assert headers == [
        ("entity_id", b"00:11:22:33:44:55"),
        ("system_name", b"pbx-01"),
        ("asterisk_version", b"22.10.1"),
        ("event_type", b"Hangup"),
        ("event_category", b"call"),
        ("format", b"json"),
        ("timestamp", b"1795426157"),
        ("hostname", b"vm"),
    ]
    assert timestamp_ms == 1_795_426_157_748


def test_without_a_system_name_its_header_is_left_out() -> None:
    names = [name for name, _ in envelopes(NAMELESS, "json")(hangup())[1]]
    assert names == [
        "entity_id",
        "asterisk_version",
        "event_type",
        "event_category",
        "format",
        "timestamp",
        "hostname",
    ]


def test_the_format_is_named() -> None:
    assert dict(envelopes(PBX, "ami")(hangup())[1])["format"] == b"ami"


def test_an_identity_beyond_ascii_is_utf_8() -> None:
    identity = Identity(entity_id="aa", system_name="zürich", asterisk_version="22", hostname="vm")
    assert header(hangup(), "system_name", identity) == "zürich".encode()


@pytest.mark.parametrize(
    ("privilege", "category"),
    [
        (b"Privilege: call,all", b"call"),
        (b"Privilege: system,call,log,all", b"system,call,log"),
        (b"Privilege: all", b""),
        (b"Privilege: ", b""),
        (b"Privilege: call", b"call"),
        (b"Privilege: callall,all", b"callall"),
        (b"Cause: 16", b""),
    ],
)
def test_the_category_is_the_privilege_without_all(privilege: bytes, category: bytes) -> None:
    assert header(Event(b"Event: A\r\n" + privilege), "event_category") == category


def test_an_event_of_one_line_has_no_category() -> None:
    assert header(Event(b"Event: A"), "event_category") == b""


def test_a_forged_privilege_is_not_the_category() -> None:
    event = Event(b"Event: UserEvent\r\nPrivilege: user,all\r\nPrivilege: system,all\r\nEvent: Shutdown")
    assert header(event, "event_category") == b"user"
    assert header(event, "event_type") == b"UserEvent"


def test_events_of_one_name_can_be_of_different_categories() -> None:
    envelope = envelopes(PBX, "json")
    for privilege in (b"call", b"system", b"call"):
        event = Event(b"Event: A\r\nPrivilege: %b,all\r\nTimestamp: 1795426157.748433" % privilege)
        assert dict(envelope(event)[1])["event_category"] == privilege


def test_a_name_that_is_not_utf_8_is_passed_on_as_it_came() -> None:
    key, headers, _ = envelopes(PBX, "json")(Event(b"Event: Caf\xe9\r\nPrivilege: user,all"))
    assert (key, dict(headers)["event_type"]) == (b"Caf\xe9", b"Caf\xe9")


@pytest.mark.parametrize(
    ("stamp", "expected"),
    [
        (b"1795426157.748433", 1_795_426_157_748),
        (b"1795426157.000001", 1_795_426_157_000),
        (b"1795426157.999999", 1_795_426_157_999),
        (b"1795426157", 1_795_426_157_000),
        (b"1795426157.", 1_795_426_157_000),
        (b"1795426157.7", 1_795_426_157_700),
        (b"1795426157.07", 1_795_426_157_070),
        (b"1795426157.748", 1_795_426_157_748),
        (b"1.5", 1_500),
        (b"17954261570.5", 17_954_261_570_500),
        (b"", CAPTURED),
        (b".5", CAPTURED),
        (b"now", CAPTURED),
        (b"-1795426157.748433", CAPTURED),
        (b"1795426157.74843x", CAPTURED),
        (b"1795426157.7x", CAPTURED),
        (b"1795426157.7.8", CAPTURED),
        (b"17954261x7.748433", CAPTURED),
        (b" 1795426157.748433", CAPTURED),
        (b"99999999999999999999.5", CAPTURED),
    ],
)
@pytest.mark.parametrize("last", [True, False], ids=["last line", "more lines"])
def test_the_moment_is_what_the_timestamp_line_says_if_it_says_a_moment(
    stamp: bytes, expected: int, last: bool
) -> None:
    lines = [b"Timestamp: " + stamp] if last else [b"Timestamp: " + stamp, b"Cause: 16"]
    assert moment(*lines) == expected


def test_without_timestampevents_the_moment_is_the_time_of_capture() -> None:
    assert moment(b"SystemName: pbx-01", b"Cause: 16") == CAPTURED


@pytest.mark.parametrize(
    "lines",
    [
        (b"SystemName: pbx-01", b"Timestamp: 1600000000.000000"),
        (b"UserEvent: x", b"Timestamp: 1600000000.000000", b"Timestamp: 1600000000.000000"),
        (b"X: 1\nTimestamp: 1600000000.000000",),
    ],
)
def test_a_timestamp_line_further_down_is_somebody_elses(lines: tuple[bytes, ...]) -> None:
    assert moment(*lines) == CAPTURED


def test_of_two_timestamps_asterisks_own_comes_first() -> None:
    assert moment(b"Timestamp: 1795426157.748433", b"Timestamp: 1600000000.000000") == 1_795_426_157_748


@pytest.mark.parametrize("head", [b"Event: A", b"Event: A\r\nUserEvent: x"])
def test_a_timestamp_that_does_not_follow_the_privilege_is_somebody_elses(head: bytes) -> None:
    envelope = envelopes(PBX, "json")
    for _ in range(2):
        envelope(Event(head, 0, CAPTURED))
        assert envelope(Event(head + b"\r\nTimestamp: 1600000000.000000", 0, CAPTURED))[2] == CAPTURED


def test_a_clock_that_is_before_the_epoch_gives_the_second_that_it_is_in() -> None:
    for captured_ms, second in ((-1, b"-1"), (-1000, b"-1"), (-1001, b"-2"), (0, b"0"), (999, b"0")):
        _, headers, moment_ms = envelopes(PBX, "json")(hangup(captured_ms=captured_ms))
        assert (dict(headers)["timestamp"], moment_ms) == (second, captured_ms)


@pytest.mark.parametrize(
    "captured_ms", [None, "1", 1.0, CAPTURED + 0.5, 2**63, -(2**63) - 1, 10**22], ids=repr
)
def test_a_time_that_kafka_has_no_room_for_is_an_error_and_is_not_counted(
    captured_ms: Any,
) -> None:
    counts = KindCounts()
    envelope = envelopes(PBX, "json", counts=counts)
    for moment_ms in (CAPTURED, 2**63 - 1, -(2**63)):
        assert envelope(hangup(captured_ms=moment_ms))[2] == moment_ms
        with pytest.raises((TypeError, OverflowError)):
            envelope(hangup(captured_ms=captured_ms))
    assert counts.most() == [("Hangup", "call", 3)]
    assert envelope(hangup(b"Timestamp: 5.25", captured_ms=captured_ms))[2] == 5250


def test_the_timestamp_header_is_the_whole_second_of_the_moment() -> None:
    envelope = envelopes(PBX, "json")
    for captured_ms in (1_795_426_158_000, 1_795_426_158_999, 1_795_426_159_000, 1_795_426_158_001):
        _, headers, timestamp_ms = envelope(hangup(captured_ms=captured_ms))
        assert timestamp_ms == captured_ms
        assert dict(headers)["timestamp"] == b"%d" % (captured_ms // 1000)


def test_the_key_is_the_name_of_the_event_unless_asked_otherwise() -> None:
    assert envelopes(PBX, "json")(hangup(b"Linkedid: 1"))[0] == b"Hangup"
    assert envelopes(PBX, "json", "event")(hangup(b"Linkedid: 1"))[0] == b"Hangup"


def test_there_can_be_no_key() -> None:
    assert envelopes(PBX, "json", "none")(hangup())[0] is None


@pytest.mark.parametrize(
    ("key", "lines", "expected"),
    [
        ("linkedid", [b"Uniqueid: u", b"Linkedid: l"], b"l"),
        ("linkedid", [b"UniqueID: u", b"LinkedID: cel"], b"cel"),
        ("linkedid", [b"Uniqueid: u"], b"u"),
        ("linkedid", [b"UniqueID: u"], b"u"),
        ("linkedid", [b"Linkedid: ", b"Uniqueid: u"], b"u"),
        ("linkedid", [b"DestLinkedid: dest"], b"dest"),
        ("linkedid", [b"Uniqueid: u", b"DestLinkedid: dest"], b"dest"),
        ("linkedid", [b"DestLinkedid: dest", b"Linkedid: l"], b"l"),
        ("linkedid", [b"Linkedid: <unknown>", b"DestLinkedid: dest"], b"dest"),
        ("linkedid", [b"Linkedid: <null>", b"LinkedID: cel"], b"cel"),
        ("linkedid", [b"Linkedid: l1", b"Linkedid: l2"], b"l1"),
        ("linkedid", [b"Uniqueid: <unknown>"], b"Hangup"),
        ("linkedid", [b"Uniqueid: <null>", b"UniqueID: u"], b"u"),
        ("linkedid", [b"LinkedidX: l", b"XLinkedid: l", b"linkedid: l", b"Text: Linkedid: l"], b"Hangup"),
        ("linkedid", [b"LocalTwoLinkedid: two", b"LocalOneLinkedid: one"], b"one"),
        ("linkedid", [b"SpyerLinkedid: spyer", b"SpyeeLinkedid: spyee"], b"spyee"),
        ("uniqueid", [b"Uniqueid: <unknown>"], b"Hangup"),
        ("uniqueid", [b"Uniqueid: <null>"], b"Hangup"),
        ("Uniqueid", [b"Uniqueid: <unknown>"], b"<unknown>"),
        ("linkedid", [], b"Hangup"),
        ("uniqueid", [b"Linkedid: l", b"Uniqueid: u"], b"u"),
        ("uniqueid", [b"UniqueID: u"], b"u"),
        ("uniqueid", [b"Linkedid: l"], b"Hangup"),
        ("Queue", [b"Queue: sales"], b"sales"),
        ("Queue", [b"queue: sales"], b"Hangup"),
        ("Queue", [b"Queue: first", b"Queue: second"], b"first"),
        ("Größe", ["Größe: 5".encode()], b"5"),
    ],
)
def test_the_key_can_be_a_headers_value_or_else_the_name(
    key: str, lines: list[bytes], expected: bytes
) -> None:
    for stamp in ([], [b"Timestamp: 1795426157.748433"]):
        assert envelopes(PBX, "json", key)(hangup(*stamp, *lines))[0] == expected


def test_a_key_that_is_not_utf_8_is_passed_on_as_it_came() -> None:
    assert envelopes(PBX, "json", "Queue")(hangup(b"Queue: \xe9"))[0] == b"\xe9"


def test_names_can_be_made_up_without_end() -> None:
    envelope = envelopes(PBX, "json")
    for number in range(2 * MAX_KINDS + 10):
        event = Event(b"Event: E%d\r\nPrivilege: user,all" % number, 0, CAPTURED)
        key, headers, _ = envelope(event)
        assert (key, dict(headers)["event_type"]) == (b"E%d" % number, b"E%d" % number)


@pytest.mark.parametrize("header", LINKEDIDS, ids=bytes.decode)
def test_every_header_that_names_a_call_is_a_key_and_in_the_guide(header: bytes) -> None:
    event = Event(b"Event: X\r\nPrivilege: call,all\r\nUniqueid: <unknown>\r\n%b: 17.1" % header)
    assert envelopes(PBX, "json", "linkedid")(event)[0] == b"17.1"
    guide = (PROJECT / "docs" / "consuming.md").read_text()
    assert f"`{header.decode()}`" in guide


def test_of_several_calls_the_first_in_the_order_of_the_guide_is_the_key() -> None:
    guide = (PROJECT / "docs" / "consuming.md").read_text()
    places = [guide.index(f"`{header.decode()}`") for header in (*LINKEDIDS, *UNIQUEIDS)]
    assert places == sorted(places)
    for index, _ in enumerate(LINKEDIDS):
        lines = b"\r\n".join(b"%b: %b" % (each, each) for each in reversed(LINKEDIDS[index:]))
        event = Event(b"Event: X\r\nPrivilege: call,all\r\n" + lines)
        assert envelopes(PBX, "json", "linkedid")(event)[0] == LINKEDIDS[index]


def test_all_events_of_an_originated_call_have_their_call_as_key() -> None:
    envelope = envelopes(PBX, "json", "linkedid")
    stream = (PROJECT / "tests" / "data" / "field" / "real-originate.ami").read_bytes()
    keys: dict[bytes, set[bytes | None]] = {}
    for block in stream.split(b"\r\n\r\n"):
        if block.startswith(b"Event: "):
            event = Event(block)
            keys.setdefault(event.name_bytes, set()).add(envelope(event)[0])
    for name in (b"DialBegin", b"DialEnd", b"Newchannel", b"LocalBridge"):
        if name in keys:
            assert name not in keys[name], name
    assert not {b"", b"<unknown>", b"<null>"} & set().union(*keys.values())
    assert keys[b"DialEnd"] <= keys[b"Newchannel"]

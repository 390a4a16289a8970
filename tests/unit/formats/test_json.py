from __future__ import annotations

import json
import time
from typing import Any

import pytest

from amikafka_tail.formats.json import JsonOptions, json_format, register_formats
from amikafka_tail.model.event import Event
from amikafka_tail.model.identity import Identity
from tests.support.formats import context

pytestmark = pytest.mark.usefixtures("twin")
PBX = Identity(entity_id="00:11:22:33:44:55", system_name="pbx-01", asterisk_version="22", hostname="vm")
NAMELESS = Identity(entity_id="00:11:22:33:44:55", system_name="", asterisk_version="22", hostname="vm")
# Learned when it is seen for the second time: the third takes the fast way.
ROUNDS = 4


def rendered(raw: bytes, options: JsonOptions | None = None, identity: Identity = PBX) -> str:
    """Render an event until its shape is known, which changes nothing in what comes out."""
    render = json_format(options or JsonOptions(), context(identity))
    payloads = {render(Event(raw)) for _ in range(ROUNDS)}
    assert len(payloads) == 1
    payload = payloads.pop().decode()
    json.loads(payload)
    return payload


def members(raw: bytes, options: JsonOptions | None = None, identity: Identity = PBX) -> list[object]:
    return [list(pair) for pair in json.loads(rendered(raw, options, identity), object_pairs_hook=list)]


def test_the_object_is_compact_and_begins_with_the_event_and_who_it_is_from() -> None:
    assert rendered(b"Event: Hangup\r\nPrivilege: call,all\r\nCause: 16\r\nCause-txt: Normal Clearing") == (
        '{"Event":"Hangup","EntityID":"00:11:22:33:44:55","SystemName":"pbx-01","Privilege":"call,all",'
        '"Cause":"16","Cause-txt":"Normal Clearing"}'
    )


def test_without_a_system_name_the_field_is_left_out() -> None:
    assert rendered(b"Event: Hangup\r\nPrivilege: call,all", identity=NAMELESS) == (
        '{"Event":"Hangup","EntityID":"00:11:22:33:44:55","Privilege":"call,all"}'
    )


def test_the_system_name_that_asterisk_adds_is_not_said_twice() -> None:
    assert rendered(b"Event: Hangup\r\nPrivilege: call,all\r\nSystemName: pbx-01\r\nCause: 16") == (
        '{"Event":"Hangup","EntityID":"00:11:22:33:44:55","SystemName":"pbx-01","Privilege":"call,all",'
        '"Cause":"16"}'
    )


def test_an_event_may_be_its_name_and_nothing_more() -> None:
    assert rendered(b"Event: Reload") == (
        '{"Event":"Reload","EntityID":"00:11:22:33:44:55","SystemName":"pbx-01"}'
    )


def test_every_value_is_a_string() -> None:
    assert members(b"Event: A\r\nNumber: 16\r\nTruth: true\r\nNothing: null\r\nEmpty: ")[3:] == [
        ["Number", "16"],
        ["Truth", "true"],
        ["Nothing", "null"],
        ["Empty", ""],
    ]


def test_lines_without_a_colon_and_a_blank_are_kept() -> None:
    assert members(b"Event: A\r\nEmpty:\r\nNoSpace:value\r\nno colon")[3:] == [
        ["Empty", ""],
        ["NoSpace", "value"],
        ["no colon", ""],
    ]


def test_text_beyond_ascii_stands_as_it_is() -> None:
    text = "Zoë 日本 \U0001f4de \x85 \u2028 \x7f"
    payload = rendered(f"Event: A\r\nCallerIDName: {text}".encode())
    assert f'"CallerIDName":"{text}"' in payload


def test_a_value_that_is_not_utf_8_is_read_as_latin_1() -> None:
    assert members(b"Event: A\r\nCallerIDName: Zo\xeb")[3:] == [["CallerIDName", "Zoë"]]


def test_one_value_that_is_not_utf_8_does_not_change_the_others() -> None:
    assert members("Event: A\r\nX: Zoë\r\n".encode() + b"Y: Zo\xeb")[3:] == [["X", "Zoë"], ["Y", "Zoë"]]


def test_the_fallback_encoding_is_an_option() -> None:
    options = JsonOptions(fallback_encoding="cp437")
    assert members(b"Event: A\r\nX: \xeb", options)[3:] == [["X", "δ"]]


def test_quotes_and_backslashes_are_escaped() -> None:
    raw = b'Event: A\r\nData: say "hi" \\n \\" C:\\'
    assert r'"Data":"say \"hi\" \\n \\\" C:\\"' in rendered(raw)
    assert members(raw)[3:] == [["Data", 'say "hi" \\n \\" C:\\']]


def test_quotes_in_names_are_escaped() -> None:
    assert members(b'Event: A"B\\\r\nNa"me: x\r\nNa\\me: y') == [
        ["Event", 'A"B\\'],
        ["EntityID", PBX.entity_id],
        ["SystemName", "pbx-01"],
        ['Na"me', "x"],
        ["Na\\me", "y"],
    ]


def test_quotes_in_the_identity_are_escaped() -> None:
    identity = Identity(entity_id='a"b', system_name='p"\\x', asterisk_version="22", hostname="vm")
    assert members(b'Event: A\r\nSystemName: p"\\x\r\nX: 1', identity=identity) == [
        ["Event", "A"],
        ["EntityID", 'a"b'],
        ["SystemName", 'p"\\x'],
        ["X", "1"],
    ]


def test_control_characters_are_written_as_jansson_writes_them() -> None:
    raw = b"Event: A\r\nX: \0\x01\x08\t\x0b\x0c\x1a\x1b\x1f\x7f"
    assert r'"X":"\u0000\u0001\b\t\u000B\f\u001A\u001B\u001F' + '\x7f"' in rendered(raw)


def test_percent_signs_mean_nothing_special() -> None:
    assert members(b"Event: 100%s\r\n%b: %d%%\r\nX%: %(a)s") == [
        ["Event", "100%s"],
        ["EntityID", PBX.entity_id],
        ["SystemName", "pbx-01"],
        ["%b", "%d%%"],
        ["X%", "%(a)s"],
    ]


def test_percent_signs_in_the_identity_mean_nothing_special() -> None:
    identity = Identity(entity_id="100%b", system_name="%s", asterisk_version="22", hostname="vm")
    assert members(b"Event: A\r\nX: 1", identity=identity)[1:3] == [
        ["EntityID", "100%b"],
        ["SystemName", "%s"],
    ]


def test_names_that_look_like_patterns_mean_nothing_special() -> None:
    render = json_format(JsonOptions(), context(PBX))
    for _ in range(ROUNDS):
        render(Event(b"Event: A\r\n.*(x)+: 1"))
    assert json.loads(render(Event(b"Event: A\r\nanything: 2")))["anything"] == "2"


def test_a_repeated_header_keeps_its_first_place_and_its_last_value() -> None:
    raw = b"Event: A\r\nX: 1\r\nChanVariable: A=1\r\nChanVariable: B=2\r\nY: 2\r\nX: 3"
    assert members(raw)[3:] == [["X", "3"], ["ChanVariable", "B=2"], ["Y", "2"]]


def test_a_repeated_header_can_be_a_list() -> None:
    raw = b"Event: A\r\nX: 1\r\nChanVariable: A=1\r\nChanVariable: B=2\r\nY: 2\r\nX: 3"
    assert members(raw, JsonOptions(duplicates="list"))[3:] == [
        ["X", ["1", "3"]],
        ["ChanVariable", ["A=1", "B=2"]],
        ["Y", "2"],
    ]


def test_a_list_holds_only_what_is_repeated() -> None:
    raw = b"Event: A\r\nChanVariable: A=1"
    assert members(raw, JsonOptions(duplicates="list"))[3:] == [["ChanVariable", "A=1"]]


def test_how_often_a_header_is_repeated_may_change_from_event_to_event() -> None:
    render = json_format(JsonOptions(duplicates="list"), context(NAMELESS))
    for count in (2, 3, 2, 3, 2, 3, 1, 4):
        raw = b"Event: A" + b"".join(b"\r\nV: %d" % number for number in range(count))
        value = json.loads(render(Event(raw)))["V"]
        assert value == ([str(number) for number in range(count)] if count > 1 else "0")


@pytest.mark.parametrize("duplicates", ["last", "list"])
def test_no_line_of_an_event_overrides_who_it_is_and_none_is_lost(duplicates: str) -> None:
    raw = (
        b"Event: UserEvent\r\nPrivilege: user,all\r\nSystemName: pbx-01\r\nUserEvent: x\r\n"
        b"Event: Hangup\r\nEvent: Bye\r\nPrivilege: call,all\r\nEntityID: evil\r\nSystemName: other\r\nX: 1"
    )
    options = JsonOptions(duplicates="list") if duplicates == "list" else JsonOptions()
    assert members(raw, options) == [
        ["Event", "UserEvent"],
        ["EntityID", PBX.entity_id],
        ["SystemName", "pbx-01"],
        ["Privilege", "user,all"],
        ["UserEvent", "x"],
        ["X", "1"],
        ["Event[2]", "Hangup"],
        ["Event[3]", "Bye"],
        ["Privilege[2]", "call,all"],
        ["EntityID[2]", "evil"],
        ["SystemName[2]", "other"],
    ]


def test_a_forged_line_needs_no_blank() -> None:
    found = dict(json.loads(rendered(b"Event: UserEvent\r\nPrivilege: user,all\r\nEntityID:evil")))
    assert found["EntityID"] == PBX.entity_id
    assert found["EntityID[2]"] == "evil"


def test_a_line_that_repeats_the_truth_says_nothing_new() -> None:
    raw = b"Event: UserEvent\r\nPrivilege: user,all\r\nEvent: UserEvent\r\nEntityID: 00:11:22:33:44:55"
    assert [name for name, _ in members(raw)] == ["Event", "EntityID", "SystemName", "Privilege"]


def test_a_system_name_that_somebody_sent_from_an_asterisk_without_one_is_not_taken_for_true() -> None:
    raw = b"Event: UserEvent\r\nPrivilege: user,all\r\nUserEvent: x\r\nSystemName: other"
    assert members(raw, identity=NAMELESS) == [
        ["Event", "UserEvent"],
        ["EntityID", NAMELESS.entity_id],
        ["Privilege", "user,all"],
        ["UserEvent", "x"],
        ["SystemName[2]", "other"],
    ]


def test_the_system_name_that_asterisk_adds_is_true_where_no_other_is_known() -> None:
    raw = (
        b"Event: Hangup\r\nPrivilege: call,all\r\nTimestamp: 1795426157.748433\r\nSequenceNumber: 4\r\n"
        b"File: cdr.c\r\nLine: 12\r\nFunc: post\r\nSystemName: own\r\nCause: 16\r\nSystemName: other"
    )
    found = members(raw, identity=NAMELESS)
    assert [name for name, _ in found] == [
        "Event",
        "EntityID",
        "Privilege",
        "Timestamp",
        "SequenceNumber",
        "File",
        "Line",
        "Func",
        "SystemName",
        "Cause",
        "SystemName[2]",
    ]
    assert dict(found)["SystemName"] == "own"


def test_a_second_system_name_right_behind_asterisks_own_is_forged() -> None:
    raw = b"Event: UserEvent\r\nPrivilege: user,all\r\nSystemName: own\r\nSystemName: other"
    found = dict(json.loads(rendered(raw, identity=NAMELESS)))
    assert (found["SystemName"], found["SystemName[2]"]) == ("own", "other")


def test_a_header_that_is_called_like_a_forged_one_is_not_lost() -> None:
    raw = b"Event: UserEvent\r\nPrivilege: user,all\r\nEvent[2]: mine\r\nEvent: Hangup"
    values = json.loads(rendered(raw)).values()
    assert {"UserEvent", "mine", "Hangup"} <= set(values)


def test_a_bare_return_or_feed_ends_a_line() -> None:
    assert members(b"Event: A\r\nX: 1\nY: 2\rZ: 3\r\n\nW: 4")[3:] == [
        ["X", "1"],
        ["Y", "2"],
        ["Z", "3"],
        ["W", "4"],
    ]


def test_a_line_feed_cannot_forge_the_identity() -> None:
    found = json.loads(rendered(b"Event: UserEvent\r\nPrivilege: user,all\r\nX: 1\nEntityID: evil"))
    assert found["EntityID"] == PBX.entity_id


def test_values_of_a_known_kind_of_event_do_not_stick() -> None:
    render = json_format(JsonOptions(), context(NAMELESS))
    for number in range(10):
        event = Event(b"Event: Hangup\r\nPrivilege: call,all\r\nCause: %d" % number)
        assert json.loads(render(event))["Cause"] == str(number)


def test_events_of_one_name_may_have_many_sets_of_lines() -> None:
    render = json_format(JsonOptions(), context(NAMELESS))
    for _round in range(3):
        for kind in range(40):
            event = Event(b"Event: A\r\nPrivilege: x\r\nKey%d: 1\r\nLast: 2" % kind)
            assert render(event) == (
                b'{"Event":"A","EntityID":"00:11:22:33:44:55","Privilege":"x","Key%d":"1","Last":"2"}' % kind
            )


def test_made_up_names_of_events_and_headers_are_rendered_without_end() -> None:
    render = json_format(JsonOptions(), context(NAMELESS))
    for number in range(3000):
        event = Event(b"Event: E%d\r\nK%d: %d" % (number, number, number))
        expected = b'{"Event":"E%d","EntityID":"00:11:22:33:44:55","K%d":"%d"}' % ((number,) * 3)
        assert render(event) == render(event) == expected


@pytest.mark.timeout(300)
@pytest.mark.parametrize("duplicates", ["last", "list"])
@pytest.mark.parametrize("name", [b"X", b"X%d"])
def test_very_many_lines_take_a_moment_and_not_minutes(name: bytes, duplicates: Any) -> None:
    """About a second of CPU; a cost that grows with the square of the lines was 47 s for 80,000."""
    lines = [(name % number if b"%" in name else name) + b": %d" % number for number in range(100_000)]
    raw = b"\r\n".join([b"Event: A", *lines])
    before = time.process_time()
    made = rendered(raw, JsonOptions(duplicates=duplicates))
    assert time.process_time() - before < 20
    found = json.loads(made)
    values = [str(number) for number in range(100_000)]
    if b"%" in name:
        assert list(found.values())[3:] == values
    else:
        assert found["X"] == (values if duplicates == "list" else values[-1])


def test_an_encoding_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValueError, match="latin-0"):
        JsonOptions(fallback_encoding="latin-0")


@pytest.mark.parametrize("encoding", ["base64", "rot13"])
def test_a_codec_that_makes_no_text_of_bytes_is_refused(encoding: str) -> None:
    with pytest.raises(ValueError, match=encoding):
        JsonOptions(fallback_encoding=encoding)


def test_the_format_is_registered_as_json() -> None:
    registered = []
    register_formats(register=lambda *arguments: registered.append(arguments))
    assert registered == [("json", JsonOptions, json_format)]

"""What is a known difference between the copies of an event, and what is not."""

from __future__ import annotations

import dataclasses
import json

import pytest

from amikafka_tail.commands.compare.copies import OPAQUE, reader
from amikafka_tail.commands.compare.judge import KNOWN, TEXT, Difference, Expected, judge
from amikafka_tail.kafka.topic_reader import Message
from tests.support.module import PBX, event, module_message, our_message

USUAL = Expected()
HANGUP = event("Hangup", "Channel: PJSIP/100-1", "Cause: 16", stamp=1795426158.25)


def judged(module: Message, ours: Message, expected: Expected = USUAL) -> list[Difference]:
    read = reader()
    return judge(read(module), read(ours), expected)


def kinds(raw: bytes, expected: Expected = USUAL, **options: str) -> list[str]:
    """Return the kinds of differences, of an event as each publishes it."""
    found = judged(module_message(raw), our_message(raw, **options), expected)  # type: ignore[arg-type]
    return [each.known or f"? {each.where}" for each in found]


def with_headers(message: Message, **changes: bytes | None) -> Message:
    headers = [(name, changes.get(name, value)) for name, value in message.headers]
    return message._replace(headers=[pair for pair in headers if pair[1] is not None])


def test_the_same_is_the_same() -> None:
    assert kinds(HANGUP) == []
    assert judged(module_message(HANGUP, format_name="ami"), our_message(HANGUP, format_name="ami")) == []


def test_an_object_is_the_same_however_it_is_spelled() -> None:
    ours = our_message(HANGUP)
    members = json.loads(ours.value)
    spelled = json.dumps(dict(reversed(members.items())), indent=1).replace("P", "\\u0050").encode()
    assert judged(module_message(HANGUP), ours._replace(value=spelled)) == []


def test_a_field_that_differs_is_told_with_both_values() -> None:
    ours = our_message(HANGUP.replace(b"Cause: 16", b"Cause: 17\r\nMore: x"))
    assert judged(module_message(HANGUP), ours) == [
        Difference("Cause", "16", "17"),
        Difference("More", None, "x"),
    ]


def test_a_field_that_ours_lacks_is_no_known_difference() -> None:
    assert judged(module_message(HANGUP), our_message(HANGUP.replace(b"\r\nCause: 16", b""))) == [
        Difference("Cause", "16", None)
    ]


@pytest.mark.parametrize(
    ("lines", "kind"),
    [
        ([b"CallerIDName: Zo\xeb"], "not-utf-8"),
        ([b"Na\xefve: x"], "not-utf-8"),
        (["Empty:"], "no-separator"),
        (["a line of text"], "no-separator"),
        (["EntityID: evil"], "forged"),
        (["EntityID:evil"], "forged"),
        (["SystemName: evil"], "forged"),
        (["Privilege: system,all"], "forged"),
        (["Event: Hangup"], "forged"),
    ],
)
def test_what_the_module_loses_or_lets_be_forged_is_known(lines: list[str | bytes], kind: str) -> None:
    for name in ("UserEvent", "Newchannel"):
        raw = event(name, "Channel: x", *lines)
        assert set(kinds(raw)) == {kind}
        assert set(kinds(raw, format_name="ami")) - {"format"} == {kind}
        assert judged(module_message(raw, format_name="ami"), our_message(raw, format_name="ami")) == []


def test_a_line_without_a_blank_is_only_somebody_elses_in_a_user_event() -> None:
    assert kinds(event("UserEvent", "NoSpace:value")) == ["no-separator"]
    assert kinds(event("Newchannel", "NoSpace:value")) == ["? NoSpace"]


def test_a_forged_value_that_no_line_has_is_a_difference() -> None:
    raw = event("UserEvent", "EntityID: evil")
    ours = our_message(raw)
    forged = ours._replace(value=ours.value.replace(b'"evil"', b'"worse"'))
    assert Difference("EntityID", "evil", PBX.entity_id) in judged(module_message(raw), forged)


def test_an_entity_id_that_is_not_the_same_is_a_difference() -> None:
    other = dataclasses.replace(PBX, entity_id="other")
    found = judged(module_message(HANGUP), our_message(HANGUP, identity=other))
    assert found == [
        Difference("EntityID", PBX.entity_id, "other"),
        Difference("header entity_id", PBX.entity_id, "other"),
    ]


def test_of_a_repeated_header_the_module_has_the_last_value() -> None:
    raw = event("Newchannel", "ChanVariable: A=1", "ChanVariable: B=2")
    assert kinds(raw) == []
    assert kinds(raw, duplicates="list") == ["repeated"]
    assert kinds(raw, format_name="ami") == ["repeated", "format"]
    ours = our_message(raw, duplicates="list")
    changed = ours._replace(value=ours.value.replace(b'"B=2"', b'"B=3"'))
    assert judged(module_message(raw), changed) == [Difference("ChanVariable", "B=2", ["A=1", "B=3"])]


def test_of_a_repeated_header_whose_last_value_is_lost_the_module_has_the_one_before() -> None:
    raw = event("Newchannel", "ChanVariable: A=Zoë", b"ChanVariable: B=Zo\xeb")
    assert kinds(raw) == ["not-utf-8"]
    assert kinds(raw.replace(b"ChanVariable", b"Name")) == ["? Name"]
    assert kinds(event("UserEvent", "Name: x", b"Name: Zo\xeb")) == ["not-utf-8"]
    assert kinds(raw, duplicates="list") == ["repeated"]
    every = event("Newchannel", b"ChanVariable: A=Zo\xeb", b"ChanVariable: B=Zo\xeb")
    assert kinds(every, duplicates="list") == ["not-utf-8"]


def test_a_value_that_can_only_have_been_utf_8_is_not_explained_by_latin_1() -> None:
    raw = event("Newchannel", "CallerIDName: 日本")
    module = module_message(event("Newchannel"))
    assert judged(module, our_message(raw)) == [Difference("CallerIDName", None, "日本")]


def test_a_fallback_encoding_of_ones_own_explains_what_it_makes() -> None:
    raw = event("Newchannel", "CallerIDName: Жук")
    module = module_message(event("Newchannel"))
    assert [each.known for each in judged(module, our_message(raw))] == [""]
    assert [each.known for each in judged(module, our_message(raw), Expected(fallback="cp1251"))] == [
        "not-utf-8"
    ]


def test_the_key_is_the_events_name_unless_the_configuration_says_otherwise() -> None:
    raw = event("Hangup", "Linkedid: pbx-1")
    module, ours = module_message(raw), our_message(raw, key="linkedid")
    assert judged(module, ours, Expected(key="linkedid")) == [Difference("key", "Hangup", "pbx-1", "key")]
    assert judged(module, ours) == [Difference("key", "Hangup", "pbx-1")]
    assert judged(module, our_message(raw, key="none"), Expected(key="none")) == [
        Difference("key", "Hangup", None, "key")
    ]


@pytest.mark.parametrize(
    "name", ["system_name", "asterisk_version", "event_category", "hostname", "event_type"]
)
def test_every_header_is_compared(name: str) -> None:
    module, ours = module_message(HANGUP), our_message(HANGUP)
    value = dict(ours.headers)[name]
    assert isinstance(value, bytes)
    assert judged(module, with_headers(ours, **{name: b"x"})) == [
        Difference(f"header {name}", value.decode(), "x")
    ]
    assert judged(module, with_headers(ours, **{name: None})) == [
        Difference(f"header {name}", value.decode(), None)
    ]


def test_the_timestamp_may_be_a_little_later_as_the_module_reads_the_clock() -> None:
    ours = our_message(HANGUP)
    assert judged(with_headers(module_message(HANGUP), timestamp=b"1795426160"), ours) == []
    assert judged(with_headers(module_message(HANGUP), timestamp=b"1795426161"), ours) == [
        Difference("header timestamp", "1795426161", "1795426158")
    ]
    assert judged(with_headers(module_message(HANGUP), timestamp=b"now"), ours) != []


def test_an_event_id_is_one_header_more() -> None:
    ours = our_message(HANGUP, more_headers=[("event_id", b"e/1/2")])
    assert judged(module_message(HANGUP), ours) == [Difference("header event_id", None, "e/1/2", "event-id")]
    ours = our_message(HANGUP, more_headers=[("mine", b"1")])
    assert judged(module_message(HANGUP), ours) == [Difference("header mine", None, "1")]


def test_the_lines_of_manager_debug_are_left_out_of_a_debug_log() -> None:
    debug = HANGUP.replace(
        b"\r\nChannel", b"\r\nSequenceNumber: 7\r\nFile: a.c\r\nLine: 1\r\nFunc: f\r\nChannel"
    )
    module, ours = module_message(debug), our_message(HANGUP)
    assert {each.known for each in judged(module, ours, Expected(leaves_debug_lines_out=True))} == {
        "debug-lines"
    }
    assert {each.known for each in judged(module, ours)} == {""}


def test_the_module_in_ami_and_ours_in_json_are_compared_by_their_fields() -> None:
    raw = event("UserEvent", b"Name: Zo\xeb", "Empty:", "EntityID: evil", "A: 1", "A: 2")
    assert {each.known for each in judged(module_message(raw, format_name="ami"), our_message(raw))} == {
        "format",
        "repeated",
    }
    changed = our_message(raw.replace(b"A: 2", b"A: 3"))
    found = judged(module_message(raw, format_name="ami"), changed)
    assert Difference("A", ["1", "2"], "3") in found


def test_two_texts_of_ami_are_compared_to_the_byte() -> None:
    module = module_message(HANGUP, format_name="ami")
    ours = our_message(HANGUP, format_name="ami")
    assert judged(module, ours._replace(value=ours.value.replace(b"Cause: ", b"Cause:"))) != []
    longer = ours._replace(value=ours.value + b"\r\n")
    assert [each.where for each in judged(module, longer)] == [TEXT]


@pytest.mark.parametrize("value", [b"", b"not an object", b"[1]", b"\xff\xfe", b"[" * 100_000, b"{}x"])
def test_a_value_that_is_no_event_is_compared_as_it_is(value: bytes) -> None:
    message = module_message(HANGUP)._replace(value=value)
    assert reader()(message).content.fields.keys() == {OPAQUE}
    assert judged(message, message) == []
    other = message._replace(value=value + b"!")
    assert [each.where for each in judged(message, other)] == [OPAQUE]


def test_members_that_are_no_strings_are_told_from_those_that_are() -> None:
    ours = our_message(HANGUP)
    changed = ours._replace(value=ours.value.replace(b'"16"', b"16"))
    assert judged(module_message(HANGUP), changed) == [Difference("Cause", "16", "JSON 16")]
    nothing = ours._replace(value=ours.value.replace(b'"16"', b"null"))
    assert judged(module_message(HANGUP), nothing) == [Difference("Cause", "16", "JSON null")]


def test_every_known_difference_is_explained_in_one_line() -> None:
    assert all("\n" not in text and len(text) < 160 for text in KNOWN.values())

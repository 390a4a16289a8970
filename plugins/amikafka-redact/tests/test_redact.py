from __future__ import annotations

import hashlib
import hmac
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amikafka_redact import RedactOptions, Rule, redact
from amikafka_tail import testing
from amikafka_tail.api import Event
from amikafka_tail.model.errors import ConfigError

KEY = b"0123456789abcdef"
EXAMPLE = Path(__file__).parents[1] / "redact.toml"
RULES = (
    Rule(action="mask", headers=("*Num", "Exten", "A"), keep_last=2),
    Rule(action="remove", variables=("*",), headers=("CallerIDName", "\x00*")),
)
TestContract = testing.filter_contract("redact", rule=RULES)
TestContractOfEverything = testing.filter_contract("redact", rule=(Rule(action="remove", headers=("*",)),))


def redacted(raw: bytes, *rules: Rule, **options: Any) -> bytes:
    keep = redact(RedactOptions(rule=rules, **options))
    verdict = keep(Event(b"Event: Newstate\r\nPrivilege: call,all\r\n" + raw, 7, 8))
    if isinstance(verdict, Event):
        assert (verdict.position, verdict.captured_ms) == (7, 8)
        return verdict.raw.removeprefix(b"Event: Newstate\r\nPrivilege: call,all").removeprefix(b"\r\n")
    assert verdict is True
    return raw


def test_a_value_is_masked_and_its_end_may_stay() -> None:
    rule = Rule(action="mask", headers=("CallerIDNum",), keep_last=3)
    assert (
        redacted(b"CallerIDNum: 491701234567\r\nExten: 1", rule) == b"CallerIDNum: *********567\r\nExten: 1"
    )
    assert redacted(b"CallerIDNum: 12", rule) == b"CallerIDNum: 12"
    assert redacted(b"CallerIDNum: 12", Rule(action="mask", headers=("CallerIDNum",))) == b"CallerIDNum: **"


def test_characters_are_masked_and_not_bytes() -> None:
    rule = Rule(action="mask", headers=("Name",), keep_last=1)
    assert redacted("Name: Müller".encode(), rule) == b"Name: *****r"
    assert redacted("Name: aü".encode(), rule) == "Name: *ü".encode()
    assert redacted(b"Name: M\xfcl", rule) == b"Name: **l"


def test_a_line_is_removed() -> None:
    rule = Rule(action="remove", headers=("CallerIDName",))
    assert redacted(b"A: 1\r\nCallerIDName: x\r\nB: 2", rule) == b"A: 1\r\nB: 2"
    assert redacted(b"CallerIDName: x", rule) == b""
    assert redacted(b"A: 1\nCallerIDName: x\rB: 2", rule) == b"A: 1\rB: 2"
    assert redacted(b"CallerIDName:x\r\nA: 1", rule) == b"A: 1"
    assert redacted(b"CallerIDName\r\nA: 1", rule) == b"A: 1"


def test_a_hash_is_that_of_the_key(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(KEY + b"\n")
    rule = Rule(action="hash", headers=("AccountCode",))
    wanted = hmac.new(KEY, b"4711", hashlib.sha256).hexdigest().encode()
    assert redacted(b"AccountCode: 4711", rule, key_file=tmp_path / "key") == b"AccountCode: " + wanted
    assert redacted(b"AccountCode: ", rule, key_file=tmp_path / "key") == b"AccountCode: "


def test_patterns_and_case() -> None:
    rule = Rule(action="mask", headers=("*calleridnum", "Connected?ine*"))
    raw = b"CallerIDNum: 1\r\nDestCallerIDNum: 2\r\nConnectedLineNum: 3\r\nCallerIDNumber: 4"
    assert redacted(raw, rule) == raw.replace(b"1", b"*").replace(b"2", b"*").replace(b"3", b"*")


def test_sets_of_characters_and_names_beyond_ascii() -> None:
    raw = "CallerIDNum: 1\r\nCallerIDName: 2\r\nX-Größe: 3\r\nx: 4".encode()
    assert redacted(raw, Rule(action="remove", headers=("CallerIDN[au]m*",))).startswith(b"X-Gr")
    assert redacted(raw, Rule(action="remove", headers=("x-gr?ße",))).endswith(b"Name: 2\r\nx: 4")
    assert redacted(raw, Rule(action="remove", headers=("X-Gr??e",))).endswith(b"Name: 2\r\nx: 4")
    assert redacted(raw, Rule(action="remove", headers=("?",))).endswith("Größe: 3".encode())


def test_a_rule_may_be_for_some_events_only() -> None:
    keep = redact(RedactOptions(rule=(Rule(action="mask", events=("DTMF*",), headers=("Digit",)),)))
    begin = keep(testing.event("DTMFBegin", ("Digit", "5")))
    assert isinstance(begin, Event)
    assert begin.get("Digit") == "*"
    assert keep(testing.event("Newstate", ("Digit", "5"))) is True


def test_variables_are_found_wherever_they_are_sent() -> None:
    mask = Rule(action="mask", variables=("CARD*",))
    remove = Rule(action="remove", variables=("CARD*",))
    variables = b"ChanVariable: CARD=1234\r\nDestChanVariable: CARDS=5=6\r\nChanVariable: OTHER=7"
    assert redacted(variables, mask) == (
        b"ChanVariable: CARD=****\r\nDestChanVariable: CARDS=***\r\nChanVariable: OTHER=7"
    )
    assert redacted(variables, remove) == (
        b"ChanVariable: CARD=\r\nDestChanVariable: CARDS=\r\nChanVariable: OTHER=7"
    )
    old = b"ChanVariable(SIP/1-2): CARD=1234"
    assert redacted(old, mask) == b"ChanVariable(SIP/1-2): CARD=****"
    assert redacted(b"Variable: CARD\r\nValue: 1234", mask) == b"Variable: CARD\r\nValue: ****"
    assert redacted(b"Variable: CARD\r\nValue: 1234", remove) == b"Variable: CARD"
    assert redacted(b"Variable: OTHER\r\nValue: 1234", mask) == b"Variable: OTHER\r\nValue: 1234"


def test_only_what_matches_is_hidden() -> None:
    rule = Rule(action="mask", headers=("AppData",), match="[0-9]{4,}", keep_last=1)
    assert redacted(b"AppData: PJSIP/123456@trunk,30", rule) == b"AppData: PJSIP/*****6@trunk,30"
    gone = Rule(action="remove", headers=("AppData",), match="secret")
    assert redacted(b"AppData: a secret\r\nX: 1", gone) == b"X: 1"
    assert redacted(b"AppData: nothing\r\nX: 1", gone) == b"AppData: nothing\r\nX: 1"


def test_all_rules_for_a_value_count_in_their_order(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(KEY)
    rules = (
        Rule(action="mask", headers=("A",), match="^."),
        Rule(action="hash", headers=("A",)),
        Rule(action="mask", headers=("A",), keep_last=4),
    )
    wanted = hmac.new(KEY, b"*bc", hashlib.sha256).hexdigest()
    assert redacted(b"A: abc", *rules, key_file=tmp_path / "key") == f"A: {'*' * 60}{wanted[-4:]}".encode()


def test_what_an_event_is_always_stays() -> None:
    raw = b"Event: Hangup\r\nPrivilege: call,all\r\nTimestamp: 1.5\r\nA: 1\r\nEvent: 2"
    verdict = redact(RedactOptions(rule=(Rule(action="remove", headers=("*",)),)))(Event(raw))
    assert isinstance(verdict, Event)
    assert verdict.raw == b"Event: Hangup\r\nPrivilege: call,all\r\nTimestamp: 1.5\r\nEvent: 2"


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ({"action": "mask"}, "set headers or variables"),
        ({"action": "mask", "headers": ("Event",)}, '"Event" cannot be redacted'),
        ({"action": "mask", "headers": ("privilege",)}, '"privilege" cannot be redacted'),
        ({"action": "remove", "headers": ("A",), "keep_last": 1}, "keep_last needs action = mask"),
        ({"action": "mask", "headers": ("A",), "match": "("}, r'match "\(" is not a regular expression'),
    ],
)
def test_a_rule_that_makes_no_sense_is_refused(rule: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Rule(**rule)


def test_a_key_that_is_missing_short_or_unreadable_is_refused(tmp_path: Path) -> None:
    rule = (Rule(action="hash", headers=("A",)),)
    with pytest.raises(ValueError, match="needs key_file"):
        RedactOptions(rule=rule)
    with pytest.raises(ValueError, match="No such file"):
        redact(RedactOptions(rule=rule, key_file=tmp_path / "none"))
    (tmp_path / "key").write_bytes(b"short\n")
    with pytest.raises(ValueError, match="has 5 bytes, a key needs at least 16: head -c 32"):
        redact(RedactOptions(rule=rule, key_file=tmp_path / "key"))


def test_a_filter_without_rules_is_refused_and_not_silently_nothing() -> None:
    with pytest.raises(ValueError, match="no rule: add a"):
        redact(RedactOptions())


def test_the_example_is_a_configuration_that_works(tmp_path: Path) -> None:
    (tmp_path / "ami_kafka.d").mkdir()
    (tmp_path / "ami_kafka.d" / "redact.toml").write_bytes(EXAMPLE.read_bytes())
    events = [
        testing.event("Newchannel", ("CallerIDNum", "491701234567"), ("ChanVariable", "CARD=1")),
        testing.event("DTMFEnd", ("Digit", "5"), ("Channel", "x")),
        testing.event("Newexten", ("AppData", "PJSIP/01701234567,30")),
    ]
    published = testing.publish("[general]\nfilters = redact\n", events, tmp_path)
    values = [json.loads(message.value) for message in published.messages]
    assert (values[0]["CallerIDNum"], values[0]["ChanVariable"]) == ("*********567", "CARD=")
    assert (values[1]["Digit"], values[1]["Channel"]) == ("*", "x")
    assert values[2]["AppData"] == "PJSIP/***********,30"
    assert published.dead_letters == []


def test_a_wrong_rule_is_named_with_file_and_line(tmp_path: Path) -> None:
    (tmp_path / "ami_kafka.d").mkdir()
    file = tmp_path / "ami_kafka.d" / "redact.toml"
    file.write_text(
        '[[rule]]\nheaders = ["A"]\naction = "hide"\n\n[[rule]]\naction = "mask"\nheader = ["B"]\n'
    )
    with pytest.raises(ConfigError) as caught:
        testing.publish("[general]\nfilters = redact\n", [], tmp_path)
    assert str(caught.value).splitlines() == [
        f'{file}:3: [rule] action: "hide" is not one of remove, mask, hash',
        f'{file}:7: [rule] header: unknown option (did you mean "headers"?)',
    ]


HEADERS = st.sampled_from([b"CallerIDNum", b"X", b"ChanVariable", b"Value", b"Variable", b"no colon"])
VALUES = st.binary(max_size=8).map(lambda value: value.replace(b"\r", b"").replace(b"\n", b""))
LINES = st.lists(st.tuples(HEADERS, st.sampled_from([b": ", b":", b""]), VALUES), max_size=6)


@given(LINES, st.sampled_from(["mask", "remove"]))
def test_a_hidden_number_is_nowhere_in_the_event(
    lines: list[tuple[bytes, bytes, bytes]], action: Any
) -> None:
    raw = b"\r\n".join(name + separator + value for name, separator, value in lines)
    rules = (Rule(action=action, headers=("CallerIDNum",), variables=("CARD",)),)
    secret = b"\r\nCallerIDNum: 491701234567\r\nChanVariable: CARD=491701234567"
    made = redacted(raw + secret, *rules)
    assert b"491701234567" not in made
    assert b"ChanVariable: CARD=" in made

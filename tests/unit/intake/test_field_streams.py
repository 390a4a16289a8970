"""Streams from the field, through `amikafka replay --from ami`: what comes out, what is set aside."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from amikafka_tail import cli

DATA = Path(__file__).parents[2] / "data" / "field"
CALL = ["Newchannel", "Hangup"]
# The names of the events, and how many blocks are set aside.
EXPECTED: dict[str, tuple[list[str], int]] = {
    "a08-sms-empty-line": (["ReceivedSMS", "Hangup"], 0),
    "a08-sms-end-marker": (["ReceivedSMS", "Hangup"], 0),
    "a10-rpt-ctime": (["RPT_RXKEYED", "Hangup"], 0),
    "a10-rpt-orphan": (["RPT_RXKEYED", "Hangup"], 0),
    "a11-overwritten-middle": (["BridgeEnter", "Hangup"], 0),
    "a12-multiline": (["SMSSendStatus", "Hangup"], 0),
    "a13-lf-in-block": (["Agents", "Hangup"], 0),
    "a15-follows": (["Hangup"], 0),
    "a15-follows-empty-line": (["Hangup"], 1),
    "a16-lf-only": (CALL, 0),
    "a16-telnet-capture": (CALL, 1),
    "a17-cel-case": (["Newchannel", "CEL", "Cdr", "OriginateResponse", "DialEnd"], 0),
    "a18-encodings": (["NewCallerid"] * 5, 0),
    "a19-keys": (["PeerEntry", "Hangup"], 0),
    "a21-asyncagi": (["AsyncAGIStart", "AsyncAGIExec"], 0),
    "a22-server-header-first": (["Hangup"], 2),
    "a23-nospace": (["Newchannel"], 2),
    "a24-response-without-end": (CALL, 0),
    "a25-unicode-separators": (["NewCallerid"] * 3, 0),
    "l-cr-only": (["UserEvent", "Hangup"], 0),
    "l-dongle-3crlf": (["DongleNewSMS", *CALL], 0),
    "l-nul": (["Hangup"], 1),
    "nul-hole": (["UserEvent"] * 3, 0),
}


def replayed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], stream: Path, **options: str
) -> tuple[int, list[dict[str, Any]], list[dict[str, Any]]]:
    """Replay a stream; return the exit code, the messages and the dead letters."""
    configuration = tmp_path / "ami_kafka.conf"
    general = {"entity_id": "00:00:5e:00:53:01", "system_name": "pbx", **options}
    lines = [f"{name} = {value}" for name, value in general.items() if name != "key"]
    configuration.write_text(
        "\n".join(
            ["[general]", *lines, "[kafka]", "brokers = localhost:1", f"key = {options.get('key', 'event')}"]
        )
    )
    letters = tmp_path / "dead-letter.jsonl"
    arguments = ["replay", "-c", str(configuration), "--from", "ami", "--to", "-"]
    code = cli.main([*arguments, "--dead-letter", str(letters), str(stream)])
    messages = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    dead = [json.loads(line) for line in letters.read_text().splitlines()] if letters.exists() else []
    return code, messages, dead


@pytest.mark.parametrize("name", EXPECTED)
def test_a_stream_from_the_field_gives_its_events(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    events, aside = EXPECTED[name]
    code, messages, dead = replayed(tmp_path, capsys, DATA / f"{name}.ami")
    assert [message["key"] for message in messages] == events
    assert len(dead) == aside
    assert code == (65 if aside else 0)


@pytest.mark.parametrize("name", [name for name, (_, aside) in EXPECTED.items() if not aside])
def test_the_format_ami_gives_the_stream_again_byte_for_byte(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    if name in ("a16-lf-only", "nul-hole", "a18-encodings", "a25-unicode-separators"):
        pytest.skip("its bytes are not those of a stream, or no text")
    stream = (DATA / f"{name}.ami").read_bytes()
    _, messages, _ = replayed(tmp_path, capsys, DATA / f"{name}.ami", format="ami")
    front = "EntityID: 00:00:5e:00:53:01\r\nSystemName: pbx\r\n"
    values = "".join(message["value"].removeprefix(front) for message in messages)
    assert stream.endswith(values.encode())
    assert values.startswith("Event: ")


def test_what_an_answer_without_its_end_stands_before_is_published(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    event = b"Event: A\r\nPrivilege: call,all\r\nNumber: %d\r\n\r\n"
    for number, answer in enumerate(
        [
            b"Response: Success\r\nEvents: On\r\n",
            b"Response: Success\r\nActionID: 7\r\nMessage: Originate successfully queued\r\n",
            b"Response: Success\r\nMessage: Originate successfully queued\r\n",
            b"Response: Error\r\nMessage: No such channel\r\n",
            b"Response: Success\r\nPing: Pong\r\nResponse: Success\r\nPing: Pong\r\n",
            b"Asterisk Call Manager/1.0\r\n",
            b"Response: Follows\r\nPrivilege: Command\r\nEvent: X\nPrivilege: no\n--END COMMAND--\r\n",
        ]
    ):
        path = tmp_path / f"{number}.ami"
        path.write_bytes(event % 1 + answer + event % 2 + event % 3)
        code, messages, _ = replayed(tmp_path, capsys, path)
        numbers = [json.loads(message["value"])["Number"] for message in messages]
        assert (numbers, code) == (["1", "2", "3"], 0), answer


def test_an_answer_that_has_its_end_stays_out_of_the_events(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    event = b"Event: A\r\nPrivilege: call,all\r\nNumber: %d\r\n\r\n"
    answers = [
        b"Response: Success\r\nActionID: 7\r\nMessage: x\r\n\r\n",
        b"Response: Success\r\nPing: Pong\r\nTimestamp: 1.0\r\n\r\n",
        b"Response: Follows\r\nPrivilege: Command\r\nEvent: X\r\nPrivilege: no\r\n--END COMMAND--\r\n\r\n",
        b"Response: Goodbye\r\nMessage: Thanks for all the fish.\r\n\r\n",
        b"Event: QueueMember\r\nActionID: 7\r\nQueue: a\r\n\r\n"
        b"Event: QueueEntry\r\nQueue: a\r\nActionID: 7\r\n\r\n",
    ]
    for number, answer in enumerate(answers):
        path = tmp_path / f"{number}.ami"
        path.write_bytes(event % 1 + answer + event % 2)
        _, messages, dead = replayed(tmp_path, capsys, path)
        names = [message["key"] for message in messages]
        entries = ["QueueMember", "QueueEntry"] if b"Queue" in answer else []
        assert (names, dead) == (["A", *entries, "A"], []), answer


def test_an_empty_line_in_a_value_is_published_whole_and_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "blank.ami"
    rests = [b"Tail: cut\r\nOther: x", b"Response: Success\r\nMessage: hi", b"Event: Forged3\r\nX: y"]
    for rest in rests:
        whole = b"Event: UserEvent\r\nPrivilege: user,all\r\nUserEvent: F\r\nT: one\r\n\r\n" + rest
        path.write_bytes(whole + b"\r\n\r\nEvent: B\r\nPrivilege: call,all\r\n\r\n")
        code, messages, _ = replayed(tmp_path, capsys, path, format="ami")
        assert code == 0
        assert [message["value"].encode().partition(b"Event: ")[2] for message in messages] == [
            whole[7:] + b"\r\n\r\n",
            b"B\r\nPrivilege: call,all\r\n\r\n",
        ]


def test_the_calls_of_originated_events_are_their_keys(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, messages, _ = replayed(tmp_path, capsys, DATA / "real-originate.ami", key="linkedid")
    assert len(messages) == 60
    for message in messages:
        event = json.loads(message["value"])
        if event["Event"] in ("DialBegin", "DialEnd"):
            assert message["key"] == event.get("Linkedid", event["DestLinkedid"])
        assert message["key"] not in ("", "<unknown>", "<null>")

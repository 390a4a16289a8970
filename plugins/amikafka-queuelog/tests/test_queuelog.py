from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from amikafka_queuelog import PARAMETERS, QueueLogOptions, read_line
from amikafka_tail import testing

LINES = [
    b"1366720300|NONE|NONE|NONE|QUEUESTART|",
    b"1366720340|1366720340.303267|MYQUEUE|NONE|ENTERQUEUE||491701234567|1|Joe",
    b"1366720341|1366720340.303267|MYQUEUE|SIP/8007|RINGNOANSWER|1000",
    b"1366720345|1366720340.303267|MYQUEUE|Agent Smith|CONNECT|5|1366720343.12|2",
    b"1366720399|1366720340.303267|MYQUEUE|Agent Smith|COMPLETEAGENT|5|54|1",
    b"1366720400|NONE|MYQUEUE|SIP/8007|PAUSE|lunch",
    b"1366720401|1366720401.7|MYQUEUE|NONE|EXITWITHKEY|9|2|3|14",
    b"1366720402|x|MYQUEUE|NONE|MYOWN|a||c",
]


def headers(line: bytes) -> dict[str, str]:
    read = read_line(line)
    assert read is not None
    return dict(each.split(": ", 1) for each in read.raw.decode().split("\r\n"))


def written(directory: Path) -> tuple[dict[str, Any], list[bytes]]:
    (directory / "queue_log.1").write_bytes(b"".join(line + b"\n" for line in LINES[:5]))
    (directory / "queue_log").write_bytes(b"".join(line + b"\n" for line in LINES[5:]))
    options = {"path": (f"{directory}/queue_log",), "start": "beginning"}
    return options, [read.raw for read in map(read_line, LINES) if read is not None]


TestContract = testing.source_contract("queuelog", written)


def test_a_line_becomes_an_event() -> None:
    assert headers(LINES[3]) == {
        "Event": "QueueLog",
        "Privilege": "agent,all",
        "Timestamp": "1366720345",
        "QueueEvent": "CONNECT",
        "Uniqueid": "1366720340.303267",
        "Queue": "MYQUEUE",
        "Agent": "Agent Smith",
        "HoldTime": "5",
        "BridgedUniqueid": "1366720343.12",
        "RingTime": "2",
    }


def test_where_there_is_no_call_queue_or_agent_nothing_stands() -> None:
    assert list(headers(LINES[0])) == ["Event", "Privilege", "Timestamp", "QueueEvent"]
    assert headers(LINES[5])["Agent"] == "SIP/8007"
    assert "Uniqueid" not in headers(LINES[5])


def test_an_empty_parameter_keeps_its_place() -> None:
    made = headers(LINES[1])
    assert (made["URL"], made["CallerIDNum"], made["OrigPosition"], made["CallerIDName"]) == (
        "",
        "491701234567",
        "1",
        "Joe",
    )


def test_what_the_documentation_does_not_know_is_kept_by_its_number() -> None:
    made = headers(LINES[7])
    assert (made["Data1"], made["Data2"], made["Data3"]) == ("a", "", "c")
    more = headers(b"1|2|q|a|COMPLETEAGENT|1|2|3|four")
    assert (more["OrigPosition"], more["Data4"]) == ("3", "four")


def test_every_type_of_the_documentation_has_names_for_its_parameters() -> None:
    for kind, names in PARAMETERS.items():
        values = [f"v{number}" for number in range(len(names))]
        made = headers("|".join(["1", "2", "q", "a", kind, *values]).encode())
        assert [made[name] for name in names] == values


def test_the_time_may_have_a_fraction() -> None:
    read = read_line(b"1366720340.5|NONE|NONE|NONE|CONFIGRELOAD|")
    assert read is not None
    assert read.happened_ms == 1366720340500


def test_bytes_stay_as_they_are_and_cannot_forge_a_line() -> None:
    read = read_line(b"1|2|q|M\xfcller\rEvent: Forged|PAUSE|")
    assert read is not None
    assert b"\r\nAgent: M\xfcller Event: Forged" in read.raw


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b"2013-04-23 14:32:20|a|b|c|d", "does not begin with a time"),
        (b"1366720340|NONE|NONE", "has 3 fields"),
        (b"nonsense", "does not begin with a time"),
        (b"9999999999999|a|b|c|d", "does not begin with a time"),
    ],
)
def test_a_line_of_something_else_is_refused(line: bytes, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        read_line(line)


def test_an_empty_line_is_nothing() -> None:
    assert read_line(b"") is None
    assert read_line(b"  ") is None


def test_lines_come_out_in_every_format(tmp_path: Path) -> None:
    (tmp_path / "queue_log").write_bytes(b"".join(line + b"\n" for line in [*LINES, b"nonsense"]))
    found = testing.read_source("queuelog", {"path": (f"{tmp_path}/queue_log",)})
    assert [refused.raw for refused in found.refused] == [b"nonsense"]
    published = testing.publish("[kafka]\nkey = uniqueid\n", found.events, tmp_path)
    assert [message.key for message in published.messages][:3] == [
        b"QueueLog",
        b"1366720340.303267",
        b"1366720340.303267",
    ]
    assert published.messages[0].timestamp_ms == 1366720300000
    assert json.loads(published.messages[3].value)["RingTime"] == "2"


def test_the_default_is_asterisks_own_place() -> None:
    assert QueueLogOptions().path == ("/var/log/asterisk/queue_log",)

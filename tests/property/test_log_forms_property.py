"""Whatever a log went through: events out + set aside = events in, and never an event that was not in it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amikafka_tail.ami.debuglog import Found, LogFramer
from tests.support.fuzzing import many

MANY = many(15)
MARKERS = [
    "VERBOSE[12234] manager.c: <-- Examining AMI event (1754218554): -->",
    "VERBOSE[12234] manager.c: <-- Examining AMI event: -->",
    "DEBUG[12] manager.c: Examining AMI event (-1):",
    "DEBUG[12][C-0000001f]: manager.c:5231 match_filter: Examining AMI event:",
]
DATE = "[2026-11-23 09:30:23.739] "
LINES = [
    'VERBOSE[12235][C-00000021] pbx.c: Executing [1@a:1] NoOp("x", "") in new stack',
    "NOTICE[77] x.c: hello",
    "call_quality[77] Ext. 100: mos=4",
    "VERBOSE[3] app_verbose.c: <-- Examining AMI event: -->",
    "VERBOSE[1] manager.c: <--- Examining AMI action: -->\nAction: Login\nUsername: a\n",
    "Asterisk 22.10.1 built by x @ y on a x86_64 running Linux on 2026-01-01 00:00:00 UTC",
]
VALUES = [
    "PJSIP/alice-00000001",
    "",
    "say: [2026] yes",
    "caf\u00e9",
    "\\033 \" ' \\r\\n",
    "*#21#",
    "<-- Examining AMI event",
    "x" * 300,
]


def event(number: int, value: str) -> str:
    return f"Event: Newchannel\r\nPrivilege: call,all\r\nNumber: {number}\r\nCallerIDName: {value}\r\nLast: y"


def in_log(marker: str, raw: str) -> str:
    return f"{DATE}{marker}\n{raw}\r\n\r\n\n"


@st.composite
def logs(draw: st.DrawFn, *, least: int = 0) -> tuple[list[str], list[str]]:
    """The messages of a log as Asterisk writes them, and the events among them."""
    marker = draw(st.sampled_from(MARKERS))
    messages, events = [], []
    count = draw(st.integers(least, 8))
    for number in range(count):
        for line in draw(st.lists(st.sampled_from(LINES), max_size=2)):
            messages.append(f"{DATE}{line}\n")
        events.append(event(number, draw(st.sampled_from(VALUES))))
        messages.append(in_log(marker, events[-1]))
    messages += [f"{DATE}{line}\n" for line in draw(st.lists(st.sampled_from(LINES), max_size=2))]
    return messages, events


def undated(text: str) -> str:
    return text.removeprefix(DATE)


def by_line(prefix: str, *, end: str = "\n") -> Callable[[list[str]], str]:
    def wrap(messages: list[str]) -> str:
        lines = "".join(map(undated, messages)).split("\n")[:-1]
        return "".join(f"{prefix}{line}{end}" for line in lines)

    return wrap


RFC3164 = "Nov 23 09:30:23 pbx asterisk[2350]: "
RFC5424 = '<134>1 2026-11-23T09:30:23.739Z pbx asterisk 2350 - [a@1 b="c\\]"] \ufeff'


def escaped(messages: list[str]) -> str:
    return "".join(
        RFC3164 + undated(message).removesuffix("\n").replace("\r", "#015").replace("\n", "#012") + "\n"
        for message in messages
    )


def docker(messages: list[str]) -> str:
    entries = []
    for line in re.findall(r"[^\n]{0,200}\n|[^\n]{200}", "".join(messages)):
        entry = {"log": line, "stream": "stdout", "time": "2026-11-23T09:30:23.739Z"}
        entries.append(json.dumps(entry, ensure_ascii=False) + "\n")
    return "".join(entries)


def cri(messages: list[str]) -> str:
    lines = []
    for line in re.findall(r"[^\n]{0,200}\n|[^\n]{200}", "".join(messages)):
        tag = "F" if line.endswith("\n") else "P"
        lines.append(f"2026-11-23T09:30:23.739000000Z stdout {tag} {line.removesuffix(chr(10))}\n")
    return "".join(lines)


def as_json(messages: list[str]) -> str:
    lines = []
    for message in messages:
        level, file, text = (
            re.split(r"\[\d+\].*? (?=\w+\.c)|: ", undated(message), maxsplit=2)
            if ("manager.c: " in message)
            else ("VERBOSE", "x.c", undated(message))
        )
        entry = {
            "hostname": "pbx",
            "timestamp": "2026-11-23 09:30:23.739",
            "identifiers": {"lwp": 1, "callid": ""},
            "logmsg": {
                "location": {"filename": file, "function": "f", "line": 1},
                "level": level,
                "message": text,
            },
        }
        lines.append(json.dumps(entry) + "\n")
    return "".join(lines)


WRAPPERS: dict[str, Callable[[list[str]], str]] = {
    "as it is": "".join,
    "lf only": lambda messages: "".join(messages).replace("\r\n", "\n"),
    "all crlf": lambda messages: "".join(messages).replace("\r\n", "\n").replace("\n", "\r\n"),
    "rfc 3164": by_line(RFC3164),
    "rfc 3164 with pri and date of rsyslog": by_line(
        "<13>2026-11-23T09:30:23.739123+01:00 pbx asterisk[1]: "
    ),
    "rfc 5424": by_line(RFC5424),
    "rfc 3164, lf only": lambda messages: by_line(RFC3164)([each.replace("\r", "") for each in messages]),
    "rfc 3164, cr escaped": lambda messages: by_line(RFC3164)(
        [each.replace("\r", "#015") for each in messages]
    ),
    "rsyslog": escaped,
    "docker": docker,
    "docker, lf only": lambda messages: docker([each.replace("\r", "") for each in messages]),
    "cri": cri,
    "cri, lf only": lambda messages: cri([each.replace("\r", "") for each in messages]),
    "terminal": lambda messages: "".join(messages).replace("\n", "\r\n"),
}


def read(data: bytes, cuts: list[int] | None = None) -> list[Found]:
    framer = LogFramer()
    found: list[Found] = []
    ends = [*sorted(cut % (len(data) + 1) for cut in cuts or []), len(data)]
    for start, end in zip([0, *ends], ends, strict=False):
        before = framer.position
        of_read = framer.feed(data[start:end])
        assert before <= framer.position <= end
        assert data[framer.position : end] == framer.held_back
        assert all(before <= each.position <= end for each in of_read)
        found += of_read
    return found + framer.rest()


@pytest.mark.parametrize("name", WRAPPERS)
@MANY
@given(made=logs(), cuts=st.lists(st.integers(0, 9000), max_size=6))
def test_whatever_is_around_the_lines_the_events_are_the_same(
    name: str, made: tuple[list[str], list[str]], cuts: list[int]
) -> None:
    messages, events = made
    data = WRAPPERS[name](messages).encode()
    found = read(data, cuts)
    assert found == read(data)
    assert [each.raw.decode() for each in found if not each.torn] == events
    assert not any(each.torn for each in found)


@pytest.mark.parametrize("name", WRAPPERS)
@MANY
@given(made=logs(), cut=st.integers(0, 9000))
def test_reading_goes_on_where_it_stood(name: str, made: tuple[list[str], list[str]], cut: int) -> None:
    messages, events = made
    data = WRAPPERS[name](messages).encode()
    first = LogFramer()
    found = first.feed(data[: cut % (len(data) + 1)])
    again = LogFramer(first.position, first.form)
    found += again.feed(data[first.position :]) + again.rest()
    assert [each.raw.decode() for each in found if not each.torn] == events
    assert not any(each.torn for each in found)


@pytest.mark.parametrize("name", [name for name in WRAPPERS if name != "terminal"])
@MANY
@given(made=logs(least=1), begin=st.integers(0, 9000), end=st.integers(0, 9000))
def test_a_log_that_is_cut_at_both_ends_gives_its_whole_events_and_sets_the_cut_one_aside(
    name: str, made: tuple[list[str], list[str]], begin: int, end: int
) -> None:
    messages, events = made
    data = WRAPPERS[name](messages).encode()
    begin, end = sorted((begin % (len(data) + 1), end % (len(data) + 1)))
    found = read(data[begin:end])
    whole = [each.raw.decode() for each in found if not each.torn]
    assert whole == [each for each in events if each in whole], "in order, and none that was not there"
    before, after = read(data[:begin]), read(data[end:])
    del before, after
    assert sum(each.torn for each in found) <= 2
    assert len(whole) >= sum(
        begin <= data.find(f"Number: {number}".encode()) - 400
        and data.find(f"Number: {number}".encode()) + 1500 <= end
        for number in range(len(events))
    )


TEARS = ["", "\n" + DATE + LINES[1] + "\n", "\n" + DATE + LINES[2] + "\n", "\n" + DATE + LINES[5] + "\n"]


@pytest.mark.parametrize("name", ["as it is", "lf only", "all crlf", "docker", "cri", "rfc 3164", "rfc 5424"])
@MANY
@given(made=logs(least=2), data=st.data())
def test_events_that_are_cut_off_are_set_aside_one_by_one(
    name: str, made: tuple[list[str], list[str]], data: st.DataObject
) -> None:
    messages, events = made
    torn = []
    for index, message in enumerate(messages[:-1]):
        if "\r\n\r\n" in message and data.draw(st.booleans()):
            body = message.index("\nEvent: ") + 8
            cut = data.draw(st.integers(body, message.index("\r\nLast: ") + 2))
            rest = message[:cut].removesuffix("\r")
            torn.append(message[message.index("\nEvent: ") + 1 : message.index("\r\n\r\n")])
            tear = data.draw(st.sampled_from(TEARS))
            tear = tear.removeprefix("\n") if rest.endswith("\n") else tear
            is_dated = name in ("as it is", "lf only", "all crlf", "docker", "cri")
            messages[index] = rest + (tear if is_dated or rest.endswith("\n") else tear or "\n")
            if not is_dated:
                messages[index] = messages[index].replace("\n" + DATE, "\n")
    found = read(WRAPPERS[name](messages).encode())
    left = [each for each in events if each not in torn]
    assert [each.raw.decode() for each in found if not each.torn] == left
    assert sum(each.torn for each in found) == len(torn)


@pytest.mark.parametrize("name", ["as it is", "lf only", "all crlf", "docker", "cri", "rfc 3164", "rsyslog"])
@MANY
@given(made=logs(least=2), begin=st.integers(0, 9000), size=st.integers(1, 3000))
def test_a_hole_costs_the_events_that_it_is_in_and_makes_none(
    name: str, made: tuple[list[str], list[str]], begin: int, size: int
) -> None:
    messages, events = made
    data = WRAPPERS[name](messages).encode()
    begin %= len(data)
    holed = data[:begin] + b"\0" * min(size, len(data) - begin) + data[begin + size :]
    found = read(holed)
    whole = [each.raw.decode() for each in found if not each.torn]
    assert whole == [each for each in events if each in whole], "in order, and none that was not there"
    assert len(whole) + sum(each.torn for each in found) <= len(events) + 1
    touched = [number for number in range(len(events)) if events[number] not in whole]
    assert touched == list(range(touched[0], touched[-1] + 1)) if touched else True

"""A log file gives the same events wherever the reads end, and never more than is in it."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amikafka_tail.ami.debuglog import MAX_UNKNOWN, Found, LogFramer, debug_headers, passed_over
from tests.support.fuzzing import many

MANY = many(200)
MARK = "<-- Examining AMI event (123): -->"
LINE = "[2026-11-23 09:30:23.739] VERBOSE[12234] "


def event(number: int) -> str:
    return f"Event: A\r\nPrivilege: call,all\r\nSequenceNumber: {number}\r\nNumber: {number}\r\n\r\n"


def in_log(number: int) -> bytes:
    return f"{LINE}manager.c: {MARK}\n{event(number)}\n".encode()


def in_debug_log(number: int) -> bytes:
    text = "[Nov 23 09:30:23] DEBUG[12]: manager.c:5704 should_send_event: Examining AMI event (1):\n"
    return (text + event(number) + "\n").encode()


def in_json(number: int) -> bytes:
    message = f"{MARK}\n{event(number)}\n"
    entry = {"hostname": "a", "timestamp": "2026-11-23 09:30:23.739", "logmsg": {"message": message}}
    return json.dumps(entry).encode() + b"\n"


OTHERS = {
    "log": [
        b"[2026-11-23 09:30:23.739] Asterisk 22.10.1 built by nobody @ x on a y running Linux on z UTC\n",
        f"{LINE}pbx.c: Executing [100@lab:1] NoOp\n".encode(),
        f"{LINE}manager.c: <--- Examining AMI action: -->\nAction: Login\nUsername: a\n\n".encode(),
        b"SIP read from 1.2.3.4 --->\nINVITE sip:a SIP/2.0\r\nVia: b\r\n\r\n",
        b"\n",
        b"\xff\xfe\n",
    ],
    "json": [b"{}\n", b"not json\n", b'{"logmsg": {"message": "x"}}\n', b"\n"],
}
FORMS = {"log": [in_log, in_debug_log], "json": [in_json]}


@st.composite
def files(draw: st.DrawFn) -> tuple[bytes, int]:
    """A log file of one form, and how many numbered events are in it."""
    form = draw(st.sampled_from(["log", "json"]))
    write = draw(st.sampled_from(FORMS[form]))
    pieces, count = [], 0
    for is_event in draw(st.lists(st.booleans(), max_size=12)):
        if is_event:
            pieces.append(write(count))
            count += 1
        else:
            pieces.append(draw(st.sampled_from(OTHERS[form])))
    return b"".join(pieces), count


def read(data: bytes, cuts: list[int]) -> list[Found]:
    framer = LogFramer()
    found: list[Found] = []
    ends = [*sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    for start, end in zip([0, *ends], ends, strict=False):
        before = framer.position
        found += framer.feed(data[start:end])
        assert before <= framer.position <= end
    return found


@MANY
@given(files(), st.lists(st.integers(0, 5000), max_size=12))
def test_cuts_do_not_matter(made: tuple[bytes, int], cuts: list[int]) -> None:
    data, count = made
    found = read(data, cuts)
    assert found == read(data, [])
    assert [debug_headers(each.raw)[1] for each in found] == list(range(count))
    assert not any(each.torn for each in found)


@MANY
@given(files(), st.integers(0, 5000))
def test_reading_may_begin_again_at_the_position(made: tuple[bytes, int], cut: int) -> None:
    data, _ = made
    framer = LogFramer()
    found = framer.feed(data[: cut % (len(data) + 1)])
    again = LogFramer(framer.position, framer.form)
    assert found + again.feed(data[framer.position :]) == read(data, [])


@MANY
@given(st.binary(max_size=500), st.lists(st.integers(0, 500), max_size=5))
def test_anything_can_be_read(data: bytes, cuts: list[int]) -> None:
    read(data, cuts)


def test_megabytes_of_other_lines_are_not_held_and_hide_no_event() -> None:
    framer = LogFramer()
    assert len(framer.feed(in_log(0))) == 1
    other = OTHERS["log"][1] * 1000
    for _ in range(100):
        assert framer.feed(other) == []
        assert len(framer.held_back) <= MAX_UNKNOWN + len(other)
    (found,) = framer.feed(in_log(1))
    assert debug_headers(found.raw)[1] == 1


def test_an_event_that_was_cut_off_hides_none_behind_megabytes_of_other_lines() -> None:
    framer = LogFramer()
    found = framer.feed(in_log(0) + in_log(1)[:-30] + b"\n")
    for _ in range(100):
        found += framer.feed(OTHERS["log"][1] * 1000)
    found += framer.feed(in_log(2))
    assert [each.torn for each in found] == [False, True, False]


def test_a_gigantic_line_is_passed_over_in_bounded_memory() -> None:
    for first, line in ((in_json(0), in_json(1)), (in_log(0), in_log(1))):
        framer = LogFramer(max_block=MAX_UNKNOWN + 2000)
        found = framer.feed(first)
        for _ in range(1000):
            found += framer.feed(b"x" * 1000)
            assert len(framer.held_back) <= MAX_UNKNOWN + 2000
        found += framer.feed(b"\n" + line + line)
        assert len(found) >= 2
        assert not any(each.too_long for each in found), "it was no event"
        assert framer.feed(line)[0].raw


DUMPED = b"Event: A\r\nNumber: %d%s\r\n\r\n"


@pytest.mark.parametrize(
    "write",
    [
        lambda number, padding: in_log(number).replace(b"\r\n\r\n", padding + b"\r\n\r\n"),
        lambda number, padding: in_json(number).replace(b"A\\r", b"A" + padding + b"\\r"),
        lambda number, padding: DUMPED % (number, padding),
        lambda number, padding: (DUMPED % (number, padding)).replace(b"\r", b""),
    ],
    ids=["log", "json", "ami", "ami-lf"],
)
@pytest.mark.parametrize("size", [1000, 7777, 64_000])
def test_an_event_that_is_too_long_is_told_where_it_ends(
    write: Callable[[int, bytes], bytes], size: int
) -> None:
    data = write(0, b"") + write(1, b"x" * 200_000) + write(2, b"")
    end = len(data)
    data += write(3, b"x" * 200_000)[:-20]
    framer = LogFramer(max_block=100_000)
    found = []
    for begin in range(0, len(data), size):
        position = framer.position
        of_read = framer.feed(data[begin : begin + size])
        assert all(position <= each.position < framer.position for each in of_read)
        assert len(framer.held_back) <= 100_000 + size
        found += of_read
    assert [each.too_long for each in found] == [False, True, False]
    assert [bool(each.raw) for each in found] == [True, False, True]
    assert data[framer.position : end].strip() == b"", "reading may begin again at the last one"
    assert framer.finish() == passed_over(framer.position)


def test_what_was_a_log_before_the_position_is_no_dump_after_it() -> None:
    head = b"[2026-11-23 09:30:23.739] VERBOSE[1] manager.c: <--- Examining AMI action: -->\n"
    rest = b"Action: Login\r\n\r\n" + head.replace(b"action: -->", b"event (1): -->") + b"Event: A\r\n\r\n"
    framer = LogFramer()
    assert framer.feed(head) == []
    again = LogFramer(framer.position, framer.form)
    assert [found.raw for found in again.feed(rest)] == [b"Event: A"]

"""The events in C are those of their twin in Python: the same, or none, of the same blocks."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amikafka_tail.intake import stream_reader
from amikafka_tail.model.event import Event
from amikafka_tail.testing import recorded_events
from tests.support.fuzzing import many
from tests.support.leaks import nothing_left
from tests.support.twins import native_package

MANY = many(100)
RECORDED = [event.raw for event in recorded_events()]
PIECES = st.sampled_from(
    [
        *(
            b"Event: ",
            b"Event:",
            b"Hangup",
            b"\r\nSequenceNumber: 7",
            b"\r\nSequenceNumber:",
            b"SequenceNumber: 7",
        ),
        *(
            b"\r\n",
            b"\r",
            b"\n",
            b"\0",
            b"\xc3\xa9",
            b"Response: Success",
            b"x" * 300,
            b"Number: ",
            b"\r\nSequence",
        ),
    ]
)
BLOCKS = st.one_of(
    st.sampled_from(RECORDED),
    st.lists(PIECES, max_size=4).map(lambda pieces: b"Event: A" + b"".join(pieces)),
    st.lists(PIECES, max_size=4).map(b"".join),
    st.binary(max_size=20),
)
CAPTURED_MS = 1_795_426_158_123
CALLS = 2_000


@pytest.fixture(scope="module")
def native() -> Any:
    return native_package()


A = b"Event: A\r\nPrivilege: call,all"
OTHER = b"Event: other\r\nPrivilege: call,all"


def parts(events: list[Event] | None) -> list[tuple[bytes, int, int]] | None:
    return None if events is None else [(each.raw, each.position, each.captured_ms) for each in events]


@MANY
@given(blocks=st.lists(BLOCKS, max_size=6), position=st.integers(0, 2**62))
def test_the_events_are_the_same(native: Any, blocks: list[bytes], position: int) -> None:
    made = native.plain_events(Event, blocks, position, CAPTURED_MS)
    assert parts(made) == parts(stream_reader.plain_events(blocks, position, CAPTURED_MS))


def test_recorded_events_are_plain(native: Any) -> None:
    made = native.plain_events(Event, RECORDED, 3, CAPTURED_MS)
    assert len(made) == len(RECORDED) > 100
    assert {type(each) for each in made} == {Event}
    assert parts(made) == parts(stream_reader.plain_events(RECORDED, 3, CAPTURED_MS))
    assert made[0].raw is RECORDED[0]
    assert made[1].name == Event(RECORDED[1]).name


@pytest.mark.parametrize(
    "odd",
    [
        b"",
        b"Event:",
        b"Event: A",
        b"Event: A\r\nX: y\r\nPrivilege: call,all",
        b"Event: A\r\nprivilege: call,all",
        b"Event: A\r\nPrivilege:",
        b"Privilege: A\r\nPrivilege: call,all",
        A + b"\0",
        b"\0" + A,
        A + b"\r\nSequenceNumber: 1",
    ],
)
@pytest.mark.parametrize("at", [0, 1, 2])
def test_one_odd_block_is_enough_for_a_closer_look(native: Any, odd: bytes, at: int) -> None:
    blocks = [A, A.replace(b"A", b"B")]
    blocks.insert(at, odd)
    assert native.plain_events(Event, blocks, 0, 0) is None
    assert stream_reader.plain_events(blocks, 0, 0) is None


def test_an_event_that_was_made_so_is_like_any_other(native: Any) -> None:
    (event,) = native.plain_events(Event, [A], 5, 7)
    event.raw = b"Event: B"
    assert repr(event) == repr(Event(b"Event: B", 5, 7))
    assert gc.is_tracked(event) == gc.is_tracked(Event(b"Event: B", 5, 7))


def test_nothing_is_left_behind(native: Any) -> None:
    blocks = [b"Event: %d\r\nPrivilege: all" % number for number in range(50)]
    odd = [*blocks, b"odd"]
    moment = 10**15

    class Own(Event):  # nobody else has one that may go meanwhile
        __slots__ = ()

    def work() -> None:
        for _ in range(CALLS):
            native.plain_events(Own, blocks, 10**12, moment)
            native.plain_events(Own, odd, 10**12, moment)

    work()
    with nothing_left(Own, blocks, moment, *blocks):
        work()


@pytest.mark.parametrize("size", [0, 5000])
def test_blocks_that_change_while_events_are_made_of_them_do_no_harm(native: Any, size: int) -> None:
    """Up to Python 3.11 garbage is collected wherever memory is asked for, and whoever is told runs then."""
    blocks = [b"Event: %d\r\nPrivilege: all" % number for number in range(100)]

    def change(_phase: str, _info: object) -> None:
        gc.callbacks.remove(change)
        blocks[:] = [OTHER] * size

    before = gc.get_threshold()
    gc.collect()
    gc.callbacks.append(change)
    gc.set_threshold(20)
    try:
        made = native.plain_events(Event, blocks, 0, CAPTURED_MS)
    finally:
        gc.set_threshold(*before)
        while change in gc.callbacks:
            gc.collect()
    raws = [each.raw for each in made]
    plain = sum(raw != OTHER for raw in raws)
    assert raws[:plain] == [b"Event: %d\r\nPrivilege: all" % number for number in range(plain)]
    assert len(raws) in (100, max(plain, size))


def test_a_list_of_events_can_be_collected(native: Any) -> None:
    class Holding(Event):
        __slots__ = ("__weakref__",)

    class Named(bytes):
        pass

    raw = Named(A)
    (event,) = native.plain_events(Holding, [raw], 0, 0)
    raw.event = event
    gone = weakref.ref(event)
    del event, raw
    gc.collect()
    assert gone() is None


class Loose:
    raw = position = captured_ms = None


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        (Event, [b"Event: A"], 0),
        (Event, (b"Event: A",), 0, 0),
        (Event(b"Event: A"), [b"Event: A"], 0, 0),
        (Event, [b"Event: A"], "0", 0),
        (Loose, [b"Event: A"], 0, 0),
        (Event, [b"Event: A"], 2**64, 0),
    ],
)
def test_what_it_cannot_be_asked_is_an_error(native: Any, arguments: tuple[object, ...]) -> None:
    with pytest.raises((TypeError, OverflowError)):
        native.plain_events(*arguments)


def test_no_text_is_no_event(native: Any) -> None:
    assert native.plain_events(Event, [None], 0, 0) is None
    assert native.plain_events(Event, ["Event: A"], 0, 0) is None

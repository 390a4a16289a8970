"""The envelope in C gives the key, the headers, the moment and the counts of its twin in Python."""

from __future__ import annotations

import contextlib
import functools
import gc
import weakref
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amikafka_tail.delivery.envelope import MAX_KINDS
from amikafka_tail.model.event import Event
from amikafka_tail.testing import ASTERISK, odd_events, random_events
from tests.support.events import (
    CAPTURED_MS,
    IDENTITIES,
    ODD_VALUES,
    PLAIN_VALUES,
    captured_events,
    similar_events,
)
from tests.support.fuzzing import many
from tests.support.leaks import nothing_left
from tests.support.twins import CountedEnvelope, native_package

MANY = many(100)
KEYS = ("event", "none", "linkedid", "uniqueid", "Channel", "Größe")
ANY_KEY = st.sampled_from(KEYS)
SMALLEST, LARGEST = -(2**63), 2**63 - 1
HEAD = b"Event: A\r\nPrivilege: call,all"
CALLS = 50_000

STAMPS = st.one_of(
    st.from_regex(r"[0-9]{1,14}(\.[0-9]{0,8})?", fullmatch=True).map(str.encode),
    st.from_regex(r"17[0-9]{8}\.[0-9]{6}", fullmatch=True).map(str.encode),
    st.text("0123456789. -+x\r\n\0", max_size=20).map(str.encode),
    st.binary(max_size=20),
)
MOMENTS = st.one_of(
    st.integers(-3000, 3000),
    st.integers(CAPTURED_MS - 3000, CAPTURED_MS + 3000),
    st.integers(SMALLEST, LARGEST),
    st.sampled_from([SMALLEST, LARGEST, -1, 0, -1000, -1001, 999, 1000]),
)


@pytest.fixture(scope="module")
def native() -> Any:
    return native_package()


@st.composite
def heads(draw: st.DrawFn) -> bytes:
    """Two lines, of which few are as Asterisk writes them."""
    name = draw(st.one_of(st.sampled_from([b"Hangup", b"Newstate"]), PLAIN_VALUES, ODD_VALUES))
    first = draw(st.sampled_from([b"Event: ", b"Event: ", b"Event:", b""])) + name
    value = draw(st.one_of(st.sampled_from([b"call,all", b"all", b""]), PLAIN_VALUES, ODD_VALUES))
    second = draw(st.sampled_from([b"Privilege: ", b"Privilege: ", b"Privilege:", b"X: ", b""])) + value
    return first + draw(st.sampled_from([b"\r\n", b"\r\n", b"\r\n", b"\r", b"\n", b""])) + second


@st.composite
def stamped_events(draw: st.DrawFn) -> list[Event]:
    """Events of few kinds, with timestamps and moments of every kind."""
    kinds = draw(st.lists(heads(), min_size=1, max_size=3))
    rest = st.sampled_from(
        [b"", b"\r\n", b"\r", b"\n", b"\r\nLinkedid: 1", b"\r\nChannel: \xff\r\nUniqueid: 2"]
    )
    made = []
    for _ in range(draw(st.integers(1, 8))):
        stamp = draw(
            st.sampled_from([b"", b"\r\nTimestamp: ", b"\r\nTimestamp: ", b"\r\nTimestamp:", b"\r\n"])
        )
        raw = draw(st.sampled_from(kinds)) + (stamp and stamp + draw(STAMPS)) + draw(rest)
        made.append(Event(raw, 0, draw(MOMENTS)))
    return made


def see_that_they_are_equal(native: Any, events: Any, identity: Any = ASTERISK, key: str = "event") -> None:
    fast, plain = CountedEnvelope(native, identity, key), CountedEnvelope(None, identity, key)
    for event in events:
        assert fast(event) == plain(event)


@MANY
@given(stamped_events(), IDENTITIES, ANY_KEY)
def test_moments_of_every_kind_are_those_of_the_twin(
    native: Any, events: list[Event], identity: Any, key: str
) -> None:
    see_that_they_are_equal(native, events, identity, key)


@pytest.mark.parametrize("digits", range(1, 16))
@pytest.mark.parametrize("fraction", [None, 0, 1, 2, 3, 4, 6, 9])
def test_timestamps_of_any_length_are_read_as_by_the_twin(
    native: Any, digits: int, fraction: int | None
) -> None:
    stamp = b"98765432109876543"[:digits] + (b"" if fraction is None else b"." + b"123456789"[:fraction])
    raws = [
        HEAD + b"\r\nTimestamp: " + stamp + end for end in (b"", b"\r\n", b"\r\nX: 1", b"\r", b"\rX", b" ")
    ]
    see_that_they_are_equal(native, [Event(raw, 0, CAPTURED_MS) for raw in raws])


@MANY
@given(st.lists(similar_events(), min_size=1, max_size=4), IDENTITIES, ANY_KEY)
def test_events_of_every_kind_have_the_envelope_of_the_twin(
    native: Any, cases: list[tuple[list[bytes], bytes]], identity: Any, key: str
) -> None:
    every = [raw for similar, last in cases for raw in (*similar, last, *similar)]
    see_that_they_are_equal(native, [Event(raw, 0, CAPTURED_MS) for raw in every], identity, key)


@MANY
@given(st.lists(st.binary(max_size=60), max_size=5), ANY_KEY)
def test_bytes_of_every_kind_have_the_envelope_of_the_twin(native: Any, lines: list[bytes], key: str) -> None:
    see_that_they_are_equal(native, [Event(b"\r\n".join(lines), 0, CAPTURED_MS)] * 2, key=key)


@pytest.mark.parametrize("key", KEYS)
def test_what_a_real_asterisk_sent_has_the_envelope_of_the_twin(native: Any, key: str) -> None:
    see_that_they_are_equal(native, captured_events(), key=key)
    see_that_they_are_equal(native, odd_events() + random_events(300, seed=5), key=key)


def test_very_long_lines_have_the_envelope_of_the_twin(native: Any) -> None:
    long = b"x" * 4 * 1024 * 1024
    raws = [
        b"Event: " + long,
        HEAD + long,
        HEAD + b"\r\nX: " + long,
        HEAD + b"\r\nTimestamp: " + b"1" * 100_000,
    ]
    raws += [b"\r" * 100_000, b"\r\n" * 100_000, HEAD + b"\r\nTimestamp: 1." + b"1" * 100_000]
    see_that_they_are_equal(native, [Event(raw, 0, 5) for raw in raws] * 2)


def test_names_without_end_are_counted_as_by_the_twin(native: Any) -> None:
    fast, plain = (CountedEnvelope(package, ASTERISK, "event") for package in (native, None))
    for number in range(2 * MAX_KINDS + 10):
        event = Event(b"Event: E%d\r\nPrivilege: user,all" % number, 0, CAPTURED_MS)
        assert fast.envelope(event) == plain.envelope(event)
    assert fast(event) == plain(event)


def kind(**changes: Any) -> Any:
    fields = {"name": b"A", "count": [0], "is_privileged": True, **changes}
    return SimpleNamespace(**{name: value for name, value in fields.items() if value is not ...})


class Fails:
    def __bool__(self) -> bool:
        raise ZeroDivisionError

    def __add__(self, _other: object) -> object:
        raise ZeroDivisionError


def fail(*_arguments: object) -> Any:
    raise ZeroDivisionError


def headers_of(_kind: object, second: int) -> list[tuple[str, bytes]]:
    return [("timestamp", b"%d" % second)]


EVENT = Event(HEAD, 0, CAPTURED_MS)


@pytest.mark.parametrize(
    ("learn", "headers", "choose", "error"),
    [
        (fail, headers_of, None, ZeroDivisionError),
        (lambda: None, headers_of, None, TypeError),
        (lambda *_: None, headers_of, None, AttributeError),
        (lambda *_: kind(name=...), headers_of, None, AttributeError),
        (lambda *_: kind(count=...), headers_of, None, AttributeError),
        (lambda *_: kind(is_privileged=...), headers_of, None, AttributeError),
        (lambda *_: kind(is_privileged=Fails()), headers_of, None, ZeroDivisionError),
        (lambda *_: kind(count=7), headers_of, None, TypeError),
        (lambda *_: kind(count=[]), headers_of, None, IndexError),
        (lambda *_: kind(count=[b""]), headers_of, None, TypeError),
        (lambda *_: kind(count=[Fails()]), headers_of, None, ZeroDivisionError),
        (lambda *_: kind(), fail, None, ZeroDivisionError),
        (lambda *_: kind(), headers_of, fail, ZeroDivisionError),
        (lambda *_: kind(), headers_of, lambda: None, TypeError),
        (None, headers_of, None, TypeError),
        (lambda *_: kind(), 5, None, TypeError),
        (lambda *_: kind(), headers_of, b"", TypeError),
    ],
)
def test_what_goes_wrong_inside_comes_out_and_goes_wrong_again(
    native: Any, learn: Any, headers: Any, choose: Any, error: type[Exception]
) -> None:
    envelope = native.Envelope(learn, headers, choose)
    for _ in range(3):
        with pytest.raises(error):
            envelope(EVENT)


def test_a_count_that_is_taken_away_is_an_error(native: Any) -> None:
    known = kind()
    envelope = native.Envelope(lambda *_: known, headers_of, None)
    envelope(EVENT)
    known.count.clear()
    with pytest.raises(IndexError):
        envelope(EVENT)


def test_a_count_that_changes_its_list_while_it_is_counted_is_an_error(native: Any) -> None:
    class Emptying:
        def __add__(self, _other: object) -> int:
            counts.clear()
            gc.collect()
            return 1

    counts: list[Any] = [Emptying()]
    with pytest.raises(IndexError):
        native.Envelope(lambda *_: kind(count=counts), headers_of, None)(EVENT)


def test_a_count_has_no_end(native: Any) -> None:
    known = kind(count=[LARGEST])
    native.Envelope(lambda *_: known, headers_of, None)(EVENT)
    assert known.count == [LARGEST + 1]


@pytest.mark.parametrize("captured_ms", [None, "1", 1.5, LARGEST + 1, SMALLEST - 1, b""], ids=repr)
def test_a_moment_that_is_no_number_of_kafkas_is_an_error(native: Any, captured_ms: Any) -> None:
    envelope = CountedEnvelope(native, ASTERISK, "event")
    with pytest.raises((TypeError, OverflowError)):
        envelope(Event(HEAD, 0, captured_ms))
    assert envelope(EVENT)[2] == CAPTURED_MS


@pytest.mark.parametrize("raw", [None, "Event: A", bytearray(b"Event: A"), 5, [b"Event: A"]], ids=repr)
def test_text_that_is_not_bytes_is_an_error(native: Any, raw: Any) -> None:
    with pytest.raises(TypeError, match="bytes"):
        CountedEnvelope(native, ASTERISK, "event")(Event(raw))


def test_what_is_no_event_is_an_error(native: Any) -> None:
    envelope = native.Envelope(lambda *_: kind(is_privileged=False), headers_of, None)
    with pytest.raises(AttributeError, match="raw"):
        envelope(object())
    with pytest.raises(AttributeError, match="captured_ms"):
        envelope(SimpleNamespace(raw=b"Event: A"))


def test_an_envelope_takes_one_event(native: Any) -> None:
    envelope = native.Envelope(lambda *_: kind(), headers_of, None)
    for arguments, keywords in (((), {}), ((EVENT, EVENT), {}), ((EVENT,), {"x": 1}), ((), {"event": EVENT})):
        with pytest.raises(TypeError, match="takes one event"):
            envelope(*arguments, **keywords)
    with pytest.raises(TypeError):
        native.Envelope(fail, headers_of)


def test_functions_that_ask_the_envelope_themselves_do_not_disturb_it(native: Any) -> None:
    def learn(event: Event, head: bytes) -> Any:
        if head != b"Event: Inner":
            envelope(Event(b"Event: Inner", 0, 1000))
        return kind(name=head)

    def headers(known: Any, second: int) -> list[tuple[str, bytes]]:
        if second > 1:
            envelope(Event(b"Event: Other", 0, 1000))
        return headers_of(known, second)

    def choose(event: Event, name: bytes) -> bytes:
        if event.captured_ms > 1000:
            # The kind is forgotten meanwhile, and seen in another second.
            for number in range(MAX_KINDS + 10):
                envelope(Event(b"Event: E%d" % number, 0, 1000))
            envelope(Event(event.raw, 0, 1))
            gc.collect()
        return name

    envelope = native.Envelope(learn, headers, choose)
    for captured_ms in (2000, 2500, 3000):
        key, _, moment_ms = envelope(Event(HEAD, 0, captured_ms))
        assert (key, moment_ms) == (HEAD, captured_ms)


def test_nobody_makes_a_kind_or_another_type(native: Any) -> None:
    envelope = native.Envelope(lambda *_: kind(), headers_of, None)
    envelope(EVENT)
    (known,) = next(each for each in gc.get_referents(envelope) if isinstance(each, dict)).values()
    with pytest.raises(TypeError):
        type(known)()
    with pytest.raises(TypeError):
        type("Another", (native.Envelope,), {})
    with pytest.raises(TypeError):
        native.Envelope.raw = 1


def known_is(known: Any, *_arguments: object) -> Any:
    return known


def test_an_envelope_in_a_cycle_goes(native: Any) -> None:
    class Holder:
        envelope: Any = None

        def __call__(self, *_arguments: object) -> Any:
            return self.known

        def __init__(self) -> None:
            self.known = kind(holder=self)

    for of_kind in (True, False):
        holder = Holder()
        learn = functools.partial(known_is, holder.known if of_kind else kind())
        envelope = native.Envelope(learn, headers_of, None if of_kind else holder)
        envelope(EVENT)
        holder.envelope = envelope
        gone = weakref.ref(holder)
        del holder, envelope, learn
        gc.collect()
        assert gone() is None


@pytest.mark.parametrize("key", KEYS)
def test_50_000_events_leave_nothing_behind(native: Any, key: str) -> None:
    envelope = CountedEnvelope(native, ASTERISK, key).envelope
    events = list(captured_events())[:490]
    odd = [Event(b"Event: A\xff\r\n", 0, 5), Event(b"", 0, -5)]

    def work(rounds: int) -> None:
        for _ in range(rounds):
            for event in events:
                envelope(event)
            for event in odd:
                envelope(event)
            with contextlib.suppress(TypeError):
                envelope(Event(None))  # type: ignore[arg-type]
            with contextlib.suppress(TypeError):
                envelope(Event(HEAD, 0, None))  # type: ignore[arg-type]

    work(1)
    first = events[0]
    with nothing_left(envelope, first, first.raw, *odd, native.Envelope):
        work(CALLS // len(events) // (1 if key == "event" else 10))


def test_kinds_that_are_forgotten_and_failures_leave_nothing_behind(native: Any) -> None:
    flag = object()

    def learn(_event: Event, head: bytes) -> Any:
        if head.endswith(b"7"):
            raise ZeroDivisionError
        return kind(
            is_privileged=flag,
            name=... if head.endswith(b"8") else b"A",
            count=() if head.endswith(b"9") else [0],
        )

    def work(rounds: int) -> None:
        for _ in range(rounds):
            envelope = native.Envelope(learn, headers_of, None)
            for number in range(MAX_KINDS + 1000):
                with contextlib.suppress(ZeroDivisionError, AttributeError, TypeError):
                    envelope(Event(b"Event: %d" % number, 0, number))

    work(1)
    with nothing_left(learn, headers_of, flag, native.Envelope):
        work(10)

"""The event filters in C decide as their twin in Python, and do not ask it about ordinary events."""

from __future__ import annotations

import contextlib
import gc
import weakref
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amikafka_tail.ami.eventfilter import METHODS, EventFilterOptions
from amikafka_tail.filters.eventfilter import eventfilter
from amikafka_tail.model.event import Event
from amikafka_tail.model.pushed_filters import FilterLine
from amikafka_tail.testing import odd_events, random_events
from benchmarks.filter_sets import ADVANCED, BY_NAME, LEGACY
from tests.support.events import (
    ODD_NAMES,
    ODD_VALUES,
    PLAIN_NAMES,
    PLAIN_VALUES,
    captured_events,
    ordinary_events,
    similar_events,
)
from tests.support.fuzzing import many
from tests.support.leaks import nothing_left
from tests.support.twins import event_filters, native_package, using

MANY = many(100)
CALLS = 50_000
EVENT = Event(b"Event: A\r\nPrivilege: call,all\r\nX: 1\r\nY:  two \r\nX: 3")


@pytest.fixture(scope="module")
def native() -> Any:
    return native_package()


def line(options: str, pattern: str = "") -> FilterLine:
    return FilterLine(f"eventfilter({options})" if options else "eventfilter", pattern)


NAMES = st.sampled_from(["A", "AB", "Hangup", "VarSet", "Größe", "X%", "Channel", "Newexten"])
HEADERS = st.sampled_from(
    ["Channel", "ChanVariable", "Uniqueid", "X", "x", "A:B", "Event", "Privilege", ":", "%b"]
)
PATTERNS = st.one_of(
    st.sampled_from(
        ["1", "16", "a: b", "9", "a", "\r", "\n", "\r\n", "6\r\n\r\n", "Event: A", "\nX: ", "Zoë", "\0"]
    ),
    PLAIN_VALUES.map(lambda value: value.decode()),
    ODD_VALUES.map(lambda value: value.decode("utf-8", "surrogateescape")),
)
EXPRESSIONS = st.sampled_from(
    ["^A", "1|2", "[0-9]+$", "a*b", ".", "^$", "X: 1", "^Event: A", "Größe", "6.$", "(a)\\1", "x", "[^ -~]"]
)


@st.composite
def filter_lines(draw: st.DrawFn) -> FilterLine:
    """One line that Asterisk takes."""
    action = draw(st.sampled_from(["", "", "action(include),", "action(exclude),"]))
    sign = draw(st.sampled_from(["", "!"]))
    method = draw(st.sampled_from((*METHODS, "legacy")))
    if method == "legacy":
        return line("", sign + draw(EXPRESSIONS))
    pattern = draw(EXPRESSIONS if method == "regex" else PATTERNS)
    name = draw(st.one_of(st.just(""), NAMES.map("name({}),".format)))
    header = draw(st.one_of(st.just(""), HEADERS.map("header({}),".format)))
    if method == "none":
        return line(action + (name or header or "name(A),"), sign)
    return line(f"{action}{name}{header}method({method})", sign + (pattern.lstrip("!") or "a"))


FILTERS = st.lists(filter_lines(), min_size=1, max_size=8)
BLANKS = st.sampled_from([b"", b" ", b" ", b"\t \x01", b"\r", b"\0"])
LINES = st.builds(
    lambda name, colon, blanks, value: name + colon + blanks + value,
    st.one_of(st.sampled_from([b"X", b"Channel", b"Event", b"A:B"]), PLAIN_NAMES, ODD_NAMES),
    st.sampled_from([b":", b":", b":", b""]),
    BLANKS,
    st.one_of(st.sampled_from([b"1", b"16", b"a"]), PLAIN_VALUES, ODD_VALUES),
)
ENDS = st.sampled_from([b"\r\n"] * 8 + [b"\r", b"\n", b"\n\r", b"\r\r\n", b"\r\n\r\n", b""])
FIRSTS = st.builds(
    bytes.__add__,
    st.sampled_from([b"Event: "] * 5 + [b"Event:", b"event: ", b"Event:  ", b"", b"\nEvent: ", b"X: "]),
    st.one_of(NAMES.map(str.encode), PLAIN_VALUES, ODD_VALUES),
)


@st.composite
def raws(draw: st.DrawFn) -> bytes:
    """Lines of every kind, ended in every way."""
    raw = draw(FIRSTS)
    for each in draw(st.lists(LINES, max_size=6)):
        raw += draw(ENDS) + each
    return raw + draw(st.sampled_from([b"", b"", b"\r\n", b"\r", b"\n"]))


def see_that_they_agree(native: Any, lines: Any, events: Any) -> None:
    fast, plain = event_filters(native, lines)
    for event in events:
        assert fast(event) is plain(event), event.raw[:500]


@MANY
@given(FILTERS, st.lists(raws(), min_size=1, max_size=4))
def test_lines_of_every_kind_are_decided_as_by_the_twin(
    native: Any, lines: list[FilterLine], texts: list[bytes]
) -> None:
    see_that_they_agree(native, lines, [Event(text) for text in texts])


@MANY
@given(FILTERS, similar_events())
def test_events_of_every_kind_are_decided_as_by_the_twin(
    native: Any, lines: list[FilterLine], case: tuple[list[bytes], bytes]
) -> None:
    see_that_they_agree(native, lines, [Event(raw) for raw in (*case[0], case[1])])


@MANY
@given(FILTERS, st.binary(max_size=60))
def test_bytes_of_every_kind_are_decided_as_by_the_twin(
    native: Any, lines: list[FilterLine], raw: bytes
) -> None:
    see_that_they_agree(native, lines, [Event(raw), Event(b"Event: A\r\n" + raw)])


@MANY
@given(FILTERS)
def test_what_a_real_asterisk_sent_is_decided_as_by_the_twin(native: Any, lines: list[FilterLine]) -> None:
    see_that_they_agree(native, lines, captured_events()[::7])


@pytest.mark.parametrize("filters", [ADVANCED, BY_NAME, dict.fromkeys(["eventfilter"], "".join(LEGACY[:1]))])
def test_the_sets_that_are_measured_are_decided_as_by_the_twin(native: Any, filters: dict[str, str]) -> None:
    for action in ("exclude", "include"):
        lines = [
            FilterLine(criteria.replace("exclude", action), pattern) for criteria, pattern in filters.items()
        ]
        see_that_they_agree(native, lines, captured_events())
        see_that_they_agree(native, lines, odd_events() + random_events(300, seed=5))


@pytest.mark.parametrize("byte", range(256))
def test_every_byte_is_decided_as_by_the_twin(native: Any, byte: int) -> None:
    texts = [bytes([byte]), b"ab%ccd" % byte, b"%c%c1" % (byte, byte)]
    raws = [
        raw
        for text in texts
        for raw in (
            text,
            b"Event: " + text,
            b"Event: A" + text,
            b"Event: A\r\nX:" + text,
            b"Event: A\r\n" + text + b"X:1",
        )
    ]
    for options in ("name(A)", "header(X)", "header(X),method(exact)", "method(ends_with)"):
        lines = [line(options, "1" if "method" in options else "")]
        see_that_they_agree(native, lines, [Event(raw) for raw in raws])


@pytest.mark.parametrize(
    "pattern", ["1", "1\r", "\r", "1\r\n\r\n", "\r\n\r\n", "\n", "1\r\r\n", "\r\n\r", "X:1"]
)
@pytest.mark.parametrize("method", ["exact", "starts_with", "ends_with", "contains"])
def test_lines_end_as_for_the_twin(native: Any, method: str, pattern: str) -> None:
    ends = [b"", b"\r", b"\n", b"\r\n", b"\r\r\n", b"\r\n\r\n", b"\n\r"]
    values = [b"", b" ", b"1", b"\t 1", b"1 ", b"\r", b"\0", b"\x80", b"\x201\x21"]
    raws = [
        b"Event: A\r\nX:" + value + end + rest
        for value in values
        for end in ends
        for rest in (b"", b"X:1", b"Y")
    ]
    events = [Event(raw) for raw in raws] + [Event(raw.partition(b"\n")[2]) for raw in raws]
    for header in ("header(X),", ""):
        see_that_they_agree(native, [line(f"{header}method({method})", pattern)], events)


def test_names_without_end_are_found(native: Any) -> None:
    lines = [line(f"name(Event{number}),header(X),method(exact)", str(number % 2)) for number in range(500)]
    events = [Event(b"Event: Event%d\r\nX: 1" % number) for number in range(600)]
    see_that_they_agree(native, lines, events)


def test_very_long_events_are_decided_as_by_the_twin(native: Any) -> None:
    long = b"x" * 4 * 1024 * 1024
    raws = [
        b"Event: " + long,
        b"Event: A\r\nX: " + long,
        b"Event: A\r\n" + b"X: 0\r\n" * 100_000,
        b"\r" * 100_000,
    ]
    raws.append(b"Event: A\r\nX:" + b" " * 1_000_000 + b"1")
    for options in ("header(X),method(ends_with)", "method(contains)", "header(X),method(regex)"):
        see_that_they_agree(native, [line(options, "1")], [Event(raw) for raw in raws])


def test_a_header_that_is_in_two_lines_is_left_to_python(native: Any) -> None:
    with using(native):
        keep = eventfilter(EventFilterOptions(lines=(line("header(X\nY)"),)))
    assert not isinstance(keep, native.EventFilter)
    assert not keep(EVENT)


def asked(event: Event) -> bool:
    raise AssertionError(f"the twin was asked about {event.raw[:200]!r}")


def fail(*_arguments: object) -> Any:
    raise ZeroDivisionError


def alone(native: Any, *excludes: Any, includes: Any = None, twin: Any = asked) -> Any:
    """Return a filter with tests for every name whose twin is `twin`."""
    return native.EventFilter(twin, includes is not None, ((b"", includes or (), excludes),))


@MANY
@given(ordinary_events())
def test_an_ordinary_event_is_decided_without_asking_the_twin(
    native: Any, case: tuple[list[bytes], bytes]
) -> None:
    found = alone(native, (b"Channel:", "contains", b"a", fail), (b"", "starts_with", b"Event: B", fail))
    values = [each.partition(b":")[2] for each in case[1].split(b"\r\n") if each.startswith(b"Channel:")]
    assert found(Event(case[1])) is not any(b"a" in value for value in values)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"Event",
        b"Event:",
        b"Event: ",
        b"Event: A",
        b"Event: A\r",
        b"Event: A\n",
        b"Event: A\rB\r\nX: 1",
        b"Event: A\nB\r\nX: 1",
        b"Event:A\r\nX: 1",
        b"event: A\r\nX: 1",
        b"\r\nEvent: A\r\nX: 1",
        None,
        "Event: A",
        bytearray(b"Event: A"),
        5,
    ],
    ids=repr,
)
def test_what_is_odd_is_left_to_the_twin(native: Any, raw: Any) -> None:
    seen = []

    def twin(event: Event) -> bool:
        seen.append(event)
        return False

    event = Event(raw)
    assert alone(native, twin=twin)(event) is False
    assert seen == [event]


def test_what_the_twin_raises_comes_out(native: Any) -> None:
    with pytest.raises(ZeroDivisionError):
        alone(native, twin=fail)(Event(b""))


class Fails:
    def __bool__(self) -> bool:
        raise ZeroDivisionError


@pytest.mark.parametrize("compare", [fail, lambda _text: Fails(), lambda: True, None])
@pytest.mark.parametrize("header", [b"X:", b""])
def test_what_a_comparison_raises_comes_out_and_is_raised_again(
    native: Any, header: bytes, compare: Any
) -> None:
    test = (header, "regex", b"1", compare)
    for keep in (alone(native, test), alone(native, includes=(test,))):
        for _ in range(3):
            with pytest.raises((ZeroDivisionError, TypeError)):
                keep(EVENT)


def test_a_comparison_is_asked_about_what_has_the_text_it_needs(native: Any) -> None:
    seen: list[bytes] = []
    tests = [
        (header, "regex", needed, seen.append)
        for header, needed in ((b"X:", b"3"), (b"Y:", b""), (b"", b"two"))
    ]
    assert alone(native, *tests)(EVENT) is True
    assert seen == [EVENT.raw + b"\r\n\r\n", b"two ", b"3"]


def test_an_event_that_has_no_bytes_is_an_error(native: Any) -> None:
    with pytest.raises(AttributeError, match="raw"):
        alone(native)(object())


def test_a_filter_takes_one_event(native: Any) -> None:
    keep = alone(native)
    for arguments, keywords in (((), {}), ((EVENT, EVENT), {}), ((EVENT,), {"x": 1}), ((), {"event": EVENT})):
        with pytest.raises(TypeError, match="takes one event"):
            keep(*arguments, **keywords)


OTHERS = (b"", (), ())
NOT_TESTS: list[Any] = [
    (),
    (b"X:", "exact", b""),
    ("X:", "exact", b"", fail),
    (b"X:", b"exact", b"", fail),
    (b"X:", "exact", "", fail),
    (b"X:", "exact\0", b"", fail),
    (b"X:", "Exact", b"", fail),
    (b"X:", "exact", b"", fail, 1),
]


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        (asked,),
        (asked, False),
        (asked, Fails(), (OTHERS,)),
        (asked, False, ()),
        (asked, False, [OTHERS]),
        (asked, False, (5,)),
        (asked, False, (OTHERS, ())),
        (asked, False, (OTHERS, ("A", (), ()))),
        (asked, False, (OTHERS, (b"A", None, ()))),
        (asked, False, (OTHERS, (b"A", (), []))),
        (asked, False, (OTHERS,), 1),
        *((asked, False, (OTHERS, (b"A", ((b"X:", "none", b"", fail), wrong), ()))) for wrong in NOT_TESTS),
        (asked, False, (OTHERS, (b"A", (5,), ()))),
    ],
)
def test_a_filter_is_made_of_what_it_needs(native: Any, arguments: tuple[Any, ...]) -> None:
    with pytest.raises((TypeError, ValueError, ZeroDivisionError)):
        native.EventFilter(*arguments)


def test_nobody_changes_the_type_or_makes_another_of_it(native: Any) -> None:
    with pytest.raises(TypeError):
        native.EventFilter.raw = 1
    with pytest.raises(TypeError):
        type("Another", (native.EventFilter,), {})


def test_a_comparison_that_filters_meanwhile_does_not_disturb(native: Any) -> None:
    def compare(text: bytes) -> bool:
        gc.collect()
        return text == b"1" and keep(Event(b"Event: B\r\nX: inner\r\nX: 3")) is True

    keep = alone(native, (b"X:", "regex", b"", compare))
    assert keep(EVENT) is False


@pytest.mark.parametrize("place", ["twin", "include", "exclude"])
def test_a_filter_in_a_cycle_goes(native: Any, place: str) -> None:
    class Holder:
        keep: Any = None

        def __call__(self, _given: object) -> bool:
            return True

    holder = Holder()
    tests = ((b"X:", "regex", b"", holder),)
    holder.keep = native.EventFilter(
        holder if place == "twin" else asked,
        False,
        (OTHERS, (b"A", tests if place == "include" else (), tests if place == "exclude" else ())),
    )
    gone = weakref.ref(holder)
    del holder, tests
    gc.collect()
    assert gone() is None


def test_50_000_events_leave_nothing_behind(native: Any) -> None:
    compared = [b"of the comparison"]
    tests = (
        (b"Channel:", "regex", b"PJSIP", lambda _text: compared[1:]),
        (b"", "regex", b"Privilege", lambda _text: compared[1:]),
        (b"Context:", "exact", b"nowhere", asked),
    )
    odd = Event(b"Event: A\nX: 1")
    keep = native.EventFilter(lambda _event: True, False, ((b"", (), tests), (b"Hangup", (), tests[:1])))
    failing = alone(native, (b"", "regex", b"", fail))
    events = [*captured_events()[:490], odd]

    def work(rounds: int) -> None:
        for _ in range(rounds):
            for event in events:
                keep(event)
            with contextlib.suppress(ZeroDivisionError):
                failing(EVENT)

    work(1)
    first = events[0]
    with nothing_left(keep, failing, first, first.raw, odd, odd.raw, compared, native.EventFilter):
        work(CALLS // len(events))


def test_20_000_filters_leave_nothing_behind(native: Any) -> None:
    name, header, needed = b"name %d" % CALLS, b"header %d:" % CALLS, b"needed %d" % CALLS
    test = (header, "regex", needed, fail)
    wrong = (header, "nothing", needed, fail)

    def work(rounds: int) -> None:
        for _ in range(rounds):
            native.EventFilter(asked, False, ((b"", (test,), (test, test)), (name, (), (test,))))
            with contextlib.suppress(ValueError):
                native.EventFilter(asked, False, ((b"", (test,), ()), (name, (test,), (test, wrong))))

    work(1)
    with nothing_left(asked, fail, name, header, needed, test, native.EventFilter):
        work(20_000)

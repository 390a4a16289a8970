"""The format json in C gives the bytes of its twin in Python, and does not ask it about ordinary events."""

from __future__ import annotations

import contextlib
import gc
import weakref
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amikafka_tail.formats.json import JsonOptions
from amikafka_tail.model.event import Event
from amikafka_tail.model.identity import Identity
from amikafka_tail.testing import odd_events, random_events
from tests.support.events import (
    ENTITY,
    IDENTITIES,
    ODD_NAMES,
    ODD_VALUES,
    OPTIONS,
    PLAIN_NAMES,
    PLAIN_VALUES,
    PROTECTED,
    captured_events,
    ordinary_events,
    similar_events,
)
from tests.support.fuzzing import many
from tests.support.leaks import nothing_left
from tests.support.twins import native_package, renderers

MANY = many(100)
LAST, LIST = JsonOptions(), JsonOptions(duplicates="list")
BOTH = pytest.mark.parametrize("options", [LAST, LIST], ids=["last", "list"])
PBX = Identity(entity_id=ENTITY, system_name="pbx-01", asterisk_version="22", hostname="vm")
NAMELESS = Identity(entity_id=ENTITY, system_name="", asterisk_version="22", hostname="vm")
MAX_SIZE, MAX_LINES = 65536, 256
HEAD = b"Event: UserEvent\r\nPrivilege: user,all\r\n"
CALLS = 50_000


@pytest.fixture(scope="module")
def native() -> Any:
    return native_package()


def asked(event: Event) -> bytes:
    raise AssertionError(f"the twin was asked about {event.raw[:200]!r}")


def alone(native: Any, options: JsonOptions = LAST, identity: Identity = PBX, exact: Any = asked) -> Any:
    """Return a renderer whose twin is `exact`."""
    entity, system = identity.entity_id.encode(), identity.system_name.encode()
    members = b'"EntityID":"%b"' % entity + (b',"SystemName":"%b"' % system if system else b"")
    return native.JsonRenderer(exact, entity, system, members, options.duplicates == "list")


LINES = st.builds(
    bytes.__add__,
    st.one_of(PLAIN_NAMES, ODD_NAMES, st.sampled_from([b"Timestamp", b"Line", b"Func"])),
    st.builds(bytes.__add__, st.sampled_from([b": ", b": ", b":", b""]), st.one_of(PLAIN_VALUES, ODD_VALUES)),
)
ENDS = st.sampled_from([b"\r\n"] * 8 + [b"\r", b"\n", b"\n\r", b"\r\r\n", b"\r\n\r\n", b""])
# Every line of one of few names, so that they are repeated and forged all the time.
FORGED = st.builds(
    lambda name, separator, value: name + separator + value,
    st.sampled_from([*(name.encode() for name in PROTECTED), b"Timestamp", b"X", b"Event[2]"]),
    st.sampled_from([b": ", b":"]),
    st.sampled_from([b"A", b"B", b"", b"pbx-01", ENTITY.encode(), b'q"uote', "zürich".encode()]),
)


@st.composite
def streams(draw: st.DrawFn) -> bytes:
    """Lines of every kind with ends of every kind."""
    first = draw(st.sampled_from([b"Event: A", b"Event: A", b"Event:A", b"Event: ", b"event: A", b"A", b""]))
    lines = draw(st.lists(st.one_of(LINES, LINES, FORGED), max_size=12))
    return (
        first + b"".join(draw(ENDS) + line for line in lines) + draw(st.sampled_from([b"", b"\r\n", b"\r"]))
    )


@MANY
@given(similar_events(), OPTIONS, IDENTITIES)
def test_events_of_one_kind_give_the_bytes_of_the_twin(
    native: Any, case: tuple[list[bytes], bytes], options: JsonOptions, identity: Identity
) -> None:
    fast, plain = renderers(native, options, identity)
    similar, last = case
    for raw in [*similar * 2, last, last]:
        assert fast(Event(raw)) == plain(Event(raw))


@MANY
@given(streams(), OPTIONS, IDENTITIES)
def test_lines_and_ends_of_every_kind_give_the_bytes_of_the_twin(
    native: Any, raw: bytes, options: JsonOptions, identity: Identity
) -> None:
    fast, plain = renderers(native, options, identity)
    assert fast(Event(raw)) == plain(Event(raw))


@MANY
@given(st.lists(FORGED, max_size=8), OPTIONS, IDENTITIES)
def test_forged_and_repeated_lines_give_the_bytes_of_the_twin(
    native: Any, lines: list[bytes], options: JsonOptions, identity: Identity
) -> None:
    fast, plain = renderers(native, options, identity)
    raw = b"\r\n".join([b"Event: A", *lines])
    assert fast(Event(raw)) == plain(Event(raw))


@MANY
@given(st.binary(max_size=200), st.booleans(), OPTIONS, IDENTITIES)
def test_bytes_of_every_kind_give_the_bytes_of_the_twin(
    native: Any, raw: bytes, begins_well: bool, options: JsonOptions, identity: Identity
) -> None:
    fast, plain = renderers(native, options, identity)
    raw = b"Event: " + raw if begins_well else raw
    assert fast(Event(raw)) == plain(Event(raw))


@BOTH
@pytest.mark.parametrize("identity", [PBX, NAMELESS], ids=["pbx-01", "nameless"])
def test_what_a_real_asterisk_sent_gives_the_bytes_of_the_twin_without_asking_it(
    native: Any, options: JsonOptions, identity: Identity
) -> None:
    fast, plain = renderers(native, options, identity)
    by_itself = alone(native, options, identity)
    for event in captured_events():
        assert by_itself(event) == fast(event) == plain(event)


@MANY
@given(ordinary_events(), OPTIONS)
def test_an_ordinary_event_is_rendered_without_asking_the_twin(
    native: Any, case: tuple[list[bytes], bytes], options: JsonOptions
) -> None:
    _, raw = case
    plain = renderers(native, options, PBX)[1]
    assert alone(native, options)(Event(raw)) == plain(Event(raw))


@BOTH
@pytest.mark.parametrize("byte", range(256))
def test_every_byte_gives_the_bytes_of_the_twin(native: Any, options: JsonOptions, byte: int) -> None:
    fast, plain = renderers(native, options, PBX)
    for text in (bytes([byte]), b"ab%ccd" % byte, b"\xc3%c" % byte):
        for raw in (b"Event: " + text, b"Event: A\r\nX" + text + b": 1", HEAD + b"X: " + text + b"\r\nX: 2"):
            assert fast(Event(raw)) == plain(Event(raw))


@BOTH
def test_what_a_dialplan_can_send_gives_the_bytes_of_the_twin(native: Any, options: JsonOptions) -> None:
    for identity in (PBX, NAMELESS):
        fast, plain = renderers(native, options, identity)
        for event in odd_events() + random_events(300, seed=5):
            assert fast(event) == plain(event)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"Event",
        b"Event:",
        b"Event:A",
        b"event: A",
        b"Event: A\r\n",
        b"Event: A\r",
        b"Event: A\n",
        b"Event: A\r\n\r\nX: 1",
        b"Event: A\rX: 1",
        b"Event: A\nX: 1",
        b"Event: A\r\nX: \xff",
        b"Event: A\r\nX: \xed\xa0\x80",  # half a surrogate pair
        b"Event: A\r\nEvent: B",
        b"Event: A\r\nEntityID: B",
        b"Event: A\r\nSystemName: B",
        b"Event: A\r\nPrivilege: a\r\nPrivilege: b",
        b"Event: A" + b"".join(b"\r\nX%d: 1" % number for number in range(MAX_LINES)),
        b"Event: " + b"x" * MAX_SIZE,
    ],
    ids=lambda raw: repr(raw[:40]),
)
def test_what_is_odd_is_left_to_the_twin(native: Any, raw: bytes) -> None:
    seen = []

    def exact(event: Event) -> bytes:
        seen.append(event)
        return b"as the twin says"

    event = Event(raw)
    assert alone(native, exact=exact)(event) == b"as the twin says"
    assert seen == [event]


OWN = [b"Timestamp: 1.5", b"SequenceNumber: 4", b"File: cdr.c", b"Line: 12", b"Func: post"]


def test_the_name_that_asterisk_puts_behind_its_own_lines_is_known_without_the_twin(native: Any) -> None:
    plain = renderers(native, LAST, NAMELESS)[1]
    for count in range(len(OWN) + 1):
        lines = [b"Event: A", b"Privilege: a", *OWN[:count], b"SystemName: own", b"X: 1", b"SystemName: own"]
        event = Event(b"\r\n".join(lines))
        assert alone(native, LAST, NAMELESS)(event) == plain(event)


@pytest.mark.parametrize("before", [b"UserEvent: x", b"Timestamps: 1", b"file: a", b"X:", b""], ids=repr)
def test_a_name_behind_other_lines_is_left_to_the_twin(native: Any, before: bytes) -> None:
    for lines in ([before], [*OWN, before], [before, *OWN]):
        event = Event(b"\r\n".join([b"Event: A", b"Privilege: a", *lines, b"SystemName: evil"]))
        assert alone(native, LAST, NAMELESS, exact=lambda _event: b"asked")(event) == b"asked"


@BOTH
@pytest.mark.parametrize("count", [1, 2, MAX_LINES - 1, MAX_LINES, MAX_LINES + 1, 300, 5000])
@pytest.mark.parametrize("name", [b"X%d", b"X", b"Event", b"SystemName", b"\x01%d"], ids=repr)
def test_any_number_of_lines_gives_the_bytes_of_the_twin(
    native: Any, options: JsonOptions, count: int, name: bytes
) -> None:
    fast, plain = renderers(native, options, NAMELESS)
    lines = [(name % number if b"%" in name else name) + b": A" for number in range(1, count)]
    event = Event(b"\r\n".join([b"Event: A", *lines]))
    assert fast(event) == plain(event)


@BOTH
@pytest.mark.parametrize("value", [b"x", b"\0", b"\\", "ö".encode(), b"\xff"], ids=repr)
@pytest.mark.parametrize("size", [MAX_SIZE - 1, MAX_SIZE, MAX_SIZE + 1, 4 * 1024 * 1024])
def test_an_event_of_any_size_gives_the_bytes_of_the_twin(
    native: Any, options: JsonOptions, value: bytes, size: int
) -> None:
    fast, plain = renderers(native, options, PBX)
    raw = HEAD + b"X: " + b"\r\nX: ".join([value * 1000] * 40) + b"\r\nY: "
    event = Event(raw + value * ((size - len(raw)) // len(value)))
    assert fast(event) == plain(event)


@BOTH
@pytest.mark.parametrize("name", [b"X", b"", b"X%d"], ids=repr)
def test_as_many_bytes_as_can_be_fit_into_the_buffer(native: Any, options: JsonOptions, name: bytes) -> None:
    """The most that is rendered here: each byte one of six, and as many lines as there may be."""
    lines = [(name % number if b"%" in name else name) + b":" for number in range(MAX_LINES - 1)]
    raw = b"\r\n".join([b"Event: ", *lines])
    event = Event(raw + b"\0" * (MAX_SIZE - len(raw)))
    found = alone(native, options)(event)
    assert found == renderers(native, options, PBX)[1](event)
    assert len(found) > 6 * (MAX_SIZE - len(raw))


def test_an_identity_of_any_length_fits(native: Any) -> None:
    identity = Identity(entity_id="e" * 100_000, system_name="s" * 100_000, asterisk_version="", hostname="")
    fast, plain = renderers(native, LIST, identity)
    raw = b"Event: A\r\nX: " + b"\0" * (MAX_SIZE - 20)
    assert fast(Event(raw)) == plain(Event(raw))


def test_names_that_fall_into_one_slot_are_told_apart(native: Any) -> None:
    """The table knows a name by its length and its ends."""
    lines = [b"Name%03dTail: %d" % (number, number) for number in range(250)]
    event = Event(b"\r\n".join([b"Event: A", *lines, *lines[:5]]))
    for options in (LAST, LIST):
        assert alone(native, options)(event) == renderers(native, options, PBX)[1](event)


def test_an_event_that_has_no_bytes_is_an_error(native: Any) -> None:
    class Raising:
        @property
        def raw(self) -> bytes:
            raise LookupError("gone")

    render = alone(native)
    with pytest.raises(AttributeError, match="raw"):
        render(object())
    with pytest.raises(LookupError, match="gone"):
        render(Raising())


@pytest.mark.parametrize("raw", [None, "Event: A", bytearray(b"Event: A"), 5, [b"Event: A"]], ids=repr)
def test_text_that_is_not_bytes_is_for_the_twin_to_refuse(native: Any, raw: Any) -> None:
    with pytest.raises(AssertionError, match="the twin was asked"):
        alone(native, exact=lambda _event: asked(Event(b"")))(Event(raw))


def test_what_the_twin_raises_comes_out(native: Any) -> None:
    def exact(_event: Event) -> bytes:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        alone(native, exact=exact)(Event(b"Event: A\n"))


def test_a_renderer_takes_one_event(native: Any) -> None:
    render, event = alone(native), Event(b"Event: A")
    for arguments, keywords in (((), {}), ((event, event), {}), ((event,), {"x": 1}), ((), {"event": event})):
        with pytest.raises(TypeError, match="takes one event"):
            render(*arguments, **keywords)


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        (asked,),
        (asked, "text", b"", b"", False),
        (asked, b"", None, b"", False),
        (asked, b"", b"", bytearray(), False),
        (asked, b"", b"", b"", False, 1),
    ],
)
def test_a_renderer_is_made_of_what_it_needs(native: Any, arguments: tuple[Any, ...]) -> None:
    with pytest.raises(TypeError):
        native.JsonRenderer(*arguments)


def test_nobody_changes_the_type_or_makes_another_of_it(native: Any) -> None:
    with pytest.raises(TypeError):
        native.JsonRenderer.raw = 1
    with pytest.raises(TypeError):
        type("Another", (native.JsonRenderer,), {})


def test_a_twin_that_renders_meanwhile_does_not_disturb(native: Any) -> None:
    def exact(event: Event) -> bytes:
        inner = render(Event(b"Event: Inner\r\nX: " + b"y" * 500))
        return b"%d" % len(inner) + event.raw

    render = alone(native, exact=exact)
    assert render(Event(b"Event: A\n")).endswith(b"Event: A\n")


def test_a_renderer_in_a_cycle_goes(native: Any) -> None:
    class Holder:
        renderer: Any = None

        def __call__(self, event: Event) -> bytes:
            return event.raw

    holder = Holder()
    holder.renderer = alone(native, exact=holder)
    gone = weakref.ref(holder)
    del holder
    gc.collect()
    assert gone() is None


def test_50_000_events_leave_nothing_behind(native: Any) -> None:
    answer = b"of the twin"
    render = alone(native, LIST, exact=lambda _event: answer)
    events = [event for event in captured_events() if len(event.raw) < 2000][:400]
    events += [Event(b"Event: A\nX: %d" % number) for number in range(50)]
    events += [Event(b"Event: A\r\nX: \xff%d" % number) for number in range(50)]

    def work(rounds: int) -> None:
        for _ in range(rounds):
            for event in events:
                render(event)

    work(1)
    ordinary, odd = events[0], events[-1]
    with nothing_left(render, answer, ordinary, ordinary.raw, odd, odd.raw, native.JsonRenderer):
        work(CALLS // len(events))


def test_20_000_renderers_leave_nothing_behind(native: Any) -> None:
    entity, members = b"entity %d" % CALLS, b"members %d" % CALLS

    def work(rounds: int) -> None:
        for _ in range(rounds):
            native.JsonRenderer(asked, entity, entity, members, True)
            with contextlib.suppress(TypeError):
                native.JsonRenderer(asked, entity, entity, None, True)

    work(1)
    with nothing_left(asked, entity, members, native.JsonRenderer):
        work(20_000)

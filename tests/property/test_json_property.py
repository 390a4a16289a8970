"""The json format has a fast way for kinds of events that it knows, and an exact one: the bytes are the same.

A renderer that has seen nothing takes the exact way. One that has seen the same lines with other values takes
the fast way where it can.
"""

from __future__ import annotations

import json

from hypothesis import assume, given
from hypothesis import strategies as st

from amikafka_tail.ami.event import Event
from amikafka_tail.config.identity import Identity
from amikafka_tail.formats.json import JsonOptions, json_format
from tests.support.formats import context
from tests.support.fuzzing import many

MANY = many(300)
PROTECTED = ("Event", "EntityID", "SystemName", "Privilege")
OWN_LINES = ("Timestamp", "SequenceNumber", "File", "Line", "Func")
ENTITY = "00:11:22:33:44:55"

IDENTITIES = st.builds(
    Identity,
    entity_id=st.sampled_from([ENTITY, 'q"uote', "per%cent"]),
    system_name=st.sampled_from(["pbx-01", "", "zürich", 'p"\\x', "%b"]),
    asterisk_version=st.just("22"),
    hostname=st.just("vm"),
)
OPTIONS = st.builds(JsonOptions, duplicates=st.sampled_from(["last", "list"]))

PLAIN_NAMES = st.one_of(
    st.sampled_from(
        [b"Channel", b"ChanVariable", b"Uniqueid", b"X%", b"%b", b".*", "Größe".encode(), b"A:B"]
    ),
    st.text("abcXYZ-_()[]0123", min_size=1, max_size=6).map(str.encode),
)
ODD_NAMES = st.one_of(
    st.sampled_from(
        [b"", b'Na"me', b"Na\\me", b"Na\tme", b"Caf\xe9", b" X", b"X ", b"Event[2]", "\x85".encode()]
    ),
    st.sampled_from([name.encode() for name in PROTECTED]),
    st.binary(max_size=5),
)
PLAIN_VALUES = st.one_of(
    st.sampled_from([b"", b"16", b"a: b", b": ", b"%s", '\x7f\x85\u2028 "\\'.encode(), "日本 Zoë".encode()]),
    st.text(st.characters(min_codepoint=0x20, blacklist_categories=["Cs"]), max_size=20).map(str.encode),
)
ODD_VALUES = st.one_of(
    st.sampled_from(
        [b"\0", b"\x1f", b"a\rb", b"a\nb", b"\n", b"\xff", b"Zo\xeb", b"\x1b[0m", b"pbx-01", b"A"]
    ),
    st.sampled_from([b"x\nEvent: Hangup", b"x\rEntityID: evil", b"x\nSystemName: evil", ENTITY.encode()]),
    st.binary(max_size=20),
)


def joined(lines: list[bytes]) -> bytes:
    return b"\r\n".join(lines).replace(b"\r\n\r\n", b"\r\n")


@st.composite
def similar_events(draw: st.DrawFn) -> tuple[list[bytes], bytes]:
    """Some events that have the same lines, and one more, which may be odd in every way."""
    first = b"Event: " + draw(st.one_of(st.just(b"A"), PLAIN_NAMES, ODD_NAMES, PLAIN_VALUES))
    names = draw(st.lists(st.one_of(PLAIN_NAMES, PLAIN_NAMES, ODD_NAMES), max_size=6))
    if draw(st.booleans()):
        names.insert(0, b"Privilege")
    if names and draw(st.booleans()):
        # Channel variables are repeated one after the other.
        index = draw(st.integers(0, len(names) - 1))
        names[index:index] = [names[index]] * draw(st.integers(1, 3))
    own = draw(
        st.lists(
            st.sampled_from([b"Timestamp: 1.5", b"Line: 1", b"SystemName: pbx-01", b"SystemName: other"]),
            max_size=3,
        )
    )
    separators = [draw(st.sampled_from([b": ", b": ", b": ", b":", b""])) for _ in names]

    def made(values: st.SearchStrategy[bytes]) -> bytes:
        lines = [name + sep + draw(values) for name, sep in zip(names, separators, strict=True)]
        return joined([first, *lines[:1], *own, *lines[1:]])

    return [made(PLAIN_VALUES) for _ in range(2)], made(st.one_of(PLAIN_VALUES, ODD_VALUES))


@st.composite
def ordinary_events(draw: st.DrawFn) -> tuple[list[bytes], bytes]:
    """Events as Asterisk sends them: known lines, any text in their values."""
    names = draw(st.lists(PLAIN_NAMES, max_size=6, unique=True))
    names = [name for name in names if name.decode() not in PROTECTED]
    if names:
        # Channel variables are repeated one after the other, other headers anywhere.
        index = draw(st.integers(0, len(names) - 1))
        names[index:index] = [names[index]] * draw(st.integers(0, 3))
        names.insert(draw(st.integers(0, len(names))), draw(st.sampled_from(names)))

    def made() -> bytes:
        return joined([b"Event: A", b"Privilege: x", *(name + b": " + draw(PLAIN_VALUES) for name in names)])

    return [made(), made()], made()


class Unparsed(Event):
    """An event that only its bytes are known of."""

    def headers(self, fallback: str = "latin-1") -> list[tuple[str, str]]:
        raise AssertionError("parsed, though its kind is known")


def text_of(value: bytes) -> str:
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return value.decode("latin-1")


def plain_model(raw: bytes, options: JsonOptions, identity: Identity) -> list[tuple[str, object]]:
    """What the object holds, said in the plainest way."""
    lines = [line for line in raw.replace(b"\r", b"\n").split(b"\n") if line]
    pairs = []
    for line in lines:
        mark = b": " if b": " in line else b":"
        name, _, value = line.partition(mark)
        pairs.append((text_of(name), text_of(value)))
    true = {"Event": pairs[0][1], "EntityID": identity.entity_id}
    if identity.system_name:
        true["SystemName"] = identity.system_name
    found: dict[str, list[str]] = {name: [value] for name, value in true.items()}
    forged = []
    for index, (name, value) in enumerate(pairs[1:], 1):
        before = {other for other, _ in pairs[1:index]}
        if name == "Privilege" or (name == "SystemName" and before <= {*PROTECTED, *OWN_LINES}):
            true.setdefault(name, value)
            found.setdefault(name, [true[name]])
        if name not in PROTECTED:
            found.setdefault(name, []).append(value)
        elif value != true.get(name):
            forged.append((name, value))
    members: list[tuple[str, object]] = []
    for name, values in found.items():
        members.append((name, values if options.duplicates == "list" and len(values) > 1 else values[-1]))
    for protected in dict.fromkeys(name for name, _ in forged):
        values = [value for name, value in forged if name == protected]
        members += [(f"{protected}[{number}]", value) for number, value in enumerate(values, 2)]
    return members


@MANY
@given(similar_events(), OPTIONS, IDENTITIES)
def test_a_renderer_that_knows_the_kind_gives_the_bytes_of_one_that_does_not(
    case: tuple[list[bytes], bytes], options: JsonOptions, identity: Identity
) -> None:
    similar, raw = case
    exact = json_format(options, context(identity))(Event(raw))
    render = json_format(options, context(identity))
    for known in similar * 2:
        render(Event(known))
    assert render(Event(raw)) == exact
    # Learning the event itself must not change its bytes either.
    assert [render(Event(raw)) for _ in range(3)] == [exact] * 3


@MANY
@given(similar_events(), OPTIONS, IDENTITIES)
def test_the_object_holds_what_the_lines_say_and_who_it_is_from(
    case: tuple[list[bytes], bytes], options: JsonOptions, identity: Identity
) -> None:
    similar, raw = case
    assume(b"Event[2]" not in raw)  # which place it takes beside a forged line is not fixed
    render = json_format(options, context(identity))
    for known in similar * 2:
        render(Event(known))
    payload = json.loads(render(Event(raw)), object_pairs_hook=list)
    assert [tuple(pair) for pair in payload] == plain_model(raw, options, identity)


@MANY
@given(similar_events(), OPTIONS, IDENTITIES)
def test_what_the_protected_names_hold_is_true_whatever_the_event_says(
    case: tuple[list[bytes], bytes], options: JsonOptions, identity: Identity
) -> None:
    similar, raw = case
    render = json_format(options, context(identity))
    for known in similar * 2:
        render(Event(known))
    payload = json.loads(render(Event(raw)), object_pairs_hook=list)
    names = [name for name, _ in payload]
    true = [["Event", Event(raw).name], ["EntityID", identity.entity_id]]
    if identity.system_name:
        true.append(["SystemName", identity.system_name])
    assert [list(pair) for pair in payload[: len(true)]] == true
    assert len(set(names)) == len(names)


@MANY
@given(ordinary_events(), OPTIONS)
def test_what_asterisk_sends_takes_the_fast_way_and_gives_the_same_bytes(
    case: tuple[list[bytes], bytes], options: JsonOptions
) -> None:
    similar, raw = case
    identity = Identity(entity_id=ENTITY, system_name="pbx-01", asterisk_version="22", hostname="vm")
    render = json_format(options, context(identity))
    for known in similar:
        render(Event(known))
    assert render(Unparsed(raw)) == json_format(options, context(identity))(Event(raw))


@MANY
@given(st.lists(similar_events(), min_size=2, max_size=5), OPTIONS, IDENTITIES)
def test_many_kinds_in_one_renderer_do_not_disturb_each_other(
    cases: list[tuple[list[bytes], bytes]], options: JsonOptions, identity: Identity
) -> None:
    every = [raw for similar, last in cases for raw in (*similar, last)]
    render = json_format(options, context(identity))
    for raw in every * 3:
        assert render(Event(raw)) == json_format(options, context(identity))(Event(raw))

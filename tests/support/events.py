"""Events of every kind for property tests: as Asterisk sends them, and odd in every way."""

from __future__ import annotations

import functools
from pathlib import Path

from hypothesis import strategies as st

from amikafka_tail.ami.framing import Framer
from amikafka_tail.formats.json import JsonOptions
from amikafka_tail.model.event import Event
from amikafka_tail.model.identity import Identity

PROTECTED = ("Event", "EntityID", "SystemName", "Privilege")
OWN_LINES = ("Timestamp", "SequenceNumber", "File", "Line", "Func")
ENTITY = "00:11:22:33:44:55"
CAPTURED_MS = 1_795_426_158_220

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


@functools.cache
def captured_events() -> tuple[Event, ...]:
    """What a real Asterisk 22 sent to a session: calls, queues, conferences."""
    stream = (Path(__file__).parents[1] / "data" / "captures" / "calls-22.ami").read_bytes()
    blocks = [block for block in Framer().feed(stream) if block.startswith(b"Event: ")]
    return tuple(Event(block, 0, CAPTURED_MS) for block in blocks)

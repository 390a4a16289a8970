"""The comparison says exactly what was done to the copies of the events, in whatever order they come.

And whatever an event carries, between what the module publishes of it and what amikafka does there are none
but known differences.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections import Counter
from typing import NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from amikafka_tail.commands.compare.copies import Side, reader
from amikafka_tail.commands.compare.judge import Expected, judge
from amikafka_tail.commands.compare.pairing import Comparison
from amikafka_tail.commands.compare.report import Counts, Report
from amikafka_tail.kafka.topic_reader import Message
from amikafka_tail.model.event import split_line
from tests.support.fuzzing import many
from tests.support.module import PBX, event, module_message, our_message

BEGIN_S = 1_795_426_000
BEGIN = BEGIN_S * 1000
NAMES = ("Hangup", "Newchannel", "VarSet")
FIELDS = ("Channel", "Uniqueid", "Linkedid", "Context", "Cause")


class Done(NamedTuple):
    """What was done to an event: nothing, or its copy on one side is missing, comes again, or is altered."""

    kind: str
    side: Side = "ours"
    field: str = ""


NOTHING = Done("nothing")
DEEDS = st.one_of(
    st.just(NOTHING),
    st.just(NOTHING),
    st.builds(Done, st.sampled_from(["lost", "again"]), st.sampled_from(["module", "ours"])),
    st.builds(
        Done,
        st.just("altered"),
        st.sampled_from(["module", "ours"]),
        st.sampled_from([*FIELDS, "Timestamp", "key", "header hostname", "header event_category"]),
    ),
)


def text_of(number: int, *, stamped: bool) -> bytes:
    """Return an event that has little in common with the others of its name, as those of other calls have."""
    return event(
        NAMES[number % len(NAMES)],
        f"Channel: PJSIP/{number}",
        f"Uniqueid: pbx-{number}",
        f"Linkedid: pbx-{number}",
        "Context: lab",
        "Cause: 16",
        stamp=BEGIN_S + 5 + number / 1000 if stamped else None,
    )


def altered(message: Message, field: str) -> Message:
    if field == "key":
        return message._replace(key=b"another")
    if field.startswith("header "):
        name = field.removeprefix("header ")
        headers = [(each, b"another" if each == name else value) for each, value in message.headers]
        return message._replace(headers=headers)
    members = json.loads(message.value)
    members[field] = "another"
    return message._replace(value=json.dumps(members).encode())


def published(deeds: list[Done], side: Side, *, stamped: bool) -> list[Message]:
    """Return what stands on one topic, in the order of the events."""
    make = module_message if side == "module" else our_message
    messages = []
    for number, deed in enumerate(deeds):
        message = make(text_of(number, stamped=stamped), BEGIN + 5000 + number)
        mine = deed if deed.side == side else NOTHING
        if mine.kind == "altered":
            message = altered(message, mine.field)
        messages += [message] * {"lost": 0, "again": 2}.get(mine.kind, 1)
    return messages


@st.composite
def arrivals(draw: st.DrawFn, of_side: dict[Side, list[Message]]) -> list[tuple[Side, Message]]:
    """Draw partitions for the messages of both sides, and an order in which the partitions are read.

    Within a partition the order is kept.
    """
    partitions: dict[tuple[Side, int], list[tuple[Side, Message]]] = {}
    offsets: Counter[tuple[Side, int]] = Counter()
    for side, messages in of_side.items():
        count = draw(st.integers(1, 4), label=f"partitions of {side}")
        for message in messages:
            number = draw(st.integers(0, count - 1))
            placed = message._replace(partition=number, offset=offsets[side, number])
            offsets[side, number] += 1
            partitions.setdefault((side, number), []).append((side, placed))
    order = draw(st.permutations([where for where, found in partitions.items() for _ in found]))
    left = {where: iter(found) for where, found in partitions.items()}
    return [next(left[where]) for where in order]


def expected_counts(
    deeds: list[Done], *, stamped: bool
) -> tuple[dict[str, Counts], Counter[tuple[str, ...]]]:
    """Return what the report has to say: counts by event, and how often what differs."""
    counts: dict[str, Counts] = {}
    differ: Counter[tuple[str, ...]] = Counter()
    for number, deed in enumerate(deeds):
        found = counts.setdefault(NAMES[number % len(NAMES)], Counts())
        alone = "only_module" if (deed.side == "ours") == (deed.kind == "lost") else "only_ours"
        if deed.kind == "lost":
            setattr(found, alone, getattr(found, alone) + 1)
        elif deed.kind == "altered":
            found.differ += 1
            differ[deed.field,] += 1
        else:
            found.agree += 1
            if deed.kind == "again" and not stamped:
                setattr(found, alone, getattr(found, alone) + 1)
    return counts, differ


def report_of(feed: list[tuple[Side, Message]]) -> Report:
    comparison = Comparison(Expected(), {"module": BEGIN, "ours": BEGIN})
    for side, message in feed:
        comparison.add(side, message)
    return comparison.finish()


@many(200)
@given(st.lists(DEEDS, min_size=1, max_size=25), st.booleans(), st.data())
def test_the_report_says_exactly_what_was_done(deeds: list[Done], stamped: bool, data: st.DataObject) -> None:
    of_side: dict[Side, list[Message]] = {
        "module": published(deeds, "module", stamped=stamped),
        "ours": published(deeds, "ours", stamped=stamped),
    }
    report = report_of(data.draw(arrivals(of_side)))
    counts, differ = expected_counts(deeds, stamped=stamped)
    assert report.events == counts
    assert {names: group.events for names, group in report.differences.items()} == differ
    assert report.known == {}
    for side, messages in of_side.items():
        again = sum(deed.kind == "again" and deed.side == side for deed in deeds)
        assert report.sides[side].sent_again == (again if stamped else 0)
        assert report.sides[side].messages == len(messages)
        assert not report.sides[side].aside


@many(100)
@given(st.integers(1, 30), st.booleans(), st.data())
def test_what_agrees_leaves_nothing_behind(count: int, stamped: bool, data: st.DataObject) -> None:
    deeds = [NOTHING] * count
    of_side: dict[Side, list[Message]] = {
        "module": published(deeds, "module", stamped=stamped),
        "ours": published(deeds, "ours", stamped=stamped),
    }
    comparison = Comparison(Expected(), {"module": BEGIN, "ours": BEGIN})
    for side, message in data.draw(arrivals(of_side)):
        comparison.add(side, message)
    assert comparison.waiting == 0
    assert comparison.report.identical == count
    for room in comparison._rooms.values():
        assert not room.all
        assert not room._by


LINE_NAMES = st.one_of(
    st.sampled_from([b"Event", b"EntityID", b"SystemName", b"Privilege", b"Timestamp", b"Event[2]", b""]),
    st.text("abcXYZ-_()[]0123", min_size=1, max_size=6).map(str.encode),
    st.sampled_from([b"Caf\xe9", "Größe".encode(), b'Na"me', b"A:B", b" X"]),
)
VALUES = st.one_of(
    st.text(st.characters(min_codepoint=0x20, blacklist_categories=["Cs"]), max_size=12).map(str.encode),
    st.sampled_from(
        [b"", b"Zo\xeb", b"a: b", b"\x1b[0m", b"UserEvent", PBX.entity_id.encode(), b"\xed\xa0\x80"]
    ),
    st.binary(max_size=8),
)
LINES = st.builds(
    lambda name, separator, value: name + separator + value,
    LINE_NAMES,
    st.sampled_from([b": ", b": ", b": ", b":", b""]),
    VALUES,
)


@st.composite
def user_events(draw: st.DrawFn, *, repeats: bool) -> bytes:
    """Draw an event with any lines; with `repeats` a name may come several times."""
    lines = [
        line.replace(b"\r", b"").replace(b"\n", b"").replace(b"\0", b"")
        for line in draw(st.lists(LINES, max_size=8))
    ]
    lines = [line for line in lines if line]
    if not repeats:
        protected = (b"Event", b"EntityID", b"SystemName", b"Privilege")
        first: dict[bytes, bytes] = {b"Timestamp": b""}  # Asterisk's own stands there already
        for number, line in enumerate(lines):
            # As text: two names that are not the same as bytes may be so as Latin-1.
            name = split_line(line)[0]
            key = b"%d" % number if name in protected else name.decode("latin-1").encode()
            first.setdefault(key, line)
        lines = list(first.values())[1:]
    return event("UserEvent", *lines, stamp=BEGIN_S)


def unknown(raw: bytes, **options: str) -> list[str]:
    read = reader()
    module, ours = read(module_message(raw)), read(our_message(raw, **options))  # type: ignore[arg-type]
    return [repr(each) for each in judge(module, ours, Expected()) if not each.known]


@many(200)
@given(user_events(repeats=True))
def test_whatever_an_event_carries_a_list_of_all_values_has_known_differences_only(raw: bytes) -> None:
    assert unknown(raw, duplicates="list") == []
    assert unknown(raw, format_name="ami") == []


@many(200)
@given(user_events(repeats=False))
def test_whatever_an_event_carries_the_last_value_has_known_differences_only(raw: bytes) -> None:
    assert unknown(raw) == []


@many(200)
@given(user_events(repeats=True))
def test_the_same_text_is_the_same(raw: bytes) -> None:
    read = reader()
    module = read(module_message(raw, format_name="ami"))
    ours = read(our_message(raw, format_name="ami"))
    assert judge(module, ours, Expected()) == []
    assert module.digest == ours.digest


@many(200)
@given(st.binary(max_size=200), st.sampled_from([b"", b"EntityID: x\r\nEvent: ", b'{"Event":', b"[[["]))
def test_any_bytes_can_be_read_and_judged(value: bytes, before: bytes) -> None:
    read = reader()
    message = read(Message(0, 0, None, [], before + value, 0))
    other = read(module_message(event("Hangup")))
    assert judge(message, message, Expected()) == []
    assert judge(message, other, Expected())
    assert dataclasses.asdict(report_of(list(itertools.product(["module"], [message.message]))))

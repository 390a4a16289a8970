"""The result of a comparison: counts by event, and examples of each difference."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Literal, NamedTuple

from amikafka_tail.commands.compare.copies import Copy, Side, text_of
from amikafka_tail.commands.compare.judge import KNOWN, Difference
from amikafka_tail.kafka.topic_reader import Message

Aside = Literal["before", "after", "elsewhere"]
ASIDE: dict[Aside, str] = {
    "before": "older than the first message of the other topic",
    "after": "newer than the last message of the other topic",
    "elsewhere": "of an Asterisk that the other topic has nothing from",
}
OTHERS = "(others)"
MOST_NAMES = 1000
MOST_GROUPS = 100
MOST_EXAMPLES = 3
MOST_ALONE = 10
MOST_CHARACTERS = 2000


@dataclass(kw_only=True)
class Counts:
    """Events that agree, agree except for known differences, differ, or have only one copy."""

    agree: int = 0
    known: int = 0
    differ: int = 0
    only_module: int = 0
    only_ours: int = 0

    @property
    def compared(self) -> int:
        """Events with both copies."""
        return self.agree + self.known + self.differ

    @property
    def wrong(self) -> int:
        """Events that somebody has to look at."""
        return self.differ + self.only_module + self.only_ours


class Example(NamedTuple):
    """One event: where its copies are as (partition, offset), and the differences."""

    name: str
    time_ms: int
    module: tuple[int, int] | None
    ours: tuple[int, int] | None
    differences: Sequence[Difference]
    value: str = ""
    """The value or its beginning, if there is only one copy."""


@dataclass
class Group:
    """Events that differ in the same way."""

    events: int = 0
    examples: list[Example] = field(default_factory=list)

    def add(self, example: Example) -> None:
        """Count an event; keep the first ones as examples."""
        self.events += 1
        if len(self.examples) < MOST_EXAMPLES:
            self.examples.append(example)


@dataclass
class OneSide:
    """The messages of one topic."""

    messages: int = 0
    first_ms: int | None = None
    last_ms: int | None = None
    sent_again: int = 0
    """Messages that were sent before: at least once sometimes means twice."""
    aside: Counter[Aside] = field(default_factory=Counter)
    alone_from_ms: int | None = None
    """The time of the first event that only this topic has."""
    alike: int = 0
    """How many events that only this topic has are equal to another event in every field."""
    alone: list[Example] = field(default_factory=list)
    """The first of the events that only this topic has."""
    entities: set[str] = field(default_factory=set)

    def note(self, copy: Copy) -> None:
        """Count a message."""
        time_ms = copy.message.time_ms
        self.messages += 1
        self.first_ms = time_ms if self.first_ms is None else min(self.first_ms, time_ms)
        self.last_ms = time_ms if self.last_ms is None else max(self.last_ms, time_ms)
        if len(self.entities) < MOST_NAMES:
            self.entities.add(copy.entity_id)


@dataclass
class Report:
    """The whole result. Its size is bounded, however long the comparison takes."""

    events: dict[str, Counts] = field(default_factory=dict)
    identical: int = 0
    """Events whose copies have the same value byte for byte."""
    known: dict[str, Group] = field(default_factory=dict)
    differences: dict[tuple[str, ...], Group] = field(default_factory=dict)
    """By the names of all fields that differ without a known reason."""
    sides: dict[Side, OneSide] = field(default_factory=lambda: {"module": OneSide(), "ours": OneSide()})
    given_up_early: int = 0
    """Copies that were given up early because too many were waiting."""

    @property
    def total(self) -> Counts:
        """The counts of all events together."""
        return Counts(**{
            each.name: sum(getattr(counts, each.name) for counts in self.events.values())
            for each in fields(Counts)
        })  # fmt: skip

    def counts_of(self, name: str) -> Counts:
        """Return the counts of an event, to add to."""
        if name not in self.events and len(self.events) >= MOST_NAMES:
            name = OTHERS
        return self.events.setdefault(name, Counts())

    def add_pair(self, module: Copy, ours: Copy, differences: Sequence[Difference]) -> None:
        """Count an event with both copies."""
        counts = self.counts_of(ours.name)
        self.identical += module.message.value == ours.message.value
        if not differences:
            counts.agree += 1
            return
        example = Example(
            ours.name, ours.message.time_ms, _place(module.message), _place(ours.message), differences
        )
        for kind in dict.fromkeys(each.known for each in differences if each.known):
            self.known.setdefault(kind, Group()).add(example)
        unknown = tuple(each.where for each in differences if not each.known)
        if not unknown:
            counts.known += 1
            return
        counts.differ += 1
        if unknown not in self.differences and len(self.differences) >= MOST_GROUPS:
            unknown = (OTHERS,)
        self.differences.setdefault(unknown, Group()).add(example)

    def add_own(self, copy: Copy) -> None:
        """Count an event of amikafka itself, which the module cannot have."""
        self.counts_of(copy.name).known += 1
        self.known.setdefault("own-event", Group()).add(_alone("ours", copy))

    def add_alone(self, side: Side, copy: Copy, *, is_alike: bool) -> None:
        """Count an event that only one topic has."""
        counts = self.counts_of(copy.name)
        if side == "module":
            counts.only_module += 1
        else:
            counts.only_ours += 1
        one = self.sides[side]
        one.alike += is_alike
        time_ms = copy.message.time_ms
        one.alone_from_ms = time_ms if one.alone_from_ms is None else min(one.alone_from_ms, time_ms)
        if len(one.alone) < MOST_ALONE:
            one.alone.append(_alone(side, copy))

    def to_json(self) -> dict[str, Any]:
        """Return the report for programs."""
        return {
            "events": {name: vars(counts) for name, counts in sorted(self.events.items())},
            "total": {**vars(self.total), "byte_for_byte": self.identical},
            "known_differences": [
                {"kind": kind, "is": KNOWN[kind], **_group_json(group)}
                for kind, group in sorted(self.known.items())
            ],
            "differences": [
                {"in": list(names), **_group_json(group)} for names, group in self.differences.items()
            ],
            **{side: _side_json(one) for side, one in self.sides.items()},
            "given_up_early": self.given_up_early,
        }


def _alone(side: Side, copy: Copy) -> Example:
    value = text_of(copy.message.value)
    if len(value) > MOST_CHARACTERS:
        value = value[:MOST_CHARACTERS] + "..."
    place = _place(copy.message)
    module, ours = (place, None) if side == "module" else (None, place)
    return Example(copy.name, copy.message.time_ms, module, ours, (), value)


def _place(message: Message) -> tuple[int, int]:
    return message.partition, message.offset


def _group_json(group: Group) -> dict[str, Any]:
    return {"events": group.events, "examples": [_example_json(each) for each in group.examples]}


def _example_json(example: Example) -> dict[str, Any]:
    found: dict[str, Any] = {"event": example.name, "time_ms": example.time_ms}
    for side in ("module", "ours"):
        if (place := getattr(example, side)) is not None:
            found[side] = {"partition": place[0], "offset": place[1]}
    if example.differences:
        found["differences"] = [each._asdict() for each in example.differences]
    if example.value:
        found["value"] = example.value
    return found


def _side_json(one: OneSide) -> dict[str, Any]:
    return {
        "messages": one.messages,
        "first_ms": one.first_ms,
        "last_ms": one.last_ms,
        "sent_again": one.sent_again,
        "left_aside": {name: one.aside[name] for name in ASIDE},
        "only_here": [_example_json(each) for each in one.alone],
        "entity_ids": sorted(one.entities),
    }

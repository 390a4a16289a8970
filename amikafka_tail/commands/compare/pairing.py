"""Finds the two copies of each event on the two topics, in any order and partition.

Two copies are compared and forgotten as soon as both have arrived; only copies without a twin are held. The
twin is the oldest copy that is equal in every field. If there is none, it is the most similar copy: with the
same name, and the same microsecond if Asterisk's Timestamp gives one.
"""

from __future__ import annotations

import itertools
from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple

from amikafka_tail.commands.compare.copies import OTHER, Content, Copy, Side, reader
from amikafka_tail.commands.compare.judge import Difference, Expected, judge
from amikafka_tail.commands.compare.report import Aside, Report
from amikafka_tail.kafka.topic_reader import Message
from amikafka_tail.model.gaps import NAME as GAP

PATIENCE_MS = 60_000
"""A copy is given up when the other topic is ahead by more than this."""
EDGE_MS = 2_000
"""How far apart the times of the two copies of an event may be."""
NEAR_MS = 10_000
"""How far apart two copies may be that differ and have no Timestamp of Asterisk's."""
MOST_WAITING = 25_000
MOST_REMEMBERED = 100_000
MOST_LOOKED_AT, MOST_CANDIDATES, MOST_TRIED = 50, 10, 3
TEST = "AmikafkaTest"
"""The event that `amikafka kafka send-test` and `amikafka doctor` publish."""
OWN_EVENTS = frozenset({GAP, TEST})


class _Waiting(NamedTuple):
    """A copy whose twin has not arrived. A late copy can only be a twin: it is never reported as missing."""

    serial: int
    copy: Copy
    is_late: bool


class _Room:
    """The waiting copies of one side, the oldest first."""

    def __init__(self) -> None:
        self.all: dict[int, _Waiting] = {}
        self.in_time = 0
        self._by: dict[object, dict[int, _Waiting]] = {}

    def add(self, waiting: _Waiting) -> None:
        self.all[waiting.serial] = waiting
        self.in_time += not waiting.is_late
        for key in _keys(waiting.copy):
            self._by.setdefault(key, {})[waiting.serial] = waiting

    def remove(self, waiting: _Waiting) -> None:
        del self.all[waiting.serial]
        self.in_time -= not waiting.is_late
        for key in _keys(waiting.copy):
            del self._by[key][waiting.serial]
            if not self._by[key]:
                del self._by[key]

    def same(self, copy: Copy) -> _Waiting | None:
        """Return the oldest copy that is equal in every field."""
        return next(iter(self._by.get(copy.digest, {}).values()), None)

    def safest(self, copy: Copy) -> list[_Waiting]:
        """Return the copies that may have only known differences to a copy."""
        return self._near(_stamp_key(copy) if copy.stamp else _safe_key(copy), copy)

    def like(self, copy: Copy) -> list[_Waiting]:
        """Return some copies that may be of the same event."""
        keys = _keys(copy)[1:]
        return list({each.serial: each for key in keys for each in self._near(key, copy)}.values())

    def _near(self, key: object, copy: Copy) -> list[_Waiting]:
        """Return the copies under a key that are nearest in time."""
        some = itertools.islice(self._by.get(key, {}).values(), MOST_LOOKED_AT)
        near = [waiting for waiting in some if _may_be_one(copy, waiting.copy)]
        near.sort(key=lambda waiting: _apart_ms(copy, waiting.copy))
        return near[:MOST_CANDIDATES]

    @property
    def oldest(self) -> _Waiting | None:
        return next(iter(self.all.values()), None)


def _keys(copy: Copy) -> tuple[object, ...]:
    return copy.digest, _safe_key(copy), ("bare", copy.bare), _stamp_key(copy)


def _safe_key(copy: Copy) -> object:
    return "safe", copy.safe


def _stamp_key(copy: Copy) -> object:
    return copy.name, copy.stamp


class Comparison:
    """Compares the messages of two topics, which the caller feeds to it.

    `begins` is the time at which reading a side started, `None` if the side was read from its first message.
    Earlier events do not count as missing on that side.
    """

    def __init__(self, expected: Expected, begins: dict[Side, int | None]) -> None:
        self.report = Report()
        self._expected = expected
        self._begins = begins
        self._read: Callable[[Message], Copy] = reader(expected.fallback)
        self._rooms: dict[Side, _Room] = {"module": _Room(), "ours": _Room()}
        self._reached: dict[Side, int] = {side: begin or 0 for side, begin in begins.items()}
        self._seen: OrderedDict[object, None] = OrderedDict()
        self._serial = 0

    @property
    def waiting(self) -> int:
        """How many messages wait for their twin, without the late ones."""
        return sum(room.in_time for room in self._rooms.values())

    def add(self, side: Side, message: Message, *, is_late: bool = False) -> None:
        """Take a message. A late one only counts as the twin of another."""
        copy = self._read(message)
        if not is_late:
            self.report.sides[side].note(copy)
        if self._has_its_id(side, copy):
            self._count_again(side, is_late=is_late)
            return
        self._serial += 1
        waiting = _Waiting(self._serial, copy, is_late)
        there = self._rooms[OTHER[side]]
        if (twin := there.same(copy)) is not None:
            self._pair(side, waiting, twin)
        elif copy.stamp and self._was_here(side, copy):
            self._count_again(side, is_late=is_late)
        elif (twin := self._known_twin(side, copy)) is not None:
            self._pair(side, waiting, twin)
        else:
            self._rooms[side].add(waiting)
            self._make_room(side)

    def reached(self, side: Side, time_ms: int) -> None:
        """Note that a side was read up to a time; give up the copies that have waited too long."""
        self._reached[side] = max(self._reached[side], time_ms)
        room = self._rooms[OTHER[side]]
        while (oldest := room.oldest) is not None:
            if oldest.copy.message.time_ms + PATIENCE_MS > self._reached[side]:
                return
            self._give_up(OTHER[side], oldest)

    def finish(self, *, interrupted: bool = False) -> Report:
        """Give up all waiting copies; return the report.

        If the reading was interrupted, events newer than the other side's last one do not count as missing.
        """
        until = min(self._reached.values()) - EDGE_MS if interrupted else None
        for side, waiting in self._in_order():
            if waiting.serial not in self._rooms[side].all:
                continue  # an earlier copy had it as its twin
            if until is not None and waiting.copy.message.time_ms > until:
                self._rooms[side].remove(waiting)
                self.report.sides[side].aside["after"] += not waiting.is_late
            else:
                self._give_up(side, waiting)
        return self.report

    def _in_order(self) -> list[tuple[Side, _Waiting]]:
        waiting = [(side, each) for side, room in self._rooms.items() for each in room.all.values()]
        return sorted(waiting, key=lambda pair: pair[1].copy.message.time_ms)

    def _make_room(self, side: Side) -> None:
        room = self._rooms[side]
        while len(room.all) > MOST_WAITING and room.oldest is not None:
            self.report.given_up_early += 1
            self._give_up(side, room.oldest)

    def _has_its_id(self, side: Side, copy: Copy) -> bool:
        """Return whether a message with the same event_id was seen before; remember the id."""
        event_id = dict(copy.message.headers).get("event_id")
        return event_id is not None and self._remember((side, event_id))

    def _was_here(self, side: Side, copy: Copy) -> bool:
        """Return whether the same event, with the same microsecond, was seen before."""
        return (side, copy.digest) in self._seen or self._rooms[side].same(copy) is not None

    def _remember(self, what: object) -> bool:
        """Remember something; return whether it was known already."""
        was_known = what in self._seen
        self._seen[what] = None
        self._seen.move_to_end(what)
        if len(self._seen) > MOST_REMEMBERED:
            self._seen.popitem(last=False)
        return was_known

    def _count_again(self, side: Side, *, is_late: bool) -> None:
        self.report.sides[side].sent_again += not is_late

    def _known_twin(self, side: Side, copy: Copy) -> _Waiting | None:
        """Return a copy of the same event that has only known differences."""
        for each in self._rooms[OTHER[side]].safest(copy):
            if all(one.known for one in self._judge(side, copy, each.copy)):
                return each
        return None

    def _judge(self, side: Side, copy: Copy, other: Copy) -> list[Difference]:
        module, ours = (copy, other) if side == "module" else (other, copy)
        return judge(module, ours, self._expected)

    def _pair(self, side: Side, waiting: _Waiting, twin: _Waiting) -> None:
        """Compare two copies of an event, and forget them."""
        self._rooms[OTHER[side]].remove(twin)
        self._remember((side, waiting.copy.digest))
        self._remember((OTHER[side], twin.copy.digest))
        if waiting.is_late and twin.is_late:
            return
        module, ours = (waiting, twin) if side == "module" else (twin, waiting)
        found = judge(module.copy, ours.copy, self._expected)
        self.report.add_pair(module.copy, ours.copy, found)

    def _give_up(self, side: Side, waiting: _Waiting) -> None:
        """Pair a copy with the most similar one of the same event, or report that it has no twin."""
        twin = self._nearest(side, waiting)
        self._rooms[side].remove(waiting)
        if twin is not None:
            self._pair(side, waiting, twin)
        elif not waiting.is_late:
            self._count_alone(side, waiting.copy)

    def _nearest(self, side: Side, waiting: _Waiting) -> _Waiting | None:
        copy, content = waiting.copy, waiting.copy.content
        candidates = [(each, each.copy.content) for each in self._rooms[OTHER[side]].like(copy)]
        if not candidates:
            return None
        rivals = [each.copy.content for each in self._rooms[side].like(copy) if each is not waiting]
        candidates.sort(key=lambda pair: _distance(content, pair[1]))
        for each, other in candidates[:MOST_TRIED]:
            apart = _distance(content, other)
            if any(_distance(rival, other) < apart for rival in rivals):
                continue  # that one fits another copy better
            if _is_one(copy, each.copy, self._judge(side, copy, each.copy)):
                return each
        return None

    def _count_alone(self, side: Side, copy: Copy) -> None:
        aside = self._left_aside(side, copy)
        if aside is not None:
            self.report.sides[side].aside[aside] += 1
        elif side == "ours" and copy.name in OWN_EVENTS:
            self.report.add_own(copy)
        else:
            is_alike = (side, copy.digest) in self._seen
            self.report.add_alone(side, copy, is_alike=is_alike)
        self._remember((side, copy.digest))

    def _left_aside(self, side: Side, copy: Copy) -> Aside | None:
        """Return why an event need not be on the other side."""
        there = self.report.sides[OTHER[side]]
        begin = self._begins[OTHER[side]]
        begin = there.first_ms if begin is None else begin
        if begin is None or copy.message.time_ms < begin + EDGE_MS:
            return "before"
        if there.entities and copy.entity_id not in there.entities:
            return "elsewhere"
        return None


def _distance(one: Content, other: Content) -> int:
    """Return the number of fields in which two copies differ."""
    both = one.fields.keys() | other.fields.keys()
    return sum(one.fields.get(name) != other.fields.get(name) for name in both)


def _apart_ms(one: Copy, other: Copy) -> int:
    return abs(one.message.time_ms - other.message.time_ms)


def _may_be_one(one: Copy, other: Copy) -> bool:
    if one.stamp and one.stamp == other.stamp:
        return True
    return _apart_ms(one, other) <= NEAR_MS


def _is_one(one: Copy, other: Copy, found: list[Difference]) -> bool:
    """Return whether two different copies are of the same event."""
    names = one.content.fields.keys() | other.content.fields.keys()
    unknown = sum(not each.known for each in found if each.where in names)
    count = len(names)
    if one.stamp and one.stamp == other.stamp:
        return unknown * 2 <= count
    return unknown <= (1 if one.stamp or other.stamp else max(1, count // 5))

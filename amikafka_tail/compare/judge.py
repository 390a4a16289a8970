"""Judges two copies of one event: what is different, and what of that is known and intended."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from amikafka_tail.compare.copies import Copy
from amikafka_tail.formats.json import PROTECTED

TIMESTAMP_SECONDS = 2
"""The header timestamp is the moment of publishing in the module, the event's own in amikafka."""
DEBUG_LINES = frozenset({"SequenceNumber", "File", "Line", "Func"})
ABSENT: Any = object()
TEXT = "the text of the event"
FREE_FORM = "UserEvent"
"""The event whose lines are not Asterisk's own, so that any of them may be without ": "."""
_KEPT = re.compile(r"(.*)\[\d+\]")
"""The name under which the json format keeps a line that repeats a protected one."""

KNOWN = {
    "not-utf-8": "a value that is not UTF-8: the module drops the whole header, amikafka reads it as Latin-1",
    "no-separator": 'a line without ": " (Empty:, NoSpace:value): the module drops it, amikafka keeps it',
    "forged": "a line that repeats Event, EntityID, SystemName or Privilege: in the module's message it"
    " overrides the real one, amikafka keeps it as EntityID[2]",
    "repeated": "a header that comes several times: the last value of it, or all of them"
    " ([json] duplicates = list, format = ami)",
    "key": "the key: the module's is the event's name, amikafka's what [kafka] key says",
    "event-id": "the header event_id, which the module does not have ([kafka] event_id = yes)",
    "format": "the format: one topic has json, the other ami, with the same fields",
    "debug-lines": "SequenceNumber, File, Line and Func: source = eventlog leaves them out",
    "own-event": "an event of amikafka's own, AmikafkaGap or AmikafkaTest",
}


@dataclass(frozen=True, kw_only=True)
class Expected:
    """What amikafka's configuration makes different from the module on purpose."""

    key: str = "event"
    fallback: str = "latin-1"
    leaves_debug_lines_out: bool = False


class Difference(NamedTuple):
    """Something that is not the same in both copies; `None` where a copy has no such thing."""

    where: str
    """A field's name, `key`, or `header NAME`."""
    module: str | list[str] | None
    ours: str | list[str] | None
    known: str = ""
    """A name in KNOWN, empty where it is not known."""


def judge(module: Copy, ours: Copy, expected: Expected) -> list[Difference]:
    """Return what is different."""
    if module.message.value == ours.message.value:
        return [*_of_envelope(module, ours, expected)]
    found = [*_of_fields(module, ours, expected)]
    if not found and module.is_ami and ours.is_ami:
        found = [Difference(TEXT, _text(module.message.value), _text(ours.message.value))]
    return [*found, *_of_envelope(module, ours, expected)]


def _of_fields(module: Copy, ours: Copy, expected: Expected) -> Iterator[Difference]:
    for name in dict.fromkeys([*module.fields, *ours.fields]):
        one, other = module.fields.get(name, ABSENT), ours.fields.get(name, ABSENT)
        if one != other:
            yield Difference(name, _value(one), _value(other), _reason(name, module, ours, expected))


def _reason(name: str, module: Copy, ours: Copy, expected: Expected) -> str:
    """Return why a field is not the same, empty where there is no known reason."""
    one, other = module.fields.get(name, ABSENT), ours.fields.get(name, ABSENT)
    if name in DEBUG_LINES and other is ABSENT and expected.leaves_debug_lines_out:
        return "debug-lines"
    if module.is_ami:
        # Then nothing is lost in its copy, and only an object of ours may have less.
        return "repeated" if isinstance(one, list) and not ours.is_ami and other == one[-1] else ""
    kept = _KEPT.fullmatch(name)
    base = kept[1] if kept else name
    if base in PROTECTED and _is_forged(base, module, ours):
        return "forged"
    return "" if name in PROTECTED else _of_lost(name, one, other, ours.name == FREE_FORM, expected)


def _of_lost(name: str, one: Any, other: Any, is_free: bool, expected: Expected) -> str:
    """Return why the module's object has less than ours, or an earlier value of a header than ours."""
    values = other if isinstance(other, list) else [other]
    if not values or not all(isinstance(each, str) for each in values):
        return ""
    unreadable = [_may_be_not_utf_8(name, expected) or _may_be_not_utf_8(each, expected) for each in values]
    if one is ABSENT:
        if all(unreadable):
            return "not-utf-8"
        lost = all(lost or not each for lost, each in zip(unreadable, values, strict=True))
        return "no-separator" if lost or is_free else ""
    if isinstance(other, list):
        if one not in values:
            return ""
        behind = values[::-1].index(one)
        return "repeated" if is_free or all(unreadable[len(values) - behind :]) else ""
    # Of what can be repeated (channelvars, anything in a UserEvent) the module may have an earlier value.
    return "not-utf-8" if unreadable[0] and (is_free or name.endswith("ChanVariable")) else ""


def _is_forged(base: str, module: Copy, ours: Copy) -> bool:
    """Tell whether the module has, for a protected name, a line of the event that ours keeps beside it."""
    kept = [
        value
        for name, value in ours.fields.items()
        if (found := _KEPT.fullmatch(name)) is not None and found[1] == base
    ]
    return bool(kept) and module.fields.get(base, ABSENT) in (*kept, ours.fields.get(base, ABSENT))


def _may_be_not_utf_8(text: str, expected: Expected) -> bool:
    """Tell whether text can have come from bytes that are not UTF-8. (It can have come from UTF-8, too.)"""
    try:
        text.encode(expected.fallback).decode()
    except UnicodeDecodeError:
        return True
    except UnicodeEncodeError:
        return "\N{REPLACEMENT CHARACTER}" in text
    return False


def _of_envelope(module: Copy, ours: Copy, expected: Expected) -> Iterator[Difference]:
    """Yield what is different of the key and the headers."""
    one, other = module.message.key, ours.message.key
    if one != other:
        is_known = (
            expected.key != "event" and one is not None and one.decode("utf-8", "replace") == module.name
        )
        yield Difference("key", _text(one), _text(other), "key" if is_known else "")
    if module.headers == ours.headers:
        return
    for name in dict.fromkeys([*module.headers, *ours.headers]):
        theirs, own = module.headers.get(name), ours.headers.get(name)
        if theirs == own or (name == "timestamp" and _is_near(theirs, own)):
            continue
        known = ""
        if name == "event_id" and theirs is None:
            known = "event-id"
        elif name == "format" and {theirs, own} == {"json", "ami"}:
            known = "format"
        yield Difference(f"header {name}", theirs, own, known)


def _is_near(one: str | None, other: str | None) -> bool:
    try:
        return abs(int(one or "") - int(other or "")) <= TIMESTAMP_SECONDS
    except ValueError:
        return False


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode("utf-8", "backslashreplace")


def _value(value: Any) -> str | list[str] | None:
    """Return a field's value for the report: `None` where there is none."""
    if value is ABSENT:
        return None
    if isinstance(value, str) or (isinstance(value, list) and all(isinstance(each, str) for each in value)):
        return value
    return f"JSON {json.dumps(value)}"

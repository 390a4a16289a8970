"""Compares the two copies of an event: which differences there are, and which are known and intended."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from amikafka_tail.commands.compare.copies import DEBUG_LINES, Content, Copy, Value, text_of
from amikafka_tail.formats.json import PROTECTED

TIMESTAMP_SECONDS = 2
"""The header timestamp is the time of publishing in the module, the event's own time in amikafka."""
TEXT = "the text of the event"
FREE_FORM = "UserEvent"
"""The event with lines written by the dialplan, any of which may lack ": "."""
_KEPT = re.compile(r"(.*)\[\d+\]")
"""The name that the json format gives to a line that repeats a protected one."""

KNOWN = {
    "not-utf-8": "a value that is not UTF-8: the module drops the whole header, amikafka reads it as Latin-1",
    "no-separator": 'a line without ": " (Empty:, NoSpace:value): the module drops it, amikafka keeps it',
    "forged": "a line that repeats Event, EntityID, SystemName or Privilege: in the module's message it"
    " overrides the real one, amikafka keeps it as EntityID[2]",
    "repeated": "a repeated header: one topic has its last value, the other has all of them"
    " ([json] duplicates = list, format = ami)",
    "key": "the key: the module uses the event's name, amikafka uses what [kafka] key says",
    "event-id": "the header event_id, which the module does not have ([kafka] event_id = yes)",
    "format": "the format: one topic has json, the other ami, with the same fields",
    "debug-lines": "SequenceNumber, File, Line, Func of manager debug: the log sources leave them out",
    "own-event": "an event of amikafka itself, AmikafkaGap or AmikafkaTest",
}


@dataclass(frozen=True, kw_only=True)
class Expected:
    """The differences that amikafka's configuration causes on purpose."""

    key: str = "event"
    fallback: str = "latin-1"
    leaves_debug_lines_out: bool = False


class Difference(NamedTuple):
    """One difference between the copies; `None` if a copy does not have the field."""

    where: str
    """A field's name, `key`, or `header NAME`."""
    module: Value | None
    ours: Value | None
    known: str = ""
    """A name in KNOWN, empty if the difference is not known."""


def judge(module: Copy, ours: Copy, expected: Expected) -> list[Difference]:
    """Return the differences."""
    if module.message.value == ours.message.value:
        return [*_of_envelope(module, ours, expected)]
    one, other = module.content, ours.content
    found = [*_of_fields(one, other, ours.name == FREE_FORM, expected)]
    if not found and one.is_ami and other.is_ami:
        found = [Difference(TEXT, text_of(module.message.value), text_of(ours.message.value))]
    return [*found, *_of_envelope(module, ours, expected)]


def _of_fields(module: Content, ours: Content, is_free: bool, expected: Expected) -> Iterator[Difference]:
    for name in dict.fromkeys([*module.fields, *ours.fields]):
        one, other = module.fields.get(name), ours.fields.get(name)
        if one != other:
            yield Difference(name, one, other, _reason(name, module, ours, is_free, expected))


def _reason(name: str, module: Content, ours: Content, is_free: bool, expected: Expected) -> str:
    """Return why a field differs, empty if there is no known reason."""
    one, other = module.fields.get(name), ours.fields.get(name)
    if other is None:
        is_left_out = name in DEBUG_LINES and expected.leaves_debug_lines_out
        return "debug-lines" if is_left_out else _of_forged(name, module, ours)
    if module.is_ami:
        # The module's copy has everything then, and only our object may have less.
        return "repeated" if isinstance(one, list) and not ours.is_ami and other == one[-1] else ""
    return _of_forged(name, module, ours) or (
        "" if name in PROTECTED else _of_lost(name, one, other, is_free, expected)
    )


def _of_lost(name: str, one: Value | None, other: Value, is_free: bool, expected: Expected) -> str:
    """Return why the module's object lacks a value, or has an earlier value of a header."""
    values = other if isinstance(other, list) else [other]
    unreadable = [_may_be_not_utf_8(name, expected) or _may_be_not_utf_8(each, expected) for each in values]
    if one is None:
        if all(unreadable):
            return "not-utf-8"
        lost = all(lost or not each for lost, each in zip(unreadable, values, strict=True))
        return "no-separator" if lost or is_free else ""
    if isinstance(other, list):
        if one not in values:
            return ""
        behind = values[::-1].index(one)
        return "repeated" if is_free or all(unreadable[len(values) - behind :]) else ""
    # The module may have an earlier value of a header that can repeat (channelvars, any UserEvent header).
    return "not-utf-8" if unreadable[0] and (is_free or name.endswith("ChanVariable")) else ""


def _of_forged(name: str, module: Content, ours: Content) -> str:
    """Return "forged" if the module published a forged line that our copy keeps beside the real one."""
    numbered = _KEPT.fullmatch(name)
    base = numbered[1] if numbered else name
    if base not in PROTECTED or module.is_ami:
        return ""
    kept = [value for each, value in ours.fields.items() if _is_kept(each, base)]
    return "forged" if kept and module.fields.get(base) in (*kept, ours.fields.get(base)) else ""


def _is_kept(name: str, base: str) -> bool:
    numbered = _KEPT.fullmatch(name)
    return numbered is not None and numbered[1] == base


def _may_be_not_utf_8(text: str, expected: Expected) -> bool:
    """Return whether the text may come from bytes that are not UTF-8. (It may also come from UTF-8.)"""
    try:
        text.encode(expected.fallback).decode()
    except UnicodeDecodeError:
        return True
    except UnicodeEncodeError:
        return "\N{REPLACEMENT CHARACTER}" in text
    return False


def _of_envelope(module: Copy, ours: Copy, expected: Expected) -> Iterator[Difference]:
    """Yield the differences in the key and the headers."""
    one, other = (None if each.message.key is None else text_of(each.message.key) for each in (module, ours))
    if one != other:
        is_known = expected.key != "event" and one == module.name
        yield Difference("key", one, other, "key" if is_known else "")
    if module.message.headers == ours.message.headers:
        return
    of_module, of_ours = module.headers, ours.headers
    for name in dict.fromkeys([*of_module, *of_ours]):
        theirs, own = of_module.get(name), of_ours.get(name)
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

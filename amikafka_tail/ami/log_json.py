"""Events in a log that Asterisk writes as JSON: logger.conf's `[json]`, one object a line.

main/logger.c makes each with ast_json_pack: `{"hostname": ..., "timestamp": ..., "identifiers": {...},
"logmsg": {"location": {...}, "level": ..., "message": ...}}`. An event stands whole in its message, whatever
bytes are in its values.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from amikafka_tail.ami.found import Found, passed_over
from amikafka_tail.ami.framing import END, MAX_BLOCK
from amikafka_tail.ami.log_lines import MARKER, MARKER_TEXT
from amikafka_tail.ami.log_text import EVENT

LONG_HOLE = 128
"""A run of NULs with as many bytes may have swallowed the end of one object and the beginning of the next."""
OTHER_PROGRAM = "JSON of another program than Asterisk's logger: it has no logmsg with a message"
_BEGINNING = re.compile(rb'\{"hostname"\s*:')
_HOLE = re.compile(rb"\0+")


class JsonLog:
    """A log with one object a line. Other lines stand there too, such as Asterisk's version."""

    def __init__(self, position: int, *, max_block: int = MAX_BLOCK) -> None:
        self.position = position
        self.held_back = b""
        self._max_block = max_block
        self._passed_over = 0
        self._passed_over_event = False

    def feed(self, data: bytes) -> list[Found]:
        """Return the events that are complete."""
        *lines, self.held_back = (self.held_back + data).split(b"\n")
        found: list[Found] = []
        for line in lines:
            at = self.position
            self.position += len(line) + 1
            if self._passed_over:
                found += [passed_over(at)] if self._passed_over_event else []
                self.position += self._passed_over
                self._passed_over, self._passed_over_event = 0, False
            elif MARKER in line or b"\0" in line:
                found += _of_line(line, at)
        if len(self.held_back) > self._max_block:
            self._passed_over += len(self.held_back)
            self._passed_over_event |= MARKER in self.held_back
            self.held_back = b""
        return found

    def rest(self) -> list[Found]:
        """Return what is left of an event."""
        if self._passed_over:
            return [passed_over(self.position)] if self._passed_over_event else []
        return [each._replace(torn=True) for each in _of_line(self.held_back, self.position)]


def _of_line(line: bytes, at: int) -> Iterator[Found]:
    """Return the event of a line, and what is left of those that were cut off or holed."""
    if 0 not in line and (entry := _parsed(line)) is not None:
        if MARKER in line:
            yield from _of_entry(entry, line, at)
        return
    begin, is_behind_hole = 0, False
    for hole in [*_HOLE.finditer(line), None]:
        end = len(line) if hole is None else hole.start()
        if hole is not None and hole.end() - end < LONG_HOLE and not _BEGINNING.match(line, hole.end()):
            continue
        yield from _of_pieces(line[begin:end], at + begin, is_behind_hole=is_behind_hole)
        if hole is not None:
            begin, is_behind_hole = hole.end(), hole.end() - end >= LONG_HOLE


def _of_pieces(text: bytes, at: int, *, is_behind_hole: bool) -> Iterator[Found]:
    """Cut where an object was cut off and the next one written behind it."""
    begins = [match.start() for match in _BEGINNING.finditer(text)]
    for begin, end in zip([0, *begins], [*begins, len(text)], strict=True):
        piece = text[begin:end]
        if MARKER in piece:
            entry = _parsed(piece)
            if entry is None:
                yield Found(piece, at + begin, b"", torn=True)
            else:
                yield from _of_entry(entry, piece, at + begin)
        elif is_behind_hole and begin == 0 and b"\\r\\n" in piece:
            yield Found(piece, at, b"", torn=True)  # the other half of an event


def _parsed(text: bytes) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None


def _of_entry(entry: Any, text: bytes, at: int) -> Iterator[Found]:
    """Return the event that an object tells of, if it does."""
    try:
        said = entry["logmsg"]
        message = said["message"].encode("utf-8", "surrogatepass")
        logged_at = entry["timestamp"].encode("utf-8", "surrogatepass")
        location = said.get("location") or {}
        file = location.get("filename", "manager.c")
    except (KeyError, TypeError, AttributeError):
        yield Found(text, at, b"", torn=True, reason=OTHER_PROGRAM)
        return
    marker = MARKER_TEXT.match(message)
    if marker is None or file != "manager.c":
        return  # what a dialplan says
    body = message[marker.end() :].removesuffix(b"\n")
    is_whole = body.startswith(EVENT) and body.endswith(END)
    yield Found(body.removesuffix(END), at, logged_at, torn=not is_whole)

"""Files with events of a manager connection and nothing before each: dumps of a stream, whole or in part."""

from __future__ import annotations

import re
from collections.abc import Iterator

from amikafka_tail.ami.found import Found, passed_over
from amikafka_tail.ami.framing import END, MAX_BLOCK, Framer
from amikafka_tail.ami.log_lines import MARKER_LINE, is_log_line
from amikafka_tail.ami.log_text import EVENT

FROM_ASTERISK = (b"Response: ", b"Asterisk Call Manager/")
NOT_EVENTS = (*FROM_ASTERISK, b"Action: ")
SHORT_HOLE = len(END + EVENT)
"""A run of NULs with fewer bytes cannot have swallowed the end of one event and the beginning of the next."""
_HOLE = re.compile(rb"\0+")


class Dump:
    """A dump whose lines end with CRLF.

    `log` has what is left as soon as it turns out to be a text log, of which the beginning is missing.
    """

    def __init__(self, position: int, *, max_block: int = MAX_BLOCK) -> None:
        self.position = position
        self.log: bytes | None = None
        self._blocks = Framer(position, max_block=max_block)

    @property
    def held_back(self) -> bytes:
        """The start of a block whose end has not come."""
        return self._blocks.held_back

    def feed(self, data: bytes) -> list[Found]:
        """Return the events that are complete."""
        framer = self._blocks
        begin, was_passing_over = framer.position, framer.is_passing_over
        blocks = framer.feed(data)
        at = framer.first
        found = [passed_over(begin)] if was_passing_over and at > begin else []
        for index, block in enumerate(blocks):
            if not block.startswith(EVENT) and _is_log(block):
                self.position = at
                self.log = END.join([*blocks[index:], framer.held_back])
                return found
            found += _of_block(block, at)
            at += len(block) + len(END)
        self.position = framer.position
        return found

    def rest(self) -> list[Found]:
        """Return what is left of an event."""
        if self._blocks.is_passing_over:
            return [passed_over(self.position)]
        return [each._replace(torn=True) for each in _of_block(self.held_back, self.position)]


def _is_log(block: bytes) -> bool:
    """Tell whether a line of a log stands at the beginning of a block, or one before an event in it.

    The latter ends with LF there, in a value with CRLF.
    """
    begin = block.lstrip(b"\r\n\0")
    if begin.startswith(b"[") and is_log_line(begin.partition(b"\n")[0]):
        return True
    return any(not match[1] for match in MARKER_LINE.finditer(block))


def _of_block(block: bytes, at: int) -> list[Found]:
    """Return the event of a block, or what a hole left of two."""
    raw = block.lstrip(b"\r\n\0")
    at += len(block) - len(raw)
    if raw.startswith(NOT_EVENTS) or not raw.strip():
        return []
    if 0 not in raw:
        return [Found(raw, at, b"", torn=not raw.startswith(EVENT))]
    found, begin = [], 0
    for hole in _HOLE.finditer(raw):
        if hole.end() - hole.start() >= SHORT_HOLE:
            found.append(Found(raw[begin : hole.start()], at + begin, b"", torn=True))
            begin = hole.end()
    rest = raw[begin:]
    if rest.strip(b"\r\n\0"):
        is_whole = 0 not in rest and rest.startswith(EVENT) and b"\r\nPrivilege: " in rest
        found.append(Found(rest, at + begin, b"", torn=not is_whole))
    return found


class LfDump:
    """A dump whose lines end with LF alone: CR was taken away on the way."""

    def __init__(self, position: int, *, max_block: int = MAX_BLOCK) -> None:
        self.position = position
        self.held_back = b""
        self.log: bytes | None = None
        self._max_block = max_block
        self._passed_over = 0

    def feed(self, data: bytes) -> list[Found]:
        """Return the events that are complete."""
        *lines, self.held_back = (self.held_back + data).split(b"\n")
        found = list(self._of_lines(lines))
        if self.log is None and len(self.held_back) > self._max_block:
            self._passed_over += len(self.held_back)
            self.held_back = b""
        return found

    def rest(self) -> list[Found]:
        """Return what is left of an event."""
        if self._passed_over:
            return [passed_over(self.position)]
        found = [_with_cr(each) for each in _of_block(self.held_back, self.position)]
        return [each._replace(torn=True) for each in found]

    def _of_lines(self, lines: list[bytes]) -> Iterator[Found]:
        """Cut at empty lines."""
        begin = 0
        for index, line in enumerate(lines):
            if line.strip():
                continue
            block = b"\n".join(lines[begin:index])
            at = self.position
            if not self._passed_over and not block.startswith(EVENT) and _is_log(block + b"\n"):
                self.log = b"\n".join([*lines[begin:], self.held_back])
                return
            self.position += len(block) + (index > begin) + len(line) + 1
            begin = index + 1
            if self._passed_over:
                yield passed_over(at)
                self.position += self._passed_over
                self._passed_over = 0
            else:
                yield from (_with_cr(each) for each in _of_block(block, at))
        if begin < len(lines):
            self.held_back = b"\n".join([*lines[begin:], self.held_back])


def _with_cr(found: Found) -> Found:
    """Return an event with the line ends that Asterisk gave it; leave what is torn as it is."""
    if found.torn:
        return found
    return found._replace(raw=b"\r\n".join(line.rstrip(b"\r") for line in found.raw.split(b"\n")))

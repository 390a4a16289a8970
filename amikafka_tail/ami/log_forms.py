"""Readers of the text of a log: fast where it is as Asterisk wrote it, line by line where it is not."""

from __future__ import annotations

import re
from typing import Protocol

from amikafka_tail.ami.found import Found, passed_over
from amikafka_tail.ami.framing import END, MAX_BLOCK
from amikafka_tail.ami.log_lines import MARKER, MARKER_LINE
from amikafka_tail.ami.log_text import EVENT, MAX_LINE, scan

_KEPT = 128
"""Bytes kept of what is passed over: the end of an event may be half there."""
_PLAIN_MARKER = re.compile(rb"\[([^\]\n]*)\] [A-Z]+\[\d+\][^\n]* manager\.c[^\n]*")
_USUAL_BEGINNING = re.compile(
    rb"\n?\[([^\]\n]*)\] VERBOSE\[\d+\] manager\.c: <-- Examining AMI event(?: \(-?\d+\))?: -->\nEvent: "
)
_REST_OF_MARKER = re.compile(rb"(?: \(-?\d+\))?:(?: -->)?\n")


class Form(Protocol):
    """Cuts a file of one form into events; `LogFramer` describes each."""

    @property
    def position(self) -> int:
        """Offset of the first byte that may still be needed."""
        ...

    @property
    def held_back(self) -> bytes:
        """What has come of an event or a line whose end has not."""
        ...

    def feed(self, data: bytes) -> list[Found]:
        """Take the next bytes; return what is complete with them."""
        ...

    def rest(self) -> list[Found]:
        """The file ends here: return what is left."""
        ...


class TextLog:
    """A text log. It `is_exact` where its lines end as Asterisk wrote them."""

    def __init__(self, position: int, *, is_exact: bool, max_block: int = MAX_BLOCK) -> None:
        self.position = position
        self._is_exact = is_exact
        self._max_block = max_block
        self._held = bytearray()
        self._passed_over = 0

    @property
    def held_back(self) -> bytes:
        """The start of an event or a line."""
        return bytes(self._held)

    def feed(self, data: bytes) -> list[Found]:
        """Return the events that are complete."""
        held = self._held
        searched = max(0, len(held) - len(END))
        held += data
        found: list[Found] = []
        if self._passed_over:
            found = self._pass_over()
            searched = 0
            if self._passed_over:
                return found
        if not self._is_exact:
            found += self._scan(bytes(held))
        elif held.find(END, searched) >= 0:
            found += self._blocks(bytes(held))
        elif len(held) > MAX_LINE:
            found += self._scan(bytes(held))
        if len(held) > self._max_block:
            self._passed_over = len(held) - _KEPT
            del held[:-_KEPT]
        return found

    def rest(self) -> list[Found]:
        """Return what is left of an event."""
        if self._passed_over:
            return [passed_over(self.position)]
        return scan(bytes(self._held), self.position, is_exact=self._is_exact, is_final=True)[0]

    def _scan(self, text: bytes) -> list[Found]:
        found, done = scan(text, self.position, is_exact=self._is_exact, is_final=False)
        self.position += done
        del self._held[:done]
        return found

    def _blocks(self, text: bytes) -> list[Found]:
        """Take what ends with CRLF CRLF: most of it is one event behind lines that have no CR."""
        blocks = text.split(END)
        found: list[Found] = []
        at, careful_from = self.position, -1
        for index in range(len(blocks) - 1):
            block, following = blocks[index], blocks[index + 1]
            is_end = not following or following.startswith(b"\n")
            event = _plain_event(block, at) if is_end and careful_from < 0 else None
            end = at + len(block) + len(END)
            if event is not None:
                found.append(event)
            elif careful_from >= 0 or MARKER in block or 0 in block:
                careful_from = at if careful_from < 0 else careful_from
                if is_end:
                    piece = text[careful_from - self.position : end - self.position]
                    found += scan(piece, careful_from, is_exact=True, is_final=True)[0]
                    careful_from = -1
            at = end
        done = (at if careful_from < 0 else careful_from) - self.position
        self.position += done
        del self._held[:done]
        if careful_from >= 0:
            found += self._scan(bytes(self._held))
        return found

    def _pass_over(self) -> list[Found]:
        """Look for the end of an event that is too long to be held."""
        held = self._held
        end_mark = END if self._is_exact else b"\n\n"
        ends = [found + len(end_mark)] if (found := held.find(end_mark)) >= 0 else []
        if not self._is_exact and (found := held.find(END)) >= 0:
            ends.append(found + len(END))
        marked = MARKER_LINE.search(held)
        if marked is not None and not marked[1]:
            ends.append(held.rfind(b"\n", 0, marked.start()) + 1)
        if not ends:
            self._passed_over += max(0, len(held) - _KEPT)
            del held[:-_KEPT]
            return []
        end = min(ends)
        passed = [passed_over(self.position)]
        self.position += self._passed_over + end
        self._passed_over = 0
        del held[:end]
        return passed


def _plain_event(block: bytes, at: int) -> Found | None:
    """Return the event of a block that is as Asterisk writes it, `None` where it has to be looked at closely.

    That is one with a second marker, a NUL, a line end without CR, or another line before it than a file has.
    """
    usual = _USUAL_BEGINNING.match(block)
    if usual is not None:
        begin = usual.end() - len(EVENT)
        raw = block[begin:]
        if raw.find(MARKER) >= 0 or 0 in raw or raw.count(b"\n") != raw.count(b"\r\n"):
            return None
        return Found(raw, at + begin, usual[1])
    return _event_behind_lines(block, at)


def _event_behind_lines(block: bytes, at: int) -> Found | None:
    """Return the event of a block in which other lines of the log come first, `None` as above."""
    marked = block.find(MARKER)
    if marked < 0 or block.find(MARKER, marked + 1) >= 0:
        return None
    rest = _REST_OF_MARKER.match(block, marked + len(MARKER))
    before = _PLAIN_MARKER.match(block, block.rfind(b"\n", 0, marked) + 1, marked)
    if rest is None or before is None or not block.startswith(EVENT, rest.end()):
        return None
    raw = block[rest.end() :]
    if 0 in block or raw.count(b"\n") != raw.count(b"\r\n"):
        return None
    return Found(raw, at + rest.end(), before[1])

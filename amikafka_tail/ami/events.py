"""Blocks in, events out: puts together what an empty line inside a value has cut apart.

Asterisk builds every event in one place (main/manager.c, __manager_event_sessions_va): `Event: <name>`, then
`Privilege: <classes>`, then the rest, and writes most values as they are. A value with CRLF CRLF puts an
empty line into the event, and what follows looks like a block of its own. The second line tells the two
apart: only an event begins with `Event:` and `Privilege:`. A block that begins otherwise belongs to the
event before it, unless it answers an action: an answer begins with `Response:`, an entry of a list with
`Event:`, and both carry the ActionID of what was asked (astman_send_response_full, astman_send_listack).

Asterisk ends some events with an empty line too many. That line is a part of the event, too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal, NamedTuple

from amikafka_tail.ami.framing import END, MAX_BLOCK

EVENT = b"Event: "
PRIVILEGE = b"Privilege: "
OUR_ACTION_ID = b"ActionID: amikafka-"
"""How the line begins by which Asterisk answers an action of amikafka's own."""
BANNER = b"Asterisk Call Manager/"
ANSWER = b"Response: "

_CRLF = b"\r\n"
_SWALLOWED = re.compile(rb"\r\n(?=Event: [^\r\n]*\r\nPrivilege: )")
_END_OF_COMMAND = b"--END COMMAND--"
_LONGEST_BEGINNING = 4096
"""Bytes that are looked at to tell whether an event begins."""
# Answers to actions without an ActionID whose first two lines nothing else has.
_PONG = re.compile(rb"Response: (?:Pong|Success)(?:\r\nActionID: [^\r\n]*)?\r\nPing: Pong|Response: Pong\r\n")
_BARE_ANSWER = re.compile(
    rb"Response: (?:Follows\r\nPrivilege: |Goodbye\r\n|[^\r\n]*\r\nChallenge: "
    rb"|Success\r\n(?:Events: O|EventList: |Message: Authentication accepted))"
)

Kind = Literal["event", "joined", "odd", "late", "torn", "overlong"]


class Found(NamedTuple):
    """What stands at `position` of the stream.

    `event`: an event; `joined`: one that was put together; `odd`: no event; `late`: the rest of an event that
    has been given out before it came; `torn`: what a connection cut off; `overlong`: more than is held.
    """

    kind: Kind
    raw: bytes
    position: int


def begins_event(text: bytes | bytearray) -> bool:
    """Tell whether an event that Asterisk built begins here: its second line is `Privilege:`."""
    return text.startswith(EVENT) and text.startswith(PRIVILEGE, text.find(_CRLF) + len(_CRLF))


def may_begin_event(text: bytes | bytearray) -> bool:
    """Tell whether an event may begin here, of which perhaps no more than these bytes has come."""
    if not text.startswith(EVENT):
        return EVENT.startswith(text)
    _, end, second = text.partition(b"\n")
    return not end or PRIVILEGE.startswith(second[: len(PRIVILEGE)])


def is_answer(text: bytes, *, ours: bool) -> bool:
    """Tell whether a block is Asterisk's answer to an action.

    With `ours` all that was asked on the connection was asked by amikafka: each action with its own ActionID,
    or a Ping. Of another's stream nobody knows what was asked.
    """
    if text.startswith(BANNER):
        return not ours
    if not text.startswith(ANSWER):
        return False
    second = text.partition(_CRLF)[2]
    if second.startswith(OUR_ACTION_ID if ours else b"ActionID: ") or _PONG.match(text):
        return True
    return not ours and (_BARE_ANSWER.match(text) or _SWALLOWED.search(text)) is not None


def is_entry(text: bytes, *, ours: bool) -> bool:
    """Tell whether a block is an entry of a list that an action asked for: it has no Privilege."""
    return text.startswith(EVENT) and text.find(_CRLF + (OUR_ACTION_ID if ours else b"ActionID: ")) >= 0


class EventJoiner:
    """Tells what the blocks of a stream are, wherever they came one by one or many at once.

    The last event stays `open`, because what comes next may belong to it. It is given out when the next one
    begins, when the connection ended behind it, or with `release`. Memory is bounded by `max_event`: nothing
    of a longer event is kept, and the blocks that belong to it are passed over.
    """

    def __init__(self, *, ours: bool, in_event: bool = False, max_event: int = MAX_BLOCK) -> None:
        self.open: tuple[bytes, int] | None = None
        """The last event as far as it has come, and its position."""
        self._ours = ours
        self._max_event = max_event
        self._gone: Literal["nothing", "passed over", "released"] = "passed over" if in_event else "nothing"
        """What a block without an event before it is the rest of."""

    def take(self, blocks: list[bytes], position: int) -> list[Found]:
        """Take the next blocks, the first of which stands at `position`; return what is decided."""
        found: list[Found] = []
        for block in blocks:
            text = block.lstrip(_CRLF)
            found += self._take(block, text, position)
            position += len(block) + len(END)
        return found

    def hold(self, opened: tuple[bytes, int] | None, *, released: bool = False) -> None:
        """Let `opened`, which `begins_event` tells of, be the last event; all before it are given out.

        With `released` there is none, and the last one was given out without knowing what follows it.
        """
        self.open = opened
        self._gone = "released" if released else "nothing"

    def skip(self) -> None:
        """What comes next belongs to an event that is passed over. The open one has been given out."""
        self._gone = "passed over"

    def continues(self, rest: bytes | bytearray) -> bool:
        """Tell whether the bytes behind the open event, of which more may come, can only be a part of it."""
        text = bytes(rest[:_LONGEST_BEGINNING]).lstrip(_CRLF)
        if self.open is None or not text or text.startswith(b"\0"):
            return False
        return not may_begin_event(text) and not text.startswith(ANSWER[: len(text)])

    def release(self, rest: bytes | bytearray) -> tuple[list[Found], int]:
        """Give the open event out: nothing follows it for now.

        Return how many bytes of `rest` belong to it. What of it comes later will be `late`.
        """
        taken = 0
        if self.open is not None:
            raw, position = self.open
            while rest.startswith(_CRLF, taken):
                taken += 2
            self.open = raw + rest[:taken], position
            if begins_event(raw):
                self._gone = "released"
        return self.close(), taken

    def end_connection(self, cut_off: bytes, position: int) -> list[Found]:
        """Take what came last on a connection, which ended there; return what is left."""
        text = cut_off.lstrip(_CRLF)
        if cut_off.endswith(b"\r\n\r"):
            # With only the last byte of its end missing, the block is whole.
            found = self.take([cut_off[:-3]], position) + self.close()
        elif self.open is not None and text and self.continues(text):
            raw, begin = self.open
            found = [Found("torn", raw + END + cut_off, begin)]
            self.open = None
        else:
            found = self.close()
            text = text.lstrip(b"\r\n\0")
            if text.strip() and not text.startswith((ANSWER, BANNER)):
                found.append(Found("torn", cut_off, position))
        self._gone = "nothing"
        return found

    def _take(self, block: bytes, text: bytes, position: int) -> Iterator[Found]:
        led = len(block) - len(text)
        if not text:
            self._lengthen(END + block)
        elif begins_event(text):
            self._lengthen(_whole_ends(block[:led]))
            yield from self.close()
            self.hold((text, position + led))
        elif text[0] == 0:
            # NULs in front are the rest of a page that a full disk was given back: no event goes on behind.
            yield from self.close()
            behind = text.lstrip(b"\r\n\0")
            self._gone = "nothing"
            yield from self._take(behind, behind, position + len(block) - len(behind))
        elif self.open is None and self._gone == "nothing":
            yield from self._alone(text, position + led)
        elif is_answer(text, ours=self._ours) or is_entry(text, ours=self._ours):
            self._lengthen(_whole_ends(block[:led]))
            yield from self.close()
            self._gone = "nothing"
            yield from self._alone(text, position + led)
        elif self.open is not None:
            yield from self._join(block, text, position)
        elif self._gone == "released":
            yield Found("late", text, position + led)
        elif text.startswith(EVENT):
            yield from self._alone(text, position + led)

    def _alone(self, text: bytes, position: int) -> Iterator[Found]:
        """Take a block that no event stands before, or none that it could belong to."""
        if text.startswith((ANSWER, BANNER)):
            # Some answers lack the empty line at their end: the event that begins behind is no part of it.
            ended = max(text.rfind(_END_OF_COMMAND), 0)
            if (swallowed := _SWALLOWED.search(text, ended)) is not None:
                self.hold((text[swallowed.end() :], position + swallowed.end()))
        elif text.startswith(EVENT):
            self.open = text, position
        elif text.strip():
            yield Found("odd", text, position)

    def _join(self, block: bytes, text: bytes, position: int) -> Iterator[Found]:
        """Take a block that belongs to the open event."""
        assert self.open is not None
        raw, begin = self.open
        if text.startswith(EVENT) and not begins_event(raw):
            # Where events have no Privilege, each of them begins with its first line.
            yield from self.close()
            self.open = text, position + len(block) - len(text)
        elif not text.strip():
            yield from self.close()
        elif len(raw) + len(END) + len(block) > self._max_event:
            self.open = None
            self._gone = "passed over"
            yield Found("overlong", b"", begin)
        else:
            self.open = raw + END + block, begin

    def _lengthen(self, line_ends: bytes) -> None:
        """Give the open event the line ends that stand behind it."""
        if self.open is not None:
            raw, position = self.open
            if len(raw) + len(line_ends) <= self._max_event:
                self.open = raw + line_ends, position

    def close(self) -> list[Found]:
        """The next event has begun, or none will: return the open one."""
        if self.open is None:
            return []
        raw, position = self.open
        self.open = None
        if 0 in raw:
            return [Found("odd", raw, position)]
        return [Found("joined" if END in raw.rstrip(_CRLF) else "event", raw, position)]


def _whole_ends(line_ends: bytes) -> bytes:
    """Return line ends that stand before a block where each is a CRLF: then the event before has them."""
    return line_ends if line_ends == _CRLF * (len(line_ends) // 2) else b""

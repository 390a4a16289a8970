"""Bytes of a log file in, events out: the manager debug log in each of its forms, and raw AMI dumps.

With `manager set debug on` Asterisk logs each event it examines for a session as VERBOSE, with `core set
debug 4` as DEBUG (main/manager.c, should_send_event):

    [2026-11-23 09:30:23.739] VERBOSE[12234] manager.c: <-- Examining AMI event (1754218554): -->
    Event: Newchannel\\r
    Privilege: call,all\\r
    \\r

Lines of the event end with CRLF, all others with LF. logger.conf's `[json]` writes one object a line.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Literal, NamedTuple

from amikafka_tail.ami.framing import END, MAX_BLOCK, Framer

Form = Literal["no-dump", "log", "json", "ami", "ami-lf"]
UNSETTLED = (None, "no-dump")
"""Nothing has been recognised yet, or only that lines of a log stand there: those may look like anything."""
EVENT = b"Event: "
MARKER = b"Examining AMI event ("
NOT_EVENTS = (b"Response: ", b"Asterisk Call Manager/", b"Action: ")
MAX_UNKNOWN = 65536
"""Bytes of a line held while the form of the file is not known."""

# Asterisk's own lines, which come right after Privilege (main/manager.c, __manager_event_sessions_va).
_DEBUG_HEADERS = re.compile(
    rb"(Event: [^\r\n]*\r\nPrivilege: [^\r\n]*(?:\r\nTimestamp: [^\r\n]*)?)"
    rb"\r\nSequenceNumber: (-?\d+)(?:\r\nFile: [^\r\n]*\r\nLine: \d+\r\nFunc: [^\r\n]*)?(?=\r\n|$)"
)
_SYSTEM_NAME = re.compile(
    rb"Event: [^\r\n]*\r\nPrivilege: [^\r\n]*(?:\r\n(?:Timestamp|SequenceNumber|File|Line|Func): [^\r\n]*)*"
    rb"\r\nSystemName: ([^\r\n]*)"
)
_LOG_LINE = re.compile(rb"\n\[[^\n]*?\] [A-Z]+\[\d+\]")
_TIME = re.compile(rb"\[([^\n]*?)\] (?:[A-Z]+\[|Asterisk )")


class Found(NamedTuple):
    """An event of a log file, or with `torn` what is left of one. `position` is its offset in the file.

    Of one that was `too_long` to be held nothing is left.
    """

    raw: bytes
    position: int
    logged_at: bytes
    """The time of its log line as it stands there, empty where there is none."""
    torn: bool = False
    too_long: bool = False


def passed_over(position: int) -> Found:
    """Return what stands for an event that was too long to be held."""
    return Found(b"", position, b"", torn=True, too_long=True)


def debug_headers(raw: bytes) -> tuple[bytes, int | None]:
    """Return an event without the lines that manager debug adds, and its SequenceNumber if it has one."""
    match = _DEBUG_HEADERS.match(raw)
    return (raw, None) if match is None else (match[1] + raw[match.end() :], int(match[2]))


def system_name(raw: bytes) -> bytes:
    """Return the name of the system where Asterisk itself says it in an event, empty where it does not."""
    match = _SYSTEM_NAME.match(raw)
    return b"" if match is None else match[1]


class LogFramer:
    """Cuts one log file into events, wherever the reads happened to end. The form shows by itself.

    `position` is the offset in the file of the first byte that may still be needed: reading may begin again
    there. Memory is bounded by `max_block`: of what is longer `too_long` tells where it ends.
    """

    def __init__(self, position: int = 0, form: Form | None = None, *, max_block: int = MAX_BLOCK) -> None:
        self.form = form
        self.position = position
        self._max_block = max_block
        self._blocks: Framer | None = None
        self._held = b""
        self._passed_over = 0
        self._passed_over_event = False
        if form not in UNSETTLED:
            self._settle(form)

    @property
    def held_back(self) -> bytes:
        """What has come of a block or a line whose end has not."""
        return self._held if self._blocks is None else self._blocks.held_back

    def feed(self, data: bytes) -> list[Found]:
        """Take the next bytes of the file; return the events that are complete with them."""
        if self.form in UNSETTLED:
            data = self._held + data
            self._held = b""
            form = self._form_of(data)
            if form is None:
                self._forget_lines(data)
                return []
            self._settle(form)
        return self._feed_blocks(data) if self._blocks is not None else self._feed_lines(data)

    def finish(self) -> Found | None:
        """The file ends here: return what is left of an event, `None` where nothing of one is."""
        held = self.held_back
        if self.form in UNSETTLED:
            return None
        if self._passed_over:
            return passed_over(self.position) if self._passed_over_event else None
        if self._blocks is not None and self._blocks.is_passing_over:
            return passed_over(self.position)
        if self.form == "json":
            return Found(held, self.position, b"", torn=True) if MARKER in held else None
        found = self._found_in(held, self.position)
        return found if found is None or found.torn else found._replace(torn=True)

    def _settle(self, form: Form) -> None:
        self.form = form
        if form in ("log", "ami"):
            self._blocks = Framer(self.position, max_block=self._max_block)

    def _form_of(self, data: bytes) -> Form | None:
        """Return the form of the file from the first line that shows it, `None` where none does yet."""
        for line in data.split(b"\n")[:-1]:
            if line.startswith(b"{") and b'"logmsg"' in line:
                return "json"
            if MARKER in line:
                return "log"
            if line.startswith(b"["):
                self.form = "no-dump"
            elif self.form is None and line.startswith((EVENT, *NOT_EVENTS)):
                return "ami" if line.endswith(b"\r") else "ami-lf"
        return None

    def _forget_lines(self, data: bytes) -> None:
        """Nothing of an event yet: keep the line that is not complete."""
        begin = data.rfind(b"\n") + 1
        if len(data) - begin > MAX_UNKNOWN:
            begin = len(data) - len(MARKER)
        self.position += begin
        self._held = data[begin:]

    def _feed_blocks(self, data: bytes) -> list[Found]:
        framer = self._blocks
        assert framer is not None
        begin, was_passing_over = framer.position, framer.is_passing_over
        blocks = framer.feed(data)
        at = framer.first
        events = [passed_over(begin)] if was_passing_over and at > begin else []
        for block in blocks:
            found = self._found_in(block, at)
            if found is not None:
                events.append(found)
            at += len(block) + len(END)
        if self.form == "log" and len(framer.held_back) > MAX_UNKNOWN:
            events += self._forget_other_lines(framer)
        self.position = framer.position
        return events

    def _forget_other_lines(self, framer: Framer) -> list[Found]:
        """Between events there may be any number of other lines: hold none of them but the last."""
        held = framer.held_back
        marked = _last_marker(held)
        if marked >= 0 and not _LOG_LINE.search(held, marked):
            return []  # a large event that has not ended
        found = self._found_in(held, framer.position) if marked >= 0 else None
        framer.forget(held.rfind(b"\n") + 1 or len(held) - len(MARKER))
        return [] if found is None else [found]

    def _found_in(self, block: bytes, at: int) -> Found | None:
        """Return the event at the end of a block, or what is left of one that other lines follow."""
        logged_at = b""
        if self.form == "ami":
            raw = block.lstrip(b"\r\n\0")
            if not raw.startswith(EVENT):
                torn = bool(raw.strip()) and not raw.startswith(NOT_EVENTS)
                return Found(raw, at + len(block) - len(raw), b"", torn=True) if torn else None
            return Found(raw, at + len(block) - len(raw), b"")
        marked = _last_marker(block)
        if marked < 0:
            return None
        begin = block.find(b"\n", marked) + 1
        raw = block[begin:]
        line = block.rfind(b"\n", 0, marked) + 1
        if (time := _TIME.match(block, line)) is not None:
            logged_at = time[1]
        after = _LOG_LINE.search(raw)
        if after is not None:
            return Found(raw[: after.start()], at + begin, logged_at, torn=True)
        return Found(raw, at + begin, logged_at, torn=not raw.startswith(EVENT)) if raw else None

    def _feed_lines(self, data: bytes) -> list[Found]:
        data = self._held + data
        *lines, self._held = data.split(b"\n")
        events = list(self._of_lines(lines) if self.form == "json" else self._of_plain_lines(lines))
        if len(self._held) > self._max_block:
            self._passed_over += len(self._held)
            self._passed_over_event |= self.form != "json" or MARKER in self._held
            self._held = b""
        return events

    def _of_lines(self, lines: list[bytes]) -> Iterator[Found]:
        for line in lines:
            at = self.position
            self.position += len(line) + 1
            if self._passed_over:
                yield from self._end_passing_over(at)
            elif MARKER in line:
                yield _from_json(line, at)

    def _of_plain_lines(self, lines: list[bytes]) -> Iterator[Found]:
        """Cut a dump whose lines end with LF at its empty lines."""
        begin = 0
        for index, line in enumerate(lines):
            if line.strip():
                continue
            block = lines[begin:index]
            at = self.position
            self.position += sum(map(len, block)) + len(block) + len(line) + 1
            begin = index + 1
            if self._passed_over:
                yield from self._end_passing_over(at)
            elif block and block[0].startswith(EVENT):
                yield Found(b"\r\n".join(each.rstrip(b"\r") for each in block), at, b"")
            elif block and not block[0].startswith(NOT_EVENTS):
                yield Found(b"\n".join(block), at, b"", torn=True)
        if begin < len(lines):
            self._held = b"\n".join([*lines[begin:], self._held])

    def _end_passing_over(self, at: int) -> Iterator[Found]:
        if self._passed_over_event:
            yield passed_over(at)
        self.position += self._passed_over
        self._passed_over = 0
        self._passed_over_event = False


def _last_marker(text: bytes) -> int:
    """Return where the last line stands that an event follows, -1 where there is none.

    What a header's value says (a caller may have any name) is no such line: headers end with CRLF, the last
    one with the text.
    """
    marked = text.rfind(MARKER)
    while marked >= 0 and ((end := text.find(b"\n", marked)) < 0 or text.startswith(b"\r", end - 1)):
        marked = text.rfind(MARKER, 0, text.rfind(b"\n", 0, marked) + 1)
    return marked


def _from_json(line: bytes, at: int) -> Found:
    """Return the event of one object that logger.c's JSON formatter wrote."""
    try:
        entry = json.loads(line)
        message = entry["logmsg"]["message"].encode("utf-8", "surrogatepass")
        logged_at = entry["timestamp"].encode()
    except (ValueError, KeyError, TypeError, AttributeError):
        return Found(line, at, b"", torn=True)
    _, _, raw = message.partition(b"\n")
    raw, end, _ = raw.partition(END)
    return Found(raw, at, logged_at, torn=not end or not raw.startswith(EVENT))

"""Bytes of a log file in, events out: the manager debug log in each of its forms, and raw AMI dumps.

With `manager set debug on` Asterisk logs each event it examines for a session as VERBOSE, with `core set
debug 4` as DEBUG (main/manager.c, should_send_event; match_filter before 20):

    [2026-11-23 09:30:23.739] VERBOSE[12234] manager.c: <-- Examining AMI event (1754218554): -->
    Event: Newchannel\\r
    Privilege: call,all\\r
    \\r

The form of a file shows by itself. `log_text` says what is an event in the text form, `log_json` in
`[json]`, `log_dumps` in a dump of a connection, and `log_wrappers` takes off what others put around it.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import deque
from operator import itemgetter
from typing import NamedTuple

from amikafka_tail.ami.found import Found, passed_over
from amikafka_tail.ami.framing import END, MAX_BLOCK
from amikafka_tail.ami.log_dumps import FROM_ASTERISK, Dump, LfDump
from amikafka_tail.ami.log_forms import Form, TextLog
from amikafka_tail.ami.log_json import JsonLog
from amikafka_tail.ami.log_lines import MARKER, is_log_line
from amikafka_tail.ami.log_text import EVENT
from amikafka_tail.ami.log_wrappers import CRI, DOCKER, SYSLOG, WRAPPERS, Unwrap, halves_of, hole_in

__all__ = ["MARKER", "MAX_UNKNOWN", "Found", "LogFramer", "debug_headers", "passed_over", "system_name"]

UNSETTLED = (None, "no-dump")
"""Nothing has been recognised yet, or only that lines of a log stand there: those may look like anything."""
MAX_UNKNOWN = 65536
"""Bytes of a line held while the form of the file is not known."""

# Asterisk's own lines, which come right after Privilege (main/manager.c, __manager_event_sessions_va). An
# empty line too many may stand before: ConfBridge's TestEvent ends with one.
_DEBUG_HEADERS = re.compile(
    rb"((?:\r\n)*Event: [^\r\n]*\r\nPrivilege: [^\r\n]*(?:\r\nTimestamp: [^\r\n]*)?)"
    rb"\r\nSequenceNumber: (-?\d+)(?:\r\nFile: [^\r\n]*\r\nLine: \d+\r\nFunc: [^\r\n]*)?(?=\r\n|$)"
)
_SYSTEM_NAME = re.compile(
    rb"Event: [^\r\n]*\r\nPrivilege: [^\r\n]*(?:\r\n(?:Timestamp|SequenceNumber|File|Line|Func): [^\r\n]*)*"
    rb"\r\nSystemName: ([^\r\n]*)"
)


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

    `form` is its name, to be given when reading begins in the middle: what stands around the lines and what
    they are, such as `log`, `json`, `syslog:log-lf`. `position` is the offset in the file of the first byte
    that may still be needed: reading may begin again there. Memory is bounded by `max_block`: of what is
    longer `too_long` tells where it ends.
    """

    def __init__(self, position: int = 0, form: str | None = None, *, max_block: int = MAX_BLOCK) -> None:
        self._form = form
        self._position = position
        self._max_block = max_block
        self._held = b""
        self._reader: Form | None = None
        if form is not None and form not in UNSETTLED:
            self._settle(form)

    @property
    def form(self) -> str | None:
        """The name of the form, `None` where nothing has been recognised."""
        reader = self._reader
        if not isinstance(reader, Wrapped) or self._form is None:
            return self._form
        return f"{self._form.partition(':')[0]}:{reader.inner_form}"

    @property
    def position(self) -> int:
        """Offset of the first byte that may still be needed."""
        return self._position if self._reader is None else self._reader.position

    @property
    def held_back(self) -> bytes:
        """What has come of a block or a line whose end has not."""
        return self._held if self._reader is None else self._reader.held_back

    def feed(self, data: bytes) -> list[Found]:
        """Take the next bytes of the file; return the events that are complete with them."""
        if self._reader is None:
            data = self._held + data
            self._held = b""
            form = self._form_of(data, is_final=False)
            if form is None:
                self._forget_lines(data)
                return []
            self._settle(form)
        reader = self._reader
        assert reader is not None
        found = reader.feed(data)
        if isinstance(reader, (Dump, LfDump)) and (log := reader.log) is not None:
            # Its beginning is missing, and it had looked like a dump.
            self._position = reader.position
            self._form, self._reader = "no-dump", None
            found += self.feed(log)
        return found

    def finish(self) -> Found | None:
        """The file ends here: return what is left of an event, `None` where nothing of one is.

        Where it is in several pieces they are one.
        """
        found = self.rest()
        if len(found) < 2:
            return found[0] if found else None
        rest = self.held_back
        return Found(rest, found[0].position, b"", torn=True)

    def rest(self) -> list[Found]:
        """The file ends here: return all that is left of events."""
        if self._reader is None:
            form = self._form_of(self._held, is_final=True)
            if form is None:
                return []
            held, self._held = self._held, b""
            self._settle(form)
            return [*self.feed(held), *self.rest()]
        return self._reader.rest()

    def _settle(self, form: str) -> None:
        self._form = form
        self._reader = _reader(form, self._position, self._max_block)

    def _form_of(self, data: bytes, *, is_final: bool) -> str | None:
        """Return the form of the file from the first line that shows it, `None` where none does yet."""
        begin = 0
        while (end := data.find(b"\n", begin)) >= 0 or (is_final and begin < len(data)):
            end = len(data) if end < 0 else end
            line = data[begin:end]
            if (form := _form_of_line(line, is_dump_possible=self._form is None)) is not None:
                return form
            if line.startswith(b"{") and MARKER in line and is_final:
                return "json"
            if MARKER in line:
                if (form := _form_at(data, begin, end, is_final=is_final)) is not None:
                    return form
                self._form = "no-dump"
            elif is_log_line(line) or SYSLOG.match(line):
                self._form = "no-dump"
            begin = end + 1
        return "log" if MARKER in data and (is_final or len(data) > MAX_UNKNOWN) else None

    def _forget_lines(self, data: bytes) -> None:
        """Nothing of an event yet: keep the line that is not complete, or those from a marker on."""
        marked = data.find(MARKER)
        begin = data.rfind(b"\n", 0, marked if marked >= 0 else len(data)) + 1
        if len(data) - begin > MAX_UNKNOWN:
            begin = len(data) - len(MARKER)
        self._position += begin
        self._held = data[begin:]


def _form_of_line(line: bytes, *, is_dump_possible: bool) -> str | None:
    """Return the form that a line alone shows."""
    if DOCKER.match(line) and b'"log"' in line:
        return "docker:"
    if CRI.match(line):
        return "cri:"
    if line.startswith(b"{") and b'"logmsg"' in line:
        return "json"
    if is_dump_possible and line.startswith((EVENT, *FROM_ASTERISK)):
        if line.endswith(b"\r\r"):
            return "terminal:ami"
        return "ami" if line.endswith(b"\r") else "ami-lf"
    return None


def _form_at(data: bytes, begin: int, end: int, *, is_final: bool) -> str | None:
    """Return the form that the line of a marker and what comes behind it show, `None` for not yet."""
    line = data[begin:end]
    second_end = data.find(b"\n", end + 1)
    if second_end < 0 and not is_final:
        return None
    second = data[end + 1 : second_end if second_end >= 0 else len(data)]
    if SYSLOG.match(line) is not None and not second.startswith(EVENT):
        if b"#012" + EVENT in line:
            return "syslog-escaped:"
        prefix = SYSLOG.match(second)
        if prefix is None or not second.startswith(EVENT, prefix.end()):
            return None
        return "syslog-cr:" if second.endswith(b"#015") else "syslog:"
    if not second.startswith(EVENT):
        return None
    return _form_of_ends(line, second, data[end:], is_final=is_final)


def _form_of_ends(line: bytes, second: bytes, behind: bytes, *, is_final: bool) -> str | None:
    """Return the form of a text log, from how the line of a marker ends and the event's first line."""
    if not line.endswith(b"\r"):
        return "log" if second.endswith(b"\r") else "log-lf"
    if second.endswith(b"\r\r"):
        return "terminal:"
    # A value may look like a marker, and then CR LF comes behind it too. But then an LF ends the event.
    end = behind.find(END) + len(END)
    following = behind[end : end + 1] if end >= len(END) else b""
    if not following and not is_final:
        return None
    return None if following == b"\n" else "log-crlf"


def _reader(form: str, position: int, max_block: int) -> Form:
    """Make what reads a form. Raises `ValueError` for none."""
    wrapper, colon, inner = form.partition(":")
    if colon:
        if wrapper not in WRAPPERS:
            raise ValueError(f'"{form}" is no form of a log')
        return Wrapped(WRAPPERS[wrapper](), LogFramer(0, inner or None, max_block=max_block), position)
    if form == "json":
        return JsonLog(position, max_block=max_block)
    if form == "ami":
        return Dump(position, max_block=max_block)
    if form == "ami-lf":
        return LfDump(position, max_block=max_block)
    return TextLog(position, is_exact=form == "log", max_block=max_block)


class _Segment(NamedTuple):
    """One line of the file: where its text is among what was taken out, and where it is in the file."""

    inner: int
    position: int
    text: bytes
    date: bytes


class Wrapped:
    """A log in something else: each line is taken out, and what it gives read as a log of its own."""

    def __init__(self, unwrap: Unwrap, framer: LogFramer, position: int) -> None:
        self._unwrap = unwrap
        self._framer = framer
        self._begin = position
        self._raw = bytearray()
        """The bytes of the file from `_begin` on."""
        self._read = 0
        """How many of them are in lines that have been taken out."""
        self._inner_end = 0
        self._segments: deque[_Segment] = deque()

    @property
    def inner_form(self) -> str:
        """The form of what was taken out, as far as it is known."""
        return self._framer.form or ""

    @property
    def position(self) -> int:
        """Offset of the first byte that may still be needed."""
        return self._begin

    @property
    def held_back(self) -> bytes:
        """The lines of an event whose end has not come."""
        return bytes(self._raw)

    def feed(self, data: bytes) -> list[Found]:
        """Return the events that are complete."""
        self._raw += data
        lost: list[Found] = []
        taken: list[bytes] = []
        end = self._raw.rfind(b"\n") + 1
        if end > self._read:
            lines = bytes(self._raw[self._read : end]).split(b"\n")[:-1]
            for line in lines:
                self._take(line, taken, lost)
        found = self._placed(self._framer.feed(b"".join(taken)))
        self._release()
        return sorted([*found, *lost], key=lambda each: each.position) if lost else found

    def rest(self) -> list[Found]:
        """Return what is left of an event."""
        lost: list[Found] = []
        taken: list[bytes] = []
        if self._read < len(self._raw):
            self._take(bytes(self._raw[self._read :]), taken, lost)
        # The end of the last line has not come, so it is no empty one either.
        found = self._placed(self._framer.feed(b"".join(taken).removesuffix(b"\n")))
        return [*found, *self._placed(self._framer.rest()), *lost]

    def _take(self, line: bytes, taken: list[bytes], lost: list[Found]) -> None:
        at = self._begin + self._read
        if 0 in line:
            text, date = hole_in(line), b""
            lost += [Found(half, at, b"", torn=True) for half in halves_of(line)]
        else:
            text, date, why_lost = self._unwrap(line)
            if why_lost:
                lost.append(Found(line, at, b"", torn=True, reason=why_lost))
        self._segments.append(_Segment(self._inner_end, at, text, date))
        taken.append(text)
        self._inner_end += len(text)
        self._read = min(len(self._raw), self._read + len(line) + 1)

    def _placed(self, found: list[Found]) -> list[Found]:
        """Give what was found its place in the file."""
        placed = []
        for each in found:
            segment = self._segment_of(each.position)
            wrapped_at = b"" if each.logged_at else segment.date
            placed.append(each._replace(position=segment.position, wrapped_at=wrapped_at))
        return placed

    def _segment_of(self, inner: int) -> _Segment:
        index = bisect_right(self._segments, inner, key=itemgetter(0)) - 1
        return self._segments[max(index, 0)]

    def _release(self) -> None:
        """Forget the lines that are done with, and so the last one where only its end is left."""
        needed = self._framer.position
        segments = self._segments
        while segments:
            first = segments[0]
            if needed < first.inner + len(first.text) and first.text[max(0, needed - first.inner) :].strip(
                b"\r\n"
            ):
                break
            if needed <= first.inner and first.text:
                break
            segments.popleft()
        begin = segments[0].position if segments else self._begin + self._read
        del self._raw[: begin - self._begin]
        self._read -= begin - self._begin
        self._begin = begin

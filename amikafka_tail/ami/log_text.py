"""Events in the text of Asterisk's log: where each begins and ends, and what is only left of one.

Lines of an event end with CRLF, all others with LF, and behind the empty line of an event stands one more
that ends with LF: so a text log as Asterisk wrote it says exactly what is an event and what a value. Where
CR was taken away or added that is lost, and what may be the one or the other is set aside.

A hole (a run of NULs, as a file has after a crash) may have swallowed the end of one event and the beginning
of the next. AMI has no NUL: no event reaches over one.
"""

from __future__ import annotations

import re

from amikafka_tail.ami.found import Found
from amikafka_tail.ami.framing import END
from amikafka_tail.ami.log_lines import MARKER_LINE, date_of, is_log_line, is_of_manager, joined_at

EVENT = b"Event: "
PRIVILEGE = b"Privilege: "
USER_EVENT = b"Event: UserEvent"
LONG_HOLE = 512
"""Bytes of a hole that are kept: no line before an event is as long."""
MAX_LINE = 65536
"""Bytes held of a line between events whose end has not come."""
UNKNOWN_WRAPPER = "in a form that amikafka does not know: no line behind the marker begins with Event:"
AMBIGUOUS = "in a log whose line ends were changed, so that a value cannot be told from a line of the log"
_BARE_LF = re.compile(rb"(?<!\r)\n")
_HEADER = re.compile(rb"[A-Za-z][\w()/.-]*: ?")
_LF = re.compile(rb"\n")
_NULS = re.compile(rb"\0+")
_END_LF = b"\n\n"


class _Wait(Exception):
    """What comes next in the file decides. The text is needed again from `begin` on."""

    def __init__(self, begin: int) -> None:
        super().__init__()
        self.begin = begin


def scan(text: bytes, at: int, *, is_exact: bool, is_final: bool) -> tuple[list[Found], int]:
    """Return what is found in a piece of a log, and how many of its first bytes are not needed any more.

    `at` is its offset in the file; it begins between two events. It `is_exact` where its lines end as
    Asterisk wrote them, and `is_final` where nothing comes behind it: then what has no end is torn.
    """
    scanner = _Scanner(text, at, is_exact=is_exact, is_final=is_final)
    try:
        scanner.run()
    except _Wait as wait:
        return scanner.found, wait.begin
    return scanner.found, len(text) if is_final else scanner.done


class _Scanner:
    def __init__(self, text: bytes, at: int, *, is_exact: bool, is_final: bool) -> None:
        self.found: list[Found] = []
        self.done = 0
        self._text = text
        self._at = at
        self._is_exact = is_exact
        self._is_final = is_final
        self._doubtful_until = 0
        """Up to here a line that looks like one of the log may be a value."""

    def run(self) -> None:
        """Go through the text. Raises `_Wait`."""
        position = 0
        while 0 <= position < len(self._text):
            position = self._between_events(position)

    def _between_events(self, position: int) -> int:
        """Go on between two events; return where the next state begins, -1 at the end."""
        text = self._text
        marked = self._marker(position, len(text), keep=position, is_open=False)
        hole = text.find(b"\0", position, len(text) if marked is None else marked[0])
        if hole >= 0:
            return self._behind_hole(hole)
        if marked is not None:
            return self._event(*marked)
        self.done = max(position, text.rfind(b"\n") + 1, len(text) - MAX_LINE)
        return -1

    def _marker(self, begin: int, end: int, *, keep: int, is_open: bool) -> tuple[int, int] | None:
        """Return where the line before an event and the event begin that come next, `None` for nowhere.

        Without exact line ends a value may look like that line: it is one only where an event follows.
        """
        text = self._text
        for match in MARKER_LINE.finditer(text, begin, end):
            if match[1] and self._is_exact:
                continue  # a header's value
            start = match.start()
            line = max(begin, text.rfind(b"\n", begin, start) + 1, text.rfind(b"\0", begin, start) + 1)
            before = text[line:start]
            if not is_of_manager(before):
                continue
            is_of_log = not before or is_log_line(text[line : match.end()])
            ahead = text[match.end() : match.end() + len(EVENT)]
            if ahead == EVENT:
                if is_of_log or self._is_exact or is_open or not _HEADER.match(before):
                    return line, match.end()
            elif EVENT.startswith(ahead) and not self._is_final:
                raise _Wait(keep)
            elif is_of_log or (not is_open and b"manager.c" in before):
                return line, match.end()
        return None

    def _event(self, line: int, begin: int) -> int:
        """Take the event that begins behind a marker; return where to go on."""
        text = self._text
        logged_at = date_of(text[line:begin])
        if not text.startswith(EVENT, begin):
            return self._without_event(line, begin)
        return self._body(line, begin, logged_at)

    def _body(self, line: int, begin: int, logged_at: bytes) -> int:
        text = self._text
        first_end = text.find(b"\n", begin)
        has_cr = text.startswith(b"\r", first_end - 1) if first_end >= 0 else self._is_exact
        is_exact = self._is_exact and has_cr
        end_mark = END if has_cr else _END_LF
        shortest_boundary = len(END) + 1 + begin - line
        searched, reason, is_whole = begin, "", True
        while True:
            end = text.find(end_mark, searched)
            limit = len(text) if end < 0 else end
            hole = text.find(b"\0", searched, limit)
            limit = hole if hole >= 0 else limit
            if (torn_at := self._torn_at(begin, searched, limit, line, is_exact=is_exact)) >= 0:
                self._set_aside(begin, torn_at, logged_at, reason)
                if not is_exact and text.startswith(USER_EVENT, begin):
                    self._doubtful_until = end if end >= 0 else len(text)
                return torn_at
            if hole >= 0:
                behind = self._end_of_hole(hole, line)
                if behind - hole < shortest_boundary and not self._is_log_line_at(behind, line):
                    searched, is_whole = behind, False
                    continue
                self._set_aside(begin, hole, logged_at, reason)
                return self._behind_hole(hole)
            if end < 0:
                if not self._is_final:
                    raise _Wait(line)
                self._set_aside(begin, len(text.rstrip(b"\0")), logged_at, reason)
                return -1
            if self._goes_on(end + len(end_mark), line, has_cr=has_cr):
                # An empty line in a value. Where line ends were changed other lines may look the same.
                if not is_exact:
                    reason, is_whole = AMBIGUOUS, False
                searched = end + len(end_mark) // 2
                continue
            break
        if begin < self._doubtful_until:
            reason, is_whole = AMBIGUOUS, False
        if is_exact and text.startswith(b"\r\n\n", end + len(END)):
            end += 2  # Asterisk ends some events with an empty line too many
        raw = text[begin:end]
        if not has_cr:
            raw = raw.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
        self.found.append(Found(raw, self._at + begin, logged_at, torn=not is_whole, reason=reason))
        self.done = end + len(end_mark)
        return self.done

    def _torn_at(self, begin: int, searched: int, limit: int, keep: int, *, is_exact: bool) -> int:
        """Return where a line of the log stands in an event, -1 for nowhere."""
        text = self._text
        marked = self._marker(searched, limit, keep=keep, is_open=True)
        if marked is None and limit < len(text):
            # The line before an event may end where the limit is.
            marked = self._marker(searched, min(len(text), limit + 2), keep=keep, is_open=True)
        torn_at = -1
        if marked is not None:
            torn_at = marked[0]
            limit = marked[1]
        line_ends = (
            _BARE_LF.finditer(text, searched, limit) if is_exact else _LF.finditer(text, searched, limit + 2)
        )
        for end in (match.start() for match in line_ends):
            line = max(searched, text.rfind(b"\n", begin, end) + 1)
            said = text[line:end]
            if line > begin and is_log_line(said):
                return line
            if (joined := joined_at(said)) >= 0:
                return line + joined
        return torn_at

    def _goes_on(self, position: int, keep: int, *, has_cr: bool) -> bool:
        """Tell whether an event goes on behind an empty line: that was in a value then."""
        text = self._text
        if position >= len(text) or text[position] in b"\n\0" or text.startswith(b"\r\n\n", position):
            return False
        if text.startswith(b"\r\n", position):
            if not self._is_exact:
                return False
            if len(text) == position + 2 and not self._is_final:
                raise _Wait(keep)
        end = text.find(b"\n", position)
        if end < 0:
            if self._is_final:
                return False
            raise _Wait(keep)
        line = text[position:end]
        if is_log_line(line) or MARKER_LINE.search(text, position, end + 1):
            return False
        return line.endswith(b"\r") if has_cr and self._is_exact else _HEADER.match(line) is not None

    def _without_event(self, line: int, begin: int) -> int:
        """Set aside what a marker announces and what is not there; return where to go on."""
        text = self._text
        ends = [len(text)]
        ends += [found for mark in (END, _END_LF, b"\0") if (found := text.find(mark, begin - 1)) >= 0]
        if (marked := self._marker(begin, len(text), keep=line, is_open=False)) is not None:
            ends.append(marked[0])
        end = max(begin, min(ends))
        if end == len(text) and not self._is_final and end - begin < MAX_LINE:
            raise _Wait(line)
        reason = UNKNOWN_WRAPPER if EVENT in text[begin:end] else ""
        self._set_aside(line, end, date_of(text[line:begin]), reason)
        return end

    def _set_aside(self, begin: int, end: int, logged_at: bytes, reason: str) -> None:
        raw = self._text[begin:end].rstrip(b"\0")
        self.found.append(Found(raw, self._at + begin, logged_at, torn=True, reason=reason))
        self.done = end

    # Holes.

    def _end_of_hole(self, hole: int, keep: int) -> int:
        """Return where a run of NULs ends."""
        match = _NULS.match(self._text, hole)
        assert match is not None
        if match.end() == len(self._text) and not self._is_final:
            if match.end() - hole < LONG_HOLE:
                raise _Wait(keep)
            return match.end()
        return match.end()

    def _is_log_line_at(self, position: int, keep: int) -> bool:
        text = self._text
        end = text.find(b"\n", position)
        if end < 0 and not self._is_final:
            raise _Wait(keep)
        line = text[position : len(text) if end < 0 else end + 1]
        return is_log_line(line) or (end > 0 and MARKER_LINE.search(line) is not None and self._is_exact)

    def _behind_hole(self, hole: int) -> int:
        """Go on behind a hole between or in events; return where the next state begins, -1 at the end."""
        text = self._text
        begin = self._end_of_hole(hole, hole)
        keep = max(hole, begin - LONG_HOLE)
        if begin == len(text):
            self.done = keep
            return -1
        end = text.find(b"\n", begin)
        if end < 0 and not self._is_final:
            raise _Wait(keep)
        line = text[begin : len(text) if end < 0 else end]
        if is_log_line(line) or MARKER_LINE.match(text, begin):
            return begin
        for first in (begin, end + 1 if end >= 0 and not line.endswith(b"\r") else begin):
            if self._is_beginning(first, keep):
                return self._body(keep, first, b"")
        if not self._is_rest(line, end):
            return len(text) if end < 0 else end + 1
        stops = [len(text)]
        mark = END if line.endswith(b"\r") else _END_LF
        stops += [found for stop in (mark, b"\0") if (found := text.find(stop, begin)) >= 0]
        stop = min(stops)
        if stop == len(text) and not self._is_final:
            raise _Wait(keep)
        torn_at = self._torn_at(begin, begin, stop, keep, is_exact=self._is_exact)
        stop = torn_at if torn_at >= 0 else stop
        self._set_aside(begin, stop, b"", "")
        return stop

    def _is_beginning(self, position: int, keep: int) -> bool:
        """Tell whether an event stands here from its first line on: each has a second one of Asterisk's."""
        text = self._text
        if not text.startswith(EVENT, position):
            return False
        end = text.find(b"\n", position)
        second = text[end + 1 : end + 1 + len(PRIVILEGE)] if end >= 0 else b""
        if second != PRIVILEGE and PRIVILEGE.startswith(second) and not self._is_final:
            raise _Wait(keep)
        return second == PRIVILEGE

    def _is_rest(self, line: bytes, end: int) -> bool:
        """Tell whether a line is what a hole left of an event's header."""
        if self._is_exact:
            return line.endswith(b"\r") and line != b"\r"
        following = self._text[end + 1 : end + 200]
        return bool(line.strip()) and (following[:1] in (b"\n", b"\r") or bool(_HEADER.match(following)))

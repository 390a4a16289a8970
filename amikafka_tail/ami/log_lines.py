"""What lines of Asterisk's log look like: the line before an event, and all others.

main/logger.c writes `[date] LEVEL[thread][call] file.c: message` to files, the same with colours and without
some parts to a console, and `LEVEL[thread]: file.c:line in function: message` to syslog. The line before an
event is main/manager.c's: VERBOSE with arrows, DEBUG without; `(HASH)` came with 18.26, 20.11, 21.6 and 22.0.
"""

from __future__ import annotations

import re

MARKER = b"Examining AMI event"
"""What every line before an event has in it, in whatever form and version."""
MARKER_LINE = re.compile(
    rb"(?:<-- )?" + MARKER + rb"(?: \(-?\d+\))?:(?: -->)?(?:\x1b\[[\d;]*[A-Za-z])*(\r?)\n"
)
MARKER_TEXT = re.compile(rb"(?:<-- )?" + MARKER + rb"(?: \(-?\d+\))?:(?: -->)?\r?\n")
COLOURS = re.compile(rb"\r?\x1b\[[\d;?]*[A-Za-z]")
"""What a terminal takes for an order: colours, and `erase the line` before each line of a console."""
_LEVEL = rb"[^\s\[\]]+\[\d+\]"
_LOG_LINE = re.compile(
    rb"\[[^\n]*?\] +(?:" + _LEVEL + rb"|Asterisk |-- |== |> |<-)"
    rb"|[A-Z]+\[\d+\](?:\[C-[0-9a-f]+\])?:? "
    rb"|    -- |  == |    > |<-+ "
)
_JOINED_LINE = re.compile(rb"\[[^\[\]\n]*\d\d[^\[\]\n]*\] [A-Z]+\[\d+\](?:\[C-[0-9a-f]+\])?:? ")
_DATE = re.compile(rb"\[([^\n]*?)\] *(?:" + _LEVEL + rb"|Asterisk |<-|Examining )")
_SOURCE_FILE = re.compile(rb"([\w.+-]+\.(?:c|cc|cpp|h))(?::\d+)?(?: (?:in )?\w+)?: ?\Z")


def is_log_line(line: bytes) -> bool:
    """Tell whether a line is one of Asterisk's own, from its beginning."""
    return _LOG_LINE.match(COLOURS.sub(b"", line) if b"\x1b" in line else line) is not None


def joined_at(line: bytes) -> int:
    """Return where in a line a line of the log begins that was written behind half a line, -1 for nowhere."""
    found = _JOINED_LINE.search(line)
    return -1 if found is None else found.start()


def date_of(line: bytes) -> bytes:
    """Return the date of a line of the log as it stands there, empty where there is none."""
    found = _DATE.match(COLOURS.sub(b"", line) if b"\x1b" in line else line)
    if found is None and (begin := joined_at(line)) >= 0:
        found = _DATE.match(line, begin)
    return b"" if found is None else found[1]


def is_of_manager(before: bytes) -> bool:
    """Tell from what stands before a marker in its line whether manager.c may have written it.

    Other modules print what a dialplan says (`NoOp`, `Verbose`), and a dialplan may say anything.
    """
    found = _SOURCE_FILE.search(COLOURS.sub(b"", before) if b"\x1b" in before else before)
    return found is None or found[1] == b"manager.c"

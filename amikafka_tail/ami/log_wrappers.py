"""What others put around Asterisk's lines: syslog, Docker, Kubernetes (CRI), a terminal.

Each is taken off exactly or not at all. Where something between two lines is gone (a repeated line that
syslog counts instead, a byte that Docker replaced) a NUL stands in its place: no event reaches over one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import NamedTuple

from amikafka_tail.ami.log_lines import MARKER

TEAR = b"\0"
OTHER_SENDER = "of another host or program in the same file: a log file is of one Asterisk"
LONG_HOLE = 64
"""A run of NULs with as many bytes may have swallowed the end of one event and the beginning of the next."""
_LONG_TEAR = TEAR * 512


class Unwrapped(NamedTuple):
    """A line without its wrapper, and when the wrapper says that it was written. Its end is its own."""

    text: bytes
    date: bytes = b""
    lost: str = ""
    """Why the event that the line belongs to cannot be read."""


Unwrap = Callable[[bytes], Unwrapped]
"""Takes the wrapper off one line, which comes without its LF."""

_DATE = (
    rb"((?:[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d(?:\.\d+)?)"
    rb"|(?:\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:[.,]\d+)?(?:Z|[+-]\d\d:?\d\d)))"
)
SYSLOG = re.compile(
    rb"(?:<\d{1,3}>)?" + _DATE + rb" (\S+) ([^\s:\[]+)(?:\[[^\]\s]*\])?:(?: |$)"
    rb"|<\d{1,3}>1 (\S+) (\S+) (\S+) \S+ \S+ (?:-|(?:\[(?:[^\]\\]|\\.)*\])+)(?: (?:\xef\xbb\xbf)?|$)"
)
CRI = re.compile(rb"(\d{4}-\d\d-\d\dT[\d:.]+(?:Z|[+-]\d\d:\d\d)) (stdout|stderr) ([FP])(?::\S*)?(?: |$)")
DOCKER = re.compile(rb'\{"(?:log|stream|time|attrs)"\s*:')
_REPEATED = re.compile(rb"(?:last message repeated|message repeated|--- last message)")
_ESCAPE = re.compile(rb"#(?:0[0-3][0-7]|177)")
_REPLACED = re.compile(rb"(?<!\\)(?:\\\\)*\\ufffd", re.IGNORECASE)


class _Senders:
    """Knows whose lines are ours: those of the first that an event comes from."""

    def __init__(self) -> None:
        self._ours: tuple[bytes, ...] | None = None

    def are_others(self, sender: tuple[bytes, ...], text: bytes) -> bool:
        if self._ours is None and MARKER in text:
            self._ours = sender
        return self._ours is not None and sender != self._ours


def syslog(*, escapes: str = "") -> Unwrap:
    """Return what takes off the prefix of syslog, as RFC 3164 or RFC 5424 has it.

    `escapes` says what rsyslog wrote as `#ooo`: `cr`, the one at the end of each line, or `all`, so that a
    whole event is one line. It writes a `#` as it is. So what else looks like an escape in an event may be
    either, and is not read.
    """
    senders = _Senders()

    def unwrap(line: bytes) -> Unwrapped:
        found = SYSLOG.match(line)
        if found is None:
            return Unwrapped(TEAR if line.strip() else b"\n")
        text = line[found.end() :]
        date = found[1] or found[4]
        sender = (found[2] or found[5], found[3] or found[6])
        if _REPEATED.match(text):
            return Unwrapped(TEAR, date)
        if senders.are_others(sender, text):
            return Unwrapped(b"", date, OTHER_SENDER if MARKER in text else "")
        if escapes == "all" and MARKER in text:
            text = _without_escapes(text)
        elif escapes == "cr" and text.endswith(b"#015"):
            text = _ESCAPE.sub(TEAR, text[:-4]) + b"\r"
        return Unwrapped(text + b"\n", date)

    return unwrap


def _without_escapes(text: bytes) -> bytes:
    before, marker, rest = text.partition(MARKER)
    marker_end, lf, event = rest.partition(b"#012")
    if not lf or b"#015#012" not in event:
        return before + marker + rest  # CR was taken away before: nothing tells an end from a value
    body, end, behind = event.rpartition(b"#015#012#015")
    if end and not behind.replace(b"#012", b"").strip():
        event = body.replace(b"#015#012", b"\r\n")
        return before + marker + marker_end + b"\n" + _ESCAPE.sub(TEAR, event) + b"\r\n\r\n"
    return before + marker + marker_end + b"\n" + _ESCAPE.sub(TEAR, event.replace(b"#015#012", b"\r\n"))


def cri() -> Unwrap:
    """Return what takes off the prefix of a container runtime: time, stream, whether a line is whole."""
    senders = _Senders()

    def unwrap(line: bytes) -> Unwrapped:
        found = CRI.match(line)
        if found is None:
            return Unwrapped(_tear(line))
        text = line[found.end() :]
        if senders.are_others((found[2],), text):
            return Unwrapped(b"", found[1], OTHER_SENDER if MARKER in text else "")
        return Unwrapped(text + b"\n" if found[3] == b"F" else text, found[1])

    return unwrap


def docker() -> Unwrap:
    """Return what takes the text out of Docker's json-file, which holds one line of output an object."""
    senders = _Senders()

    def unwrap(line: bytes) -> Unwrapped:
        try:
            entry = json.loads(line)
            text = entry["log"].encode("utf-8", "surrogatepass")
            stream = str(entry.get("stream")).encode()
            date = str(entry.get("time", "")).encode()
        except (ValueError, KeyError, TypeError, AttributeError):
            return Unwrapped(_tear(line))
        if senders.are_others((stream,), text):
            return Unwrapped(b"", date, OTHER_SENDER if MARKER in text else "")
        if _REPLACED.search(line):
            text = TEAR + text  # Docker writes this for a byte that is not UTF-8
        return Unwrapped(text, date)

    return unwrap


def terminal() -> Unwrap:
    """Return what undoes a terminal: it makes CRLF of each LF, so CRLF became CR CR LF."""

    def unwrap(line: bytes) -> Unwrapped:
        return Unwrapped(line.removesuffix(b"\r") + b"\n")

    return unwrap


def _tear(line: bytes) -> bytes:
    return TEAR if line.strip() else b""


def hole_in(line: bytes) -> bytes:
    """Return what stands in place of a line with a hole in it: one that may have swallowed lines is long."""
    return _LONG_TEAR if line.count(b"\0") >= LONG_HOLE else TEAR


def halves_of(line: bytes) -> list[bytes]:
    """Return what a hole left of events where a whole event is one line, as rsyslog writes it."""
    halves = [half for half in re.split(rb"\0+", line) if b"#015#012" in half]
    return halves if line.count(b"\0") >= LONG_HOLE else halves[:1]


WRAPPERS: dict[str, Callable[[], Unwrap]] = {
    "syslog": syslog,
    "syslog-cr": lambda: syslog(escapes="cr"),
    "syslog-escaped": lambda: syslog(escapes="all"),
    "cri": cri,
    "docker": docker,
    "terminal": terminal,
}
"""By the name that is part of a file's form."""

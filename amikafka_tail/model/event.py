"""An AMI event: the bytes as Asterisk sent them, parsed on demand."""

from __future__ import annotations

import re
from hashlib import blake2b
from typing import AnyStr

CRLF = b"\r\n"
LINE_BREAKS = re.compile(rb"[\r\n]+")


def decode(value: bytes, fallback: str = "latin-1") -> str:
    """Decode UTF-8; bytes that are not UTF-8 are decoded as `fallback`, which must accept any byte."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode(fallback, "replace")


def split_line(line: AnyStr) -> tuple[AnyStr, AnyStr]:
    """Return a line's name and value.

    They are separated by the first ": ", as in app_ami_kafka, or else by the first ":" (`Empty:`,
    `NoSpace:value`). A line with no colon is a name with an empty value, so that nothing is lost.
    """
    separator, colon = (b": ", b":") if isinstance(line, bytes) else (": ", ":")
    name, found, value = line.partition(separator)
    if not found:
        name, _, value = line.partition(colon)
    return name, value


def milliseconds(stamp: bytes, otherwise: int) -> int:
    """Return Asterisk's `<sec>.<usec>` in ms, or `otherwise` if it has another form."""
    seconds, _, fraction = stamp.partition(b".")
    if not seconds.isdigit() or (fraction and not fraction.isdigit()) or len(seconds) > 12:
        return otherwise
    return int(seconds) * 1000 + int(fraction[:3].ljust(3, b"0"))


class Event:
    """One event of the manager interface.

    `raw` is its text without the empty line that ends it: `Event: Hangup\\r\\nPrivilege: call,all\\r\\n...`.
    `position` is the offset of its first byte in the source, `captured_ms` the time when it was read from
    Asterisk, in ms since the epoch. Everything else is parsed on demand and not kept.
    """

    __slots__ = ("captured_ms", "position", "raw")

    def __init__(self, raw: bytes, position: int = 0, captured_ms: int = 0) -> None:
        self.raw = raw
        self.position = position
        self.captured_ms = captured_ms

    def __repr__(self) -> str:
        return f"Event({self.name!r}, position={self.position}, bytes={len(self.raw)})"

    @property
    def name(self) -> str:
        """The event's name, `Hangup`; never what a later `Event:` line says."""
        return decode(self.name_bytes)

    @property
    def name_bytes(self) -> bytes:
        """The event's name as Asterisk sent it."""
        end = self.raw.find(b"\r")
        first_line = self.raw if end < 0 else self.raw[:end]
        if first_line.startswith(b"Event: ") and first_line.find(b"\n") < 0:
            return first_line[7:]
        return split_line(LINE_BREAKS.split(self.raw, 1)[0])[1]

    @property
    def happened_ms(self) -> int:
        """Asterisk's own Timestamp (`timestampevents`: the line after Privilege), else `captured_ms`."""
        lines = self.raw.split(CRLF, 3)
        if len(lines) > 2 and lines[1].startswith(b"Privilege: ") and lines[2].startswith(b"Timestamp: "):
            return milliseconds(lines[2][11:], self.captured_ms)
        return self.captured_ms

    @property
    def id(self) -> str:
        """32 hexadecimal digits, the same whenever this event is read again from its position.

        A consumer can use it to drop events that were sent twice after a crash.
        """
        digest = blake2b(b"%d %d " % (self.position, self.captured_ms), digest_size=16)
        digest.update(self.raw)
        return digest.hexdigest()

    @property
    def text(self) -> bytes:
        """The whole event as Asterisk composes it, with the empty line at its end."""
        return self.raw + b"\r\n\r\n"

    def lines(self) -> list[bytes]:
        """Return the lines in order. A bare CR or LF also ends a line, as in app_ami_kafka."""
        lines = self.raw.split(CRLF)
        if self.raw.count(b"\r") + self.raw.count(b"\n") == 2 * len(lines) - 2 and b"" not in lines:
            return lines
        return [line for line in LINE_BREAKS.split(self.raw) if line]

    def headers(self, fallback: str = "latin-1") -> list[tuple[str, str]]:
        """Return (name, value) of every line in order, repeats kept, each decoded by `decode`."""
        lines = self.lines()
        try:
            whole = b"\n".join(lines).decode()
        except UnicodeDecodeError:
            return [
                (decode(name, fallback), decode(value, fallback)) for name, value in map(split_line, lines)
            ]
        return [split_line(line) for line in whole.split("\n")]

    def get(self, name: str) -> str | None:
        """Return the first value of a header, `None` if the event has no such line. Case-sensitive."""
        value = self.get_bytes(name.encode())
        return None if value is None else decode(value)

    def get_bytes(self, name: bytes) -> bytes | None:
        """Return the first value of a header as Asterisk sent it."""
        if name not in self.raw:
            return None
        for line in self.lines():
            key, value = split_line(line)
            if key == name:
                return value
        return None

"""Writes the log to systemd's journal with fields (its native protocol: systemd.io/JOURNAL_NATIVE_PROTOCOL).

An entry is one datagram. Each value follows its length, so that no text in it can pass for another field.
"""

from __future__ import annotations

import logging
import os
import re
import socket
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path

from amikafka_tail.daemon.log_throttle import suppressed_before

SOCKET = Path("/run/systemd/journal/socket")
IDENTIFIER = "amikafka"
PRIORITIES = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3, logging.CRITICAL: 2}
STDERR = 2
SEND_SECONDS = 0.1
"""How long to wait for a busy journald before writing to standard error instead."""
MOST_VALUE = 1000
"""Characters of a value in a field of its own."""
# A directive of printf-style formatting with the name before it: "lost_events=%d".
_DIRECTIVE = re.compile(r"(?:\b([a-z][a-z0-9_]{0,50})=)?(%[-#0 +]*\d*(?:\.\d+)?([a-zA-Z%]))")


def is_standard_error(environment: Mapping[str, str]) -> bool:
    """Return whether standard error is connected to journald: JOURNAL_STREAM in systemd.exec(5).

    The variable alone is not enough: child processes inherit it even if their standard error differs.
    """
    try:
        status = os.fstat(STDERR)
    except OSError:
        return False
    return environment.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


def named_values(record: logging.LogRecord) -> Iterator[tuple[str, str]]:
    """Yield the name and value of each `name=%s` in a record's message.

    The values come from the arguments: `name=` inside a value adds no field.
    """
    if not isinstance(record.msg, str) or not isinstance(record.args, tuple):
        return
    directives = [found for found in _DIRECTIVE.findall(record.msg) if found[2] != "%"]
    for (name, directive, kind), value in zip(directives, record.args, strict=False):
        if name:
            yield name, str(value) if kind in "rs" else directive % (value,)


def fields(record: logging.LogRecord, text: str) -> Iterator[tuple[str, str]]:
    """Yield the fields of a record whose message is `text` (systemd.journal-fields(7))."""
    yield "MESSAGE", text
    yield "PRIORITY", str(PRIORITIES.get(record.levelno, 6))
    yield "SYSLOG_IDENTIFIER", IDENTIFIER
    yield "LOGGER", record.name
    yield "CODE_FILE", record.pathname
    yield "CODE_LINE", str(record.lineno)
    yield "CODE_FUNC", record.funcName or ""
    for name, value in named_values(record):
        yield f"AMIKAFKA_{name.upper()}", value[:MOST_VALUE]
    if folded := suppressed_before(record):
        yield "AMIKAFKA_FOLDED", str(folded)


def pack(name: str, value: str) -> bytes:
    """Return a field in the protocol's binary-safe form."""
    data = value.encode("utf-8", "backslashreplace")
    return b"%b\n%b%b\n" % (name.encode("ascii"), struct.pack("<Q", len(data)), data)


class JournalHandler(logging.Handler):
    """Writes to journald's socket at `path`; uses `instead` for a record that cannot be written there."""

    def __init__(self, path: Path, instead: logging.Handler) -> None:
        super().__init__()
        self._path = path
        self._instead = instead
        self._socket: socket.socket | None = None

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record."""
        try:
            self._send(b"".join(pack(*field) for field in fields(record, self.format(record))))
        except OSError:
            # journald was restarted with another socket, or it is busy.
            self._disconnect()
            self._instead.handle(record)
        except Exception:
            self.handleError(record)

    def close(self) -> None:
        """Close the socket."""
        self._disconnect()
        super().close()

    def _send(self, entry: bytes) -> None:
        if self._socket is None:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            self._socket.settimeout(SEND_SECONDS)
            self._socket.connect(str(self._path))
        self._socket.send(entry)

    def _disconnect(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

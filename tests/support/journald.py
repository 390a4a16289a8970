"""A stand-in for systemd-journald: its socket, and a reader of what is sent there."""

from __future__ import annotations

import queue
import socket
import struct
import threading
from pathlib import Path

from tests.support.waiting import BOUND

END, HERE = b"end", b"here"
Entry = list[tuple[str, bytes]]


class Journald:
    """Listens at a path, and reads at once."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._entries: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def __enter__(self) -> Journald:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def close(self) -> None:
        """End, as when journald is stopped with its socket."""
        self._mark(END)
        self._thread.join(BOUND)
        self._socket.close()
        self.path.unlink()

    def entries(self) -> list[Entry]:
        """Return all that has been sent since the last time."""
        self._mark(HERE)
        found = []
        while (data := self._entries.get(timeout=BOUND)) != HERE:
            found.append(parse(data))
        return found

    def entry(self) -> dict[str, str]:
        """Return the only entry that has come; each of its fields is there once."""
        (found,) = self.entries()
        fields = {name: value.decode() for name, value in found}
        assert len(fields) == len(found)
        return fields

    def messages(self) -> list[str]:
        """Return the text of all that has come."""
        return [dict(entry)["MESSAGE"].decode() for entry in self.entries()]

    def _mark(self, mark: bytes) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.sendto(mark, str(self.path))

    def _read(self) -> None:
        while (data := self._socket.recv(1 << 20)) != END:
            self._entries.put(data)


def parse(data: bytes) -> Entry:
    """Return the fields of a datagram, by the protocol's own description (JOURNAL_NATIVE_PROTOCOL)."""
    found: Entry = []
    while data:
        line, end, data = data.partition(b"\n")
        assert end, line
        name, is_short, value = line.partition(b"=")
        if not is_short:
            (length,) = struct.unpack_from("<Q", data)
            value, data = data[8 : 8 + length], data[8 + length :]
            assert len(value) == length
            assert data.startswith(b"\n")
            data = data[1:]
        found.append((name.decode("ascii"), value))
    return found

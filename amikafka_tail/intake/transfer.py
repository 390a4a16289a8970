"""Moves the bytes of a connection into the journal, through a pipe that outlives this process.

`splice` moves them from the socket to the pipe and from the pipe to the segment, so they do not pass through
this process. A TLS connection has to be read and written.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import ssl
import struct
import termios
from collections.abc import Callable

from amikafka_tail.journal.journal import Journal
from amikafka_tail.model.errors import SourceDisconnected
from amikafka_tail.model.live_source import Connection

PIPE_BYTES = 1024 * 1024
MAX_MOVE = 4 * 1024 * 1024
"""Bytes moved in one round at most, so that the pipeline has its turn."""


class DiskError(Exception):
    """The journal did not take the bytes; they wait in the pipe."""


class ConnectionClosed(SourceDisconnected):
    """The other side has closed the connection; all that it sent before has been moved."""


class Transfer:
    """The way from a socket to the journal. What has left the socket is never lost: it waits in the pipe.

    Nothing here blocks but the disk. `now_ms` gives the time of day in ms.
    """

    def __init__(self, journal: Journal, now_ms: Callable[[], int]) -> None:
        self._journal = journal
        self._now_ms = now_ms
        self._in_pipe = 0
        self._unwritten = b""
        self._pipe_out, self._pipe_in = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        # An unprivileged user may be over /proc/sys/fs/pipe-user-pages-soft.
        with contextlib.suppress(OSError):
            fcntl.fcntl(self._pipe_in, fcntl.F_SETPIPE_SZ, PIPE_BYTES)

    @property
    def pipe(self) -> tuple[int, int]:
        """The descriptors of the pipe: the end to read from, then the end to write to."""
        return self._pipe_out, self._pipe_in

    def resume(self, pipe_out: int, pipe_in: int) -> None:
        """Use the pipe of an earlier process, with what is still in it, in place of the own one."""
        self.close()
        self._pipe_out, self._pipe_in = pipe_out, pipe_in
        waiting = struct.unpack("i", fcntl.ioctl(pipe_out, termios.FIONREAD, bytes(4)))
        self._in_pipe = waiting[0]

    def begin(self, leftover: bytes) -> None:
        """Let what came with the login of a new connection be the first to move."""
        self._unwritten = leftover

    def move(self, connection: Connection) -> int:
        """Move what has come on a connection; return how many bytes that was.

        Raises `DiskError`, `ConnectionClosed`, and `SourceDisconnected` where the connection broke.
        """
        return self._receive(connection) if connection.tls else self._splice(connection)

    def finish(self) -> int:
        """Move to the journal what has left the socket; return how many bytes. Raises `DiskError`."""
        total = 0
        try:
            while self._in_pipe:
                moved = self._journal.splice_from(self._pipe_out, self._in_pipe, self._now_ms())
                self._in_pipe -= moved
                total += moved
            if self._unwritten:
                self._journal.append(self._unwritten, self._now_ms())
                total += len(self._unwritten)
                self._unwritten = b""
        except OSError as error:
            raise DiskError(error.strerror) from error
        return total

    def close(self) -> None:
        """Close the pipe."""
        os.close(self._pipe_in)
        os.close(self._pipe_out)

    def _splice(self, connection: Connection) -> int:
        total = 0
        while total < MAX_MOVE:
            try:
                count = os.splice(
                    connection.socket.fileno(),
                    self._pipe_in,
                    PIPE_BYTES,
                    flags=os.SPLICE_F_NONBLOCK | os.SPLICE_F_MOVE,
                )
            except BlockingIOError:
                break
            except OSError as error:
                raise SourceDisconnected(f"the connection broke: {error.strerror}") from error
            if not count:
                raise ConnectionClosed("Asterisk closed the connection")
            self._in_pipe = count
            self.finish()
            total += count
        return total

    def _receive(self, connection: Connection) -> int:
        total = 0
        while total < MAX_MOVE:
            try:
                self._unwritten = connection.socket.recv(PIPE_BYTES)
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError, BlockingIOError):
                break
            except OSError as error:
                raise SourceDisconnected(f"the connection broke: {error.strerror or error}") from error
            if not self._unwritten:
                raise ConnectionClosed("Asterisk closed the connection")
            total += len(self._unwritten)
            self.finish()
        return total

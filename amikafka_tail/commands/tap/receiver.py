"""Receives from a live source in a thread, so that Asterisk never waits for the reader of the output."""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import threading
import time
from collections.abc import Iterator

from amikafka_tail.commands.tap.window import Window
from amikafka_tail.model.errors import SourceDisconnected
from amikafka_tail.model.live_source import Connection

RECEIVE_BYTES = 65536
LAST_SECONDS = 5.0
"""How long the thread may take to end; it only waits for the socket."""


@contextlib.contextmanager
def received(connection: Connection, window: Window) -> Iterator[None]:
    """Receive from a connection into the window, and keep it alive; close it at the end."""
    thread = threading.Thread(target=_receive, args=(connection, window), name="receive", daemon=True)
    thread.start()
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            # Not SSLSocket.shutdown, which must not run in two threads.
            socket.socket.shutdown(connection.socket, socket.SHUT_RDWR)
        thread.join(LAST_SECONDS)
        connection.socket.close()


def _receive(connection: Connection, window: Window) -> None:
    window.put(connection.leftover, _now_ms())
    try:
        while True:
            window.put(_next(connection), _now_ms())
    except SourceDisconnected as error:
        window.end_with(str(error))


def _next(connection: Connection) -> bytes:
    """Return the next bytes, none if only half a TLS record has arrived. Blocks.

    Raises `SourceDisconnected`, also if Asterisk does not answer a Ping in time.
    """
    # select does not see what OpenSSL has decrypted already.
    if data := _taken(connection):
        return data
    if not _has_come(connection, connection.keepalive):
        with _without_waiting():
            connection.socket.send(connection.ping)
        if not _has_come(connection, connection.timeout):
            seconds = connection.keepalive + connection.timeout
            raise SourceDisconnected(f"Asterisk does not answer: nothing for {seconds:.0f} s")
    return _taken(connection)


def _taken(connection: Connection) -> bytes:
    with _without_waiting():
        if not (data := connection.socket.recv(RECEIVE_BYTES)):
            raise SourceDisconnected("Asterisk closed the connection")
        return data
    return b""


@contextlib.contextmanager
def _without_waiting() -> Iterator[None]:
    """Ignore an operation that would block. Raises `SourceDisconnected` for a broken connection."""
    try:
        yield
    except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
        pass
    except OSError as error:
        raise SourceDisconnected(f"the connection broke: {error.strerror or error}") from error


def _has_come(connection: Connection, seconds: float) -> bool:
    ready, _, _ = select.select([connection.socket], [], [], seconds)
    return bool(ready)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000

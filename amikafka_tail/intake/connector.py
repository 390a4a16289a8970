"""Makes the connections of a live source, in a thread of its own: the backlog is delivered meanwhile.

And lets them go so that nothing is lost.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import socket
import threading
from collections.abc import Callable
from typing import NamedTuple

from amikafka_tail.intake.backoff import Backoff
from amikafka_tail.model.identity import Identity
from amikafka_tail.model.live_source import Connection, LiveSource

RETRY_SECONDS, REFUSED_RETRY_SECONDS = 5.0, 30.0
"""Seconds between attempts at most: what happens meanwhile is lost. Refused logins get an address banned."""

log = logging.getLogger("amikafka.connection")


class Target(NamedTuple):
    """What to connect to, and the name that its connection has in the descriptor store."""

    source: LiveSource
    key: str


class Made(NamedTuple):
    """A connection, and what it was made to."""

    target: Target
    connection: Connection


class Connector:
    """One attempt at a time, with growing pauses after failures. Nothing here blocks.

    `wake` is called from the connecting thread when it has finished.
    """

    def __init__(self, target: Target, *, wake: Callable[[], None]) -> None:
        self.target = target
        """What is connected to from now on; the connection of an attempt to another one is closed."""
        self.connecting = False
        """Whether an attempt is under way."""
        self.due = 0.0
        """When the next attempt begins, on the caller's clock."""
        self._wake = wake
        self._backoff = Backoff()
        self._outcome: queue.SimpleQueue[tuple[Target, Connection | Exception]] = queue.SimpleQueue()
        self._closed = False

    def take(self, now: float) -> Made | Exception | None:
        """Begin an attempt when it is due; return what came of one, once it is over."""
        if not self.connecting and now >= self.due:
            self.connecting = True
            threading.Thread(target=self._connect, args=(self.target,), name="connect", daemon=True).start()
        if self._outcome.empty():
            return None
        self.connecting = False
        target, outcome = self._outcome.get()
        if target is not self.target:
            _close(outcome)
            return None
        return outcome if isinstance(outcome, Exception) else Made(target, outcome)

    def pause(self, now: float, *, refused: bool = False) -> float:
        """Put the next attempt off, longer after each failure and a refusal; return for how many seconds."""
        delay = min(self._backoff.delay(now), REFUSED_RETRY_SECONDS if refused else RETRY_SECONDS)
        self.due = now + delay
        return delay

    def succeeded(self, now: float) -> None:
        """Note that the last connection is in use since `now`."""
        self._backoff.connected(now)

    def close(self) -> None:
        """Make no connection any more; one that comes late is closed."""
        self._closed = True
        self._close_late()

    def _connect(self, target: Target) -> None:
        outcome: Connection | Exception
        try:
            outcome = target.source.connect()
        except Exception as error:  # the main loop says what it was
            outcome = error
        self._outcome.put((target, outcome))
        if self._closed:
            self._close_late()
        self._wake()

    def _close_late(self) -> None:
        with contextlib.suppress(queue.Empty):
            while True:
                _close(self._outcome.get_nowait()[1])


def _close(outcome: Connection | Exception) -> None:
    if not isinstance(outcome, Exception):
        outcome.socket.close()


def log_connected(connection: Connection, identity: Identity) -> None:
    """Log who the Asterisk is, and what a person should know of the connection."""
    for warning in connection.warnings:
        log.warning("%s", warning)
    log.info(
        "connected: asterisk=%s version=%s system_name=%s",
        connection.peer,
        identity.asterisk_version,
        identity.system_name or "-",
    )


def close_connection(connection: Connection) -> None:
    """Ask once more and say that nothing will follow: Asterisk answers, sends what it has, and closes.

    It looks for events after each action, but not when there is nothing more to read (main/manager.c,
    process_message and get_input).
    """
    with contextlib.suppress(OSError):
        connection.socket.send(connection.ping)
        # Not the method of an SSLSocket, which would end the reading too.
        socket.socket.shutdown(connection.socket, socket.SHUT_WR)

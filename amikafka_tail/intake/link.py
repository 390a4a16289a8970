"""A connection that is being recorded: when it was last heard, and when it has to be asked or given up."""

from __future__ import annotations

import ssl

from amikafka_tail.intake.connector import Target
from amikafka_tail.model.errors import SourceDisconnected
from amikafka_tail.model.live_source import Connection


class Link:
    """One connection, and what is known of how it does. Times are monotonic seconds."""

    def __init__(self, target: Target, connection: Connection, heard_at: float) -> None:
        self.target = target
        """What the connection was made to."""
        self.connection = connection
        self.inherited = False
        """Whether it is a previous process's, made with other options than those of now."""
        self.heard_at = heard_at
        """When the last sign of life came: what Asterisk did since then is lost if there is no other."""
        self.closed = False
        self._open_at = heard_at
        self._pinged_at: float | None = None

    @property
    def deadline(self) -> float:
        """When `keep_alive` has to be called at the latest."""
        if self._pinged_at is not None:
            return self._pinged_at + self.connection.timeout
        return self.heard_at + self.connection.keepalive

    def found_open(self, now: float) -> None:
        """Note that nothing is left to read and the connection is open: if it ends, it ends after that."""
        self._open_at = now

    def found_closed(self) -> None:
        """Note that Asterisk has closed it: perhaps right after it was last found open."""
        self.heard_at = self._open_at

    def heard(self, now: float) -> None:
        """Note a sign of life."""
        self.heard_at = now
        self._pinged_at = None

    def keep_alive(self, now: float) -> None:
        """Ask for a sign of life where there has been none for long. Raises `SourceDisconnected`."""
        connection = self.connection
        if self._pinged_at is not None:
            if now - self._pinged_at >= connection.timeout:
                raise SourceDisconnected(f"Asterisk does not answer: nothing for {now - self.heard_at:.0f} s")
        elif now - self.heard_at >= connection.keepalive:
            self._pinged_at = now
            try:
                connection.socket.send(connection.ping)
            except (BlockingIOError, ssl.SSLWantWriteError):
                pass  # no room for a few bytes: it is not reading, and the answer will be missing
            except OSError as error:
                raise SourceDisconnected(f"the connection broke: {error.strerror}") from error

    def close(self) -> None:
        """Close the connection."""
        self.connection.socket.close()
        self.closed = True

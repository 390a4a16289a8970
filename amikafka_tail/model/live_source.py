"""A live source cannot be read again, so the host records what it sends."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from typing import Protocol, runtime_checkable


class Connection(Protocol):
    """A connection after the login: only events arrive from now on."""

    @property
    def socket(self) -> socket.socket:
        """The socket, non-blocking."""

    @property
    def tls(self) -> bool:
        """Whether it is an `ssl.SSLSocket`."""

    @property
    def leftover(self) -> bytes:
        """Bytes read beyond the login."""

    @property
    def asterisk_version(self) -> str:
        """The version from CoreSettings, empty if the user may not read it."""

    @property
    def system_name(self) -> str:
        """The system name from CoreSettings, empty if there is none."""

    @property
    def warnings(self) -> Sequence[str]:
        """Warnings about this connection, for the log."""

    @property
    def peer(self) -> str:
        """The other side, for the log."""

    @property
    def ping(self) -> bytes:
        """A request that Asterisk answers."""

    @property
    def keepalive(self) -> float:
        """Seconds of silence before the host sends `ping`."""

    @property
    def timeout(self) -> float:
        """Seconds without an answer to `ping` before the host gives up."""


@runtime_checkable
class LiveSource(Protocol):
    """Makes connections. The host calls it from a thread of its own, one call at a time."""

    def connect(self) -> Connection:
        """Return a connection that is ready to be recorded. Blocks, within its own time limit.

        Raises `SourceDisconnected` if a retry may help, `LoginRefused` if a person has to act.
        """


@runtime_checkable
class Resumable(Protocol):
    """A live source whose connections can outlive the process in systemd's file descriptor store."""

    def resume(self, handed_over: socket.socket) -> Connection:
        """Return the connection on a socket that an earlier process logged in on. Sends nothing."""

"""What a live source is: one that cannot be asked again, so the host records what it sends."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from typing import Protocol


class Connection(Protocol):
    """A connection on which nothing but events comes any more, ready to be recorded.

    `socket` is non-blocking; with `tls` it is an `ssl.SSLSocket`. `leftover` is what was read from it beyond
    the login. After `keepalive` seconds of silence the host sends `ping`, and after `timeout` more without a
    byte it gives the connection up. `peer` names the other side in logs, `warnings` go there once.
    """

    @property
    def socket(self) -> socket.socket: ...
    @property
    def tls(self) -> bool: ...
    @property
    def leftover(self) -> bytes: ...
    @property
    def asterisk_version(self) -> str: ...
    @property
    def system_name(self) -> str: ...
    @property
    def warnings(self) -> Sequence[str]: ...
    @property
    def peer(self) -> str: ...
    @property
    def ping(self) -> bytes: ...
    @property
    def keepalive(self) -> float: ...
    @property
    def timeout(self) -> float: ...


class LiveSource(Protocol):
    """Makes connections. The host calls it from a thread of its own, one call at a time."""

    def connect(self) -> Connection:
        """Return a connection that is ready to be recorded. Blocks, within its own time limit.

        Raises `SourceDisconnected` where trying again may help, `LoginRefused` where a person has to act.
        """

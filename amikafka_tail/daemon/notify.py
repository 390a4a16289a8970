"""Notifies systemd of the service's state: sd_notify(3) through the sdnotify package."""

from __future__ import annotations

import os
import time

import sdnotify


class Notifier:
    """Sends datagrams to systemd if it expects them, else does nothing."""

    def __init__(self) -> None:
        self._notifier = sdnotify.SystemdNotifier()
        allowed = os.environ.get("WATCHDOG_USEC", "")
        # Half the allowed time, as sd_watchdog_enabled(3) recommends.
        self._interval = int(allowed) / 2e6 if allowed.isdigit() and int(allowed) > 0 else None
        self._next = 0.0

    def tell(self, *lines: str) -> None:
        """Send one datagram as ASCII. sdnotify silently drops a datagram that is not Latin-1."""
        self._notifier.notify("\n".join(lines).encode("ascii", "replace").decode())

    def keep_alive(self) -> None:
        """Notify the watchdog that the main loop is alive, if that is due. Call it every round."""
        if self._interval is not None and (now := time.monotonic()) >= self._next:
            self._next = now + self._interval
            self.tell("WATCHDOG=1")

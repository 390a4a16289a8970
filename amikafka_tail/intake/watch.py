"""Wakes the loop when something happens in a directory, by inotify."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path

from watchdog.events import FileSystemEvent, FileSystemEventHandler
from watchdog.observers import Observer

log = logging.getLogger("amikafka.watch")
READING = ("opened", "closed_no_write")


class Watch:
    """Calls `wake` once after each `arm`: a busy log would keep a thread busy for nothing."""

    def __init__(self, wake: Callable[[], None]) -> None:
        self.fired = False
        """Whether something has happened since the last `arm`."""
        self._wake = wake
        self._armed = False
        self._is_usable = True
        self._observer = Observer()
        self._observer.daemon = True
        self._observer.start()

    def arm(self, directories: set[Path]) -> bool:
        """Watch directories; return whether that is possible. What came before has to be looked for after."""
        if self._armed and not self.fired:
            return True
        self.disarm()
        self.fired = False
        if not self._is_usable or not _readable(directories):
            return False
        try:
            for directory in directories:
                self._observer.schedule(_Handler(self._fire), str(directory), recursive=False)
        except OSError as error:
            # Each attempt that fails leaves descriptors (watchdog 2 to 6) and handlers behind.
            self._observer.unschedule_all()
            if _readable(directories):
                self._is_usable = False
                log.warning("no inotify, looking now and then instead: %s", error.strerror)
            return False
        self._armed = True
        return True

    def disarm(self) -> None:
        """Watch nothing."""
        if self._armed:
            self._observer.unschedule_all()
            self._armed = False

    def close(self) -> None:
        """End the thread."""
        self._observer.stop()
        self._observer.join(5)

    def _fire(self) -> None:
        if not self.fired:
            self.fired = True
            self._wake()


def _readable(directories: set[Path]) -> bool:
    return all(os.access(directory, os.R_OK) for directory in directories)


class _Handler(FileSystemEventHandler):
    def __init__(self, fire: Callable[[], None]) -> None:
        self._fire = fire

    def on_any_event(self, event: FileSystemEvent) -> None:
        # To look at a file is to open and close it.
        if event.event_type not in READING:
            self._fire()

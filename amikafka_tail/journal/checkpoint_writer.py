"""Makes what happened durable, at an interval, in a thread of its own: disks can take their time."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from pathlib import Path

from amikafka_tail.journal import checkpoint
from amikafka_tail.journal.checkpoint import Checkpoint

log = logging.getLogger("amikafka.checkpoint")


class CheckpointWriter:
    """Syncs the journal and stores the checkpoint every `interval` seconds, where there is anything new.

    `stored` is what is in the checkpoint file. `released` says what may be stored now, `end` up to where
    there is something to sync; both are called from the thread.
    """

    def __init__(
        self,
        path: Path,
        *,
        stored: Checkpoint,
        released: Callable[[], Checkpoint],
        end: Callable[[], int],
        sync: Callable[[], None],
        interval: float,
    ) -> None:
        self.stored = stored
        self._path = path
        self._released = released
        self._end = end
        self._sync = sync
        self._interval = interval
        self._synced = -1
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="checkpoint-writer", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Stop the thread and store the last checkpoint. Blocks for the disk. Raises `OSError`."""
        self._stop.set()
        self._thread.join()
        self.save()

    def save(self) -> None:
        """Sync and store now. Raises `OSError`."""
        end, released = self._end(), self._released()
        if end != self._synced:
            self._sync()
            self._synced = end
        if released != self.stored or not self._path.exists():
            checkpoint.store(self._path, released)
            self.stored = released

    def _run(self) -> None:
        failed = False
        while not self._stop.wait(self._interval):
            try:
                self.save()
            except OSError as error:
                if not failed:
                    file = error.filename or self._path
                    log.error("the checkpoint cannot be stored: %s: %s", file, error.strerror)
                failed = True
            else:
                if failed:
                    log.warning("the checkpoint can be stored again")
                failed = False

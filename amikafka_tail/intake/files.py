"""Where events of files come in that others write: they are read where they are."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable
from typing import Any

from amikafka_tail.config.settings import Settings
from amikafka_tail.delivery.transactions import Committed
from amikafka_tail.intake import build_source
from amikafka_tail.intake.fd_store import discard_handed_over
from amikafka_tail.intake.watch import Watch
from amikafka_tail.journal.checkpoint import Checkpoint
from amikafka_tail.journal.journal import lock_directory
from amikafka_tail.model.counters import Counters
from amikafka_tail.model.replayable_source import FollowingReader, ReplayableSource
from amikafka_tail.plugins.registry import Registry

ACTIVE_SECONDS = 1.0
ACTIVE_POLL = 0.01
"""Seconds between two looks at files while something comes."""
WATCHED_POLL = 5.0
"""Seconds between two looks where the kernel tells of changes: for what it may not tell."""


class FileIntake:
    """Files that others write are read where they are."""

    start = 0
    fixed_offsets = False
    pushed_filters = 0

    def __init__(
        self,
        source: ReplayableSource,
        settings: Settings,
        registry: Registry,
        *,
        stored: Checkpoint | None,
        counters: Counters,
        wake: Callable[[], None],
    ) -> None:
        self._settings = settings
        self._registry = registry
        self._counters = counters
        self._lock = lock_directory(settings.journal.directory)
        self._wake = wake
        self._watch: Watch | None = None
        self._epoch = stored.epoch if stored else uuid.uuid4().hex
        self._is_first = stored is None
        self._released = stored.offset if stored else 0
        self._open(source, settings, self._released, stored.bookmark if stored else None)
        discard_handed_over(os.environ)

    def _open(
        self, source: ReplayableSource, settings: Settings, position: int, bookmark: dict[str, Any] | None
    ) -> None:
        reader = source.open(
            position=position,
            bookmark=bookmark,
            counters=self._counters,
            identify=build_source.identify_log(settings),
        )
        self._reader: FollowingReader = reader
        self._source = source
        if self._watch is not None:
            self._watch.close()
        self._watch = Watch(self._wake) if source.watch == "inotify" else None
        self._look_at = 0.0
        self._search_at = 0.0
        self._active_until = 0.0
        self._read_until = -1
        self._furthest = position

    @property
    def state(self) -> str:
        """Why something cannot be read, or that all is."""
        return self._reader.problem or "reading"

    @property
    def healthy(self) -> bool:
        """Whether all can be read."""
        return self._reader.problem is None

    @property
    def peer(self) -> None:
        """There is no connection."""

    @property
    def identity(self) -> None:
        """Each file may be of another."""

    @property
    def held(self) -> None:
        """There is no journal."""

    def captured_ms(self, position: int) -> None:
        """Return nothing: files do not say when they were written."""

    @property
    def end(self) -> int:
        """Offset of the end, as far as it is known."""
        return self._reader.end

    @property
    def recorded(self) -> int:
        """Return 0: nothing is recorded. The reader's own end is no matter of another thread."""
        return 0

    def reader_at(self, position: int, *, in_block: bool = False) -> FollowingReader:
        """Return the reader, which goes on at the offset."""
        assert not in_block
        if position != self._reader.position:
            self._reader.seek(position)
        return self._reader

    def collect(self) -> bool:
        """See whether the last look gave anything, and when the next one is due. Nothing is moved."""
        now = time.monotonic()
        if self._reader.position != self._read_until:
            self._read_until = self._reader.position
            self._furthest = max(self._furthest, self._read_until)
            self._active_until = now + ACTIVE_SECONDS
            if self._watch is not None:
                self._watch.disarm()
        is_active = now < self._active_until
        is_due = now >= self._look_at or (self._watch is not None and self._watch.fired)
        # One log that is never quiet does not keep us from the others.
        if now >= self._search_at or (is_due and not is_active):
            self._reader.look_for_files()
            self._search_at = now + WATCHED_POLL
        if is_active:
            self._look_at = now + ACTIVE_POLL
        elif is_due:
            armed = self._watch is not None and self._watch.arm(self._reader.directories)
            self._look_at = now + (WATCHED_POLL if armed else self._source.poll_interval)
        return False

    def fileno(self) -> None:
        """Return nothing: the watch wakes the loop itself."""

    def deadline(self) -> float:
        """Return when to look again."""
        return self._look_at

    def release(self, position: int, *, stored: int) -> None:  # noqa: ARG002 - files stay, whatever is stored
        """Note what is delivered."""
        self._reader.release(position)
        self._released = position

    def checkpoint(self, position: int) -> Checkpoint:
        """Return the offset with where to go on in the files."""
        return Checkpoint(epoch=self._epoch, offset=position, bookmark=self._reader.bookmark(position))

    def resume(self, committed: Committed) -> FollowingReader | None:
        """Return a reader that goes on there, if that is known to be about these files."""
        # Where nothing is stored here the checkpoint was lost: the names of the files say enough.
        checkpoint = committed.checkpoint
        if checkpoint.epoch != self._epoch and not self._is_first:
            return None
        if committed.is_own and self._released <= checkpoint.offset <= self._furthest:
            # What this reader has read keeps its offsets: events that were given up are known by them.
            self._reader.seek(checkpoint.offset)
            return self._reader
        before = self._reader
        self._open(self._source, self._settings, checkpoint.offset, checkpoint.bookmark)
        before.close()
        return self._reader

    def sync(self) -> None:
        """Do nothing: the files are others'."""

    def reload(self, settings: Settings) -> None:
        """Read other files where the source has changed."""
        if settings.source_options != self._settings.source_options:
            source = build_source.source(settings, self._registry)
            assert isinstance(source, ReplayableSource)
            before = self._reader
            self._open(source, settings, self._released, before.bookmark(self._released))
            before.close()
        self._settings = settings

    def finish(self) -> None:
        """Do not look at the files any more."""
        if self._watch is not None:
            self._watch.close()

    def close(self) -> None:
        """Close the files."""
        self._reader.close()
        os.close(self._lock)

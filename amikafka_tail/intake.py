"""Where the events come in: a live source with its recorder and journal, or files that others write."""

from __future__ import annotations

import logging
import os
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from amikafka_tail import build, checkpoint
from amikafka_tail.checkpoint import Checkpoint, DamagedCheckpoint
from amikafka_tail.config.settings import Settings
from amikafka_tail.errors import ConfigError, Problem
from amikafka_tail.handover import DescriptorStore, take_descriptors
from amikafka_tail.journal import Journal, lock_directory
from amikafka_tail.metrics import Counters
from amikafka_tail.plugins import Registry
from amikafka_tail.reader import StreamReader
from amikafka_tail.recorder import Recorder
from amikafka_tail.sources.live import LiveSource
from amikafka_tail.sources.replayable import FollowingReader, Reader, ReplayableSource
from amikafka_tail.watch import Watch

LAST_EVENT_SECONDS = 0.5
"""How long a stop waits for the rest of an event that Asterisk has begun to send."""
ACTIVE_SECONDS = 1.0
ACTIVE_POLL = 0.01
"""Seconds between two looks at files while something comes."""
WATCHED_POLL = 5.0
"""Seconds between two looks where the kernel tells of changes: for what it may not tell."""

log = logging.getLogger("amikafka")


class Intake(Protocol):
    """What the service needs of either."""

    fixed_offsets: bool
    """Whether an event has the same offset whenever it is read again, whatever happens."""

    @property
    def state(self) -> str:
        """How it is, in words for `systemctl status`."""
        ...

    @property
    def end(self) -> int:
        """Offset of the next byte to come."""
        ...

    def reader_at(self, position: int, *, in_block: bool = False) -> Reader:
        """Return a reader that goes on at an offset."""
        ...

    def collect(self) -> bool:
        """Take in what has come; return whether there was anything."""
        ...

    def fileno(self) -> int | None:
        """Return the descriptor to wait on for more."""
        ...

    def deadline(self) -> float:
        """Return when `collect` has to be called at the latest, on the monotonic clock."""
        ...

    def release(self, position: int) -> None:
        """Everything before an offset is delivered."""

    def checkpoint(self, position: int) -> Checkpoint:
        """Return what to store once everything before `position`, the end of a chunk, is delivered."""
        ...

    def resume(self, committed: Checkpoint) -> Reader | None:
        """Return a reader that goes on where Kafka says that another process was, `None` where that is not
        known here.
        """
        ...

    def sync(self) -> None:
        """Wait until what has come in is on the disk. May be called from another thread."""

    def reload(self, settings: Settings) -> None:
        """Go on as the settings say now. Raises `AmikafkaError`, and nothing has changed then."""

    def finish(self) -> None:
        """Take nothing in any more."""

    def close(self) -> None:
        """Close what is open."""


class LiveIntake:
    """A recorder writes what comes into the journal, which is read."""

    fixed_offsets = True

    def __init__(
        self,
        source: LiveSource,
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
        self._journal = Journal(
            settings.journal.directory / "journal",
            segment_bytes=settings.journal.segment_bytes,
            max_bytes=settings.journal.max_bytes,
            checkpoint=stored,
        )
        self.start = self._journal.start
        self._began_at = self._journal.end
        self._began_whole = self._journal.ends_whole()
        self._has_resumed = False
        self._recorder = Recorder(
            source,
            self._journal,
            identify=build.identify(settings),
            counters=counters,
            wake=wake,
            clock=time.monotonic,
            now_ms=lambda: time.time_ns() // 1_000_000,
            store=DescriptorStore(os.environ.get("NOTIFY_SOCKET")),
            key=build.source_key(settings),
        )
        self._recorder.resume(take_descriptors(os.environ))

    @property
    def state(self) -> str:
        """Why nothing is recorded, or that it is."""
        return self._recorder.disk_problem or self._recorder.problem or "connected"

    @property
    def end(self) -> int:
        """Offset of the journal's end."""
        return self._journal.end

    def reader_at(self, position: int, *, in_block: bool = False) -> StreamReader:
        """Return a reader of the journal."""
        return StreamReader(self._journal, position, in_block=in_block, counters=self._counters)

    def collect(self) -> bool:
        """Record what has come."""
        return self._recorder.collect()

    def fileno(self) -> int | None:
        """Return the connection's descriptor."""
        return self._recorder.fileno()

    def deadline(self) -> float:
        """Return when the recorder has to be called."""
        return self._recorder.deadline()

    def release(self, position: int) -> None:
        """Delete what is delivered, tell what the journal had to give up."""
        # Even before the checkpoint is stored: on a full disk it can only be stored after this.
        self._journal.release(position)
        if self._recorder.disk_problem is not None:
            self._journal.free(position)
        for dropped in self._journal.dropped:
            self._counters.lost += dropped.events
            log.error(
                "the journal is full, its oldest segment was dropped: lost_events=%d lost_bytes=%d offset=%d"
                " ([journal] max_bytes says how much it may hold)",
                dropped.events,
                dropped.end - dropped.start,
                dropped.start,
            )
        self._journal.dropped.clear()

    def checkpoint(self, position: int) -> Checkpoint:
        """Return the offset with the journal's epoch."""
        return Checkpoint(epoch=self._journal.epoch, offset=position)

    def resume(self, committed: Checkpoint) -> StreamReader | None:
        """Return a reader that goes on at the offset, if it is one of this journal."""
        if committed.epoch != self._journal.epoch:
            return None
        is_first, self._has_resumed = not self._has_resumed, True
        if is_first and committed.offset > self._began_at:
            # What has been recorded since stands where something else was committed.
            log.error(
                "the journal has lost its end: offset=%d, and in Kafka is what came before offset=%d",
                self._began_at,
                committed.offset,
            )
            return self.reader_at(self._began_at, in_block=not self._began_whole)
        return self.reader_at(committed.offset)

    def sync(self) -> None:
        """Sync the journal."""
        self._journal.sync()

    def reload(self, settings: Settings) -> None:
        """Connect anew where the source has changed."""
        previous, self._settings = self._settings, settings
        if (settings.source, settings.source_options) != (previous.source, previous.source_options):
            source = build.source(settings, self._registry)
            assert isinstance(source, LiveSource)
            self._recorder.replace_source(source, build.source_key(settings))

    def finish(self) -> None:
        """Record to the end of an event, then close the connection."""
        until = time.monotonic() + LAST_EVENT_SECONDS
        while self._recorder.collect() or not self._journal.ends_whole():
            if not self._recorder.connected or time.monotonic() > until:
                break
        self._recorder.close()

    def close(self) -> None:
        """Close the journal."""
        self._journal.close()


class FileIntake:
    """Files that others write are read where they are."""

    start = 0
    fixed_offsets = False

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

    def _open(
        self, source: ReplayableSource, settings: Settings, position: int, bookmark: dict[str, Any] | None
    ) -> None:
        reader = source.open(
            position=position,
            bookmark=bookmark,
            counters=self._counters,
            identify=build.identify_log(settings),
        )
        self._reader: FollowingReader = reader
        self._source = source
        if self._watch is not None:
            self._watch.close()
        self._watch = Watch(self._wake) if source.watch == "inotify" else None
        self._look_at = 0.0
        self._active_until = 0.0
        self._read_until = -1

    @property
    def state(self) -> str:
        """Why something cannot be read, or that all is."""
        return self._reader.problem or "reading"

    @property
    def end(self) -> int:
        """Offset of the end, as far as it is known."""
        return self._reader.end

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
            self._active_until = now + ACTIVE_SECONDS
            if self._watch is not None:
                self._watch.disarm()
        if now < self._active_until:
            self._look_at = now + ACTIVE_POLL
        elif now >= self._look_at or (self._watch is not None and self._watch.fired):
            self._reader.look_for_files()
            armed = self._watch is not None and self._watch.arm(self._reader.directories)
            self._look_at = now + (WATCHED_POLL if armed else self._source.poll_interval)
        return False

    def fileno(self) -> None:
        """Return nothing: the watch wakes the loop itself."""

    def deadline(self) -> float:
        """Return when to look again."""
        return self._look_at

    def release(self, position: int) -> None:
        """Note what is delivered."""
        self._reader.release(position)
        self._released = position

    def checkpoint(self, position: int) -> Checkpoint:
        """Return the offset with where to go on in the files."""
        return Checkpoint(epoch=self._epoch, offset=position, bookmark=self._reader.bookmark(position))

    def resume(self, committed: Checkpoint) -> FollowingReader | None:
        """Return a reader that goes on there, if that is known to be about these files."""
        # Where nothing is stored here the checkpoint was lost: the names of the files say enough.
        if committed.epoch != self._epoch and not self._is_first:
            return None
        before = self._reader
        self._open(self._source, self._settings, committed.offset, committed.bookmark)
        before.close()
        return self._reader

    def sync(self) -> None:
        """Do nothing: the files are others'."""

    def reload(self, settings: Settings) -> None:
        """Read other files where the source has changed."""
        if settings.source_options != self._settings.source_options:
            source = build.source(settings, self._registry)
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


def checkpoint_path(settings: Settings, source: LiveSource | ReplayableSource) -> Path:
    """Return where the checkpoint of the source is stored."""
    live = isinstance(source, LiveSource)
    return settings.journal.directory / ("checkpoint.json" if live else f"checkpoint-{settings.source}.json")


def load_checkpoint(settings: Settings, source: LiveSource | ReplayableSource) -> Checkpoint | None:
    """Return the stored checkpoint, `None` where there is none. Raises `JournalError`.

    A damaged one of a live source is moved away: what the journal still has is sent again, while refusing to
    start would lose what happens meanwhile. Files wait until a person has looked.
    """
    path = checkpoint_path(settings, source)
    try:
        return checkpoint.load(path)
    except DamagedCheckpoint as error:
        if not isinstance(source, LiveSource):
            raise DamagedCheckpoint(
                f"{error}; move it away to begin as [{settings.source}] start says"
            ) from error
        aside = path.with_name(f"{path.name}.damaged")
        path.replace(aside)
        log.error("%s; moved to %s: what the journal still has is sent again", error, aside)
        return None


def open_intake(
    source: LiveSource | ReplayableSource,
    settings: Settings,
    registry: Registry,
    *,
    stored: Checkpoint | None,
    counters: Counters,
    wake: Callable[[], None],
) -> LiveIntake | FileIntake:
    """Open the intake of the source, which the settings name. Raises `AmikafkaError`."""
    kind = LiveIntake if isinstance(source, LiveSource) else FileIntake
    return kind(source, settings, registry, stored=stored, counters=counters, wake=wake)  # type: ignore[arg-type]


def refuse_other_kind(settings: Settings, previous: Settings) -> None:
    """Raise `ConfigError` where a reload would need another intake."""
    if settings.source != previous.source:
        message = f'the source changes from "{previous.source}" to "{settings.source}": that takes a restart'
        raise ConfigError([Problem(message=message, file=settings.path, section="general", key="source")])

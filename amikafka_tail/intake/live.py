"""Where events of a connection come in: a recorder writes them into the journal, which is read."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from typing import Any

from amikafka_tail.config.settings import Settings
from amikafka_tail.delivery.transactions import Committed
from amikafka_tail.intake import build_source
from amikafka_tail.intake.fd_store import FdStore, take_descriptors
from amikafka_tail.intake.recorder import Recorder
from amikafka_tail.intake.stream_reader import StreamReader
from amikafka_tail.journal.checkpoint import Checkpoint
from amikafka_tail.journal.journal import Journal
from amikafka_tail.model.counters import Counters
from amikafka_tail.model.identity import Identity
from amikafka_tail.model.live_source import LiveSource
from amikafka_tail.plugins.registry import Registry

LAST_EVENT_SECONDS = 0.5
"""How long a stop waits for the rest of an event that Asterisk has begun to send."""

log = logging.getLogger("amikafka")


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
        self._has_lost_end = False
        self._reader: StreamReader | None = None
        self._recorder = Recorder(
            source,
            self._journal,
            identify=build_source.identify(settings),
            counters=counters,
            wake=wake,
            clock=time.monotonic,
            now_ms=_now_ms,
            store=FdStore(os.environ.get("NOTIFY_SOCKET")),
            key=build_source.source_key(settings),
        )
        self._recorder.resume(take_descriptors(os.environ))

    @property
    def state(self) -> str:
        """Why nothing is recorded, or that it is."""
        return self._recorder.disk_problem or self._recorder.problem or "connected"

    @property
    def healthy(self) -> bool:
        """Whether there is a connection and a journal that can be written."""
        return self._recorder.disk_problem is None and self._recorder.problem is None

    @property
    def peer(self) -> str | None:
        """Address of the Asterisk."""
        return self._recorder.peer

    @property
    def identity(self) -> Identity | None:
        """Who the Asterisk of the last connection is."""
        return self._journal.identity_at(self._journal.end)

    @property
    def pushed_filters(self) -> int:
        """By how many filters Asterisk decides what to send on the last connection."""
        return self._journal.filters_at(self._journal.end)

    @property
    def held(self) -> int:
        """Bytes in the journal."""
        return self._journal.size

    def captured_ms(self, position: int) -> int | None:
        """Return when the recorder took it from the connection."""
        at = self._journal.next_readable(position)
        return self._journal.capture_times(at, at)[0].captured_ms if at < self._journal.end else None

    @property
    def end(self) -> int:
        """Offset of the journal's end."""
        return self._journal.end

    @property
    def recorded(self) -> int:
        """Offset of the journal's end."""
        return self._journal.end

    def reader_at(self, position: int, *, in_block: bool = False) -> StreamReader:
        """Return the reader of the journal, which goes on at the offset; it knows what it has counted."""
        if self._reader is None or in_block:
            self._reader = StreamReader(
                self._journal, position, in_block=in_block, counters=self._counters, now_ms=_now_ms
            )
        else:
            self._reader.seek(position)
        return self._reader

    def collect(self) -> bool:
        """Record what has come."""
        return self._recorder.collect()

    def fileno(self) -> int | None:
        """Return the connection's descriptor."""
        return self._recorder.fileno()

    def deadline(self) -> float:
        """Return when the recorder has to be called, or the reader gives an event out."""
        due = self._recorder.deadline()
        if self._reader is not None and (due_in_ms := self._reader.due_in_ms):
            due = min(due, time.monotonic() + due_in_ms / 1000)
        return due

    def release(self, position: int, *, stored: int) -> None:
        """Delete what is delivered, tell what the journal had to give up."""
        if self._recorder.disk_problem is None:
            self._journal.release(position, stored=stored)
        else:
            # Even before the checkpoint is stored: on a full disk it can only be stored after this.
            self._journal.release(position)
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

    def resume(self, committed: Committed) -> StreamReader | None:
        """Return a reader that goes on at the offset, if it is one of this journal."""
        epoch, offset = committed.checkpoint.epoch, committed.checkpoint.offset
        if epoch != self._journal.epoch:
            return None
        if offset > self._began_at and not committed.is_own:
            # What has been recorded since stands where something else was committed.
            if self._has_lost_end:
                return None
            self._has_lost_end = True
            log.error(
                "the journal has lost its end: offset=%d, and in Kafka is what came before offset=%d",
                self._began_at,
                offset,
            )
            return self.reader_at(self._began_at, in_block=not self._began_whole)
        return self.reader_at(offset)

    def sync(self) -> None:
        """Sync the journal."""
        self._journal.sync()

    def reload(self, settings: Settings) -> None:
        """Connect anew where the source has changed."""
        if _connected_to(settings) != _connected_to(self._settings):
            source = build_source.source(settings, self._registry)
            assert isinstance(source, LiveSource)
            self._recorder.replace_source(source, build_source.source_key(settings))
        self._settings = settings

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


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _connected_to(settings: Settings) -> tuple[Any, ...]:
    return settings.source, settings.source_options, settings.pushed

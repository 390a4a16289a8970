"""Where the events come in: a live source with its recorder and journal, or files that others write."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from amikafka_tail.config.settings import Settings
from amikafka_tail.delivery.transactions import Committed
from amikafka_tail.intake.files import FileIntake
from amikafka_tail.intake.live import LiveIntake
from amikafka_tail.journal import checkpoint
from amikafka_tail.journal.checkpoint import Checkpoint, DamagedCheckpoint
from amikafka_tail.model.counters import Counters
from amikafka_tail.model.errors import ConfigError, Problem
from amikafka_tail.model.identity import Identity
from amikafka_tail.model.live_source import LiveSource
from amikafka_tail.model.replayable_source import Reader, ReplayableSource
from amikafka_tail.plugins.registry import Registry

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
    def healthy(self) -> bool:
        """Whether events can come in."""
        ...

    @property
    def peer(self) -> str | None:
        """Address of the Asterisk, where there is a connection."""
        ...

    @property
    def identity(self) -> Identity | None:
        """Who the Asterisk is, as far as it is known, before the configuration's overrides."""
        ...

    @property
    def pushed_filters(self) -> int:
        """By how many filters Asterisk itself decides what to send."""
        ...

    @property
    def held(self) -> int | None:
        """Bytes in the journal, `None` where there is none."""
        ...

    def captured_ms(self, position: int) -> int | None:
        """Return when what stands at an offset was taken from Asterisk, if that is known."""
        ...

    @property
    def end(self) -> int:
        """Offset of the next byte to come."""
        ...

    @property
    def recorded(self) -> int:
        """Offset up to which there is something to sync. May be called from another thread."""
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

    def release(self, position: int, *, stored: int) -> None:
        """Everything before an offset is delivered, and before `stored` the checkpoint file says so."""

    def checkpoint(self, position: int) -> Checkpoint:
        """Return what to store once everything before `position`, the end of a chunk, is delivered."""
        ...

    def resume(self, committed: Committed) -> Reader | None:
        """Return a reader that goes on where Kafka says that the last commit was, `None` where that is not
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

"""The daemon's life cycle: start, main loop, signals, notifications to systemd, shutdown."""

from __future__ import annotations

import contextlib
import logging
import os
import select
import signal
import socket
import time
import uuid
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from types import FrameType

from amikafka_tail import __version__
from amikafka_tail.config.settings import Settings
from amikafka_tail.daemon import logs
from amikafka_tail.daemon.notify import Notifier
from amikafka_tail.daemon.reloads import Reloads
from amikafka_tail.daemon.status.endpoints import Endpoints
from amikafka_tail.daemon.status.gather import Daemon
from amikafka_tail.delivery import build
from amikafka_tail.delivery.acknowledged import Acknowledged
from amikafka_tail.delivery.pipeline import Pipeline
from amikafka_tail.intake import build_source
from amikafka_tail.intake.fd_store import discard_handed_over
from amikafka_tail.intake.intake import checkpoint_path, load_checkpoint, open_intake, refuse_other_kind
from amikafka_tail.journal.checkpoint_writer import CheckpointWriter
from amikafka_tail.journal.dead_letters import DeadLetters
from amikafka_tail.kafka.producer import libraries
from amikafka_tail.model import speedups
from amikafka_tail.model.counters import Counters
from amikafka_tail.model.errors import AmikafkaError, ConfigError
from amikafka_tail.plugins.registry import Registry

DRAIN_SECONDS = 5.0
"""How long a stop or a reload waits for Kafka. What is not delivered by then stays in the journal."""
ACTIVE_SECONDS = 1.0
"""For this long after the last progress, the loop polls for reports every ms; then 50 times a second."""
PATIENT_SECONDS = 10.0
"""After this long without progress, Kafka is unavailable: the loop polls once a second."""
STATUS_SECONDS = 5.0
SIGNALS = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGHUP})

log = logging.getLogger("amikafka")


class Service:
    """One daemon: a source, a journal, a pipeline. `load` reads the configuration for a reload.

    Raises `AmikafkaError` if it cannot start.
    """

    def __init__(self, settings: Settings, registry: Registry, load: Callable[[], Settings]) -> None:
        self._settings = settings
        self._registry = registry
        self._load = load
        self._counters = Counters()
        self._notifier = Notifier()
        self._reloads = Reloads(os.environ)
        self._owner = uuid.uuid4().hex
        self._stop_requested = False
        self._reload_requested = False
        self._active_until = 0.0
        self._next_status = 0.0
        self._status = ""
        self._status_events = 0
        self._wake_reader, self._wake_writer = socket.socketpair()
        self._wake_reader.setblocking(False)
        self._wake_writer.setblocking(False)

        source = build_source.source(settings, registry)
        path = checkpoint_path(settings, source)
        stored = load_checkpoint(settings, source)
        self._intake = open_intake(
            source, settings, registry, stored=stored, counters=self._counters, wake=self._wake
        )
        self._endpoints = Endpoints(settings, self._counters, wake=self._wake, environment=os.environ)
        self._dead_letters = DeadLetters(settings.journal.directory / "dead-letter.jsonl")
        position = stored.offset if stored else self._intake.start
        self._released = self._intake.checkpoint(position)
        self._pipeline = self._make_pipeline(position, in_block=stored is None and position > 0)
        self._checkpoint_writer = CheckpointWriter(
            path,
            stored=self._released,
            released=lambda: self._released,
            end=lambda: self._intake.recorded,
            sync=self._intake.sync,
            interval=settings.journal.fsync_interval,
        )

    def _make_pipeline(
        self, position: int, *, in_block: bool = False, acknowledged: Acknowledged | None = None
    ) -> Pipeline:
        transactions = build.transactions(
            self._settings,
            owner=self._owner,
            checkpoint=self._intake.checkpoint,
            sync=self._intake.sync,
            on_statistics=self._endpoints.statistics.take,
        )
        connect = partial(build.producer, self._settings, on_statistics=self._endpoints.statistics.take)
        return Pipeline(
            self._intake.reader_at(position, in_block=in_block),
            messages=build.messages(
                self._settings,
                self._registry,
                epoch=self._released.epoch,
                fixed_offsets=self._intake.fixed_offsets,
                counts=self._counters.kinds,
            ),
            connect=transactions.connect if transactions else connect,
            transactions=transactions,
            resume=self._intake.resume,
            dead_letters=self._dead_letters,
            counters=self._counters,
            clock=time.monotonic,
            acknowledged=acknowledged,
        )

    def run(self) -> None:
        """Publish events until SIGTERM or SIGINT. Must be called from the main thread."""
        self._listen_to_signals()
        accelerator = speedups.found()
        log.info(
            "amikafka %s (%s): source=%s format=%s topic=%s journal=%s lag_bytes=%d speedups=%s",
            __version__,
            libraries(),
            self._settings.source,
            self._settings.format,
            self._settings.topic,
            self._settings.journal.directory,
            self._pipeline.lag,
            accelerator.used,
        )
        if accelerator.advice:
            log.warning("%s: each event costs more CPU time; %s", accelerator.reason, accelerator.advice)
        self._checkpoint_writer.start()
        self._endpoints.start()
        self._notifier.tell("READY=1", "STATUS=starting")
        while not self._stop_requested:
            if self._reload_requested:
                self._reload_requested = False
                self._reload()
            if not self._round():
                self._wait()
            self._notifier.keep_alive()
            self._report()
            self._endpoints.tick(Daemon(self._settings, self._intake, self._pipeline))
        self._endpoints.stop()
        self._stop()

    def _round(self) -> bool:
        """Record new bytes, send a chunk, release what is delivered; return whether anything moved."""
        moved = self._intake.collect()
        before = self._pipeline.ledger.position
        stepped = self._pipeline.step()
        if stepped or self._pipeline.ledger.position != before:
            self._active_until = time.monotonic() + ACTIVE_SECONDS
        self._release()
        return moved or stepped

    def _release(self) -> None:
        """Release what is delivered; from here on the checkpoint may move past it."""
        position = self._pipeline.ledger.position
        self._intake.release(position, stored=self._checkpoint_writer.stored.offset)
        if position != self._released.offset:
            self._released = self._intake.checkpoint(position)

    def _note(self) -> None:
        """Put newly opened files into the checkpoint, even if nothing of them is delivered yet."""
        self._released = self._intake.checkpoint(self._pipeline.ledger.position)

    def _wait(self) -> None:
        """Wait for bytes, reports, signals or the next deadline."""
        now = time.monotonic()
        waiting_for_reports = self._pipeline.waiting
        if waiting_for_reports and now < self._active_until:
            self._pipeline.take_reports(0.001)
            return
        resume = self._pipeline.paused_until
        due = min(self._intake.deadline(), self._next_status, self._next_status if resume is None else resume)
        # librdkafka has no descriptor to wait on, and reports errors only when polled.
        longest = 1.0
        if waiting_for_reports and now < self._active_until + PATIENT_SECONDS:
            longest = 0.02
        timeout = min(max(due - now, 0.0), longest)
        descriptors = [self._wake_reader.fileno()]
        if (descriptor := self._intake.fileno()) is not None:
            descriptors.append(descriptor)
        ready, _, _ = select.select(descriptors, [], [], timeout)
        if self._wake_reader.fileno() in ready:
            self._wake_reader.recv(4096)

    def _report(self) -> None:
        now = time.monotonic()
        state = self._pipeline.problem or self._intake.state
        if now < self._next_status and state == self._status:
            return
        seconds = max(now - self._next_status + STATUS_SECONDS, 0.1)
        rate = (self._counters.events - self._status_events) / seconds
        self._status = state
        self._status_events = self._counters.events
        self._next_status = now + STATUS_SECONDS
        self._note()
        self._notifier.tell(
            f"STATUS={state}; {rate:.0f} events/s; "
            f"{self._pipeline.lag} bytes behind, {len(self._pipeline.producer)} messages in flight"
        )
        logs.tell_of_storms()

    def _reload(self) -> None:
        """Use the new configuration; keep the previous one if the new one is wrong."""
        self._notifier.tell("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")
        previous = self._settings
        try:
            settings = self._load()
            refuse_other_kind(settings, previous)
            build.try_producer(settings)
            build.messages(settings, self._registry)
        except AmikafkaError as error:
            self._refuse(error)
            return
        self._drain(DRAIN_SECONDS)
        self._release()
        keeps_offsets = self._intake.fixed_offsets
        try:
            self._intake.reload(settings)
        except AmikafkaError as error:
            self._refuse(error)
            return
        self._settings = replace(settings, journal=previous.journal)
        logs.set_level(settings.log_level)
        self._endpoints.reload(settings)
        if settings.journal != previous.journal:
            log.warning("[journal]: the changes need a restart to take effect")
        if not settings.enabled:
            log.warning("%s needs a restart to take effect: events are still published", settings.disabled_by)
        # Read again what Kafka has not acknowledged, as after a failure.
        self._counters.rewinds += not self._pipeline.settled
        acknowledged = self._pipeline.leave()
        self._release()
        self._pipeline = self._make_pipeline(
            self._pipeline.ledger.position,
            # With other files the same offsets may be those of other events.
            acknowledged=acknowledged if keeps_offsets and self._intake.fixed_offsets else None,
        )
        log.info("configuration reloaded: %s", settings.path)
        self._notifier.tell("READY=1", "STATUS=reloaded")
        self._reloads.done([])

    def _refuse(self, error: AmikafkaError) -> None:
        """Report why the new configuration is not used."""
        problems = error.problems if isinstance(error, ConfigError) else (error,)
        for problem in problems:
            log.error("%s", problem)
        log.error("the configuration was not reloaded: the previous one stays in use")
        self._notifier.tell("READY=1", "STATUS=reload failed: the new configuration is wrong, see the log")
        self._reloads.done(list(map(str, problems)))

    def _drain(self, seconds: float) -> None:
        """Wait for messages in flight, without reading more, for at most `seconds`; continue recording."""
        until = time.monotonic() + seconds
        while not self._pipeline.settled and time.monotonic() < until and not self._stop_requested:
            self._intake.collect()
            self._pipeline.send_rest()
            self._pipeline.take_reports(0.01)
            self._notifier.keep_alive()

    def _stop(self) -> None:
        """Close the connection, deliver what Kafka accepts in time, store the checkpoint."""
        self._stop_requested = False  # a second signal ends the wait
        self._notifier.tell("STOPPING=1", "STATUS=delivering the remaining events")
        self._intake.finish()
        until = time.monotonic() + DRAIN_SECONDS
        while not self._pipeline.exhausted and time.monotonic() < until and not self._stop_requested:
            if not self._pipeline.step():
                self._pipeline.take_reports(0.01)
            self._notifier.keep_alive()
        self._release()
        self._note()
        try:
            self._checkpoint_writer.stop()
        except OSError as error:
            log.error(
                "the checkpoint could not be stored: %s: some events will be sent twice", error.strerror
            )
        self._pipeline.producer.discard()
        log.info("stopped: events=%d lag_bytes=%d", self._counters.events, self._pipeline.lag)
        self._intake.close()

    def _listen_to_signals(self) -> None:
        def stop(_number: int, _frame: FrameType | None) -> None:
            self._stop_requested = True

        def reload(_number: int, _frame: FrameType | None) -> None:
            self._reload_requested = True

        signal.signal(signal.SIGTERM, stop)
        signal.signal(signal.SIGINT, stop)
        signal.signal(signal.SIGHUP, reload)
        signal.set_wakeup_fd(self._wake_writer.fileno(), warn_on_full_buffer=False)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)

    def _wake(self) -> None:
        with contextlib.suppress(BlockingIOError):
            self._wake_writer.send(b"\0")


def wait_while_disabled(load: Callable[[], Settings], reason: str) -> Settings | None:
    """Wait for a reload that enables the service, and return its settings; `None` after a stop signal.

    Signals stay blocked, so that none of them ends the process before the service handles them.
    """
    discard_handed_over(os.environ)
    notifier = Notifier()
    reloads = Reloads(os.environ)
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    notifier.tell("READY=1", f"STATUS=disabled by {reason}")
    while True:
        received = signal.sigtimedwait(SIGNALS, 1.0)
        notifier.keep_alive()
        if received is None:
            continue
        if received.si_signo != signal.SIGHUP:
            return None
        try:
            settings = load()
        except AmikafkaError as error:
            log.error("%s", error)
            reloads.done(str(error).splitlines())
            continue
        reloads.done([])
        if settings.enabled:
            return settings

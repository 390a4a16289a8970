"""Makes the snapshot, in the main loop."""

from __future__ import annotations

import logging
import os
import shutil
import time
from collections.abc import Callable
from typing import NamedTuple

from amikafka_tail import __version__
from amikafka_tail.config.settings import Settings
from amikafka_tail.daemon import logs
from amikafka_tail.daemon.status.rates import Rates, Sample
from amikafka_tail.daemon.status.snapshot import (
    Broker,
    Events,
    JournalState,
    KafkaState,
    Lag,
    Losses,
    Partition,
    Said,
    Snapshot,
    SourceState,
    Unrecognized,
)
from amikafka_tail.daemon.status.statistics import Statistics
from amikafka_tail.daemon.status.stuck_partitions import StuckPartitions, describe_stuck
from amikafka_tail.delivery.pipeline import Pipeline
from amikafka_tail.intake.intake import Intake
from amikafka_tail.kafka.producer import libraries
from amikafka_tail.model import speedups
from amikafka_tail.model.counters import Counters
from amikafka_tail.model.humanize import counted

STUCK_SECONDS = 10.0
"""If Kafka acknowledges nothing for this long while messages wait, it is not healthy."""

log = logging.getLogger("amikafka.status")


class Daemon(NamedTuple):
    """The objects that a snapshot is made from."""

    settings: Settings
    intake: Intake
    pipeline: Pipeline


class Gatherer:
    """Observes the daemon: `look` regularly, `snapshot` on request."""

    def __init__(
        self,
        counters: Counters,
        statistics: Statistics,
        *,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._counters = counters
        self._statistics = statistics
        self._clock = clock
        self._now = now
        self._began_ms = round(now() * 1000)
        self._rates = Rates()
        self._delivered = 0
        self._delivered_at = 0.0
        self._waiting_since = clock()
        self._acknowledged = 0
        self._stuck = StuckPartitions()
        self._taken = 0
        self._said_stuck = False
        self._away_since: float | None = None

    def look(self, daemon: Daemon) -> None:
        """Take a sample; log when Kafka stops or starts acknowledging. Called about once per second."""
        now = self._clock()
        self._watch_kafka(daemon.pipeline, now)
        self._watch_partitions(daemon, now)
        acknowledged = daemon.pipeline.acknowledged
        if acknowledged > self._acknowledged:
            self._waiting_since = now  # the front may wait for one partition, and others go on
        self._acknowledged = acknowledged
        if self._counters.delivered != self._delivered:
            self._delivered = self._counters.delivered
            self._delivered_at = self._waiting_since = now
        elif not len(daemon.pipeline.producer):
            self._waiting_since = now
        if now >= self._rates.next_due:
            self._rates.add(self._sample(daemon))

    def _watch_kafka(self, pipeline: Pipeline, now: float) -> None:
        if self._counters.delivered != self._delivered:
            if self._away_since is not None:
                away = now - self._away_since
                # Write the suppressed messages of the outage before its end.
                logs.tell_of_storms(at_once=True)
                log.warning("Kafka acknowledges again after %.0f s: lag_bytes=%d", away, pipeline.lag)
            self._away_since = None
        elif self._away_since is None and pipeline.trouble:  # the pipeline has logged it
            self._away_since = now
        elif self._away_since is None and now - self._waiting_since > STUCK_SECONDS:
            self._away_since = self._waiting_since
            log.warning(
                "Kafka has acknowledged nothing for %.0f s: events are kept, nothing is lost: lag_bytes=%d",
                now - self._waiting_since,
                pipeline.lag,
            )

    def _watch_partitions(self, daemon: Daemon, now: float) -> None:
        """Log when a partition gets stuck and when none is any more."""
        topic = daemon.settings.topic
        if not len(daemon.pipeline.producer):
            self._stuck.clear()
        elif self._statistics.taken != self._taken:
            self._taken = self._statistics.taken
            self._stuck.look(self._statistics.read(topic)[1], now)
        else:
            return
        text = describe_stuck(*self._partitions(topic, now))
        if text and not self._said_stuck:
            log.warning("Kafka accepts only a part of the messages: topic=%s: %s", topic, text)
        elif self._said_stuck and not text:
            log.warning("Kafka accepts messages on every partition again: topic=%s", topic)
        self._said_stuck = bool(text)

    def _partitions(self, topic: str, now: float) -> tuple[list[Partition], list[Broker]]:
        brokers, partitions = self._statistics.read(topic)
        return self._stuck.timed(partitions, now), brokers

    def _sample(self, daemon: Daemon) -> Sample:
        counters = self._counters
        return Sample(
            self._clock(), counters.events, counters.delivered, daemon.intake.end, daemon.pipeline.position
        )

    def snapshot(self, daemon: Daemon) -> Snapshot:
        """Return the current state. Blocks only on the disk."""
        self.look(daemon)
        settings, intake, counters = daemon.settings, daemon.intake, self._counters
        sample = self._sample(daemon)
        who = intake.identity and settings.overrides.apply(intake.identity)
        return Snapshot(
            version=__version__,
            libraries=f"{libraries()}, speedups {speedups.found().used}",
            pid=os.getpid(),
            began_ms=self._began_ms,
            at_ms=round(self._now() * 1000),
            configuration=str(settings.path),
            format=settings.format,
            topic=settings.topic,
            delivery="exactly_once" if settings.exactly_once else "at_least_once",
            filters=[name for name, _ in settings.filters],
            resident_bytes=_resident(),
            connections=counters.connections,
            duplicates=counters.duplicates,
            plugin_failures=dict(counters.plugin_failures),
            source=SourceState(
                name=settings.source,
                state=_source_state(intake, counters),
                healthy=intake.healthy,
                peer=intake.peer,
                asterisk_version=who.asterisk_version if who else None,
                system_name=who.system_name if who else None,
                pushed_filters=intake.pushed_filters,
            ),
            events=Events(
                read=counters.events,
                filtered=counters.filtered,
                sent=counters.sent,
                delivered=counters.delivered,
                read_per_second=self._rates.read_per_second(sample),
                delivered_per_second=self._rates.delivered_per_second(sample),
                kinds=counters.kinds.most(),
            ),
            lag=self._lag(daemon, sample),
            journal=self._journal(daemon, sample),
            kafka=self._kafka(daemon, sample),
            losses=Losses(
                lost=counters.lost,
                torn=counters.torn,
                gaps=counters.gaps,
                overlong=counters.overlong,
                malformed=counters.malformed,
                joined=counters.joined,
                dead_letters=counters.dead_letters,
                forgotten_letters=counters.forgotten_letters,
                disconnections=counters.disconnections,
                disconnected_seconds=counters.disconnected_seconds,
            ),
            held=daemon.pipeline.held,
            unrecognized=[Unrecognized(**each._asdict()) for each in counters.unrecognized.values()],
            said=[
                Said(at_ms=round(each.at * 1000), level=each.level, text=each.text, count=each.times)
                for each in logs.recent.all()
            ],
        )

    def _lag(self, daemon: Daemon, now: Sample) -> Lag:
        behind = daemon.pipeline.lag
        if behind <= 0:
            return Lag(bytes=0, events=0, seconds=0.0)
        seconds = 0.0
        position = daemon.pipeline.ledger.position
        since_ms = daemon.intake.captured_ms(position)
        if since_ms is not None:
            seconds = self._now() - since_ms / 1000
        elif (came_by := self._rates.came_by(position)) is not None:
            seconds = now.at - came_by
        unread = daemon.intake.end - daemon.pipeline.position
        events = daemon.pipeline.ledger.messages + round(unread / self._rates.event_bytes)
        return Lag(bytes=behind, events=max(1, events), seconds=max(0.0, seconds))

    def _journal(self, daemon: Daemon, now: Sample) -> JournalState | None:
        held = daemon.intake.held
        if held is None:
            return None
        options = daemon.settings.journal
        free = shutil.disk_usage(options.directory).free
        per_second = self._rates.bytes_per_second(now)
        room = max(0, min(options.max_bytes - daemon.pipeline.lag, free))
        return JournalState(
            directory=str(options.directory),
            bytes=held,
            max_bytes=options.max_bytes,
            disk_free=free,
            bytes_per_second=per_second,
            hours_left=room / per_second / 3600 if per_second > 0 else None,
        )

    def _kafka(self, daemon: Daemon, now: Sample) -> KafkaState:
        pipeline = daemon.pipeline
        partitions, brokers = self._partitions(daemon.settings.topic, now.at)
        in_flight = len(pipeline.producer)
        quiet = now.at - self._waiting_since
        since_delivery = now.at - self._delivered_at if self._counters.delivered else None
        state, healthy = "idle", True
        stuck = describe_stuck(partitions, brokers) if in_flight else ""
        is_partial = False
        if problem := pipeline.problem or pipeline.trouble:
            state, healthy = problem, False
        elif brokers and not any(broker.state == "UP" for broker in brokers):
            state, healthy = "no broker is reachable", False
        elif stuck:
            state, healthy = stuck, False
            is_partial = any(not each.stuck_seconds for each in partitions)
        elif in_flight and quiet > STUCK_SECONDS:
            state, healthy = f"nothing acknowledged for {quiet:.0f} s", False
        elif in_flight and since_delivery is None:
            state = "connecting, nothing acknowledged yet"
        elif in_flight or (since_delivery is not None and since_delivery < STUCK_SECONDS):
            state = "delivering"
        return KafkaState(
            state=state,
            healthy=healthy,
            in_flight=in_flight,
            rewinds=self._counters.rewinds,
            seconds_since_delivery=since_delivery,
            brokers=brokers,
            partitions=partitions,
            statistics_age=self._statistics.age,
            is_partial=is_partial,
        )


def _source_state(intake: Intake, counters: Counters) -> str:
    """Return the source's own words, with what is read and holds no event."""
    silent = [each for each in counters.unrecognized.values() if not each.ended]
    if not silent or not intake.healthy:
        return intake.state
    lines = sum(each.lines for each in silent)
    where = f" of {counted(len(silent), 'file')}" if len(silent) > 1 else ""
    return f"{intake.state}, 0 events in {counted(lines, 'line')}{where}: {silent[-1].example}"


def _resident() -> int:
    """Return the memory in use, in bytes (proc(5), statm)."""
    with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123 - for every scrape
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

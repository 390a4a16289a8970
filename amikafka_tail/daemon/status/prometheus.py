"""The snapshot as Prometheus metrics, named by its conventions: base units, _total for counters."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder

from amikafka_tail.daemon.status.snapshot import KafkaState, Snapshot


def render(snapshot: Snapshot, accept: str) -> tuple[str, bytes]:
    """Return the negotiated content type, and the text."""
    registry = CollectorRegistry()
    registry.register(_Collector(snapshot))
    encode, kind = choose_encoder(accept)
    return kind, encode(registry)


def metrics(snapshot: Snapshot) -> Iterator[Metric]:
    """Yield every metric."""
    yield _gauge("build_info", "Versions in use", [((snapshot.version, snapshot.libraries), 1)],
                 "version", "libraries")  # fmt: skip
    yield _gauge("start_time_seconds", "Start time of the daemon since the epoch", snapshot.began_ms / 1000)
    yield from _of_events(snapshot)
    yield from _of_losses(snapshot)
    yield from _of_kafka(snapshot.kafka)
    if (journal := snapshot.journal) is not None:
        yield _gauge("journal_bytes", "Size of the journal on disk", journal.bytes)
        yield _gauge("journal_max_bytes", "Maximum size of the journal", journal.max_bytes)
        yield _gauge("journal_disk_free_bytes", "Free space on the journal's disk", journal.disk_free)
        if journal.hours_left is not None:
            yield _gauge(
                "journal_time_left_seconds",
                "How long Kafka may be unavailable before events are lost, at the rate of the last ten"
                " minutes",
                journal.hours_left * 3600,
            )


def process_metrics(snapshot: Snapshot) -> Iterator[Metric]:
    """Yield the standard process metrics.

    prometheus_client's own collector needs /proc/stat, which the unit's ProcSubset=pid hides.
    """
    descriptors = sum(1 for _ in Path("/proc/self/fd").iterdir())
    gauges = {
        "resident_memory_bytes": ("Memory in use", snapshot.resident_bytes),
        "start_time_seconds": ("Start time of the process since the epoch", snapshot.began_ms / 1000),
        "open_fds": ("Open file descriptors", descriptors),
    }
    for name, (text, value) in gauges.items():
        yield GaugeMetricFamily(f"process_{name}", text, value)
    yield CounterMetricFamily("process_cpu_seconds", "CPU time used", time.process_time())


def _of_events(snapshot: Snapshot) -> Iterator[Metric]:
    source, events, lag = snapshot.source, snapshot.events, snapshot.lag
    yield _gauge("source_up", "Whether events can come in", [((source.name,), int(source.healthy))], "source")
    yield _counter("source_connections", "Connections made to Asterisk", snapshot.connections)
    yield _counter("events_read", "Events read; events read again after a rewind count again", events.read)
    yield _counter("events_filtered", "Events that a filter excluded here, rewinds included", events.filtered)
    yield _counter(
        "events_duplicate", "Duplicate copies of events in a log, not published", snapshot.duplicates
    )
    yield _counter("messages_sent", "Messages handed to librdkafka; resent messages count again", events.sent)
    yield _counter(
        "messages_delivered",
        "Messages acknowledged by Kafka, together with all before them",
        events.delivered,
    )
    yield _counter(
        "messages_by_event",
        "Messages handed to librdkafka, by name and category of the event",
        [((name, category), count) for name, category, count in events.kinds],
        "event",
        "category",
    )
    yield _gauge("lag_bytes", "Bytes received and not delivered yet", lag.bytes)
    yield _gauge("lag_events", "Events received and not delivered yet, estimated", lag.events)
    yield _gauge("lag_seconds", "Age of the oldest event that is not delivered yet", lag.seconds)


def _of_losses(snapshot: Snapshot) -> Iterator[Metric]:
    losses = snapshot.losses
    yield _counter(
        "events_lost",
        "Events missing from the topic, by reason",
        [
            (("journal_full",), losses.lost),
            (("torn",), losses.torn),
            (("sequence_gap",), losses.gaps),
            (("too_long",), losses.overlong),
        ],
        "reason",
    )
    yield _counter("blocks_malformed", "Blocks that are neither an event nor a response", losses.malformed)
    yield _counter("events_joined", "Events with an empty line inside a value, put together", losses.joined)
    yield _counter("dead_letters", "Events in the dead-letter file", losses.dead_letters)
    yield _counter(
        "dead_letters_forgotten", "Dead letters deleted to make room for newer ones", losses.forgotten_letters
    )
    yield _counter("disconnections", "Periods without a connection to Asterisk", losses.disconnections)
    yield _counter(
        "disconnected_seconds", "Total time without a connection to Asterisk", losses.disconnected_seconds
    )
    lines: dict[tuple[str, ...], float] = {}
    for each in snapshot.unrecognized:
        lines[(each.path,)] = lines.get((each.path,), 0) + each.lines
    yield _gauge(
        "unrecognized_lines",
        "Lines of files in which no event was found, by file: the last 50",
        list(lines.items()),
        "file",
    )
    yield _counter(
        "plugin_failures",
        "Events that a filter or a format could not handle",
        [((name,), count) for name, count in snapshot.plugin_failures.items()],
        "plugin",
    )


def _of_kafka(kafka: KafkaState) -> Iterator[Metric]:
    yield _gauge("kafka_up", "Whether Kafka accepts messages", int(kafka.healthy))
    yield _gauge(
        "messages_in_flight", "Messages in librdkafka that are not acknowledged yet", kafka.in_flight
    )
    yield _counter("rewinds", "How often the daemon went back to the checkpoint", kafka.rewinds)
    brokers = kafka.brokers

    def of_brokers(values: Iterable[float | None]) -> list[tuple[tuple[str, ...], float]]:
        return [
            ((broker.name,), value)
            for broker, value in zip(brokers, values, strict=True)
            if value is not None
        ]

    def seconds(ms: float | None) -> float | None:
        return None if ms is None else ms / 1000

    yield _gauge(
        "broker_up", "Whether the broker is connected", of_brokers(b.state == "UP" for b in brokers), "broker"
    )
    yield _gauge(
        "broker_round_trip_seconds",
        "Mean round-trip time of a request",
        of_brokers(seconds(b.rtt_ms) for b in brokers),
        "broker",
    )
    yield _gauge(
        "broker_round_trip_p99_seconds",
        "99th percentile of the round-trip time of a request",
        of_brokers(seconds(b.rtt_p99_ms) for b in brokers),
        "broker",
    )
    yield _gauge(
        "broker_queued_requests",
        "Requests waiting for the network or for an answer",
        of_brokers(b.queued for b in brokers),
        "broker",
    )
    yield _counter("broker_requests", "Requests sent", of_brokers(b.sent_requests for b in brokers), "broker")
    yield _counter("broker_retries", "Retried requests", of_brokers(b.retries for b in brokers), "broker")
    yield _counter("broker_errors", "Failed requests", of_brokers(b.errors for b in brokers), "broker")
    yield _counter(
        "broker_timeouts", "Requests that timed out", of_brokers(b.timeouts for b in brokers), "broker"
    )
    partitions = kafka.partitions
    yield _gauge(
        "partition_leader",
        "Id of the leader of a partition of the topic, -1 for none",
        [((str(each.number),), each.leader) for each in partitions],
        "partition",
    )
    yield _gauge(
        "partition_queued_messages",
        "Messages waiting in librdkafka",
        [((str(each.number),), each.queued) for each in partitions],
        "partition",
    )
    yield _gauge(
        "partition_stuck_seconds",
        "How long a partition has acknowledged nothing of what waits for it, 0 if that is not long",
        [((str(each.number),), each.stuck_seconds) for each in partitions],
        "partition",
    )


class _Collector:
    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot

    def collect(self) -> Iterator[Metric]:
        yield from metrics(self._snapshot)
        yield from process_metrics(self._snapshot)


Values = float | list[tuple[tuple[str, ...], float]]


def _gauge(name: str, text: str, values: Values, *labels: str) -> Metric:
    return _filled(GaugeMetricFamily(f"amikafka_{name}", text, labels=labels), values)


def _counter(name: str, text: str, values: Values, *labels: str) -> Metric:
    return _filled(CounterMetricFamily(f"amikafka_{name}", text, labels=labels), values)


def _filled(family: GaugeMetricFamily | CounterMetricFamily, values: Values) -> Metric:
    for labels, value in values if isinstance(values, list) else [((), values)]:
        family.add_metric(labels, value)
    return family

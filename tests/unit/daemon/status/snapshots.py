"""Snapshots for tests, all well unless a test says otherwise."""

from __future__ import annotations

import dataclasses
from typing import Any

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
)

BROKER = Broker(
    name="kafka-1:9092/1",
    state="UP",
    rtt_ms=1.5,
    rtt_p99_ms=4.0,
    queued=2,
    sent_requests=100,
    retries=3,
    errors=0,
    timeouts=1,
)
WELL = Snapshot(
    version="1.2.3",
    libraries="confluent-kafka 2, librdkafka 2",
    pid=4711,
    began_ms=1_790_000_000_000,
    at_ms=1_790_000_090_000,
    configuration="/etc/asterisk/ami_kafka.conf",
    format="json",
    topic="asterisk_ami",
    delivery="at_least_once",
    filters=[],
    resident_bytes=40_000_000,
    connections=1,
    duplicates=0,
    plugin_failures={},
    source=SourceState(
        name="manager",
        state="connected",
        healthy=True,
        peer="127.0.0.1:5038",
        asterisk_version="22.10.1",
        system_name="pbx-01",
    ),
    events=Events(
        read=1000,
        filtered=100,
        sent=900,
        delivered=900,
        read_per_second=50.0,
        delivered_per_second=45.0,
        kinds=[("Newchannel", "call", 600), ("Hangup", "call", 300)],
    ),
    lag=Lag(bytes=0, events=0, seconds=0.0),
    journal=JournalState(
        directory="/var/lib/amikafka",
        bytes=64_000_000,
        max_bytes=10_000_000_000,
        disk_free=80_000_000_000,
        bytes_per_second=25_000.0,
        hours_left=110.0,
    ),
    kafka=KafkaState(
        state="delivering",
        healthy=True,
        in_flight=12,
        rewinds=0,
        seconds_since_delivery=0.2,
        brokers=[BROKER],
        partitions=[Partition(number=0, leader=1, queued=4)],
        statistics_age=2.0,
    ),
    losses=Losses(
        lost=0,
        torn=0,
        gaps=0,
        overlong=0,
        malformed=0,
        joined=0,
        dead_letters=0,
        forgotten_letters=0,
        disconnections=0,
        disconnected_seconds=0.0,
    ),
    said=[Said(at_ms=1_790_000_050_000, level="warning", text="Kafka: something", count=3)],
)


def changed(snapshot: Snapshot = WELL, **parts: dict[str, Any] | Any) -> Snapshot:
    """Return a snapshot with some fields of its parts changed: `changed(lag={"bytes": 5})`."""
    made = {
        name: dataclasses.replace(getattr(snapshot, name), **values) if isinstance(values, dict) else values
        for name, values in parts.items()
    }
    return dataclasses.replace(snapshot, **made)

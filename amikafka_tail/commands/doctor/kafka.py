"""Checks Kafka: brokers, their advertised addresses, the topic, and a record sent and read back."""

from __future__ import annotations

from collections.abc import Iterator

from amikafka_tail.commands.doctor.findings import Finding, Level
from amikafka_tail.commands.test_record import Record
from amikafka_tail.config.settings import Settings
from amikafka_tail.kafka.cluster import Cluster, ClusterState, can_connect
from amikafka_tail.model.errors import ClusterError
from amikafka_tail.model.humanize import counted, span

PART = "Kafka"
LATE_SECONDS = 1.0


def look(settings: Settings, cluster: Cluster, record: Record | None) -> Iterator[Finding]:
    """Yield the findings. A `record` is sent and read back if the topic exists."""
    protocol = settings.properties.get("security.protocol", "plaintext")
    try:
        state = cluster.look(settings.topic)
    except ClusterError as error:
        brokers = settings.properties["bootstrap.servers"]
        yield _finding("error", f"{brokers} ({protocol}): {error}", error.hint)
        return
    names = ", ".join(map(str, state.nodes))
    yield _finding("ok", f"{counted(len(state.nodes), 'broker')} ({protocol}): {names}")
    yield from _of_addresses(state)
    yield from _of_topic(settings, cluster, state)
    if state.parts is not None and record is not None:
        yield _of_record(cluster, record, settings.topic)


def _of_addresses(state: ClusterState) -> Iterator[Finding]:
    for node in state.nodes:
        if (reason := can_connect(node)) is not None:
            yield _finding(
                "error",
                f"broker {node.number} advertises the address {node}, which cannot be reached: {reason}",
                "set advertised.listeners in the broker's server.properties to an address that this machine"
                " can reach",
            )


def _of_topic(settings: Settings, cluster: Cluster, state: ClusterState) -> Iterator[Finding]:
    topic = settings.topic
    if state.parts is None:
        if state.topic_is_missing:
            yield _finding(
                "error",
                f'topic "{topic}" does not exist, or this user may not see it',
                "create it: amikafka topic create; or correct [kafka] topic",
            )
        else:
            yield _finding("error", f'topic "{topic}": {state.topic_problem}', "check the ACLs of this user")
        return
    parts = state.parts
    replicas = min(len(part.replicas) for part in parts)
    text = f"{counted(len(parts), 'partition')}, {counted(replicas, 'replica')} each"
    yield _finding("ok", f'topic "{topic}": {text}')
    leaderless = [part.number for part in parts if part.leader < 0]
    if leaderless:
        yield _finding(
            "error",
            f"partition {', '.join(map(str, leaderless))} has no leader and accepts no messages",
            "check the brokers' logs",
        )
    behind = [part.number for part in parts if len(part.in_sync) < len(part.replicas)]
    if behind:
        yield _finding(
            "warning",
            f"partition {', '.join(map(str, behind))} has replicas that are not in sync",
            "check that every broker is running",
        )
    if replicas == 1 and len(state.nodes) > 1:
        yield _finding(
            "warning",
            "the topic has one replica: if a broker is down, its partitions stop; if its disk fails, they"
            " are lost",
            "create it with 3 replicas (amikafka topic create --replicas 3), or use"
            " kafka-reassign-partitions.sh",
        )
    yield from _of_settings(cluster.settings(topic), replicas, state)


def _of_settings(values: dict[str, str], replicas: int, state: ClusterState) -> Iterator[Finding]:
    in_sync = int(values.get("min.insync.replicas", "1"))
    smallest = min((len(part.in_sync) for part in state.parts or ()), default=0)
    if in_sync > smallest:
        yield _finding(
            "error",
            f"min.insync.replicas = {in_sync}, but only {smallest} in sync: Kafka accepts no messages",
            "check that every broker is running",
        )
    elif replicas > 2 and in_sync < 2 and "min.insync.replicas" in values:
        yield _finding(
            "note",
            "min.insync.replicas = 1: a message that only one broker has is lost if that broker fails",
            "set min.insync.replicas = 2",
        )
    if "compact" in values.get("cleanup.policy", "delete"):
        yield _finding(
            "warning",
            "the topic is compacted: Kafka keeps only the last event of each key",
            "set cleanup.policy = delete",
        )
    if (kept := values.get("retention.ms", "")).isdigit():
        yield _finding("ok", f"Kafka keeps events for {span(int(kept) / 1000)} (retention.ms)")


def _of_record(cluster: Cluster, record: Record, topic: str) -> Finding:
    try:
        sent = cluster.send(topic, record.value, record.key, record.headers)
    except ClusterError as error:
        return _finding("error", f"a test record: {error}", error.hint)
    where = f"partition {sent.partition}, offset {sent.offset}, after {span(sent.seconds)}"
    try:
        same = cluster.read(topic, sent.partition, sent.offset) == record.value
    except ClusterError as error:
        text = f"a test record ({record.name}) was acknowledged: {where}; {error}"
        return _finding("note", text, "no action needed: only consumers need the right to read")
    if not same:
        return _finding("error", f"the record at {where} is not the one that was sent")
    text = f"a test record ({record.name}) was acknowledged and read back: {where}"
    if sent.seconds < LATE_SECONDS:
        return _finding("ok", text)
    advice = "that is slow: try again; if it stays slow, check the load of the brokers and the network"
    return _finding("warning", text, advice)


def _finding(level: Level, text: str, advice: str = "") -> Finding:
    return Finding(level=level, part=PART, text=text, advice=advice)

"""The way to Kafka: brokers, their own addresses, the topic, and a record there and back."""

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
    """Yield what is found. With a `record`, one that is not wanted where the topic is not there."""
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
                f"broker {node.number} says that it is at {node}, and there is no way to it: {reason}",
                "advertised.listeners in the broker's server.properties must be an address that can be"
                " reached from here",
            )


def _of_topic(settings: Settings, cluster: Cluster, state: ClusterState) -> Iterator[Finding]:
    topic = settings.topic
    if state.parts is None:
        if state.topic_is_missing:
            yield _finding(
                "error",
                f'there is no topic "{topic}", or we may not see it',
                "amikafka topic create; or [kafka] topic",
            )
        else:
            yield _finding("error", f'topic "{topic}": {state.topic_problem}', "see the rights of this user")
        return
    parts = state.parts
    replicas = min(len(part.replicas) for part in parts)
    text = f"{counted(len(parts), 'partition')}, {counted(replicas, 'replica')} each"
    yield _finding("ok", f'topic "{topic}": {text}')
    leaderless = [part.number for part in parts if part.leader < 0]
    if leaderless:
        yield _finding(
            "error",
            f"partition {', '.join(map(str, leaderless))} has no leader: nothing can be written to it",
            "see the brokers' logs",
        )
    behind = [part.number for part in parts if len(part.in_sync) < len(part.replicas)]
    if behind:
        yield _finding(
            "warning",
            f"partition {', '.join(map(str, behind))} has fewer replicas in sync than it should",
            "see that every broker runs",
        )
    if replicas == 1 and len(state.nodes) > 1:
        yield _finding(
            "warning",
            "the topic has one replica: a broker that is away stops it, one that is broken loses it",
            "create it with 3 replicas (amikafka topic create --replicas 3), or kafka-reassign-partitions.sh",
        )
    yield from _of_settings(cluster.settings(topic), replicas, state)


def _of_settings(values: dict[str, str], replicas: int, state: ClusterState) -> Iterator[Finding]:
    in_sync = int(values.get("min.insync.replicas", "1"))
    smallest = min((len(part.in_sync) for part in state.parts or ()), default=0)
    if in_sync > smallest:
        yield _finding(
            "error",
            f"min.insync.replicas = {in_sync}, and there are {smallest} in sync: Kafka takes nothing",
            "see that every broker runs",
        )
    elif replicas > 2 and in_sync < 2 and "min.insync.replicas" in values:
        yield _finding(
            "note",
            "min.insync.replicas = 1: what one broker alone has acknowledged is lost with it",
            "min.insync.replicas = 2",
        )
    if "compact" in values.get("cleanup.policy", "delete"):
        yield _finding(
            "warning",
            "the topic is compacted: of all events with one key only the last is kept",
            "cleanup.policy = delete",
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
        return _finding("note", text, "only a consumer needs the right to read")
    if not same:
        return _finding("error", f"another record than the one that was written stands at {where}")
    text = f"a test record ({record.name}) was acknowledged and read back: {where}"
    if sent.seconds < LATE_SECONDS:
        return _finding("ok", text)
    advice = "that is slow: try again; if it stays so, see the load of the brokers, and the way to them"
    return _finding("warning", text, advice)


def _finding(level: Level, text: str, advice: str = "") -> Finding:
    return Finding(level=level, part=PART, text=text, advice=advice)

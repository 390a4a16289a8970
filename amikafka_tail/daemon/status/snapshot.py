"""What the daemon is doing at one moment. This is also what `amikafka status --json` prints.

Fields are added and never change their meaning. Times of day are ms since the epoch, spans are seconds.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from typing import Any


@dataclass(frozen=True, kw_only=True)
class SourceState:
    """Where the events come from."""

    name: str
    state: str
    """In words: "connected", "reading", or why nothing comes in."""
    healthy: bool
    peer: str | None
    """Address of the Asterisk."""
    asterisk_version: str | None
    system_name: str | None
    pushed_filters: int = 0
    """By how many eventfilter lines Asterisk itself decides what it sends."""


@dataclass(frozen=True, kw_only=True)
class Events:
    """Counts since the daemon began. What is read again counts again in all of them but `delivered`;
    `kafka.rewinds` says how often that was."""

    read: int
    filtered: int
    """Held back here: what Asterisk itself did not send is not among them."""
    sent: int
    delivered: int
    """Messages that Kafka has acknowledged and that the checkpoint is behind."""
    read_per_second: float
    delivered_per_second: float
    kinds: list[tuple[str, str, int]]
    """Name, category and count of what was sent, the most frequent first."""


@dataclass(frozen=True, kw_only=True)
class Lag:
    """What has come from Asterisk and is not delivered."""

    bytes: int
    events: int
    """Estimated by the mean size of an event."""
    seconds: float
    """Age of the oldest."""


@dataclass(frozen=True, kw_only=True)
class JournalState:
    """The journal; a source that reads files has none."""

    directory: str
    bytes: int
    max_bytes: int
    disk_free: int
    bytes_per_second: float
    """What came in, over the last ten minutes at most."""
    hours_left: float | None
    """How long a Kafka that is away can be waited for at that rate; `None` where nothing comes."""


@dataclass(frozen=True, kw_only=True)
class Broker:
    """One broker, by librdkafka's statistics."""

    name: str
    state: str
    rtt_ms: float | None
    """Mean time from a request to its answer."""
    rtt_p99_ms: float | None
    queued: int
    """Requests that wait for the network or for an answer."""
    sent_requests: int
    retries: int
    errors: int
    timeouts: int


@dataclass(frozen=True, kw_only=True)
class Partition:
    """One partition of the topic, by librdkafka's statistics."""

    number: int
    leader: int
    """Broker's id, -1 where it has none."""
    queued: int
    """Messages that wait in librdkafka."""


@dataclass(frozen=True, kw_only=True)
class KafkaState:
    """The way to Kafka."""

    state: str
    """In words: "delivering", "idle", that nothing is acknowledged yet, or why nothing is delivered."""
    healthy: bool
    in_flight: int
    """Messages handed to librdkafka and not reported."""
    rewinds: int
    """How often the daemon went back to the checkpoint to send again, after a failure or a reload."""
    seconds_since_delivery: float | None
    brokers: list[Broker]
    partitions: list[Partition]
    statistics_age: float | None
    """Seconds since librdkafka gave the last two, `None` where it has not yet."""


@dataclass(frozen=True, kw_only=True)
class Losses:
    """All that can go missing or aside, counted since the daemon began."""

    lost: int
    """Events given up because the journal was full."""
    torn: int
    """Events cut off by a lost connection."""
    gaps: int
    """Events missing, as their SequenceNumber tells."""
    overlong: int
    """Blocks passed over because they were longer than the framer holds."""
    malformed: int
    """Blocks that are neither an event nor a response."""
    dead_letters: int
    """Events in the dead-letter file, `torn` and `malformed` included."""
    forgotten_letters: int
    """Dead letters that had to make room for others."""
    disconnections: int
    """Times without a connection to Asterisk."""
    disconnected_seconds: float
    """How long those were together."""


@dataclass(frozen=True, kw_only=True)
class Said:
    """A warning or an error in the log."""

    at_ms: int
    """When it came last."""
    level: str
    text: str
    count: int
    """How often it has come as long as it was among the last."""


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """All of it."""

    version: str
    libraries: str
    pid: int
    began_ms: int
    at_ms: int
    configuration: str
    format: str
    topic: str
    delivery: str
    filters: list[str]
    resident_bytes: int
    connections: int
    duplicates: int
    """Copies that a log has once for each manager session, left out."""
    plugin_failures: dict[str, int]
    source: SourceState
    events: Events
    lag: Lag
    journal: JournalState | None
    kafka: KafkaState
    losses: Losses
    held: str | None = None
    """Which plugin makes the events wait, and why; `None` where none does."""
    said: list[Said] = field(default_factory=list)
    """The last warnings and errors, the oldest first."""

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON can hold it."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Snapshot:
        """Return what `to_json` gave, perhaps in a newer version. Raises `KeyError`, `TypeError`."""
        journal = values["journal"]
        events = {**values["events"], "kinds": list(map(tuple, values["events"]["kinds"]))}
        nested: dict[str, Any] = {
            "source": _made(SourceState, values["source"]),
            "events": _made(Events, events),
            "lag": _made(Lag, values["lag"]),
            "journal": None if journal is None else _made(JournalState, journal),
            "kafka": _made(
                KafkaState,
                {
                    **values["kafka"],
                    "brokers": [_made(Broker, each) for each in values["kafka"]["brokers"]],
                    "partitions": [_made(Partition, each) for each in values["kafka"]["partitions"]],
                },
            ),
            "losses": _made(Losses, values["losses"]),
            "said": [_made(Said, each) for each in values["said"]],
        }
        made: Snapshot = _made(cls, {**values, **nested})
        return made


def _made(kind: Any, values: dict[str, Any]) -> Any:
    known = {each.name for each in fields(kind)}
    return kind(**{name: value for name, value in values.items() if name in known})

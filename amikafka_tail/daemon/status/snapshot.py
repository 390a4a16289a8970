"""The daemon's state at one moment. `amikafka status --json` prints the same fields.

Fields may be added, but never change their meaning. Times are in ms since the epoch, durations in seconds.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from typing import Any


@dataclass(frozen=True, kw_only=True)
class SourceState:
    """The state of the source."""

    name: str
    state: str
    """In words: "connected", "reading", or why no events are coming in."""
    healthy: bool
    peer: str | None
    """Address of Asterisk."""
    asterisk_version: str | None
    system_name: str | None
    pushed_filters: int = 0
    """How many eventfilter lines Asterisk itself applies."""


@dataclass(frozen=True, kw_only=True)
class Events:
    """Counts since the daemon started. Events that are read again count again in all of them except
    `delivered`; `kafka.rewinds` says how often that happened."""

    read: int
    filtered: int
    """Excluded here, not counting events that Asterisk itself did not send."""
    sent: int
    delivered: int
    """Messages that Kafka has acknowledged, together with everything before them."""
    read_per_second: float
    delivered_per_second: float
    kinds: list[tuple[str, str, int]]
    """Name, category and count of the messages sent, the most frequent first."""


@dataclass(frozen=True, kw_only=True)
class Lag:
    """What has been received from Asterisk and is not delivered yet."""

    bytes: int
    events: int
    """Estimated from the mean size of an event."""
    seconds: float
    """Age of the oldest undelivered event."""


@dataclass(frozen=True, kw_only=True)
class JournalState:
    """The journal; a source that reads files has none."""

    directory: str
    bytes: int
    max_bytes: int
    disk_free: int
    bytes_per_second: float
    """Incoming bytes per second, over the last ten minutes at most."""
    hours_left: float | None
    """How long Kafka may be unavailable at that rate; `None` if no events are coming in."""


@dataclass(frozen=True, kw_only=True)
class Broker:
    """One broker, from librdkafka's statistics."""

    name: str
    state: str
    rtt_ms: float | None
    """Mean round-trip time of a request."""
    rtt_p99_ms: float | None
    queued: int
    """Requests waiting for the network or for an answer."""
    sent_requests: int
    retries: int
    errors: int
    timeouts: int
    number: int = -1
    """Its id."""


@dataclass(frozen=True, kw_only=True)
class Partition:
    """One partition of the topic, from librdkafka's statistics."""

    number: int
    leader: int
    """The leader's broker id, -1 if there is none."""
    queued: int
    """Messages waiting in librdkafka."""
    in_flight: int = 0
    """Messages on their way to the leader."""
    acknowledged: int = 0
    """Messages that the producer in use has got acknowledged."""
    stuck_seconds: float = 0.0
    """For how long nothing was acknowledged of what waits, 0 if that is not long."""


@dataclass(frozen=True, kw_only=True)
class KafkaState:
    """The state of Kafka."""

    state: str
    """In words: "delivering", "idle", "connecting, ...", or why nothing is delivered."""
    healthy: bool
    in_flight: int
    """Messages handed to librdkafka and not reported yet."""
    rewinds: int
    """How often the daemon went back to the checkpoint and resent, after a failure or a reload."""
    seconds_since_delivery: float | None
    brokers: list[Broker]
    partitions: list[Partition]
    statistics_age: float | None
    """Age in seconds of librdkafka's statistics, which give the last two; `None` if there are none yet."""
    is_partial: bool = False
    """Whether some partitions accept nothing, and others do."""


@dataclass(frozen=True, kw_only=True)
class Losses:
    """Everything that was lost or went to the dead letters since the daemon started."""

    lost: int
    """Events dropped because the journal was full."""
    torn: int
    """Events cut off by a lost connection."""
    gaps: int
    """Events missing according to their SequenceNumber."""
    overlong: int
    """Blocks skipped because they were longer than the framer's limit."""
    malformed: int
    """Blocks that are neither an event nor a response."""
    joined: int
    """Events that have an empty line inside a value, put together again: nothing of them is missing."""
    dead_letters: int
    """Events in the dead-letter file, `torn` and `malformed` included."""
    forgotten_letters: int
    """Dead letters deleted to make room for newer ones."""
    disconnections: int
    """Periods without a connection to Asterisk."""
    disconnected_seconds: float
    """The total length of those periods."""


@dataclass(frozen=True, kw_only=True)
class Unrecognized:
    """A file that was read and in which no event was found."""

    path: str
    lines: int
    example: str
    """The beginning of its first line."""
    ended: bool
    """Whether it is read to its end, and is not read on."""


@dataclass(frozen=True, kw_only=True)
class Said:
    """A warning or an error in the log."""

    at_ms: int
    """When it was last logged."""
    level: str
    text: str
    count: int
    """How often it was logged while it was among the recent ones."""


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """The whole state."""

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
    """Duplicate copies of events in a log, not published."""
    plugin_failures: dict[str, int]
    source: SourceState
    events: Events
    lag: Lag
    journal: JournalState | None
    kafka: KafkaState
    losses: Losses
    held: str | None = None
    """Which plugin makes the events wait, and why; `None` if none does."""
    unrecognized: list[Unrecognized] = field(default_factory=list)
    """Files that were read and in which no event was found, the last ones."""
    said: list[Said] = field(default_factory=list)
    """The last warnings and errors, the oldest first."""

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Snapshot:
        """Return the snapshot of `to_json`, perhaps of a newer version. Raises `KeyError`, `TypeError`."""
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
            "unrecognized": [_made(Unrecognized, each) for each in values.get("unrecognized", [])],
            "said": [_made(Said, each) for each in values["said"]],
        }
        made: Snapshot = _made(cls, {**values, **nested})
        return made


def _made(kind: Any, values: dict[str, Any]) -> Any:
    known = {each.name for each in fields(kind)}
    return kind(**{name: value for name, value in values.items() if name in known})

"""The sections of ami_kafka.conf that are the host's: their options, checked at birth."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

EXACTLY_ONCE = "exactly_once"
CHECKPOINTS = ".checkpoints"
"""What the name of the topic of checkpoints has behind the topic's own."""
MEBIBYTE = 1 << 20
MOST_OF_A_TOPIC = 249
"""Characters that Kafka allows for the name of a topic."""


@dataclass(frozen=True, kw_only=True)
class GeneralSettings:
    """Options of the section `[general]`, but for the `eventfilter` lines."""

    enabled: bool = True
    """No: the daemon runs, but does nothing until a reload."""
    source: str = "manager"
    """Where the events come from: `manager`, `eventlog`, `spool`, or the source of a plugin. A change takes a
    restart."""
    format: str = "json"
    """What a message is: `json`, one flat object per event; `ami`, the event as Asterisk wrote it; or the
    format of a plugin."""
    filters: tuple[str, ...] = ()
    """Filters of plugins, in the order in which they are asked. `eventfilter` lines count first, unless
    `eventfilter` is in the list."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """The least important messages that are logged."""
    entity_id: str | None = None
    """Who this Asterisk is, in every message. If it is not set: `entityid` of asterisk.conf, else the address
    of the first network card, as Asterisk does it."""
    system_name: str | None = None
    """The name of this Asterisk. If it is not set: what Asterisk says (`systemname` of asterisk.conf); where
    there is none it is left out."""
    asterisk_version: str | None = None
    """The version of this Asterisk. If it is not set: what Asterisk says."""
    hostname: str | None = None
    """The name of this machine. If it is not set: what the machine says."""


@dataclass(frozen=True, kw_only=True)
class KafkaSettings:
    """Options of the section `[kafka]` that are amikafka's own; the others are those of kafka.conf."""

    topic: str = "asterisk_ami"
    """Where to. It has to exist, or the broker has to make it. If it is empty, nothing is published."""
    key: str = "event"
    """What decides the partition: `event` (the event's name), `linkedid` (keeps the events of one call in
    order), `uniqueid`, `none`, or the name of a header. Where an event has no such header, or no id in it,
    its name is the key."""
    connection: str = ""
    """A connection of kafka.conf, the file of Asterisk's res_kafka. What stands here in `[kafka]` counts
    more."""
    delivery: Literal["at_least_once", "exactly_once"] = "at_least_once"
    """`at_least_once`: after a crash what was on its way is sent again. `exactly_once`: events are sent in
    transactions, and a consumer with `isolation.level = read_committed` sees each once."""
    transaction_interval: float = field(
        default=0.1, metadata={"unit": "seconds", "minimum": 0.01, "maximum": 10}
    )
    """With `exactly_once`: how long a transaction is open, and so how much later such a consumer sees an
    event."""
    event_id: bool = False
    """Yes: each message has a ninth header, `event_id`, that is the same whenever the event is sent again."""
    gap_events: bool = False
    """Yes: where something is known to be missing an event `AmikafkaGap` is published, whatever the filters
    say."""

    def __post_init__(self) -> None:
        if self.delivery == EXACTLY_ONCE:
            if len(self.topic + CHECKPOINTS) > MOST_OF_A_TOPIC:
                raise ValueError(f'"{self.topic}{CHECKPOINTS}" is longer than Kafka allows for a topic')
            if not self.topic or self.odd_topic:
                raise ValueError(self.odd_topic or "topic is empty")
        if len(self.topic) > MOST_OF_A_TOPIC:
            raise ValueError(f'"{self.topic}" is longer than Kafka allows for a topic')
        if not self.key:
            raise ValueError("key is empty: event, linkedid, uniqueid, none, or the name of a header")

    @property
    def odd_topic(self) -> str:
        """Say why Kafka never takes the name of the topic; empty where it does, or where there is none."""
        if self.topic in (".", ".."):
            return f'"{self.topic}" is not a name that Kafka allows for a topic'
        if any(not (char.isascii() and char.isalnum()) and char not in "._-" for char in self.topic):
            return f'topic "{self.topic}": Kafka allows letters, digits, ".", "_" and "-"'
        return ""


def state_directory(environment: Mapping[str, str]) -> Path:
    """Return where systemd wants the state of a service to be (systemd.exec(5)), else the package's place."""
    return Path(environment.get("STATE_DIRECTORY", "").partition(":")[0] or "/var/lib/amikafka")


@dataclass(frozen=True, kw_only=True)
class JournalSettings:
    """Options of the section `[journal]`."""

    directory: Path = field(default_factory=lambda: state_directory(os.environ))
    """Where the journal, the checkpoint and the dead letters are; systemd's StateDirectory counts, if it has
    one."""
    max_bytes: int = field(default=10 << 30, metadata={"unit": "bytes", "minimum": MEBIBYTE})
    """How much the journal may hold; when it is full its oldest segment is dropped."""
    segment_bytes: int = field(default=64 << 20, metadata={"unit": "bytes", "minimum": 65536})
    """How large a segment grows before the next one is begun."""
    fsync_interval: float = field(default=1.0, metadata={"unit": "seconds", "minimum": 0.01, "maximum": 3600})
    """How often is synced to disk: what a power cut may cost."""

    def __post_init__(self) -> None:
        if self.max_bytes < 2 * self.segment_bytes:
            raise ValueError("max_bytes must be at least twice segment_bytes")


@dataclass(frozen=True, kw_only=True)
class MetricsSettings:
    """Options of the section `[metrics]`."""

    listen: str = ""
    """Address and port of an HTTP server with `/metrics` and `/healthz`, such as 127.0.0.1:9768; empty: there
    is none."""
    max_lag: float = field(default=300.0, metadata={"unit": "seconds", "minimum": 1})
    """How old the oldest undelivered event may be before `/healthz` answers 503."""

    def __post_init__(self) -> None:
        if self.listen:
            host, port = self.address
            if not host or not 0 < port < 65536:
                raise ValueError(
                    f'listen = "{self.listen}" is no address with a port, such as 127.0.0.1:9768'
                )

    @property
    def address(self) -> tuple[str, int]:
        """Host and port; 0 where there is none."""
        host, _, port = self.listen.rpartition(":")
        return host.strip("[]"), int(port) if port.isascii() and port.isdigit() else 0

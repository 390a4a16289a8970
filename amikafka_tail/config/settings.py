"""The settings: ami_kafka.conf and what it refers to, checked whole before anything is done with it."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from amikafka_tail.ami.eventfilter import EventFilterOptions
from amikafka_tail.ami.eventfilter import parse as parse_filter
from amikafka_tail.config import files, kafka_conf, manager_conf, plugin_files
from amikafka_tail.config.dialect import Document, Line
from amikafka_tail.config.identity import Overrides
from amikafka_tail.config.kafka_conf import KafkaProperties
from amikafka_tail.config.options import TRUE, bind, problem
from amikafka_tail.model.errors import ConfigError, Problem
from amikafka_tail.model.pushed_filters import FilterLine
from amikafka_tail.model.suggestions import unknown
from amikafka_tail.plugins.registry import Registry

FILTER = "eventfilter"
EVENTLOG = "eventlog"
EXACTLY_ONCE = "exactly_once"
TRANSACTIONAL_ID = "transactional.id"
CHECKPOINTS = ".checkpoints"
"""What the name of the topic of checkpoints has behind the topic's own."""
MODULE_FILE = "ami_kafka.conf"
"""What the module app_ami_kafka reads. As long as it runs, too, amikafka has a file of another name."""
MEBIBYTE = 1 << 20


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
    """Where to. It has to exist, or the broker has to make it."""
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
        if self.delivery == EXACTLY_ONCE and len(self.topic + CHECKPOINTS) > 249:
            raise ValueError(f'"{self.topic}{CHECKPOINTS}" is longer than Kafka allows for a topic')
        if not self.topic or len(self.topic) > 249 or self.topic in (".", ".."):
            raise ValueError(f'"{self.topic}" is not a name that Kafka allows for a topic')
        if any(not (char.isascii() and char.isalnum()) and char not in "._-" for char in self.topic):
            raise ValueError(f'topic "{self.topic}": Kafka allows letters, digits, ".", "_" and "-"')
        if not self.key:
            raise ValueError("key is empty: event, linkedid, uniqueid, none, or the name of a header")


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


@dataclass(frozen=True, kw_only=True)
class Settings:
    """All that the configuration says. `etc` is the directory of Asterisk's own files."""

    path: Path
    etc: Path
    enabled: bool
    log_level: str
    source: str
    source_options: Any
    eventlog_options: Any
    """The options of the section `[eventlog]`, whatever the source is: replay and the spool read logs too."""
    filters: Sequence[tuple[str, Any]]
    pushed: Sequence[FilterLine]
    """The eventfilter lines that the source is to hand to the other side, too."""
    format: str
    format_options: Any
    topic: str
    key: str
    exactly_once: bool
    """Whether events are published in transactions."""
    transaction_interval: float
    """Seconds that a transaction is open."""
    event_id: bool
    """Whether each message says the id of its event."""
    gap_events: bool
    """Whether what is known to be missing is published as an event of its own."""
    properties: Mapping[str, str] = field(repr=False)
    """librdkafka's."""
    property_origins: Mapping[str, str]
    """The line that a property was set on, as `file:line`."""
    journal: JournalSettings
    metrics: MetricsSettings
    overrides: Overrides
    remarks: Sequence[str] = ()
    """What a person should know, though nothing is wrong."""


def load(path: Path, registry: Registry, *, etc: Path | None = None, need_source: bool = True) -> Settings:
    """Read the configuration. Raises `ConfigError` with everything that is wrong.

    `etc` is where kafka.conf, manager.conf and asterisk.conf are, by default beside `path`. Without
    `need_source` nobody has to say how to log in: the source is not going to be used.
    """
    if not path.exists():
        raise ConfigError([Problem(message="there is no such file; -c FILE names another", file=path)])
    document = files.load(path)
    if document.problems and not document.sections:
        raise ConfigError(document.problems)
    return _checked(_Loader(path, document, registry, etc or path.parent), need_source=need_source)


def defaults(path: Path, registry: Registry) -> Settings:
    """Return the settings of an empty file that would stand at `path`, for when no source is needed."""
    return _checked(_Loader(path, Document([], []), registry, path.parent), need_source=False)


def _checked(loader: _Loader, *, need_source: bool) -> Settings:
    settings = loader.settings(need_source=need_source)
    if loader.problems or settings is None:
        # In the order of the files that they are about, and in each from top to bottom.
        order = list(dict.fromkeys(problem.file for problem in loader.problems))
        raise ConfigError(
            sorted(loader.problems, key=lambda problem: (order.index(problem.file), problem.line or 0))
        )
    return settings


class _Loader:
    def __init__(self, path: Path, document: Document, registry: Registry, etc: Path) -> None:
        self.problems = list(document.problems)
        self._path = path
        self._registry = registry
        self._etc = etc
        self._lines: dict[str, list[Line]] = {}
        plugin_sections = {registration.name for registration in registry} - {FILTER}
        self._toml = plugin_files.load(path.parent / plugin_files.DIRECTORY, plugin_sections, self.problems)
        known = ["general", "kafka", "journal", "metrics", *sorted(plugin_sections)]
        for section in document.sections:
            if section.name in known:
                self._lines.setdefault(section.name, []).extend(section.lines)
            else:
                message = unknown("section", section.name, known)
                self.problems.append(
                    Problem(message=message, file=section.file, line=section.line, section=section.name)
                )

    def settings(self, *, need_source: bool) -> Settings | None:
        filter_lines = [line for line in self._section("general") if line.name.startswith(FILTER)]
        others = [line for line in self._section("general") if not line.name.startswith(FILTER)]
        general = bind(GeneralSettings, others, "general", self.problems, also_known=[FILTER])
        kafka, properties = self._kafka()
        journal = bind(JournalSettings, self._section("journal"), "journal", self.problems)
        metrics = bind(MetricsSettings, self._section("metrics"), "metrics", self.problems)
        self._check_choice("source")
        self._check_choice("format")
        chosen = self._filter_names(general, has_lines=bool(filter_lines))
        options = self._plugin_options(general, chosen, need_source=need_source)
        options[FILTER] = self._event_filter(filter_lines)
        if self.problems or general is None or kafka is None or journal is None or metrics is None:
            return None
        names = [field.name for field in dataclasses.fields(Overrides)]
        source = general.source.lower()
        remarks = [
            f"the filter {name} has options but is not used: filters of [general] does not name it"
            for name in self._registry.names("filter")
            if name not in chosen and (self._section(name) or name in self._toml)
        ]
        pushed: Sequence[FilterLine] = ()
        if source == "manager" and options[source].push_filters:
            pushed = self._pushed(chosen, options[FILTER].lines, options[source].username, remarks)
        return Settings(
            path=self._path,
            etc=self._etc,
            enabled=general.enabled,
            log_level=general.log_level,
            source=source,
            source_options=options[source],
            eventlog_options=options.get(EVENTLOG),
            filters=[(name, options[name]) for name in chosen],
            pushed=pushed,
            format=general.format.lower(),
            format_options=options[general.format.lower()],
            topic=kafka.topic,
            key=kafka.key,
            exactly_once=kafka.delivery == EXACTLY_ONCE,
            transaction_interval=kafka.transaction_interval,
            event_id=kafka.event_id,
            gap_events=kafka.gap_events,
            properties=MappingProxyType(properties.values),
            property_origins=MappingProxyType(properties.origins),
            journal=journal,
            metrics=metrics,
            overrides=Overrides(**{name: getattr(general, name) for name in names}),
            remarks=remarks,
        )

    def _plugin_options(
        self, general: GeneralSettings | None, chosen: Sequence[str], *, need_source: bool
    ) -> dict[str, Any]:
        """Bind the options of every plugin that is used, and of those that somebody has set options of."""
        used = {*chosen}
        if general is not None:
            used |= {general.source.lower(), general.format.lower()}
        options: dict[str, Any] = {}
        for registration in self._registry:
            name = registration.name
            toml = self._toml.get(name)
            lines = self._section(name)
            if name == FILTER or not (name in used or lines or toml):
                continue
            if name == "manager" and need_source and general is not None and general.source.lower() == name:
                lines = [*lines, *self._from_manager_conf(lines)]
            options[name] = bind(registration.options, lines, name, self.problems, toml=toml, file=self._path)
        return options

    def _section(self, name: str) -> list[Line]:
        return self._lines.get(name, [])

    def _check_choice(self, kind: str) -> None:
        """See that the source or the format that `[general]` names exists."""
        known = self._registry.names(kind)
        for line in self._section("general"):
            if line.name == kind and line.value.lower() not in known:
                message = f'"{line.value}": {unknown(kind, line.value, known)}; there are: {", ".join(known)}'
                self.problems.append(problem(line, "general", message))

    def _filter_names(self, general: GeneralSettings | None, *, has_lines: bool) -> list[str]:
        """Return the filters in their order. Where `filters` does not name it, eventfilter comes first."""
        names = [] if general is None else [name.lower() for name in general.filters]
        known = self._registry.names("filter")
        for line in self._section("general"):
            if line.name != "filters":
                continue
            for name in (part.strip().lower() for part in line.value.split(",")):
                if name and name not in known:
                    message = f'"{name}": {unknown("filter", name, known)}; there are: {", ".join(known)}'
                    self.problems.append(problem(line, "general", message))
                elif name and names.count(name) > 1:
                    names.remove(name)
                    self.problems.append(problem(line, "general", f'"{name}" is named twice'))
        if has_lines and FILTER not in names:
            names.insert(0, FILTER)
        return names

    def _event_filter(self, lines: list[Line]) -> EventFilterOptions:
        for line in lines:
            try:
                parse_filter(line.name, line.value)
            except ValueError as error:
                self.problems.append(problem(line, "general", str(error)))
        return EventFilterOptions(
            lines=tuple(FilterLine(line.name, line.value, f"{line.file}:{line.line}") for line in lines)
        )

    def _pushed(
        self, chosen: Sequence[str], lines: Sequence[FilterLine], username: str, remarks: list[str]
    ) -> Sequence[FilterLine]:
        """Return the lines for Asterisk; where some or all have to stay here, say why."""
        if lines and chosen[0] != FILTER:
            remarks.append(
                f"push_filters has no effect: the filter {chosen[0]} is asked before eventfilter, and may"
                " change what that sees"
            )
            return ()
        excludes = tuple(line for line in lines if parse_filter(line.criteria, line.pattern).exclude)
        file = self._etc / "manager.conf"
        if excludes != lines and manager_conf.find_user(files.load(file), username).has_includes:
            remarks.append(
                f"the includes are not handed to Asterisk: in {file} the user {username} has includes of its"
                " own, and Asterisk would send what matches either"
            )
            return excludes
        return lines

    def _kafka(self) -> tuple[KafkaSettings | None, KafkaProperties]:
        lines = self._section("kafka")
        own = [field.name for field in dataclasses.fields(KafkaSettings)]
        kafka = bind(KafkaSettings, [line for line in lines if line.name in own], "kafka", self.problems)
        direct = [line for line in lines if line.name not in own]
        connection = next(
            (line for line in reversed(lines) if line.name == "connection" and line.value), None
        )
        section = "kafka"
        if connection is not None:
            file = self._etc / "kafka.conf"
            document = files.load(file)
            found = None
            if document.problems and not document.sections:
                message = f"{document.problems[0]}; this connection is looked for there (or set brokers here)"
                self.problems.append(problem(connection, "kafka", message))
            else:
                self.problems += document.problems
                found, problems = kafka_conf.connection_of(document, connection.value, file, connection)
                self.problems += problems
            if any(line.name == "brokers" for line in direct):
                message = "both connection and brokers are set: which Kafka is meant?"
                self.problems.append(problem(connection, "kafka", message))
            # What stands in [kafka] itself comes later, and so counts.
            direct = [*(found.lines if found else []), *direct]
        properties = kafka_conf.properties(direct, section, self.problems, _read_secret, also_known=own)
        if TRANSACTIONAL_ID in properties.values and kafka is not None and kafka.delivery != EXACTLY_ONCE:
            line = next(line for line in direct if line.name.endswith(TRANSACTIONAL_ID))
            self.problems.append(problem(line, "kafka", f"is for delivery = {EXACTLY_ONCE} alone"))
        return kafka, properties

    def _from_manager_conf(self, lines: list[Line]) -> list[Line]:
        """Return lines for what `[manager]` leaves open and manager.conf says."""
        said = {line.name: line for line in lines if line.value}
        has_secret = "secret" in said or "secret_file" in said
        if has_secret and "host" in said:
            return []
        file = self._etc / "manager.conf"
        username = said["username"].value if "username" in said else manager_conf.USER
        document = files.load(file)
        user = manager_conf.find_user(document, username)
        if not has_secret and user.secret is None:
            self.problems += document.problems
            self.problems.append(
                Problem(
                    message=f"no secret for the manager user {username}: set secret or secret_file here,"
                    f" or add a section [{username}] with a secret to {file} or what it includes",
                    file=self._path,
                    section="manager",
                )
            )
            return []
        found = {"host": user.host, "port": None if user.port is None else str(user.port)}
        if not has_secret:
            found["secret"] = user.secret
        if "host" in said:
            # Another host's port is not in this manager.conf.
            del found["host"], found["port"]
        if "tls" in said and said["tls"].value.lower() in TRUE:
            # manager.conf's port is the plain one.
            found.pop("port", None)
        return [
            Line(name, value, file, 0)
            for name, value in found.items()
            if value is not None and name not in said
        ]


def _read_secret(path: Path) -> str:
    return path.read_text(encoding="utf-8").rstrip("\r\n")

"""The settings: ami_kafka.conf and what it refers to, checked whole before anything is done with it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from amikafka_tail.ami.eventfilter import EventFilterOptions
from amikafka_tail.ami.eventfilter import parse as parse_filter
from amikafka_tail.config import files, kafka_checks, kafka_conf, local, manager_conf, plugin_files
from amikafka_tail.config.dialect import Document, Line, fold
from amikafka_tail.config.identity import Overrides
from amikafka_tail.config.kafka_conf import KafkaProperties, Part
from amikafka_tail.config.options import TRUE, bind, problem
from amikafka_tail.config.sections import (
    CHECKPOINTS,
    EXACTLY_ONCE,
    GeneralSettings,
    JournalSettings,
    KafkaSettings,
    MetricsSettings,
    state_directory,
)
from amikafka_tail.model.errors import ConfigError, Problem
from amikafka_tail.model.pushed_filters import FilterLine
from amikafka_tail.model.suggestions import unknown
from amikafka_tail.plugins.registry import Registry

__all__ = [
    "CHECKPOINTS",
    "EXACTLY_ONCE",
    "GeneralSettings",
    "Inspection",
    "JournalSettings",
    "KafkaSettings",
    "MetricsSettings",
    "Settings",
    "defaults",
    "load",
    "state_directory",
]

FILTER = "eventfilter"
EVENTLOG = "eventlog"
MANAGER = "manager"
TRANSACTIONAL_ID = "transactional.id"
MODULE_FILE = "ami_kafka.conf"
"""What the module app_ami_kafka reads. As long as it runs, too, amikafka has a file of another name."""
KAFKA_OWN = tuple(field.name for field in dataclasses.fields(KafkaSettings))
MANAGER_FILES = ("secret_file", "tls_ca", "tls_certificate", "tls_key")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """All that the configuration says. `etc` is the directory of Asterisk's own files."""

    path: Path
    etc: Path
    enabled: bool
    disabled_by: str
    """What says that nothing is to be done; empty where nothing does."""
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
    warnings: Sequence[Problem] = ()
    """What keeps Asterisk from doing its part, as its files are now: amikafka can only wait."""


class Inspection(NamedTuple):
    """What the configuration is asked beyond its own words, so that everything wrong is said at once."""

    refused: Callable[[KafkaProperties], Sequence[Problem]]
    """Returns what librdkafka does not take."""
    unreadable: Callable[[Path, Mapping[Path, Problem]], Sequence[Problem]]
    """Returns which files the service cannot read: of the configuration at the path, and where each is named,
    as a problem without a message."""


def load(
    path: Path,
    registry: Registry,
    *,
    etc: Path | None = None,
    need_source: bool = True,
    inspection: Inspection | None = None,
) -> Settings:
    """Read the configuration. Raises `ConfigError` with everything that is wrong.

    `etc` is where kafka.conf, manager.conf and asterisk.conf are, by default beside `path`. Without
    `need_source` nobody has to say how to log in: the source is not going to be used. With an `inspection`
    somebody has to say which Kafka is meant, too, and what Asterisk's files lack is among the warnings.
    """
    document = files.load(path)
    if not document.files and document.problems:
        raise ConfigError([Problem(message="there is no such file; -c FILE names another", file=path)])
    if document.errors and not document.sections:
        raise ConfigError(document.errors)
    return _checked(_Loader(path, document, registry, etc or path.parent), need_source, inspection)


def defaults(path: Path, registry: Registry) -> Settings:
    """Return the settings of an empty file that would stand at `path`, for when no source is needed."""
    return _checked(_Loader(path, Document([], []), registry, path.parent), need_source=False)


def _checked(loader: _Loader, need_source: bool, inspection: Inspection | None = None) -> Settings:
    settings = loader.settings(need_source=need_source, inspection=inspection)
    if loader.problems or settings is None:
        remarks = [dataclasses.replace(remark, is_warning=True) for remark in loader.remarks]
        raise ConfigError(_in_order(dict.fromkeys([*loader.problems, *loader.warnings, *remarks])))
    return settings


def _in_order(problems: Iterable[Problem]) -> list[Problem]:
    """Return them in the order of the files that they are about, and in each from top to bottom."""
    problems = list(problems)
    order = list(dict.fromkeys(problem.file for problem in problems))
    return sorted(problems, key=lambda problem: (order.index(problem.file), problem.line or 0))


class _Loader:
    def __init__(self, path: Path, document: Document, registry: Registry, etc: Path) -> None:
        self.problems = list(document.errors)
        self.warnings: list[Problem] = []
        self.remarks = list(document.warnings)
        self._obstacles: list[Problem] = []
        self._path = path
        self._registry = registry
        self._etc = etc
        self._blocks: dict[str, list[list[Line]]] = {}
        """The lines below each header of a section."""
        self._files = {file: Problem(message="", file=file) for file in document.files}
        """All that is read, and where each is named."""
        plugin_sections = {registration.name for registration in registry} - {FILTER}
        self._toml = plugin_files.load(path.parent / plugin_files.DIRECTORY, plugin_sections, self.problems)
        self._files |= {each.path: Problem(message="", file=each.path) for each in self._toml.values()}
        known = ["general", "kafka", "journal", "metrics", *sorted(plugin_sections)]
        names = {fold(name): name for name in known}
        for section in document.sections:
            if (name := names.get(fold(section.name))) is not None:
                self._blocks.setdefault(name, []).append(section.lines)
            else:
                message = unknown("section", section.name, known)
                self.problems.append(
                    Problem(message=message, file=section.file, line=section.line, section=section.name)
                )

    def settings(self, *, need_source: bool, inspection: Inspection | None) -> Settings | None:
        filter_lines, others = _split(self._section("general"))
        general = bind(GeneralSettings, others, "general", self.problems, also_known=[FILTER])
        kafka, properties = self._kafka()
        journal = bind(JournalSettings, self._section("journal"), "journal", self.problems)
        metrics = bind(MetricsSettings, self._section("metrics"), "metrics", self.problems)
        self._check_choice("source")
        self._check_choice("format")
        chosen = self._filter_names(general, has_lines=bool(filter_lines))
        options = self._plugin_options(general, chosen, need_source=need_source)
        options[FILTER] = self._event_filter(filter_lines)
        self._note_repetitions()
        self._note_identity(general)
        disabled_by = _disabled_by(general, kafka)
        if inspection is not None:
            if not disabled_by and not properties.names_brokers and self._connection_line() is None:
                self.problems.append(self._no_kafka())
            self.warnings += self._obstacles
            self.problems += inspection.unreadable(self._path, self._files)
            self.problems += inspection.refused(properties)
        if self.problems or general is None or kafka is None or journal is None or metrics is None:
            return None
        names = [field.name for field in dataclasses.fields(Overrides)]
        source = general.source.lower()
        remarks = [str(each) for each in self.remarks]
        remarks += [
            f"the filter {name} has options but is not used: filters of [general] does not name it"
            for name in self._registry.names("filter")
            if name not in chosen and (self._section(name) or name in self._toml)
        ]
        pushed: Sequence[FilterLine] = ()
        if source == MANAGER and options[source].push_filters:
            pushed = self._pushed(chosen, options[FILTER].lines, options[source].username, remarks)
        return Settings(
            path=self._path,
            etc=self._etc,
            enabled=not disabled_by,
            disabled_by=disabled_by,
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
            warnings=_in_order(self.warnings),
        )

    def _note_repetitions(self) -> None:
        """Note of which options the last value counts. A line below another header is meant to count more."""
        for name, blocks in self._blocks.items():
            for block in blocks:
                lines = _split(block)[1]
                if name == "kafka":
                    lines = [line for line in lines if any(line.is_named(own) for own in KAFKA_OWN)]
                self.remarks += kafka_checks.repeated(lines, name)

    def _note_identity(self, general: GeneralSettings | None) -> None:
        if general is not None and (general.entity_id is None or general.system_name is None):
            self.remarks += local.facts(self._etc).remarks
            self._document("asterisk.conf")

    def _no_kafka(self) -> Problem:
        message = "neither connection nor brokers is set: which Kafka is meant?"
        return Problem(message=message, file=self._path, section="kafka")

    def _document(self, name: str, *, is_needed: bool = True) -> Document:
        """Read another file of Asterisk's; one that is needed has to be readable for the service."""
        document = files.load(self._etc / name)
        if is_needed:
            self._files |= {file: Problem(message="", file=file) for file in document.files}
        return document

    def _plugin_options(
        self, general: GeneralSettings | None, chosen: Sequence[str], *, need_source: bool
    ) -> dict[str, Any]:
        """Bind the options of every plugin that is used, and of those that somebody has set options of."""
        used = {*chosen, EVENTLOG}
        if general is not None:
            used |= {general.source.lower(), general.format.lower()}
        options: dict[str, Any] = {}
        for registration in self._registry:
            name = registration.name
            toml = self._toml.get(name)
            lines = self._section(name)
            if name == FILTER or not (name in used or lines or toml):
                continue
            if name == MANAGER and need_source and general is not None and general.source.lower() == name:
                self._note_manager_files(lines)
                lines = [*lines, *self._from_manager_conf(lines)]
            options[name] = bind(registration.options, lines, name, self.problems, toml=toml, file=self._path)
        return options

    def _section(self, name: str) -> list[Line]:
        return [line for block in self._blocks.get(name, []) for line in block]

    def _check_choice(self, kind: str) -> None:
        """See that the source or the format that `[general]` names exists."""
        known = self._registry.names(kind)
        for line in self._section("general"):
            if line.is_named(kind) and line.value.lower() not in known:
                message = f'"{line.value}": {unknown(kind, line.value, known)}; there are: {", ".join(known)}'
                self.problems.append(problem(line, "general", message))

    def _filter_names(self, general: GeneralSettings | None, *, has_lines: bool) -> list[str]:
        """Return the filters in their order. Where `filters` does not name it, eventfilter comes first."""
        names = [] if general is None else [name.lower() for name in general.filters]
        known = self._registry.names("filter")
        for line in self._section("general"):
            if not line.is_named("filters"):
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
            lines=tuple(
                FilterLine(FILTER + line.name[len(FILTER) :], line.value, f"{line.file}:{line.line}")
                for line in lines
            )
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
        own = [line for line in lines if any(line.is_named(name) for name in KAFKA_OWN)]
        kafka = bind(KafkaSettings, own, "kafka", self.problems)
        direct = [line for line in lines if line not in own]
        connection = self._connection_line()
        parts = [
            Part("kafka", [line for line in block if line in direct])
            for block in self._blocks.get("kafka", [])
        ]
        if connection is not None:
            parts = [*self._connection(connection), *parts]
            if any(line.is_named("brokers") for line in direct):
                message = "both connection and brokers are set: which Kafka is meant?"
                self.problems.append(problem(connection, "kafka", message))
        properties = kafka_conf.properties(
            parts, self.problems, self.remarks, _read_secret, also_known=KAFKA_OWN
        )
        self._files |= properties.files
        if TRANSACTIONAL_ID in properties.values and kafka is not None and kafka.delivery != EXACTLY_ONCE:
            message = f"is for delivery = {EXACTLY_ONCE} alone"
            self.problems.append(dataclasses.replace(properties.places[TRANSACTIONAL_ID], message=message))
        for line in own:
            if kafka is not None and line.is_named("topic") and line.value == kafka.topic and kafka.odd_topic:
                self.remarks.append(dataclasses.replace(problem(line, "kafka", kafka.odd_topic), key=None))
        return kafka, properties

    def _connection_line(self) -> Line | None:
        lines = reversed(self._section("kafka"))
        return next((line for line in lines if line.is_named("connection") and line.value), None)

    def _connection(self, line: Line) -> list[Part]:
        """Return what kafka.conf says of the connection that a line names; nothing where that is wrong."""
        file = self._etc / "kafka.conf"
        document = self._document(file.name)
        if document.errors and not document.sections:
            message = f"{document.errors[0]}; this connection is looked for there (or set brokers here)"
            self.problems.append(problem(line, "kafka", message))
            return []
        self.problems += document.errors
        self.remarks += document.warnings
        found, problems = kafka_conf.connection_of(document, line.value, file, line, self.remarks)
        self.problems += problems
        return [found] if found is not None else []

    def _note_manager_files(self, lines: Sequence[Line]) -> None:
        """Note the files of `[manager]`. One that is not there yet may be a credential that systemd makes."""
        for line in lines:
            if line.value.startswith("/") and any(line.is_named(name) for name in MANAGER_FILES):
                self._files.setdefault(Path(line.value), problem(line, MANAGER, ""))

    def _from_manager_conf(self, lines: list[Line]) -> list[Line]:
        """Return lines for what `[manager]` leaves open and manager.conf says."""
        said = {fold(line.name): line for line in lines if line.value}
        has_secret = "secret" in said or "secret_file" in said
        if has_secret and "host" in said:
            return []
        file = self._etc / "manager.conf"
        username = said["username"].value if "username" in said else manager_conf.USER
        document = self._document(file.name, is_needed=not has_secret)
        user = manager_conf.find_user(document, username)
        if "host" not in said:
            self._obstacles += manager_conf.obstacles(document, file)
        if not has_secret and user.secret is None:
            self.problems += document.errors
            self.problems.append(
                Problem(
                    message=f"no secret for the manager user {username}: set secret or secret_file here,"
                    f" or add a section [{username}] with a secret to {file} or what it includes",
                    file=self._path,
                    section=MANAGER,
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


def _split(lines: Sequence[Line]) -> tuple[list[Line], list[Line]]:
    """Return the eventfilter lines, and the others."""
    filters = [line for line in lines if fold(line.name).startswith(FILTER)]
    return filters, [line for line in lines if not fold(line.name).startswith(FILTER)]


def _disabled_by(general: GeneralSettings | None, kafka: KafkaSettings | None) -> str:
    """Say what makes the daemon do nothing. So does an empty topic, as for the module app_ami_kafka."""
    if general is not None and not general.enabled:
        return "[general] enabled = no"
    return "" if kafka is None or kafka.topic else "[kafka] topic is empty"


def _read_secret(path: Path) -> str:
    return path.read_text(encoding="utf-8").rstrip("\r\n")

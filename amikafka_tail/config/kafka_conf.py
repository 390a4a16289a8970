"""kafka.conf of Asterisk's res_kafka: its connections, as properties of librdkafka."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from amikafka_tail.config import kafka_checks
from amikafka_tail.config.dialect import Document, Line, Section, fold
from amikafka_tail.config.options import FALSE, problem, require_utf_8
from amikafka_tail.model.errors import Problem
from amikafka_tail.model.suggestions import unknown


class ProducerOption(NamedTuple):
    """An option of res_kafka."""

    property: str
    """What librdkafka calls it."""
    default: str | None
    """`None`: not set."""
    text: str


PRODUCER_OPTIONS: dict[str, ProducerOption] = {
    "brokers": ProducerOption(
        "bootstrap.servers", "localhost:9092", "Where to begin: host:port, separated by commas."
    ),
    "client_id": ProducerOption("client.id", "asterisk", "How the client is called in the broker's log."),
    "security_protocol": ProducerOption(
        "security.protocol", "plaintext", "`plaintext`, `ssl`, `sasl_plaintext` or `sasl_ssl`."
    ),
    "sasl_mechanisms": ProducerOption(
        "sasl.mechanisms",
        None,
        "How to log in: `PLAIN`, `SCRAM-SHA-256`, `SCRAM-SHA-512` or another of librdkafka.",
    ),
    "sasl_username": ProducerOption("sasl.username", None, "The user."),
    "sasl_password": ProducerOption(
        "sasl.password", None, "The password; `sasl_password_file` names a file that has it."
    ),
    "ssl_ca_location": ProducerOption(
        "ssl.ca.location", None, "A file or a directory of certificates to trust, instead of the system's."
    ),
    "ssl_certificate_location": ProducerOption(
        "ssl.certificate.location", None, "The client's own certificate (PEM)."
    ),
    "ssl_key_location": ProducerOption("ssl.key.location", None, "The key of that certificate (PEM)."),
    "compression_codec": ProducerOption(
        "compression.codec", "none", "`none`, `gzip`, `snappy`, `lz4` or `zstd`."
    ),
    "compression_level": ProducerOption(
        "compression.level", "-1", "How hard it tries; -1: as the codec likes."
    ),
    "acks": ProducerOption(
        "request.required.acks",
        "-1",
        "-1: all replicas in sync have a message before it counts as delivered. 1: the leader has it."
        " 0: nobody is asked.",
    ),
    "enable_idempotence": ProducerOption(
        "enable.idempotence",
        None,
        "Keeps the order when a request is sent again. Yes, unless it is set or `acks`, `retries` or"
        " `max.in.flight` do not allow it.",
    ),
    "linger_ms": ProducerOption(
        "queue.buffering.max.ms", "5", "How long a message waits for others to share a request, in ms."
    ),
    "batch_num_messages": ProducerOption(
        "batch.num.messages", "10000", "How large a batch grows, in messages."
    ),
    "batch_size": ProducerOption("batch.size", "1000000", "How large a batch grows, in bytes."),
    "message_max_bytes": ProducerOption(
        "message.max.bytes",
        "1000000",
        "How large a request may be. A larger message goes to the dead letters.",
    ),
    # res_kafka's is 300000, after which its messages are gone; ours wait, in order (docs/adr/0002).
    "message_timeout_ms": ProducerOption(
        "message.timeout.ms", "0", "0: a message waits for Kafka as long as it takes, and keeps its place."
    ),
    "request_timeout_ms": ProducerOption(
        "request.timeout.ms",
        "5000",
        "How long a broker may take to have a message acknowledged by its replicas.",
    ),
    "socket_timeout_ms": ProducerOption(
        "socket.timeout.ms", "10000", "How long a request may take, the network included."
    ),
    "retries": ProducerOption("message.send.max.retries", "2147483647", "How often a request is sent again."),
    "reconnect_backoff_ms": ProducerOption(
        "reconnect.backoff.ms", "100", "How long to wait before connecting again; each time longer."
    ),
    "reconnect_backoff_max_ms": ProducerOption("reconnect.backoff.max.ms", "10000", "The longest such wait."),
    "queue_buffering_max_messages": ProducerOption(
        "queue.buffering.max.messages",
        "100000",
        "How many messages may be in librdkafka's queue. amikafka hands it 8,000 at most: the rest waits in"
        " the journal.",
    ),
    "queue_buffering_max_kbytes": ProducerOption(
        "queue.buffering.max.kbytes", "1048576", "How large librdkafka's queue may be, in KiB."
    ),
    "debug": ProducerOption(
        "debug",
        None,
        "Parts of librdkafka that are to say what they do, `broker,msg` for example; it is logged with"
        " `log_level = debug`.",
    ),
}
"""By res_kafka's names, with its defaults."""
CONSUMER_OPTIONS = (
    "group_id",
    "auto_offset_reset",
    "enable_auto_commit",
    "auto_commit_interval_ms",
    "session_timeout_ms",
    "max_poll_interval_ms",
)
"""For consumers: accepted, as they may stand in a connection, and not used."""
PASSWORD_FILE = "sasl_password_file"
ANY_PROPERTY = "rdkafka."
KNOWN = (*PRODUCER_OPTIONS, *CONSUMER_OPTIONS, PASSWORD_FILE, "type")


# Properties of the producer that say how to reach the brokers, and so hold for a consumer too.
SHARED = (
    "bootstrap.servers",
    "broker.",
    "client.",
    "enable.sasl.",
    "enable.ssl.",
    "metadata.broker.list",
    "reconnect.",
    "sasl.",
    "security.",
    "socket.",
    "ssl.",
)


@dataclass(frozen=True, kw_only=True)
class KafkaProperties:
    """librdkafka's properties for a producer, and the line that each was set on. Secrets are not shown."""

    values: dict[str, str] = field(repr=False)
    origins: dict[str, str] = field(default_factory=dict)
    places: dict[str, Problem] = field(default_factory=dict)
    """Where each was set, as a problem without a message."""
    files: dict[Path, Problem] = field(default_factory=dict)
    """The files that are named, and where: as a problem without a message."""
    names_brokers: bool = False
    """Whether a line says where Kafka is."""


class Part(NamedTuple):
    """The lines of one section."""

    section: str
    lines: Sequence[Line]


def connection_of(
    document: Document, name: str, file: Path, line: Line, remarks: list[Problem]
) -> tuple[Part | None, list[Problem]]:
    """Return the connection that `line` names, or what is wrong.

    As res_kafka has it, the lines of a connection that is there twice add up.
    """
    sections = [section for section in document.sections if fold(section.get("type") or "") == "connection"]
    found = document.named(name)
    if not any(section is each for section in found for each in sections):
        if found:
            message = f'[{name}] of {file} has no "type = connection"'
        else:
            message = f'there is no connection "{name}" in {file}: ' + (
                unknown("connection", name, [section.name for section in sections])
            )
        return None, [problem(line, "kafka", message)]
    remarks += _twice(found)
    for general in document.first("general"):
        if general.is_named("enabled") and fold(general.value) in FALSE:
            text = "res_kafka is switched off; amikafka uses its connections all the same"
            remarks.append(problem(general, "general", text))
    return Part(found[0].name, [each for section in found for each in section.lines]), []


def _twice(sections: Sequence[Section]) -> Iterator[Problem]:
    first = sections[0]
    for each in sections[1:]:
        text = (
            f"the connection is there twice, first in {first.file}:{first.line}: the lines of both add up."
            f" [{each.name}](+) says that this is meant"
        )
        yield Problem(message=text, file=each.file, line=each.line, section=each.name)


def properties(
    parts: Sequence[Part],
    problems: list[Problem],
    remarks: list[Problem],
    read_secret: Callable[[Path], str],
    *,
    also_known: Iterable[str] = (),
) -> KafkaProperties:
    """Turn the lines of a connection, and of `[kafka]` itself, into properties with res_kafka's defaults.

    Of an option that comes several times the last value counts, in `[kafka]` more than in a connection.
    Two defaults are ours, to keep the order (docs/adr/0002): messages never time out, and the producer is
    idempotent where nobody has said otherwise and `acks` allows it.
    """
    reading = _Reading(read_secret, [*KNOWN, *also_known])
    for section, lines in parts:
        for error in kafka_checks.repeated(lines, section, also_known):
            (remarks if error.is_warning else problems).append(error)
        for line in lines:
            try:
                require_utf_8(line.value)
                reading.take(line, section)
            except ValueError as error:
                problems.append(problem(line, section, str(error)))
    values, places = {**reading.values, **reading.direct}, reading.places
    files = {Path(values[name]): place for name, place in places.items() if name.endswith(".location")}
    if (refused := kafka_checks.of_sasl(values, places)) is not None:
        problems.append(refused)
        values["security.protocol"] = "plaintext"  # what else is wrong can be seen without it
    if "ssl" in values["security.protocol"].lower():
        # librdkafka's own default since 2.0; before, any name would do.
        values.setdefault("ssl.endpoint.identification.algorithm", "https")
    if "enable.idempotence" not in values and _may_be_idempotent(values):
        values["enable.idempotence"] = "true"
    return KafkaProperties(
        values=values,
        origins={name: f"{place.file}:{place.line}: {place.key}" for name, place in places.items()},
        places=places,
        files={**reading.files, **{file: place for file, place in files.items() if file.is_absolute()}},
        names_brokers=reading.names_brokers,
    )


class _Reading:
    """What the lines come to, one after the other."""

    def __init__(self, read_secret: Callable[[Path], str], known: Sequence[str]) -> None:
        defaults = {each.property: each.default for each in PRODUCER_OPTIONS.values()}
        self.values = {name: default for name, default in defaults.items() if default is not None}
        self.direct: dict[str, str] = {}
        """What `rdkafka.` sets, and so counts more."""
        self.places: dict[str, Problem] = {}
        self.files: dict[Path, Problem] = {}
        self.names_brokers = False
        self._read_secret = read_secret
        self._known = known

    def take(self, line: Line, section: str) -> None:
        """Take a line. Raises `ValueError` where it cannot be right."""
        name, place = fold(line.name), problem(line, section, "")
        if name.startswith(ANY_PROPERTY):
            property_name = line.name[len(ANY_PROPERTY) :]
            self.names_brokers |= property_name in kafka_checks.BROKERS
            kafka_checks.require_settable(property_name)
            kafka_checks.check_property(property_name, line.value)
            self.direct[property_name] = line.value
            self.places[property_name] = place
        elif name == PASSWORD_FILE:
            self.files[Path(line.value)] = place
            self.values["sasl.password"] = self._secret(line.value)
        elif name in PRODUCER_OPTIONS:
            property_name = PRODUCER_OPTIONS[name].property
            self.names_brokers |= property_name in kafka_checks.BROKERS
            if value := kafka_checks.checked(name, property_name, line):
                self.values[property_name] = value
                self.places[property_name] = place
        elif name not in self._known:
            raise ValueError(unknown("option", line.name, self._known))

    def _secret(self, path: str) -> str:
        try:
            return self._read_secret(Path(path))
        except OSError as error:
            raise ValueError(f"{path}: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise ValueError(f"{path}: is not UTF-8") from error


def shared(values: Mapping[str, str]) -> dict[str, str]:
    """Return, of a producer's properties, those that a consumer and an administrator need too."""
    return {name: value for name, value in values.items() if name.startswith(SHARED) and value}


def _may_be_idempotent(values: dict[str, str]) -> bool:
    acks = values.get("acks", values["request.required.acks"])
    retries = values.get("retries", values["message.send.max.retries"])
    in_flight = values.get("max.in.flight.requests.per.connection", values.get("max.in.flight", "5"))
    return acks in ("-1", "all") and retries != "0" and in_flight in ("1", "2", "3", "4", "5")

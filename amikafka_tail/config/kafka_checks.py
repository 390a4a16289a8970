"""What is wrong with a setting of Kafka that librdkafka takes, or refuses in riddles."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from amikafka_tail.config.dialect import Line, fold
from amikafka_tail.config.options import boolean, problem
from amikafka_tail.model.errors import Problem

BROKERS = ("bootstrap.servers", "metadata.broker.list")
CHOICES = {
    "compression.codec": ("none", "gzip", "snappy", "lz4", "zstd"),
    "security.protocol": ("plaintext", "ssl", "sasl_plaintext", "sasl_ssl"),
}
ACKS = ("-1", "all", "1", "0")
MECHANISMS = "PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512"
_NEED_PASSWORD = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
_INTEGERS = frozenset(
    [
        "batch.num.messages",
        "batch.size",
        "compression.level",
        "message.max.bytes",
        "message.send.max.retries",
        "message.timeout.ms",
        "queue.buffering.max.kbytes",
        "queue.buffering.max.messages",
        "reconnect.backoff.max.ms",
        "reconnect.backoff.ms",
        "request.timeout.ms",
        "retries",
        "socket.timeout.ms",
    ]
)
# What confluent-kafka takes as objects of Python.
_OF_THE_PROGRAM = frozenset(
    [
        "default.topic.config",
        "delivery.report.only.error",
        "error_cb",
        "log_cb",
        "logger",
        "oauth_cb",
        "on_commit",
        "on_delivery",
        "stats_cb",
        "throttle_cb",
    ]
)
_HOST = r"(?:\[[0-9A-Fa-f:.%\w]+\]|[^\s\[\]:;,\"'<>()/\\]+)"
_BROKER = re.compile(rf"(?:[A-Za-z_]+://)?{_HOST}(?::(\d+))?")
_MANY_BROKERS = re.compile(rf"{_HOST}(:\d+)?(?:\s*[;,]\s*{_HOST}(?::\d+)?)*[;,]?")


def require_settable(name: str) -> None:
    """Raise `ValueError` where a property is no property of librdkafka's, but of this program's."""
    if not name:
        raise ValueError("names no property of librdkafka: rdkafka.PROPERTY")
    if name in _OF_THE_PROGRAM:
        raise ValueError("is no property that a configuration can set")


def check_property(name: str, value: str) -> None:
    """Raise `ValueError` where the value of a property cannot be right."""
    if name in CHOICES and value and value.lower() not in CHOICES[name]:
        raise ValueError(f'"{value}" is not one of {", ".join(CHOICES[name])}')
    if name in ("acks", "request.required.acks") and value and value.lower() not in ACKS:
        raise ValueError(
            f'"{value}" is not what a broker takes: -1 (all replicas in sync), 1 (the leader) or 0 (nobody)'
        )
    if name in _INTEGERS and value and not re.fullmatch(r"[+-]?(0[xX][0-9A-Fa-f]+|\d+)", value, re.ASCII):
        raise ValueError(f'"{value}" is not a whole number')


def checked(name: str, property_name: str, line: Line) -> str:
    """Return the value of an option as librdkafka takes it. Raises `ValueError` where it cannot be right."""
    if name == "brokers":
        _check_brokers(line)
    if name == "enable_idempotence":
        return "true" if boolean(line.value) else "false"
    check_property(property_name, line.value)
    return line.value


def _check_brokers(line: Line) -> None:
    if found := _commented_out(line):
        raise ValueError(f'";" begins a comment, so "{found}" is not read: separate brokers with commas')
    brokers = [each.strip() for each in line.value.split(",")]
    if not any(brokers):
        raise ValueError("is empty: host:port, separated by commas")
    for broker in filter(None, brokers):
        found_broker = _BROKER.fullmatch(broker)
        port = found_broker and found_broker[1]
        if not found_broker or (port is not None and not 0 < int(port) < 65536):
            raise ValueError(f'"{broker}" is not host:port')


def _commented_out(line: Line) -> str:
    """Return what looks like more brokers behind a `;`; without a port only if no blank is before the `;`."""
    found = _MANY_BROKERS.fullmatch(line.comment)
    if found is None:
        return ""
    return line.comment if found[1] or line.has_close_comment else ""


def repeated(lines: Sequence[Line], section: str, also_known: Iterable[str] = ()) -> Iterator[Problem]:
    """Yield what is said twice in a section. That of brokers is an error; of others the last value counts.

    An option that a template has, or a `[name](+)` has again, is meant to be said twice.
    """
    first: dict[str, Line] = {}
    for line in lines:
        name = fold(line.name)
        before = first.setdefault(name, line)
        if before is line or line.is_override or before.is_override or name in also_known:
            continue
        where = f"set twice, first in {before.file}:{before.line}"
        if name == "brokers":
            yield problem(line, section, f"is {where}: write all brokers in one line, separated by commas")
        elif before.value != line.value:
            found = problem(line, section, f"is {where}: the last value counts")
            yield dataclasses.replace(found, is_warning=True)


def of_sasl(values: Mapping[str, str], places: Mapping[str, Problem]) -> Problem | None:
    """Return what is missing for logging in to Kafka, `None` where nothing is."""
    if not values["security.protocol"].lower().startswith("sasl"):
        return None
    mechanism = values.get("sasl.mechanisms") or values.get("sasl.mechanism") or ""
    if not mechanism and not any(name.startswith("sasl.kerberos.") for name in values):
        message = f"sasl_mechanisms is not set: {MECHANISMS}; for Kerberos GSSAPI"
        return dataclasses.replace(places["security.protocol"], message=message)
    if mechanism.upper() in _NEED_PASSWORD:
        missing = [name for name in ("sasl.username", "sasl.password") if not values.get(name)]
        if missing:
            place = places.get("sasl.mechanisms") or places["sasl.mechanism"]
            needed = " and ".join(name.replace(".", "_") for name in missing)
            return dataclasses.replace(place, message=f"{mechanism} needs {needed}")
    return None

"""Inspects a Kafka cluster: the brokers, the topic, and whether a test record arrives."""

from __future__ import annotations

import logging
import re
import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic  # type: ignore[attr-defined]

from amikafka_tail.config.kafka_conf import shared
from amikafka_tail.model.errors import ClusterError
from amikafka_tail.model.payload import Headers

CONNECT_SECONDS = 3.0
MAKE_TOPIC = "create it: amikafka topic create; or correct [kafka] topic"
SETTINGS = (
    "min.insync.replicas",
    "retention.ms",
    "retention.bytes",
    "max.message.bytes",
    "cleanup.policy",
)
_MOMENT = re.compile(r" \(after \d+ms in state \w+(, \d+ identical error\(s\) suppressed)?\)")


@dataclass(frozen=True, kw_only=True)
class Node:
    """A broker with its advertised address (advertised.listeners)."""

    number: int
    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


@dataclass(frozen=True, kw_only=True)
class TopicPart:
    """A partition; brokers by number, -1 for no leader."""

    number: int
    leader: int
    replicas: tuple[int, ...]
    in_sync: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class ClusterState:
    """The cluster's metadata. `parts` is `None` if the topic does not exist or may not be seen."""

    nodes: Sequence[Node]
    controller: int
    parts: Sequence[TopicPart] | None
    topic_problem: str | None
    topic_is_missing: bool


@dataclass(frozen=True, kw_only=True)
class Sent:
    """An acknowledged record; `seconds` is the time that took."""

    partition: int
    offset: int
    seconds: float


class Cluster:
    """A cluster, reached with the producer's properties.

    Every method blocks for at most `seconds`, or slightly more, and raises `ClusterError` with a hint.
    """

    def __init__(self, properties: Mapping[str, str], *, seconds: float = 10.0) -> None:
        self._properties = dict(properties)
        self._seconds = seconds
        self._said: list[str] = []
        # librdkafka logs each attempt; the errors from the callback are enough.
        self._logger = logging.Logger("cluster")
        self._logger.addHandler(logging.NullHandler())

    def look(self, topic: str) -> ClusterState:
        """Return the brokers and the topic's state. Creates nothing."""
        consumer = Consumer({**self._shared(), "group.id": "amikafka-doctor"}, logger=self._logger)
        try:
            found = consumer.list_topics(topic, timeout=self._seconds)
        except KafkaException as error:
            consumer.poll(0)  # delivers pending errors to the callback
            raise self._failed("no broker can be reached", error.args[0]) from error
        finally:
            consumer.close()
        about = found.topics[topic]
        problem = about.error
        parts = [
            TopicPart(
                number=each.id, leader=each.leader, replicas=tuple(each.replicas), in_sync=tuple(each.isrs)
            )
            for each in sorted(about.partitions.values(), key=lambda each: int(each.id))
        ]
        return ClusterState(
            nodes=[
                Node(number=each.id, host=each.host, port=each.port)
                for each in sorted(found.brokers.values(), key=lambda each: int(each.id))
            ],
            controller=found.controller_id,
            parts=None if problem is not None or not parts else parts,
            topic_problem=None if problem is None else str(problem.str()),
            topic_is_missing=problem is not None and problem.code() == KafkaError.UNKNOWN_TOPIC_OR_PART,
        )

    def settings(self, topic: str) -> dict[str, str]:
        """Return the topic's relevant settings; empty if we may not read them."""
        admin = AdminClient(self._admin_properties())
        resource = ConfigResource(ConfigResource.Type.TOPIC, topic)
        try:
            (asked,) = admin.describe_configs([resource], request_timeout=self._seconds).values()
            found = asked.result(self._seconds)
        except (KafkaException, TimeoutError):
            return {}
        return {name: str(found[name].value) for name in SETTINGS if name in found}

    def create(self, topic: str, *, partitions: int, replicas: int, settings: Mapping[str, str]) -> None:
        """Create the topic; -1 replicas is the brokers' default."""
        admin = AdminClient(self._admin_properties())
        wanted = NewTopic(topic, partitions, replicas, config=dict(settings))
        try:
            for created in admin.create_topics([wanted], request_timeout=self._seconds).values():
                created.result(self._seconds + 5)
        except KafkaException as error:
            if error.args[0].code() == KafkaError.TOPIC_ALREADY_EXISTS:
                raise ClusterError(
                    f'topic "{topic}" exists already', hint="to see its state: amikafka kafka status"
                ) from error
            admin.poll(0)  # delivers pending errors to the callback
            raise self._failed(f"{topic} was not created", error.args[0]) from error

    def send(self, topic: str, value: bytes, key: bytes | None, headers: Headers) -> Sent:
        """Publish one record and wait until it is acknowledged."""
        reports: list[tuple[KafkaError | None, int, int]] = []
        # This one record is sent now or not at all, so it must not be retried later.
        values: dict[str, Any] = {
            **{name: text for name, text in self._properties.items() if name != "transactional.id"},
            "message.timeout.ms": str(int(self._seconds * 1000)),
            "error_cb": self._note,
        }
        producer = Producer(values, logger=self._logger)

        def report(error: KafkaError | None, message: object) -> None:
            reports.append((error, message.partition(), message.offset()))  # type: ignore[attr-defined]

        begin = time.monotonic()
        try:
            producer.produce(topic, value, key, on_delivery=report, headers=headers)
        except KafkaException as error:
            raise self._failed("the record was refused", error.args[0]) from error
        producer.flush(self._seconds + 2)
        if not reports:
            raise ClusterError(f"the record was not acknowledged within {self._seconds:g} s")
        refusal, partition, offset = reports[0]
        if refusal is not None:
            # For a missing topic, which may yet be created, the producer only reports a timeout.
            if not self._said and self.look(topic).topic_is_missing:
                raise ClusterError(f'topic "{topic}" does not exist', hint=MAKE_TOPIC)
            raise self._failed("the record was not accepted", refusal)
        return Sent(partition=partition, offset=offset, seconds=time.monotonic() - begin)

    def read(self, topic: str, partition: int, offset: int) -> bytes:
        """Return the record at an offset."""
        consumer = Consumer(
            {
                **self._shared(),
                "group.id": "amikafka-doctor",
                "enable.auto.commit": "false",
                "fetch.wait.max.ms": "50",
            },
            logger=self._logger,
        )
        try:
            consumer.assign([TopicPartition(topic, partition, offset)])
            until = time.monotonic() + self._seconds
            while time.monotonic() < until:
                message = consumer.poll(0.2)
                if message is None:
                    continue
                error = message.error()
                if error is None:
                    return message.value() or b""
                if error.code() != KafkaError._PARTITION_EOF and not error.retriable():
                    raise self._failed("the record cannot be read back", error)
            raise ClusterError(f"the record could not be read back within {self._seconds:g} s")
        finally:
            consumer.close()

    def _shared(self) -> dict[str, Any]:
        return {**shared(self._properties), "error_cb": self._note}

    def _admin_properties(self) -> dict[str, Any]:
        # confluent-kafka 1.7.0 takes the logger of an AdminClient nowhere else.
        return {**self._shared(), "logger": self._logger}

    def _note(self, error: KafkaError) -> None:
        text = without_moment(str(error.str()))
        if error.code() != KafkaError._ALL_BROKERS_DOWN and text not in self._said:
            self._said.append(text)

    def _failed(self, what: str, error: KafkaError) -> ClusterError:
        said = self._said or [str(error.str())]
        return ClusterError(f"{what}: {'; '.join(said[:3])}", hint=hint(" ".join(said), self._properties))


def without_moment(text: str) -> str:
    """Return an error of librdkafka's without its varying suffix."""
    return _MOMENT.sub("", text)


def can_connect(node: Node) -> str | None:
    """Return why a broker's advertised address cannot be reached, `None` if it can. Blocks for 3 s."""
    try:
        socket.create_connection((node.host, node.port), CONNECT_SECONDS).close()
    except OSError as error:
        return error.strerror or str(error)
    return None


def hint(said: str, properties: Mapping[str, str]) -> str:
    """Return what to do about an error of librdkafka's."""
    protocol = properties.get("security.protocol", "plaintext").lower()
    for words, advice in (
        ("Connection refused",
        "check that Kafka is running, and that [kafka] brokers has its address and port"),
        ("Failed to resolve", "correct the name in [kafka] brokers, or fix DNS"),
        ("certificate verify failed", "set [kafka] ssl_ca_location to the CA that signed the"
         " brokers' certificates"),
        ("hostname mismatch", "the broker's certificate is for another name: correct [kafka] brokers, or"
         " replace the certificate"),
        ("SSL handshake failed", "check that this port of the broker speaks TLS, and check the certificates"
         " of both sides"),
        ("Authentication failed", "check [kafka] sasl_username, sasl_password and sasl_mechanisms"),
        ("Authentication failure", "check [kafka] sasl_username, sasl_password and sasl_mechanisms"),
        ("authentication", "check [kafka] sasl_username, sasl_password and sasl_mechanisms"),
        ("Disconnected", f"check that [kafka] security_protocol = {protocol} is right for this port of"
         " the broker"),
        ("authorization failed", "add an ACL for the user: kafka-acls.sh --add --allow-principal User:... "
         "--operation Write --operation Describe --topic ..."),
        ("timed out", "check that no firewall drops packets between here and [kafka] brokers"),
        ("Timed out", "check that no firewall drops packets between here and [kafka] brokers"),
    ):  # fmt: skip
        if words in said:
            return advice
    return "check [kafka] brokers, and the brokers' logs"

"""`amikafka compare` against a real Asterisk and a real Kafka.

The module itself cannot be had here: a stand-in publishes what it would, of all that the witness sees.
"""

from __future__ import annotations

import json
import os
import shlex
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import pytest
from ami import Witness
from asterisk import Asterisk
from confluent_kafka import Producer
from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    ResourcePatternType,
    ResourceType,
)
from conftest import Daemons, or_skip
from flow import wait_for_marker, wait_until_connected
from kafka import Kafka, kafka_jars

from amikafka_tail.model.identity import Identity
from tests.support.daemon import PROJECT
from tests.support.module import module_message
from tests.support.terminal import Terminal

pytestmark = pytest.mark.timeout(240)
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(PROJECT), "AMIKAFKA_LOAD_PLUGINS": ""}


class Module:
    """Publishes what app_ami_kafka does, as it happens, until it is unloaded."""

    def __init__(self, kafka: Kafka, topic: str, asterisk: Asterisk, witness: Witness) -> None:
        origin = asterisk.origin
        self._identity = Identity(
            entity_id=origin.entity_id,
            system_name=origin.system_name,
            asterisk_version=origin.asterisk_version,
            hostname=socket.gethostname(),
        )
        self._topic = topic
        self._witness = witness
        self._producer = Producer({"bootstrap.servers": kafka.bootstrap, "linger.ms": 5})
        self._unloaded = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Module:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.unload()

    def unload(self) -> None:
        self._unloaded.set()
        self._thread.join(30)

    def _run(self) -> None:
        published = 0
        while not self._unloaded.wait(0.02):
            seen = self._witness.events
            for raw in seen[published:]:
                made = module_message(raw, identity=self._identity)
                self._producer.produce(self._topic, made.value, made.key, headers=list(made.headers))
                published += 1
            self._producer.poll(0)
        self._producer.flush(20)


def command(configuration: Path, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "amikafka_tail", "compare", "-c", str(configuration), *arguments]


def compared(configuration: Path, *arguments: str) -> tuple[int, dict[str, Any]]:
    done = subprocess.run(
        command(configuration, "--json", *arguments), capture_output=True, text=True, timeout=90,
        env=ENVIRONMENT,
    )  # fmt: skip
    assert "Traceback" not in done.stderr
    values: dict[str, Any] = json.loads(done.stdout) if done.stdout else {"stderr": done.stderr}
    return done.returncode, values


def test_the_module_and_the_daemon_publish_the_same_of_real_calls(
    tmp_path: Path, asterisk: Asterisk, kafka: Kafka, topic_name: str, daemon: Daemons
):
    """In transactions, by another key, over another number of partitions, with ids of its own."""
    topic, trial = kafka.create_topic(topic_name, 3), kafka.create_topic(f"{topic_name}-trial", 6)
    subject = daemon(trial, kafka="key = linkedid\ndelivery = exactly_once\nevent_id = yes").start()
    both = ("--module-topic", topic)
    report = tmp_path / "report"
    live = shlex.join(command(subject.configuration, *both, "--json", "--for", "15s"))
    with (
        asterisk.driver() as driver,
        asterisk.witness() as witness,
        Module(kafka, topic, asterisk, witness) as module,
        kafka.reader(trial, committed=True) as reader,
    ):
        wait_until_connected(subject, driver, reader)
        with Terminal(["sh", "-c", f"exec {live} > {report}"], ENVIRONMENT) as terminal:
            terminal.wait_for("s left")
            driver.calls(40, 10)
            driver.user_event("Odd", ("EntityID", "forged"), ("Name", b"M\xfcller"), ("Empty", ""))
            driver.send_raw(b"Action: UserEvent\r\nUserEvent: Odd\r\nNoSpace:value\r\nEmpty:\r\n\r\n")
            assert terminal.wait_for_exit(60) == 0, terminal.text
        found = json.loads(report.read_text())
        assert found["agrees"] is True
        assert found["total"]["known"] == found["total"]["agree"] + found["total"]["known"] > 40 * 30
        kinds = {each["kind"]: each["events"] for each in found["known_differences"]}
        assert kinds.pop("event-id") == found["total"]["known"], "every message of ours has one"
        assert kinds.pop("key") > 40 * 30
        assert kinds.pop("not-utf-8") > 20, "every tenth caller"
        assert kinds == {"forged": 1, "no-separator": 1}

        # The same of what stands there already, and with one event that the module did not publish.
        code, found = compared(subject.configuration, *both, "--since", "10m", "--for", "0")
        assert code == 0, found
        assert found["total"]["known"] > 40 * 30
        module.unload()
        driver.marker("after the module")
        driver.marker("end")
        wait_for_marker(reader, "end")
    code, found = compared(subject.configuration, *both, "--since", "10m", "--for", "0", "--wait", "1s")
    assert code == 1
    assert found["total"]["only_ours"] == 2
    assert found["total"]["only_module"] == found["total"]["differ"] == 0
    assert [json.loads(each["value"])["Marker"] for each in found["ours"]["only_here"]] == [
        "after the module",
        "end",
    ]
    assert "the module's topic is" in found["advice"][0]
    assert subject.stop() == 0


LISTENER = "listener.name.clients"
USERS = f"""
sasl.enabled.mechanisms=PLAIN
{LISTENER}.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required \\
  user_reader="secret" user_nobody="secret";
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS
"""


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kafka]:
    """A broker where a user may do what he has the right to."""
    kafka = Kafka(
        or_skip(kafka_jars), tmp_path_factory.mktemp("guarded"), protocol="SASL_PLAINTEXT", more=USERS
    )
    try:
        kafka.start()
        yield kafka
    finally:
        kafka.kill()


def test_the_right_to_read_two_topics_is_enough(tmp_path: Path, guarded: Kafka):
    topics = ("events", "trial")
    for topic in topics:
        guarded.create_topic(topic, 2)
        producer = Producer({"bootstrap.servers": guarded.bootstrap})
        for number in range(20):
            made = module_message(f"Event: A\r\nPrivilege: call,all\r\nNumber: {number}".encode())
            producer.produce(topic, made.value, made.key, headers=list(made.headers))
        producer.flush()

    def configuration(user: str) -> Path:
        path = tmp_path / f"{user}.conf"
        path.write_text(
            f"[kafka]\nbrokers = {guarded.secured}\ntopic = trial\nsecurity_protocol = sasl_plaintext\n"
            f"sasl_mechanisms = PLAIN\nsasl_username = {user}\nsasl_password = secret\n"
        )
        return path

    since = ("--module-topic", "events", "--since", "10m", "--for", "0")
    code, found = compared(configuration("nobody"), *since)
    assert code == os.EX_UNAVAILABLE
    assert 'topic "events" does not exist' in found["stderr"]
    admin = guarded.admin()

    def allow(operation: AclOperation, topic: str) -> None:
        rule = AclBinding(
            ResourceType.TOPIC, topic, ResourcePatternType.LITERAL, "User:reader", "*", operation,
            AclPermissionType.ALLOW,
        )  # fmt: skip
        for done in admin.create_acls([rule]).values():
            done.result(20)

    for topic in topics:
        allow(AclOperation.DESCRIBE, topic)
    code, found = compared(configuration("reader"), *since)
    assert code == os.EX_UNAVAILABLE
    assert "events cannot be read: " in found["problem"]
    for topic in topics:
        allow(AclOperation.READ, topic)
    code, found = compared(configuration("reader"), *since)
    assert code == 0, found
    assert found["total"]["agree"] == 20

"""Every way to log in to Kafka that the configuration knows, against a broker that asks for it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka.admin import ScramCredentialInfo, ScramMechanism, UserScramCredentialUpsertion
from conftest import or_skip
from kafka import Kafka, kafka_jars

from tests.fakes.ami_server import make_certificate
from tests.support.daemon import PROJECT

STREAM = b"".join(
    b"Event: Test\r\nPrivilege: call,all\r\nNumber: %d\r\n\r\n" % number for number in range(20)
)
MODULES = "org.apache.kafka.common.security"
SECRET = "s3cret-of-pbx"
pytestmark = pytest.mark.timeout(120)


def tls(directory: Path, names: str) -> str:
    """Make the broker's and a client's certificate in a directory; return the listener's properties."""
    for who, name in (("broker", names), ("client", "DNS:pbx")):
        made = make_certificate(directory, name)
        made.certificate.rename(directory / f"{who}.crt")
        made.key.rename(directory / f"{who}.key")
    pair = directory / "broker.pem"
    pair.write_bytes((directory / "broker.key").read_bytes() + (directory / "broker.crt").read_bytes())
    return f"""
listener.name.clients.ssl.keystore.type=PEM
listener.name.clients.ssl.keystore.location={pair}
listener.name.clients.ssl.truststore.type=PEM
listener.name.clients.ssl.truststore.location={directory}/client.crt
"""


def sasl() -> str:
    """Return the listener's properties for every mechanism."""
    listener = "listener.name.clients"
    return f"""
sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER
{listener}.plain.sasl.jaas.config={MODULES}.plain.PlainLoginModule required user_pbx="{SECRET}";
{listener}.scram-sha-256.sasl.jaas.config={MODULES}.scram.ScramLoginModule required;
{listener}.scram-sha-512.sasl.jaas.config={MODULES}.scram.ScramLoginModule required;
{listener}.oauthbearer.sasl.jaas.config={MODULES}.oauthbearer.OAuthBearerLoginModule required \\
  unsecuredLoginStringClaim_sub="broker";
"""


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("keys")


@pytest.fixture(scope="module")
def passwords(tmp_path_factory: pytest.TempPathFactory, keys: Path) -> Iterator[Kafka]:
    """A broker that asks for a name and a password over TLS."""
    more = tls(keys, "IP:127.0.0.1") + sasl()
    kafka = Kafka(or_skip(kafka_jars), tmp_path_factory.mktemp("sasl"), protocol="SASL_SSL", more=more)
    try:
        kafka.start()
        admin = kafka.admin()
        for mechanism in (ScramMechanism.SCRAM_SHA_256, ScramMechanism.SCRAM_SHA_512):
            user = UserScramCredentialUpsertion("pbx", ScramCredentialInfo(mechanism, 4096), SECRET.encode())
            for done in admin.alter_user_scram_credentials([user]).values():
                done.result(30)
        yield kafka
    finally:
        kafka.kill()


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Kafka, Path]]:
    """A broker that asks for a certificate, and whose own is for another name than its address."""
    keys = tmp_path_factory.mktemp("other-keys")
    more = tls(keys, "DNS:kafka.example") + "listener.name.clients.ssl.client.auth=required\n"
    kafka = Kafka(or_skip(kafka_jars), tmp_path_factory.mktemp("mtls"), protocol="SSL", more=more)
    try:
        kafka.start()
        yield kafka, keys
    finally:
        kafka.kill()


def publish(directory: Path, kafka: Kafka, topic: str, lines: str, seconds: float = 30) -> tuple[int, str]:
    """Publish the stream with these lines in [kafka]; return exit status (-1: took too long) and log."""
    configuration = directory / "ami_kafka.conf"
    configuration.write_text(f"[general]\n[kafka]\nbrokers = {kafka.secured}\ntopic = {topic}\n{lines}\n")
    stream = directory / "stream.ami"
    stream.write_bytes(STREAM)
    command = [sys.executable, "-m", "amikafka_tail", "replay", "-c", str(configuration), str(stream)]
    environment = {**os.environ, "PYTHONPATH": str(PROJECT), "AMIKAFKA_LOAD_PLUGINS": ""}
    log = directory / "log"
    with log.open("wb") as out:
        process = subprocess.Popen(command, cwd=directory, env=environment, stdout=out, stderr=out)
        try:
            status = process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            status = -1
    return status, log.read_text()


SASL_LINES = {
    "plain": "sasl_mechanisms = PLAIN",
    "scram-256": "sasl_mechanisms = SCRAM-SHA-256",
    "scram-512": "sasl_mechanisms = SCRAM-SHA-512",
    "oauthbearer": (
        "sasl_mechanisms = OAUTHBEARER\n"
        "rdkafka.enable.sasl.oauthbearer.unsecure.jwt = true\n"
        "rdkafka.sasl.oauthbearer.config = principal=pbx"
    ),
}


@pytest.mark.parametrize("mechanism", SASL_LINES)
def test_sasl_over_tls(tmp_path: Path, passwords: Kafka, keys: Path, topic_name: str, mechanism: str):
    topic = passwords.create_topic(topic_name)
    password = tmp_path / "password"
    password.write_text(SECRET + "\n")
    lines = f"security_protocol = sasl_ssl\nssl_ca_location = {keys}/broker.crt\n{SASL_LINES[mechanism]}\n"
    if mechanism != "oauthbearer":
        lines += f"sasl_username = pbx\nsasl_password_file = {password}\n"
    status, log = publish(tmp_path, passwords, topic, lines)
    assert status == 0, log
    assert len(passwords.read(topic)) == 20


def test_a_wrong_password_is_said_and_no_secret_is(
    tmp_path: Path, passwords: Kafka, keys: Path, topic_name: str
):
    topic = passwords.create_topic(topic_name)
    lines = (
        f"security_protocol = sasl_ssl\nssl_ca_location = {keys}/broker.crt\n"
        "sasl_mechanisms = SCRAM-SHA-512\nsasl_username = pbx\nsasl_password = wr0ng-secret"
    )
    status, log = publish(tmp_path, passwords, topic, lines, 8)
    assert status == -1
    assert "authentication failed" in log.lower()
    assert "wr0ng-secret" not in log


def test_a_broker_whose_certificate_nobody_vouches_for_gets_nothing(
    tmp_path: Path, passwords: Kafka, topic_name: str
):
    topic = passwords.create_topic(topic_name)
    lines = (
        f"security_protocol = sasl_ssl\n{SASL_LINES['plain']}\nsasl_username = pbx\nsasl_password = {SECRET}"
    )
    status, log = publish(tmp_path, passwords, topic, lines, 8)
    assert status == -1
    assert "certificate verify failed" in log
    assert SECRET not in log
    assert passwords.read(topic) == []


def client_lines(keys: Path) -> str:
    return (
        f"security_protocol = ssl\nssl_ca_location = {keys}/broker.crt\n"
        f"ssl_certificate_location = {keys}/client.crt\nssl_key_location = {keys}/client.key\n"
    )


def test_a_broker_that_is_not_the_one_of_its_certificate_gets_nothing(
    tmp_path: Path, certificates: tuple[Kafka, Path], topic_name: str
):
    kafka, keys = certificates
    topic = kafka.create_topic(topic_name)
    status, log = publish(tmp_path, kafka, topic, client_lines(keys), 8)
    assert status == -1
    assert "certificate verify failed" in log
    assert kafka.read(topic) == []


def test_the_client_shows_its_certificate(tmp_path: Path, certificates: tuple[Kafka, Path], topic_name: str):
    kafka, keys = certificates
    topic = kafka.create_topic(topic_name)
    lines = client_lines(keys) + "rdkafka.ssl.endpoint.identification.algorithm = none"
    status, log = publish(tmp_path, kafka, topic, lines)
    assert status == 0, log
    assert len(kafka.read(topic)) == 20


def test_without_a_certificate_of_its_own_it_is_refused(
    tmp_path: Path, certificates: tuple[Kafka, Path], topic_name: str
):
    kafka, keys = certificates
    topic = kafka.create_topic(topic_name)
    lines = (
        f"security_protocol = ssl\nssl_ca_location = {keys}/broker.crt\n"
        "rdkafka.ssl.endpoint.identification.algorithm = none"
    )
    status, log = publish(tmp_path, kafka, topic, lines, 8)
    assert status == -1
    assert "certificate" in log.lower()
    assert kafka.read(topic) == []

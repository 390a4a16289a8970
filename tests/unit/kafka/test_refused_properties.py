"""What librdkafka does not take, all at once and in words."""

import shutil
import subprocess
from pathlib import Path

import pytest

from amikafka_tail.config.kafka_conf import KafkaProperties
from amikafka_tail.kafka.refused_properties import refused_properties
from amikafka_tail.model.errors import Problem

BASE = {"bootstrap.servers": "localhost:1", "security.protocol": "plaintext"}
needs_openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the keys")


def said(values: dict[str, str]) -> list[str]:
    places = {name: Problem(message="", file=Path("a.conf"), key=name) for name in values}
    found = KafkaProperties(values={**BASE, **values}, places=places)
    return [str(problem) for problem in refused_properties(found)]


def test_what_librdkafka_takes_is_not_told() -> None:
    assert said({"linger.ms": "5", "partitioner": "murmur2", "enable.idempotence": "true"}) == []


def test_each_property_that_it_refuses_is_told_at_its_place() -> None:
    found = said(
        {
            "acks": "many",
            "compression.codec": "lzma",
            "foo": "1",
            "linger.ms": "x",
            "debug": "foo",
            "message.max.bytes": "1",
            "partitioner": "round",
        }
    )
    assert sorted(each.split(": ")[1] for each in found) == [
        "acks",
        "compression.codec",
        "debug",
        "foo",
        "linger.ms",
        "message.max.bytes",
        "partitioner",
    ]
    assert 'a.conf: foo: No such configuration property: "foo"' in found
    assert all(each == each.strip() for each in found)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"sasl.mechanisms": "FOO", "sasl.username": "u", "sasl.password": "p"}, ["sasl.mechanisms"]),
        ({"sasl.mechanism": "FOO", "foo": "1"}, ["foo", "sasl.mechanism"]),
    ],
)
def test_a_mechanism_that_it_does_not_know_hides_nothing_else(
    values: dict[str, str], expected: list[str]
) -> None:
    found = said({"security.protocol": "sasl_plaintext", **values})
    assert sorted(each.split(": ")[1] for each in found) == expected


@pytest.mark.parametrize(
    ("values", "name"),
    [
        ({"enable.idempotence": "true", "acks": "1"}, "acks"),
        ({"enable.idempotence": "true", "request.required.acks": "1"}, "request.required.acks"),
        ({"enable.idempotence": "true", "max.in.flight": "100"}, "max.in.flight"),
        ({"message.timeout.ms": "1", "linger.ms": "50"}, "message.timeout.ms"),
    ],
)
def test_of_two_that_do_not_go_together_one_is_told(values: dict[str, str], name: str) -> None:
    (told,) = said(values)
    assert told.startswith(f"a.conf: {name}: `")
    assert "must be" in told


def test_what_is_about_no_property_ends_the_search(monkeypatch: pytest.MonkeyPatch) -> None:
    (told,) = said({"": "1"})
    assert 'No such configuration property: ""' in told


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("keys")
    script = """
    openssl req -x509 -newkey rsa:2048 -nodes -keyout plain.pem -out cert.pem -days 30 -subj /CN=x
    openssl rsa -aes256 -in plain.pem -out encrypted.pem -passout pass:hush
    openssl rsa -aes256 -traditional -in plain.pem -out old.pem -passout pass:hush ||
        openssl rsa -aes256 -in plain.pem -out old.pem -passout pass:hush
    openssl genrsa -out other.pem 2048
    """
    subprocess.run(["sh", "-ec", script], cwd=directory, check=True, capture_output=True)
    (directory / "text.pem").write_text("no key\n")
    return directory


def of_key(keys: Path, key: str, **more: str) -> list[str]:
    values = {"security.protocol": "ssl", "ssl.certificate.location": f"{keys}/cert.pem"}
    values["ssl.key.location"] = f"{keys}/{key}"
    values |= {name.replace("_", "."): value for name, value in more.items()}
    return [each.replace(f"{keys}/", "") for each in said(values)]


@needs_openssl
@pytest.mark.parametrize("key", ["encrypted.pem", "old.pem"])
def test_an_encrypted_key_is_told_in_words(keys: Path, key: str) -> None:
    assert of_key(keys, key) == [
        f"a.conf: ssl.key.location: {key}: is encrypted: set rdkafka.ssl.key.password, or name a"
        f" key without a"
        " password"
    ]
    assert of_key(keys, key, ssl_key_password="wrong") == [
        f"a.conf: ssl.key.location: {key}: is encrypted, and rdkafka.ssl.key.password is not its password"
    ]
    assert of_key(keys, key, ssl_key_password="hush") == []


@needs_openssl
def test_a_key_that_does_not_fit_is_told_in_words(keys: Path) -> None:
    assert of_key(keys, "plain.pem") == []
    assert of_key(keys, "other.pem") == [
        "a.conf: ssl.key.location: other.pem: is not the key of the certificate cert.pem"
    ]
    (told,) = of_key(keys, "text.pem")
    assert told.startswith("a.conf: ssl.key.location: text.pem: is not a key that OpenSSL can read as PEM (")
    (alone,) = said({"security.protocol": "ssl", "ssl.key.location": f"{keys}/plain.pem"})
    assert alone.endswith("there is no certificate for this key: set ssl_certificate_location")


@needs_openssl
@pytest.mark.parametrize("name", ["ssl.ca.location", "ssl.certificate.location"])
def test_a_certificate_that_is_none_is_told_in_words(keys: Path, name: str) -> None:
    (told,) = said({"security.protocol": "ssl", name: f"{keys}/text.pem"})
    assert told.startswith(f"a.conf: {name}: {keys}/text.pem: is not what OpenSSL can read as PEM (")


@pytest.mark.parametrize("name", ["ssl.ca.location", "ssl.certificate.location", "ssl.key.location"])
def test_a_file_that_is_not_there_is_for_others_to_tell(tmp_path: Path, name: str) -> None:
    assert said({"security.protocol": "ssl", name: f"{tmp_path}/gone"}) == []


def test_no_password_is_told() -> None:
    found = said({"security.protocol": "sasl_plaintext", "sasl.mechanisms": "X", "sasl.password": "hush"})
    assert found
    assert not any("hush" in each for each in found)

"""The first-party plugins from their wheels, beside the daemon in a virtual environment of nothing else.

What they publish through a real Kafka is read back by others: Confluent's deserializer with a real schema
registry, the CloudEvents SDK.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
from collections.abc import Callable, Iterator
from datetime import timezone
from pathlib import Path
from typing import Any

import pytest
from asterisk import Asterisk
from cloudevents.core.bindings.kafka import KafkaMessage, from_binary, from_structured
from cloudevents.core.formats.json import JSONFormat
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer
from confluent_kafka.serialization import MessageField, SerializationContext
from conftest import or_skip
from kafka import Kafka, Record
from registry import Registry, registry_files

from amikafka_tail import __version__
from tests.support.daemon import PROJECT, Daemon

pytestmark = pytest.mark.timeout(300)
CAPTURED = (PROJECT / "tests" / "data" / "captures" / "calls-22.ami").read_bytes().split(b"\r\n\r\n")
# As a session sees them after its login.
EVENTS = [each for each in CAPTURED if each.startswith(b"Event: ") and b"FullyBooted" not in each]
STREAM = b"".join(each + b"\r\n\r\n" for each in EVENTS)
Run = Callable[..., Daemon]


def _run(*command: str) -> None:
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of a virtual environment with the wheels of the daemon and of every plugin."""
    wheels = tmp_path_factory.mktemp("wheels")
    directory = tmp_path_factory.mktemp("venv")
    venv.create(directory, with_pip=True)
    pip = [str(directory / "bin" / "python"), "-m", "pip", "--quiet", "--disable-pip-version-check"]
    # The daemon by way of its source distribution.
    _run(sys.executable, "-m", "hatchling", "build", "--target", "sdist", "--directory", str(wheels))
    (sdist,) = wheels.glob("amikafka_tail-*.tar.gz")
    sources = [sdist, *sorted((PROJECT / "plugins").iterdir())]
    _run(*pip, "wheel", "--no-deps", "--wheel-dir", str(wheels), *map(str, sources))
    _run(*pip, "install", *map(str, sorted(wheels.glob("*.whl"))))
    return directory / "bin" / "python"


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    made = Registry(or_skip(registry_files), tmp_path_factory.mktemp("registry"))
    yield made
    made.stop()


@pytest.fixture
def run(tmp_path: Path, kafka: Kafka, python: Path) -> Iterator[Run]:
    """Starts a daemon with the wheels, which reads the captured events from its spool."""
    made: list[Daemon] = []

    def run(topic: str, general: str, rest: str = "", files: dict[str, str] | None = None) -> Daemon:
        directory = tmp_path / f"daemon-{len(made)}"
        (directory / "spool").mkdir(parents=True)
        (directory / "spool" / "calls.ami").write_bytes(STREAM)
        for name, text in (files or {}).items():
            (directory / name).parent.mkdir(parents=True, exist_ok=True)
            (directory / name).write_text(text)
        source = "" if "source =" in general else "source = spool\n"
        made.append(
            Daemon(
                directory,
                f"[general]\n{source}{general}\n[kafka]\nbrokers = {kafka.bootstrap}\ntopic = {topic}\n"
                "[journal]\ndirectory = @HERE@/journal\n"
                f"[spool]\ndirectory = @HERE@/spool\nsettle = 0\n{rest}",
                python=python,
            )
        )
        return made[-1].start()

    yield run
    for each in made:
        each.close()


def received(kafka: Kafka, topic: str, count: int = len(EVENTS)) -> list[Record]:
    """Return so many messages, and see that there are no more."""
    with kafka.reader(topic) as reader:
        reader.wait_for_record(lambda _record: len(reader.records) >= count, 90, f"{count} messages")
        reader.catch_up()
        return list(reader.records)


@pytest.fixture
def deserialize(topic: str, registry: Registry) -> Iterator[Callable[[Record], Any]]:
    """Reads a message as any consumer does that uses Confluent's client."""
    with SchemaRegistryClient({"url": registry.url}) as client:
        read = AvroDeserializer(client)
        yield lambda record: read(record.value, SerializationContext(topic, MessageField.VALUE))


def name_of(event: bytes) -> str:
    return event.split(b"\r\n", 1)[0].removeprefix(b"Event: ").decode()


def test_what_is_installed_is_shown(python: Path) -> None:
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("AMIKAFKA", "PYTHON"))
    }
    done = subprocess.run(
        [python, "-m", "amikafka_tail", "plugins"],
        capture_output=True,
        text=True,
        env=environment,
        timeout=60,
    )
    rows = [line.split()[:5] for line in done.stdout.splitlines()]
    for kind, name in (
        ("format", "avro"),
        ("format", "cloudevents"),
        ("filter", "redact"),
        ("source", "queuelog"),
    ):
        assert [kind, name, __version__, f"amikafka-{name}", f"({name})"] in rows
    assert done.stdout.splitlines()[-1] == f"speedups: yes, {__version__}"
    assert (done.returncode, done.stderr) == (0, "")


def test_avro_is_read_back_with_a_real_registry_that_was_away_at_first(
    kafka: Kafka, topic: str, run: Run, registry: Registry, deserialize: Callable[[Record], Any]
) -> None:
    daemon = run(topic, "format = avro", f"[avro]\nregistry = {registry.url}\n")
    daemon.wait_for_log('plugin "avro" has to wait: schema registry: .*Connection refused')
    assert kafka.read(topic) == []
    registry.start()
    records = received(kafka, topic)
    assert len(records) == len(EVENTS)
    for record, event in zip(records, EVENTS, strict=True):
        made = deserialize(record)
        assert made["event"] == name_of(event)
        assert made["timestamp"].astimezone(timezone.utc).timestamp() * 1000 == pytest.approx(
            record.timestamp
        )
        lines = [line.split(b": ", 1) for line in event.split(b"\r\n")[2:]]
        wanted = sorted((name.decode(), value.decode()) for name, value in lines)
        assert sorted((name, each) for name, values in made["headers"].items() for each in values) == wanted
    assert f"{topic}-value" in registry.subjects()
    assert daemon.stop() == 0
    assert "set aside" not in daemon.log


HANGUP = {
    "type": "record",
    "name": "Hangup",
    "namespace": "com.example",
    "fields": [
        {"name": "Channel", "type": "string"},
        {"name": "cause", "type": "int", "header": "Cause"},
        {"name": "pbx", "type": ["null", "string"], "amikafka": "system_name"},
    ],
}


def test_records_of_ones_own_and_a_change_that_the_registry_refuses(
    kafka: Kafka, topic: str, run: Run, registry: Registry, deserialize: Callable[[Record], Any]
) -> None:
    registry.stop()
    registry.start()
    registry.refuse_incompatible()
    options = f"[avro]\nregistry = {registry.url}\nsubject = topic_record\nschemas = @HERE@/avro\n"
    daemon = run(
        topic, "format = avro\nsystem_name = pbx-01", options, {"avro/Hangup.avsc": json.dumps(HANGUP)}
    )
    records = received(kafka, topic)
    hangups = [
        deserialize(record)
        for record, event in zip(records, EVENTS, strict=True)
        if name_of(event) == "Hangup"
    ]
    assert len(hangups) >= 3
    assert all(made["pbx"] == "pbx-01" and isinstance(made["cause"], int) for made in hangups)
    assert registry.subjects() == [f"{topic}-com.example.Hangup", f"{topic}-org.asterisk.ami.AmiEvent"]
    # A new field without default: nobody could read the old records with it.
    fields = [*HANGUP["fields"], {"name": "Linkedid", "type": "string"}]
    (daemon.directory / "avro" / "Hangup.avsc").write_text(json.dumps({**HANGUP, "fields": fields}))
    assert daemon.stop() == 0
    (daemon.directory / "spool" / "more.ami").write_bytes(STREAM)
    daemon.start()
    daemon.wait_for_log("has to wait: schema registry: .*409 .*not compatible", 30)
    fields[-1]["default"] = ""
    (daemon.directory / "avro" / "Hangup.avsc").write_text(json.dumps({**HANGUP, "fields": fields}))
    assert daemon.stop() == 0
    daemon.start()
    received(kafka, topic, 2 * len(EVENTS))
    assert daemon.stop() == 0
    wanted = [name_of(event) for event in EVENTS]
    found = [record.key.decode() if record.key else "" for record in kafka.read(topic)][len(wanted) :]
    # What was sent before the one that waited may have been sent again after the restart; nothing is missing.
    again = len(found) - len(wanted)
    assert again >= 0
    sent = next(number for number in range(again, len(wanted)) if found[number:] == wanted[number - again :])
    assert found[:sent] == wanted[:sent]


@pytest.mark.parametrize("mode", ["binary", "structured"])
def test_the_cloudevents_sdk_reads_what_is_in_kafka(kafka: Kafka, topic: str, run: Run, mode: str) -> None:
    daemon = run(topic, "format = cloudevents\nentity_id = 00:11", f"[cloudevents]\nmode = {mode}\n")
    records = received(kafka, topic)
    assert len(records) == len(EVENTS)
    identities = set()
    for record, event in zip(records, EVENTS, strict=True):
        message = KafkaMessage(headers=dict(record.headers), key=record.key, value=record.value)
        read = (from_binary if mode == "binary" else from_structured)(message, JSONFormat())
        assert read.get_type() == f"org.asterisk.ami.{name_of(event)}"
        assert read.get_source() == "/asterisk/00%3A11"
        assert read.get_time().timestamp() * 1000 == pytest.approx(record.timestamp)
        data = read.get_data()
        assert isinstance(data, dict)
        assert data["Event"] == name_of(event)
        identities.add(read.get_id())
    assert len(identities) == len(EVENTS)
    assert daemon.stop() == 0


def test_what_is_redacted_is_nowhere_in_kafka(kafka: Kafka, topic: str, run: Run) -> None:
    numbers = {
        line.partition(b": ")[2]
        for event in EVENTS
        for line in event.split(b"\r\n")
        if line.startswith(b"CallerIDNum: ")
    } - {b"<unknown>", b""}
    assert numbers
    rules = (
        'key_file = "@HERE@/key"\n'
        '[[rule]]\nheaders = ["*CallerIDNum", "*ConnectedLineNum"]\naction = "hash"\n'
        '[[rule]]\nvariables = ["*"]\naction = "remove"\n'
    )
    daemon = run(topic, "filters = redact", files={"key": "0123456789abcdef"})
    assert daemon.wait_for_exit(20) == os.EX_CONFIG
    text = rules.replace("@HERE@", str(daemon.directory))
    assert kafka.read(topic) == []
    assert "no rule: add a [[rule]]" in daemon.log
    again = run(topic, "filters = redact", files={"key": "0123456789abcdef", "ami_kafka.d/redact.toml": text})
    records = received(kafka, topic)
    assert len(records) == len(EVENTS)
    seen = set()
    for record in records:
        value = json.loads(record.value)
        for name, said in value.items():
            if name.endswith(("CallerIDNum", "ConnectedLineNum")):
                assert said == "" or len(said) == 64
                seen.add(said)
    assert len(seen) >= len(numbers)
    assert again.stop() == 0


def test_the_queue_log_of_a_real_asterisk_is_published_whole(
    kafka: Kafka, topic: str, run: Run, asterisk: Asterisk
) -> None:
    log = asterisk.directory / "log" / "queue_log"
    with asterisk.driver() as driver:
        driver.calls(40, 20)
    lines = [line for line in log.read_bytes().split(b"\n") if line]
    assert len({line.split(b"|")[4] for line in lines}) >= 3, "calls went through a queue"
    rest = f"[queuelog]\npath = {log}\n"
    daemon = run(topic, "source = queuelog", rest)
    records = received(kafka, topic, len(lines))
    with asterisk.driver() as driver:
        driver.calls(20, 20)
    lines = [line for line in log.read_bytes().split(b"\n") if line]
    records = received(kafka, topic, len(lines))
    assert len(records) == len(lines)
    for record, line in zip(records, lines, strict=True):
        time, call, queue, _, kind, *parameters = line.decode().split("|")
        value = json.loads(record.value)
        assert (value["QueueEvent"], record.timestamp // 1000) == (kind, int(time))
        assert value.get("Uniqueid", "NONE") == call
        assert value.get("Queue", "NONE") == queue
        while parameters and not parameters[-1]:
            parameters.pop()
        assert list(value.values())[-len(parameters) or len(value) :] == parameters
    assert daemon.stop() == 0

"""Messages as other implementations read them: Confluent's deserializer, fastavro, Apache's avro."""

from __future__ import annotations

import functools
import io
import json
import logging
import shutil
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import avro.io
import avro.schema
import fastavro
import pytest
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer
from confluent_kafka.serialization import MessageField, SerializationContext
from hypothesis import given, settings
from hypothesis import strategies as st
from registry_server import RegistryServer

from amikafka_avro import AvroOptions, records
from amikafka_avro import avro as avro_format
from amikafka_avro.encoding import encoder, library, without_logical_types
from amikafka_tail import testing
from amikafka_tail.model.errors import ConfigError
from tests.support.waiting import BOUND, wait_for

TestContract = testing.format_contract("avro")
HANGUP_SCHEMA = {
    "type": "record",
    "name": "Hangup",
    "namespace": "com.example.calls",
    "fields": [
        {"name": "Channel", "type": "string"},
        {"name": "cause", "type": ["null", "int"], "default": None, "header": "Cause"},
        {"name": "variables", "type": {"type": "array", "items": "string"}, "header": "ChanVariable"},
        {"name": "pbx", "type": "string", "amikafka": "entity_id"},
        {"name": "at", "type": records.MILLIS, "amikafka": "timestamp"},
    ],
}
HANGUP = testing.event(
    "Hangup",
    ("Privilege", "call,all"),
    ("Timestamp", "1795426158.220602"),
    ("Channel", "PJSIP/a-1"),
    ("Cause", "16"),
    ("ChanVariable", "A=1"),
    ("ChanVariable", "B=2"),
)


@pytest.fixture
def server() -> Iterator[RegistryServer]:
    with RegistryServer() as running:
        yield running


def publish(tmp_path: Path, events: Any, options: str = "", **more: Any) -> testing.Published:
    general = "[general]\nformat = avro\nentity_id = 00:11\nsystem_name = pbx-01\nhostname = vm\n"
    return testing.publish(f"{general}[kafka]\ntopic = calls\n[avro]\n{options}", events, tmp_path, **more)


def plain(value: bytes, schema: Any = records.GENERIC) -> Any:
    return fastavro.schemaless_reader(io.BytesIO(value), without_logical_types(schema), None)


# Without a registry.


def test_the_generic_record_has_all_there_is(tmp_path: Path) -> None:
    (message,) = publish(tmp_path, [HANGUP]).messages
    record = plain(message.value)
    assert record == {
        "event": "Hangup",
        "privilege": "call,all",
        "id": record["id"],
        "timestamp": 1795426158220,
        "captured": record["captured"],
        "entity_id": "00:11",
        "system_name": "pbx-01",
        "asterisk_version": "unknown",
        "hostname": "vm",
        "headers": {
            "Timestamp": ["1795426158.220602"],
            "Channel": ["PJSIP/a-1"],
            "Cause": ["16"],
            "ChanVariable": ["A=1", "B=2"],
        },
    }
    assert message.header("avro_schema") == b"org.asterisk.ami.AmiEvent"


def test_nothing_of_an_event_is_lost_whatever_its_bytes(tmp_path: Path) -> None:
    events = testing.recorded_events(100) + testing.odd_events() + testing.random_events(200)
    published = publish(tmp_path, events)
    assert published.dead_letters == []
    for message, event in zip(published.messages, events, strict=True):
        record = plain(message.value)
        found = [(name, value) for name, values in record["headers"].items() for value in values]
        wanted = event.headers()[1:]
        if wanted and wanted[0][0] == "Privilege":
            assert record["privilege"] == wanted.pop(0)[1]
        assert sorted(found) == sorted(wanted)
        assert record["event"] == event.name


NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
GENERIC_RECORDS = st.fixed_dictionaries(
    {
        "event": NAMES,
        "privilege": NAMES,
        "id": NAMES,
        "timestamp": st.integers(-(2**63), 2**63 - 1),
        "captured": st.integers(-(2**63), 2**63 - 1),
        "entity_id": NAMES,
        "system_name": st.none() | NAMES,
        "asterisk_version": NAMES,
        "hostname": NAMES,
        "headers": st.dictionaries(NAMES, st.lists(NAMES, min_size=1, max_size=3), max_size=4),
    }
)
BY_FASTAVRO = encoder(records.GENERIC, "fastavro")
BY_AVRO = encoder(records.GENERIC, "avro")
READ_BY_AVRO = avro.io.DatumReader(avro.schema.parse(json.dumps(without_logical_types(records.GENERIC))))


@settings(deadline=None)
@given(GENERIC_RECORDS)
def test_both_libraries_write_the_same_bytes_and_read_each_other(record: dict[str, Any]) -> None:
    value = BY_FASTAVRO(record)
    assert BY_AVRO(record) == value
    assert plain(value) == record
    assert READ_BY_AVRO.read(avro.io.BinaryDecoder(io.BytesIO(value))) == record


@pytest.mark.parametrize("by", ["fastavro", "avro"])
def test_a_record_that_does_not_fit_its_schema_is_an_error_in_both(by: str) -> None:
    encode = encoder({"type": "record", "name": "A", "fields": [{"name": "a", "type": "int"}]}, by)
    for wrong in ({"a": "x"}, {}, {"a": None}):
        with pytest.raises((ValueError, TypeError)):
            encode(wrong)


@pytest.mark.parametrize("by", ["fastavro", "avro"])
def test_what_is_no_schema_is_an_error_in_both(by: str) -> None:
    with pytest.raises(ValueError, match="is no Avro schema"):
        encoder({"type": "record", "name": "A", "fields": [{"name": "a", "type": "integer"}]}, by)


def test_the_faster_library_is_taken_where_it_is_installed() -> None:
    assert library() == "fastavro"


# Records of one's own.


@pytest.fixture
def schemas(tmp_path: Path) -> Path:
    directory = tmp_path / "avro"
    directory.mkdir()
    (directory / "Hangup.avsc").write_text(json.dumps(HANGUP_SCHEMA))
    return directory


def test_an_event_becomes_the_record_that_is_asked_for(tmp_path: Path, schemas: Path) -> None:
    events = [HANGUP, testing.event("Newchannel", ("Channel", "x"))]
    hangup, other = publish(tmp_path, events, f"schemas = {schemas}\n").messages
    assert plain(hangup.value, HANGUP_SCHEMA) == {
        "Channel": "PJSIP/a-1",
        "cause": 16,
        "variables": ["A=1", "B=2"],
        "pbx": "00:11",
        "at": 1795426158220,
    }
    assert hangup.header("avro_schema") == b"com.example.calls.Hangup"
    assert plain(other.value)["event"] == "Newchannel"


def test_what_an_event_does_not_have_is_the_default(tmp_path: Path, schemas: Path) -> None:
    (message,) = publish(
        tmp_path, [testing.event("Hangup", ("Channel", "x"))], f"schemas = {schemas}"
    ).messages
    record = plain(message.value, HANGUP_SCHEMA)
    assert (record["cause"], record["variables"]) == (None, [])


def test_an_older_reader_reads_what_a_newer_schema_wrote(tmp_path: Path, schemas: Path) -> None:
    fields = [*HANGUP_SCHEMA["fields"], {"name": "account", "type": "string", "default": "none"}]
    newer = {**HANGUP_SCHEMA, "fields": fields}
    (message,) = publish(tmp_path, [HANGUP], f"schemas = {schemas}").messages
    read = fastavro.schemaless_reader(io.BytesIO(message.value), HANGUP_SCHEMA, newer)
    assert read["account"] == "none"
    (schemas / "Hangup.avsc").write_text(json.dumps(newer))
    (message,) = publish(tmp_path, [HANGUP], f"schemas = {schemas}").messages
    read = fastavro.schemaless_reader(io.BytesIO(message.value), newer, HANGUP_SCHEMA)
    assert "account" not in read


def test_a_value_that_is_none_of_its_type_is_a_dead_letter_with_the_reason(
    tmp_path: Path, schemas: Path
) -> None:
    wrong = testing.event("Hangup", ("Channel", "x"), ("Cause", "sixteen"))
    missing = testing.event("Hangup", ("Cause", "16"))
    published = publish(tmp_path, [wrong, missing, HANGUP], f"schemas = {schemas}")
    assert len(published.messages) == 1
    assert [letter["plugin"] for letter in published.dead_letters] == ["avro", "avro"]
    assert "field cause: invalid literal for int()" in published.dead_letters[0]["reason"]
    assert 'the event has no header "Channel"' in published.dead_letters[1]["reason"]


@pytest.mark.parametrize(
    ("type_", "value", "wanted"),
    [
        ("string", "", ""),
        ("bytes", "ü", "ü".encode()),
        ("long", "-5", -5),
        ("double", "0.5", 0.5),
        ("boolean", "Yes", True),
        ("boolean", "off", False),
        (["null", "long"], "", None),
        (["null", "string"], "", ""),
        (["null", "int", "string"], "x", "x"),
        (records.MILLIS, "1795426158.220602", 1795426158220),
        ({"type": "long", "logicalType": "timestamp-micros"}, "1795426158.220602", 1795426158220602),
        ({"type": "enum", "name": "E", "symbols": ["A", "B"]}, "B", "B"),
        ({"type": "enum", "name": "E", "symbols": ["A", "B"], "default": "A"}, "C", "A"),
        ({"type": "array", "items": "int"}, "7", [7]),
    ],
)
def test_each_type_is_read_from_a_header(tmp_path: Path, type_: Any, value: str, wanted: Any) -> None:
    schema = {"type": "record", "name": "A", "fields": [{"name": "X", "type": type_}]}
    (tmp_path / "A.avsc").write_text(json.dumps(schema))
    (message,) = publish(tmp_path, [testing.event("A", ("X", value))], f"schemas = {tmp_path}").messages
    assert plain(message.value, schema) == {"X": wanted}
    assert encoder(schema, "avro")({"X": wanted}) == message.value


@pytest.mark.parametrize(
    ("type_", "value"),
    [
        ("int", "x"),
        ("int", str(2**31)),
        ("long", str(2**63)),
        ("boolean", "maybe"),
        (records.MILLIS, "soon"),
        ({"type": "enum", "name": "E", "symbols": ["A"]}, "C"),
        (["null", "int"], "x"),
    ],
)
def test_what_cannot_be_read_as_its_type_is_a_dead_letter(tmp_path: Path, type_: Any, value: str) -> None:
    schema = {"type": "record", "name": "A", "fields": [{"name": "X", "type": type_}]}
    (tmp_path / "A.avsc").write_text(json.dumps(schema))
    published = publish(tmp_path, [testing.event("A", ("X", value))], f"schemas = {tmp_path}")
    assert (published.messages, len(published.dead_letters)) == ([], 1)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "Expecting"),
        ('"string"', "is not a record"),
        ('{"type": "record", "name": "A"}', "fields"),
        (
            '{"type": "record", "name": "A", "fields": [{"name": "a", "type": "int32"}]}',
            "field a: a header cannot have the type",
        ),
        (
            '{"type": "record", "name": "A", "fields": [{"name": "a", "type": "int", "amikafka": "x"}]}',
            '"amikafka": "x" is unknown: known are event, privilege',
        ),
    ],
)
def test_a_schema_that_cannot_be_used_is_named_with_its_file(tmp_path: Path, text: str, said: str) -> None:
    directory = tmp_path / "avro"
    directory.mkdir()
    (directory / "A.avsc").write_text(text)
    with pytest.raises(ConfigError) as caught:
        publish(tmp_path, [], f"schemas = {directory}")
    assert f"[avro]: {directory}/A.avsc: " in str(caught.value)
    assert said in str(caught.value)


def test_a_directory_without_schemas_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"contains no \*.avsc file"):
        publish(tmp_path, [], f"schemas = {tmp_path}")
    with pytest.raises(ConfigError, match="No such file"):
        publish(tmp_path, [], "schemas = /nowhere")


# With a registry.


@functools.lru_cache(maxsize=1)
def deserializer(url: str) -> AvroDeserializer:
    return AvroDeserializer(SchemaRegistryClient({"url": url}))


def deserialized(server: RegistryServer, message: testing.Message) -> Any:
    """Read a message as any consumer of Confluent's client does."""
    return deserializer(server.url)(message.value, SerializationContext(message.topic, MessageField.VALUE))


def test_confluents_deserializer_reads_what_is_published(tmp_path: Path, server: RegistryServer) -> None:
    events = testing.recorded_events(50)
    published = publish(tmp_path, events, f"registry = {server.url}\n")
    assert len(published.messages) == len(events)
    for message, event in zip(published.messages, events, strict=True):
        record = deserialized(server, message)
        assert record["event"] == event.name
        assert record["timestamp"].timestamp() * 1000 == pytest.approx(event.happened_ms)
    assert list(server.subjects) == ["calls-value"]
    assert [each for each in server.requests if "POST" in each] == ["POST /subjects/calls-value/versions"]


@pytest.mark.parametrize(
    ("strategy", "subjects"),
    [
        ("record", ["com.example.calls.Hangup", "org.asterisk.ami.AmiEvent"]),
        ("topic_record", ["calls-com.example.calls.Hangup", "calls-org.asterisk.ami.AmiEvent"]),
    ],
)
def test_each_type_of_record_has_its_subject(
    tmp_path: Path, server: RegistryServer, schemas: Path, strategy: str, subjects: list[str]
) -> None:
    options = f"registry = {server.url}\nschemas = {schemas}\nsubject = {strategy}\n"
    hangup, other = publish(tmp_path, [HANGUP, testing.event("A")], options).messages
    assert sorted(server.subjects) == subjects
    assert deserialized(server, hangup)["cause"] == 16
    assert deserialized(server, other)["event"] == "A"


def test_a_schema_may_only_be_looked_up(tmp_path: Path, server: RegistryServer) -> None:
    client = SchemaRegistryClient({"url": server.url})
    from confluent_kafka.schema_registry import Schema  # noqa: PLC0415

    number = client.register_schema("calls-value", Schema(json.dumps(records.GENERIC), "AVRO"))
    (message,) = publish(tmp_path, [HANGUP], f"registry = {server.url}\nregister = no\n").messages
    assert message.value[:5] == b"\0" + number.to_bytes(4, "big")
    assert server.requests[-1] == "POST /subjects/calls-value"


def test_while_the_registry_is_away_nothing_is_lost_and_the_order_is_kept(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with RegistryServer() as found:
        port = found.port  # and now nobody listens there
    events = [testing.event("A", ("Number", str(number))) for number in range(20)]
    published: list[testing.Published] = []

    def run() -> None:
        published.append(publish(tmp_path, events, f"registry = http://127.0.0.1:{port}\n"))

    thread = threading.Thread(target=run)
    with caplog.at_level(logging.WARNING):
        thread.start()
        wait_for(lambda: "has to wait: schema registry" in caplog.text, BOUND, "the registry to be missed")
    assert not published
    with RegistryServer(port):
        thread.join(BOUND)
    (made,) = published
    numbers = [plain(message.value[5:])["headers"]["Number"] for message in made.messages]
    assert numbers == [[str(number)] for number in range(20)]
    assert (made.dead_letters, made.counters.rewinds) == ([], 0)


@pytest.fixture
def waits_are_logged_early(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("amikafka_tail.delivery.pipeline.QUIET_HOLD", 0.06)


@pytest.mark.usefixtures("waits_are_logged_early")
@pytest.mark.parametrize(
    ("refusal", "said"),
    [
        (
            (409, b'{"error_code":409,"message":"Schema being registered is incompatible"}'),
            "409 Schema being registered is incompatible: it is not compatible with calls-value",
        ),
        ((401, b"<html>no JSON at all</html>"), "401 Unauthorized: check username and password in [avro]"),
        (
            (404, b'{"message":"Subject not found."}'),
            "404 Subject not found.: the schema is not registered under",
        ),
        ((500, b"{}"), "500 Internal Server Error"),
        ((200, b"not JSON"), "JSONDecodeError"),
        ((200, b'{"id":"x"}'), "the id 'x' is not a 32-bit number"),
        ((200, b"{}"), "KeyError"),
    ],
)
def test_what_the_registry_refuses_holds_the_events_and_is_said_in_words(
    tmp_path: Path,
    server: RegistryServer,
    caplog: pytest.LogCaptureFixture,
    refusal: tuple[int, bytes],
    said: str,
) -> None:
    server.refusal = refusal

    def waits_and_says() -> bool:
        with pytest.raises(TimeoutError):
            publish(tmp_path, [HANGUP], f"registry = {server.url}\n", seconds=0.4)
        return said in caplog.text

    with caplog.at_level(logging.WARNING):
        wait_for(waits_and_says, BOUND, said)
    assert f'plugin "avro" has to wait: schema registry: {server.url}: ' in caplog.text
    assert said in caplog.text


def test_a_registry_that_is_slow_does_not_hold_the_pipeline_up(
    tmp_path: Path, server: RegistryServer
) -> None:
    server.release.clear()
    render = avro_format(AvroOptions(registry=(server.url,)), testing.context())
    before = time.monotonic()
    for _ in range(20):
        with pytest.raises(Exception, match="waiting for the schema registry"):
            render(HANGUP)
    assert time.monotonic() - before < 4  # less than one request may take
    assert len(server.requests) <= 1
    server.release.set()
    assert publish(tmp_path, [HANGUP], f"registry = {server.url}\n").messages


def test_the_next_server_is_asked_where_one_is_away(tmp_path: Path, server: RegistryServer) -> None:
    with RegistryServer() as found:
        away = found.url
    (message,) = publish(tmp_path, [HANGUP], f"registry = {away}, {server.url}/\n").messages
    assert deserialized(server, message)["event"] == "Hangup"


def test_the_registry_is_asked_once_for_every_asterisk_and_reload(
    tmp_path: Path, server: RegistryServer
) -> None:
    for _ in range(3):
        publish(tmp_path, [HANGUP], f"registry = {server.url}\n")
    assert len(server.requests) == 1


def test_basic_authentication(tmp_path: Path, server: RegistryServer) -> None:
    server.credentials = "user:päss:word"
    (tmp_path / "secret").write_text("päss:word\n")
    options = f"registry = {server.url}\nusername = user\npassword_file = {tmp_path}/secret\n"
    assert publish(tmp_path, [HANGUP], options).messages
    with pytest.raises(TimeoutError):
        wrong = f"registry = {server.url}\nusername = user\npassword = wrong\n"
        publish(tmp_path, [HANGUP], wrong, seconds=0.3)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that signs itself, and its key."""
    if shutil.which("openssl") is None:
        pytest.skip("there is no openssl to make a certificate with")
    directory = tmp_path_factory.mktemp("tls")
    made = directory / "certificate.pem", directory / "key.pem"
    command = (
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=registry"
    )
    files = ["-out", str(made[0]), "-keyout", str(made[1]), "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run([*command.split(), *files], check=True, capture_output=True, timeout=BOUND)
    return made


def test_a_registry_behind_tls_may_want_a_certificate_too(
    tmp_path: Path, certificate: tuple[Path, Path]
) -> None:
    own, key = certificate
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(own))
    context.load_cert_chain(own, key)
    context.verify_mode = ssl.CERT_REQUIRED
    shown = f"tls_certificate = {own}\ntls_key = {key}\n"
    with RegistryServer(tls=context) as server:
        registry = f"registry = {server.url}\n"
        assert publish(tmp_path, [HANGUP], f"{registry}tls_ca = {own}\n{shown}").messages
        for refused in (shown, f"tls_ca = {own}\n"):  # a stranger to us, we to them
            with pytest.raises(TimeoutError):
                publish(tmp_path, [HANGUP], f"{registry}{refused}", seconds=0.3)
        assert publish(tmp_path, [HANGUP], f"{registry}tls_verify = no\n{shown}").messages


def test_a_password_is_never_shown() -> None:
    options = AvroOptions(registry=("http://a",), username="u", password="hidden")
    assert "hidden" not in repr(options)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("registry = localhost:8081", 'registry "localhost:8081" is not a URL'),
        ("registry = ftp://x", "is not a URL"),
        ("password = x", "password without username"),
        ("username = u\npassword = x\npassword_file = /x", "both password and password_file"),
        ("tls_key = /x", "tls_key without tls_certificate"),
        ("registry = http://a\nschemas = /x", "set subject = record or topic_record"),
        ("registry = http://a\nusername = u\npassword_file = /nowhere", "No such file"),
        ("registry = https://a\ntls_ca = /nowhere", "cannot be used"),
        ("registyr = x", 'did you mean "registry"'),
    ],
)
def test_options_that_cannot_be_right_are_refused(tmp_path: Path, options: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        publish(tmp_path, [], options + "\n")

"""What is said of the settings of Kafka, and that files for Asterisk's modules are taken as they are."""

import itertools
from collections.abc import Callable
from pathlib import Path

import pytest

from amikafka_tail.config import settings
from amikafka_tail.config.kafka_conf import KafkaProperties
from amikafka_tail.config.settings import Inspection, Settings
from amikafka_tail.model.errors import ConfigError, Problem
from amikafka_tail.plugins import loader

REGISTRY = loader.load("")
INSPECTION = Inspection(lambda _properties: [], lambda _path, _files: [])
CONNECTION = "[my-kafka]\ntype = connection\nbrokers = k1:9092,k2:9092\nlinger_ms = 50\n"


@pytest.fixture
def etc(tmp_path: Path) -> Path:
    (tmp_path / "manager.conf").write_text("[general]\nenabled = yes\n[amikafka]\nsecret = x\n")
    (tmp_path / "kafka.conf").write_text(CONNECTION)
    return tmp_path


def load(etc: Path, text: str, inspection: Inspection = INSPECTION) -> Settings:
    file = etc / "ami_kafka.conf"
    file.write_text(text)
    return settings.load(file, REGISTRY, inspection=inspection)


def problems(etc: Path, text: str) -> list[str]:
    with pytest.raises(ConfigError) as raised:
        load(etc, text)
    return [str(problem).replace(f"{etc}/", "") for problem in raised.value.problems]


def remarks(etc: Path, text: str) -> list[str]:
    return [remark.replace(f"{etc}/", "") for remark in load(etc, text).remarks]


# A file that was written for app_ami_kafka or res_kafka.


@pytest.mark.parametrize("change", [str.lower, str.upper, str.title, str.swapcase])
def test_names_are_read_without_regard_to_case(etc: Path, change: Callable[[str], str]) -> None:
    (etc / "kafka.conf").write_text(
        f"[{change('My-kafka')}]\n{change('Type')} = Connection\n{change('Brokers')} = k:1\n"
    )
    loaded = load(
        etc,
        f"[{change('General')}]\n{change('Enabled')} = Yes\n{change('Format')} = AMI\n"
        f"{change('EventFilter')} = Event: X\n{change('EventFilter')}(name(Hangup)) =\n"
        f"[{change('Kafka')}]\n{change('Connection')} = my-KAFKA\n{change('Topic')} = Events\n"
        f"{change('Linger_ms')} = 9\n{change('rdkafka')}.partitioner = random\n"
        f"[{change('Journal')}]\n{change('Max_bytes')} ="
        f" 1G\n[{change('Manager')}]\n{change('Port')} = 5099\n",
    )
    assert (loaded.enabled, loaded.format, loaded.topic) == (True, "ami", "Events")
    assert loaded.properties["bootstrap.servers"] == "k:1"
    assert loaded.properties["queue.buffering.max.ms"] == "9"
    assert loaded.properties["partitioner"] == "random"
    assert loaded.journal.max_bytes == 1 << 30
    assert loaded.source_options.port == 5099
    assert [line.criteria for line in loaded.filters[0][1].lines] == [
        "eventfilter",
        "eventfilter(name(Hangup))",
    ]
    assert loaded.remarks == []
    assert loaded.warnings == []


@pytest.mark.parametrize("line", ["no equals", "#exec /bin/true", "#what", "= x", "#include", "a\\;b"])
def test_a_line_that_the_module_skips_is_a_remark(etc: Path, line: str) -> None:
    (remark,) = remarks(etc, f"[general]\n{line}\n[kafka]\nconnection = my-kafka\n")
    assert remark.startswith("ami_kafka.conf:2: [general]: ")


def test_an_empty_topic_publishes_nothing_as_in_the_module(etc: Path) -> None:
    loaded = load(etc, "[kafka]\nconnection = my-kafka\ntopic =\n")
    assert (loaded.enabled, loaded.disabled_by) == (False, "[kafka] topic is empty")


def test_the_module_publishes_nothing_where_it_is_switched_off(etc: Path) -> None:
    loaded = load(etc, "[general]\nenabled = no\n[kafka]\ntopic = x\n")
    assert (loaded.enabled, loaded.disabled_by) == (False, "[general] enabled = no")
    loaded = load(etc, "[kafka]\nbrokers = k:1\n")
    assert (loaded.enabled, loaded.disabled_by) == (True, "")


@pytest.mark.parametrize("topic", ["my topic", "a/b", "m\xfcller", "a:b", ".", "..", "a,b"])
def test_a_topic_that_kafka_never_takes_is_a_remark(etc: Path, topic: str) -> None:
    (remark,) = remarks(etc, f"[kafka]\nbrokers = k:1\nTopic = {topic}\n")
    assert remark.startswith("ami_kafka.conf:3: [kafka]: ")
    assert "Kafka allows" in remark
    assert load(etc, f"[kafka]\nbrokers = k:1\ntopic = {topic}\n").topic == topic
    exactly_once = f"[kafka]\nbrokers = k:1\ntopic = {topic}\ndelivery = exactly_once\n"
    assert len(problems(etc, exactly_once)) in (1, 2)  # transactions need a topic beside it


def test_only_the_topic_that_counts_is_looked_at(etc: Path) -> None:
    assert remarks(etc, "[kafka]\nbrokers = k:1\ntopic = my topic\n[kafka](+)\ntopic = fine\n") == []


@pytest.mark.parametrize(("length", "is_right"), [(249, True), (250, False)])
def test_a_topic_is_not_longer_than_kafka_allows(etc: Path, length: int, is_right: bool) -> None:
    text = f"[kafka]\nbrokers = k:1\ntopic = {'x' * length}\n"
    if is_right:
        assert load(etc, text).remarks == []
    else:
        assert "is longer than Kafka allows for a topic" in problems(etc, text)[0]


def test_exactly_once_needs_room_for_the_topic_of_checkpoints(etc: Path) -> None:
    text = "[kafka]\nbrokers = k:1\ndelivery = exactly_once\ntopic = "
    assert load(etc, text + "x" * (249 - len(".checkpoints"))).exactly_once
    assert "is longer than Kafka allows" in problems(etc, text + "x" * (250 - len(".checkpoints")))[0]
    assert problems(etc, text) == ["ami_kafka.conf:4: [kafka]: topic is empty"]


@pytest.mark.parametrize(
    "text", ["", "[kafka]\ntopic = x\n", "[kafka]\nconnection =\n", "[kafka]\nacks = 1\n"]
)
def test_that_no_kafka_is_named_is_told(etc: Path, text: str) -> None:
    assert problems(etc, text) == [
        "ami_kafka.conf: [kafka]: neither connection nor brokers is set: which Kafka is meant?"
    ]


@pytest.mark.parametrize(
    "line",
    [
        "connection = my-kafka",
        "brokers = k:1",
        "rdkafka.bootstrap.servers = k:1",
        "rdkafka.metadata.broker.list = k:1",
    ],
)
def test_a_kafka_may_be_named_in_four_ways(etc: Path, line: str) -> None:
    assert load(etc, f"[kafka]\n{line}\n").disabled_by == ""


def test_a_connection_without_brokers_has_those_of_res_kafka(etc: Path) -> None:
    (etc / "kafka.conf").write_text("[my-kafka]\ntype = connection\n")
    assert load(etc, "[kafka]\nconnection = my-kafka\n").properties["bootstrap.servers"] == "localhost:9092"


def test_without_an_inspection_nobody_has_to_name_kafka(etc: Path) -> None:
    (etc / "manager.conf").write_text("[amikafka]\nsecret = x\n")
    loaded = settings.load(_written(etc, "[general]\n"), REGISTRY)
    assert loaded.properties["bootstrap.servers"] == "localhost:9092"
    assert loaded.warnings == []


def _written(etc: Path, text: str) -> Path:
    file = etc / "ami_kafka.conf"
    file.write_text(text)
    return file


# Connections.


def test_a_connection_that_is_there_twice_adds_up_and_is_told(etc: Path) -> None:
    (etc / "kafka.conf").write_text(f"{CONNECTION}acks = 1\n[MY-kafka]\nlinger_ms = 60\nsasl_username = u\n")
    loaded = load(etc, "[kafka]\nconnection = my-kafka\n")
    assert loaded.properties["queue.buffering.max.ms"] == "60"
    assert loaded.properties["request.required.acks"] == "1"
    assert [remark.replace(f"{etc}/", "") for remark in loaded.remarks] == [
        "kafka.conf:6: [MY-kafka]: the connection is there twice, first in kafka.conf:1: the"
        " lines of both add up."
        " [MY-kafka](+) says that this is meant",
        "kafka.conf:7: [my-kafka] linger_ms: is set twice, first in kafka.conf:4: the last value counts",
    ]


def test_a_connection_twice_with_brokers_in_both_is_an_error(etc: Path) -> None:
    (etc / "kafka.conf").write_text(CONNECTION + CONNECTION)
    assert problems(etc, "[kafka]\nconnection = my-kafka\n")[1:] == [
        "kafka.conf:7: [my-kafka] brokers: is set twice, first in kafka.conf:3: write all"
        " brokers in one line,"
        " separated by commas"
    ]


def test_an_addition_to_a_connection_or_a_template_may_say_something_else(etc: Path) -> None:
    (etc / "kafka.conf").write_text(
        f"[base](!)\nbrokers = b:1\nacks ="
        f" 0\n{CONNECTION.replace(']', '](base)', 1)}[my-kafka](+)\nbrokers = k3:1\n"
    )
    loaded = load(etc, "[kafka]\nconnection = my-kafka\n")
    assert (loaded.properties["bootstrap.servers"], loaded.properties["request.required.acks"]) == (
        "k3:1",
        "0",
    )
    assert loaded.remarks == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[my-kafka]\nbrokers = k:1\n", '[my-kafka] of kafka.conf has no "type = connection"'),
        (
            CONNECTION.replace("my-", "May-"),
            'there is no connection "my-kafka" in kafka.conf: unknown connection',
        ),
    ],
)
def test_a_connection_that_is_none_is_told(etc: Path, text: str, message: str) -> None:
    (etc / "kafka.conf").write_text(text)
    (told,) = problems(etc, "[kafka]\nconnection = my-kafka\n")
    assert told.startswith(f"ami_kafka.conf:2: [kafka] connection: {message}")


def test_a_broken_kafka_conf_is_told_with_its_line(etc: Path) -> None:
    (etc / "kafka.conf").write_text(f"{CONNECTION}no equals\n#include gone.conf\n")
    assert problems(etc, "[kafka]\nconnection = my-kafka\n") == [
        'kafka.conf:5: [my-kafka]: no "=" in this line',
        'kafka.conf:6: [my-kafka]: #include "gone.conf": there is no such file',
    ]


def test_a_res_kafka_that_is_switched_off_is_a_remark(etc: Path) -> None:
    (etc / "kafka.conf").write_text(f"[general]\nEnabled = No\n{CONNECTION}")
    assert remarks(etc, "[kafka]\nconnection = my-kafka\n") == [
        "kafka.conf:2: [general] Enabled: res_kafka is switched off; amikafka uses its"
        " connections all the same"
    ]
    (etc / "kafka.conf").write_text(f"[general]\nenabled = yes\n{CONNECTION}")
    assert remarks(etc, "[kafka]\nconnection = my-kafka\n") == []


def test_a_line_of_a_connection_is_told_with_its_section(etc: Path) -> None:
    (etc / "kafka.conf").write_text(f"{CONNECTION}acks = 2\n")
    (told,) = problems(etc, "[kafka]\nconnection = my-kafka\n")
    assert told.startswith('kafka.conf:5: [my-kafka] acks: "2" is not what a broker takes')


# Single values.


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "acks = 2",
            'acks: "2" is not what a broker takes: -1 (all replicas in sync), 1 (the leader) or 0 (nobody)',
        ),
        ("acks = many", 'acks: "many" is not what a broker takes'),
        ("rdkafka.acks = -2", 'rdkafka.acks: "-2" is not what a broker takes'),
        (
            "rdkafka.request.required.acks = 3",
            'rdkafka.request.required.acks: "3" is not what a broker takes',
        ),
        ("compression_codec = lzma", 'compression_codec: "lzma" is not one of none, gzip, snappy, lz4, zstd'),
        (
            "security_protocol = tls",
            'security_protocol: "tls" is not one of plaintext, ssl, sasl_plaintext, sasl_ssl',
        ),
        ("linger_ms = x", ""),
        ("batch_size = x", 'batch_size: "x" is not a whole number'),
        ("retries = 1.5", 'retries: "1.5" is not a whole number'),
        ("rdkafka.queue.buffering.max.messages = x", 'max.messages: "x" is not a whole number'),
        ("enable_idempotence = maybe", 'enable_idempotence: "maybe" is neither yes nor no'),
        ("rdkafka.error_cb = x", "rdkafka.error_cb: is no property that a configuration can set"),
        ("RDKAFKA. = x", "RDKAFKA.: names no property of librdkafka: rdkafka.PROPERTY"),
        ("tpoic = x", 'tpoic: unknown option (did you mean "topic"?)'),
        ("brokers = k:1", ""),
    ],
)
def test_a_value_that_cannot_be_right_is_told(etc: Path, line: str, message: str) -> None:
    text = f"[kafka]\nrdkafka.bootstrap.servers = k:1\n{line}\n"
    if not message:
        assert load(etc, text).remarks == []  # what only librdkafka knows it is asked by others
        return
    (told,) = problems(etc, text)
    assert told.startswith("ami_kafka.conf:3: [kafka] ")
    assert message in told


@pytest.mark.parametrize(
    "line",
    [
        "acks = ALL",
        "acks = 0",
        "acks = 1",
        "acks = -1",
        "compression_codec = ZSTD",
        "retries = 0x10",
        "retries = +3",
        "acks =",
    ],
)
def test_a_value_that_is_right_is_taken(etc: Path, line: str) -> None:
    assert load(etc, f"[kafka]\nbrokers = k:1\n{line}\n").remarks == []


@pytest.mark.parametrize(
    "brokers",
    [
        "k1",
        "k1:9092,k2",
        "k1:9092 , k2:1,",
        "[::1]:9092",
        "[::1]",
        "SASL_SSL://k1:9092",
        "10.0.0.1:9",
        "k_1.x-y:65535",
    ],
)
def test_brokers_are_taken_in_each_of_librdkafkas_ways(etc: Path, brokers: str) -> None:
    assert load(etc, f"[kafka]\nbrokers = {brokers}\n").properties["bootstrap.servers"] == brokers


@pytest.mark.parametrize(
    "brokers",
    [
        "k1:0",
        "k1:65536",
        "k1:x",
        "k1:",
        ":9092",
        "k1:1 k2:2",
        "k1\\;k2",
        '"k1:1"',
        "::1",
        "http://k1:1/x",
        "k1,k2:99999",
    ],
)
def test_brokers_that_are_none_are_told(etc: Path, brokers: str) -> None:
    (told,) = problems(etc, f"[kafka]\nbrokers = {brokers}\n")
    assert told.startswith('ami_kafka.conf:2: [kafka] brokers: "')
    assert told.endswith('" is not host:port')


@pytest.mark.parametrize("brokers", ["", " ", ",", " , "])
def test_no_brokers_are_told(etc: Path, brokers: str) -> None:
    assert problems(etc, f"[kafka]\nbrokers = {brokers}\n") == [
        "ami_kafka.conf:2: [kafka] brokers: is empty: host:port, separated by commas"
    ]


@pytest.mark.parametrize(
    ("behind", "told"),
    [
        (";b", "b"),
        ("; b", "b"),
        (";b:9092", "b:9092"),
        (" ; b:9092", "b:9092"),
        (" ;b:9092,c:9092", "b:9092,c:9092"),
        (";b;c:1", "b;c:1"),
        (" ; b", ""),
        (" ; the second one is b:9092", ""),
        (";-- b:1 --;", ""),
        (" ;", ""),
    ],
)
def test_a_semicolon_between_brokers_is_told(etc: Path, behind: str, told: str) -> None:
    text = f"[kafka]\nbrokers = a:9092{behind}\n"
    if told:
        assert problems(etc, text) == [
            f'ami_kafka.conf:2: [kafka] brokers: ";" begins a comment, so "{told}" is not read:'
            " separate brokers with commas"
        ]
    else:
        assert load(etc, text).remarks == []


def test_brokers_that_are_given_twice_are_told(etc: Path) -> None:
    assert problems(etc, "[kafka]\nbrokers = a:1\nBrokers = a:1\n") == [
        "ami_kafka.conf:3: [kafka] Brokers: is set twice, first in ami_kafka.conf:2: write all"
        " brokers in one line,"
        " separated by commas"
    ]


def test_another_option_that_is_given_twice_is_a_remark_if_that_changes_it(etc: Path) -> None:
    assert remarks(
        etc,
        "[kafka]\nbrokers = a:1\nacks = 0\nacks = 1\ntopic = a\ntopic = b\nretries = 1\nretries = 1\n"
        "[general]\nformat = json\nFormat = ami\neventfilter = X\neventfilter ="
        " Y\n[general](+)\nformat = json\n",
    ) == [
        "ami_kafka.conf:4: [kafka] acks: is set twice, first in ami_kafka.conf:3: the last value counts",
        "ami_kafka.conf:6: [kafka] topic: is set twice, first in ami_kafka.conf:5: the last value counts",
        "ami_kafka.conf:11: [general] Format: is set twice, first in ami_kafka.conf:10: the"
        " last value counts",
    ]


def test_a_section_that_is_there_again_is_meant_to_count_more(etc: Path) -> None:
    (etc / "other.conf").write_text("[kafka]\nbrokers = a:1\ntopic = a\nacks = 0\n[general]\nformat = json\n")
    text = "#include other.conf\n[kafka]\nbrokers = b:1\ntopic = b\nacks = 1\n[general]\nformat = ami\n"
    loaded = load(etc, text)
    assert (loaded.topic, loaded.format, loaded.remarks) == ("b", "ami", [])
    assert loaded.properties["bootstrap.servers"] == "b:1"
    assert loaded.properties["request.required.acks"] == "1"


# Logging in to Kafka.


@pytest.mark.parametrize("protocol", ["sasl_ssl", "SASL_PLAINTEXT"])
def test_sasl_without_a_mechanism_is_told_with_those_that_there_are(etc: Path, protocol: str) -> None:
    assert problems(etc, f"[kafka]\nbrokers = k:1\nsecurity_protocol = {protocol}\n") == [
        "ami_kafka.conf:3: [kafka] security_protocol: sasl_mechanisms is not set: PLAIN, SCRAM-SHA-256 or"
        " SCRAM-SHA-512; for Kerberos GSSAPI"
    ]


@pytest.mark.parametrize("line", ["rdkafka.sasl.kerberos.keytab = /x", "sasl_mechanisms = GSSAPI"])
def test_kerberos_needs_no_password(etc: Path, line: str) -> None:
    loaded = load(etc, f"[kafka]\nbrokers = k:1\nsecurity_protocol = sasl_ssl\n{line}\n")
    assert loaded.properties["security.protocol"] == "sasl_ssl"
    assert loaded.properties["ssl.endpoint.identification.algorithm"] == "https"


@pytest.mark.parametrize(
    ("mechanism", "more", "needed"),
    [
        ("sasl_mechanisms = PLAIN", "", "sasl_username and sasl_password"),
        ("sasl_mechanisms = scram-sha-256", "sasl_username = u", "sasl_password"),
        ("sasl_mechanisms = SCRAM-SHA-512", "sasl_password = p", "sasl_username"),
        ("rdkafka.sasl.mechanism = PLAIN", "", "sasl_username and sasl_password"),
        ("sasl_mechanisms = PLAIN", "sasl_username = u\nsasl_password = p", ""),
        ("sasl_mechanisms = OAUTHBEARER", "", ""),
    ],
)
def test_a_mechanism_is_told_what_it_lacks(etc: Path, mechanism: str, more: str, needed: str) -> None:
    text = f"[kafka]\nbrokers = k:1\nsecurity_protocol = sasl_plaintext\n{mechanism}\n{more}\n"
    if not needed:
        assert load(etc, text).remarks == []
        return
    (told,) = problems(etc, text)
    name, _, value = mechanism.partition(" = ")
    assert told == f"ami_kafka.conf:4: [kafka] {name}: {value} needs {needed}"


def test_a_user_without_sasl_is_no_matter(etc: Path) -> None:
    assert load(etc, "[kafka]\nbrokers = k:1\nsasl_mechanisms = PLAIN\n").remarks == []


# What an inspection is asked.


def test_an_inspection_sees_all_files_and_where_each_is_named(etc: Path) -> None:
    asked: list[dict[Path, Problem]] = []
    (etc / "asterisk.conf").write_text("[options]\n")
    (etc / "secret").write_text("s\n")
    (etc / "ami_kafka.d").mkdir()
    (etc / "ami_kafka.d" / "journal.toml").write_text("")
    (etc / "manager.conf").write_text('[general]\nenabled = yes\n#include "users.conf"\n')
    (etc / "users.conf").write_text("[amikafka]\nsecret = x\n")
    text = (
        f"[kafka]\nconnection = my-kafka\nssl_ca_location = /ca.pem\nrdkafka.ssl.key.location = /key.pem\n"
        f"sasl_password_file = {etc}/secret\nrdkafka.ssl.keystore.location = probe\n"
        "[manager]\ntls = yes\nTLS_ca = /tls.pem\n"
    )
    with pytest.raises(ConfigError) as raised:
        load(etc, text, Inspection(lambda _: [], lambda _path, files: asked.append(dict(files)) or []))
    assert [str(each) for each in raised.value.problems] == [
        f"{etc}/ami_kafka.d/journal.toml: unknown plugin: the name of the file is that of a plugin"
    ]
    (files,) = asked
    named = {
        str(path).replace(f"{etc}/", ""): str(place).replace(f"{etc}/", "") for path, place in files.items()
    }
    assert named == {
        "ami_kafka.conf": "ami_kafka.conf",
        "kafka.conf": "kafka.conf",
        "manager.conf": "manager.conf",
        "users.conf": "users.conf",
        "asterisk.conf": "asterisk.conf",
        "secret": "ami_kafka.conf:5: [kafka] sasl_password_file",
        "/ca.pem": "ami_kafka.conf:3: [kafka] ssl_ca_location",
        "/key.pem": "ami_kafka.conf:4: [kafka] rdkafka.ssl.key.location",
        "/tls.pem": "ami_kafka.conf:9: [manager] TLS_ca",
    }


def test_files_that_nothing_is_taken_from_need_not_be_readable(etc: Path) -> None:
    asked: list[Path] = []
    load(
        etc,
        "[general]\nentity_id = x\nsystem_name = y\n[kafka]\nbrokers = k:1\n[manager]\nsecret_file = /s\n",
        Inspection(lambda _: [], lambda _path, files: asked.extend(files) or []),
    )
    assert asked == [etc / "ami_kafka.conf", Path("/s")]


def test_what_an_inspection_finds_is_said_together_with_all_else(etc: Path) -> None:
    def refused(properties: KafkaProperties) -> list[Problem]:
        assert properties.values["foo"] == "1"
        return [Problem(message="refused", file=etc / "ami_kafka.conf", line=4)]

    def unreadable(path: Path, files: object) -> list[Problem]:
        return [Problem(message="closed", file=path, line=1)]

    (etc / "manager.conf").write_text("[general]\nenabled = no\n")
    (etc / "asterisk.conf").write_text("[options]\nentityid = x\n")
    with pytest.raises(ConfigError) as raised:
        load(etc, "[kafka]\nbrokers = k:1\nacks = 2\nrdkafka.foo = 1\nx y\n", Inspection(refused, unreadable))
    assert [(each.file and each.file.name, each.line, each.is_warning) for each in raised.value.problems] == [
        ("ami_kafka.conf", None, False),  # no secret
        ("ami_kafka.conf", 1, False),
        ("ami_kafka.conf", 3, False),
        ("ami_kafka.conf", 4, False),
        ("ami_kafka.conf", 5, True),
        ("manager.conf", 2, False),
        ("asterisk.conf", 2, True),
    ]


@pytest.mark.parametrize(
    ("manager", "count"),
    [
        ("", 1),
        ("[manager]\nsecret = s\n", 1),
        ("[manager]\nhost = h\n", 0),
        ("[general]\nsource = spool\n", 0),
    ],
)
def test_what_keeps_asterisk_from_listening_is_a_warning_where_it_is_asked(
    etc: Path, manager: str, count: int
) -> None:
    (etc / "manager.conf").write_text("[general]\nenabled = no\n[amikafka]\nsecret = x\n")
    loaded = load(etc, f"[kafka]\nbrokers = k:1\n{manager}")
    assert len(loaded.warnings) == count


def test_an_entity_id_that_is_no_one_is_a_remark_unless_the_configuration_has_its_own(etc: Path) -> None:
    (etc / "asterisk.conf").write_text("[options]\nentityid = pbx1\n")
    (remark,) = remarks(etc, "[kafka]\nbrokers = k:1\n")
    assert remark.startswith('asterisk.conf:2: [options] entityid: "pbx1" is no entity id')
    assert remarks(etc, "[general]\nentity_id = a\nsystem_name = b\n[kafka]\nbrokers = k:1\n") == []


@pytest.mark.parametrize("order", list(itertools.permutations(["general", "kafka", "journal"])))
def test_sections_may_stand_in_any_order(etc: Path, order: tuple[str, ...]) -> None:
    text = {
        "general": "[General]\nformat = ami\n",
        "kafka": "[KAFKA]\nbrokers = k:1\n",
        "journal": "[journal]\nmax_bytes = 1g\n",
    }
    loaded = load(etc, "".join(text[name] for name in order))
    assert (loaded.format, loaded.properties["bootstrap.servers"], loaded.journal.max_bytes) == (
        "ami",
        "k:1",
        1 << 30,
    )

import dataclasses
import os
import re
from pathlib import Path

import pytest

from amikafka_tail.ami.eventfilter import EventFilterOptions
from amikafka_tail.config import kafka_conf, settings
from amikafka_tail.config.declared import declared
from amikafka_tail.config.settings import Settings
from amikafka_tail.model.errors import ConfigError
from amikafka_tail.plugins import loader

SHIPPED = Path(__file__).parents[3] / "etc" / "ami_kafka.conf"
MANUAL = SHIPPED.parents[1] / "docs" / "man" / "ami_kafka.conf.5"
MANAGER = "[general]\nbindaddr = 0.0.0.0\nport = 5099\n[amikafka]\nsecret = from-manager-conf\n"
REGISTRY = loader.load("")


@pytest.fixture
def etc(tmp_path: Path) -> Path:
    (tmp_path / "manager.conf").write_text(MANAGER)
    (tmp_path / "kafka.conf").write_text(
        "[my-kafka]\ntype = connection\nbrokers = k1:9092,k2:9092\nlinger_ms = 50\n"
    )
    return tmp_path


def load(etc: Path, text: str) -> Settings:
    file = etc / "ami_kafka.conf"
    file.write_text(text)
    return settings.load(file, REGISTRY)


def problems(etc: Path, text: str) -> list[str]:
    with pytest.raises(ConfigError) as raised:
        load(etc, text)
    return [str(problem).replace(f"{etc}/", "") for problem in raised.value.problems]


def test_a_file_of_the_module_is_read_unchanged(etc: Path) -> None:
    loaded = load(
        etc,
        "[general]\nenabled = yes\nformat=JSON\n"
        "eventfilter = Event: Newchannel\neventfilter = !Channel: Local/\n"
        "eventfilter(action(include),name(Newchannel)) =\n[kafka]\nconnection = my-kafka\ntopic = events\n",
    )
    assert (loaded.enabled, loaded.format, loaded.topic, loaded.key) == (True, "json", "events", "event")
    assert loaded.properties["bootstrap.servers"] == "k1:9092,k2:9092"
    assert loaded.properties["queue.buffering.max.ms"] == "50"
    ((name, options),) = loaded.filters
    assert name == "eventfilter"
    assert isinstance(options, EventFilterOptions)
    assert [(line.criteria, line.pattern) for line in options.lines] == [
        ("eventfilter", "Event: Newchannel"),
        ("eventfilter", "!Channel: Local/"),
        ("eventfilter(action(include),name(Newchannel))", ""),
    ]
    assert options.lines[0].where == f"{etc}/ami_kafka.conf:4"


def test_the_defaults_of_res_kafka_hold(etc: Path) -> None:
    properties = dict(load(etc, "[kafka]\nbrokers = k:1\n").properties)
    # Ours, see docs/adr/0002.
    assert properties.pop("enable.idempotence") == "true"
    assert properties.pop("message.timeout.ms") == "0"
    assert properties == {
        "bootstrap.servers": "k:1",
        "client.id": "asterisk",
        "message.max.bytes": "1000000",
        "request.timeout.ms": "5000",
        "security.protocol": "plaintext",
        "compression.codec": "none",
        "compression.level": "-1",
        "queue.buffering.max.ms": "5",
        "batch.num.messages": "10000",
        "batch.size": "1000000",
        "queue.buffering.max.messages": "100000",
        "queue.buffering.max.kbytes": "1048576",
        "request.required.acks": "-1",
        "message.send.max.retries": "2147483647",
        "reconnect.backoff.ms": "100",
        "reconnect.backoff.max.ms": "10000",
        "socket.timeout.ms": "10000",
    }


@pytest.mark.parametrize(
    "line",
    [
        "enable_idempotence = no",
        "acks = 1",
        "retries = 0",
        "rdkafka.max.in.flight = 100",
        "rdkafka.enable.idempotence = false",
    ],
)
def test_the_producer_is_not_made_idempotent_against_the_configuration(etc: Path, line: str) -> None:
    loaded = load(etc, f"[kafka]\n{line}\n")
    assert loaded.properties.get("enable.idempotence", "false") == "false"


def test_any_property_of_librdkafka_can_be_set_and_knows_its_line(etc: Path) -> None:
    loaded = load(etc, "[kafka]\nrdkafka.partitioner = murmur2_random\n")
    assert loaded.properties["partitioner"] == "murmur2_random"
    assert loaded.property_origins["partitioner"] == f"{etc}/ami_kafka.conf:2: rdkafka.partitioner"


def test_what_stands_in_kafka_counts_more_than_the_connection(etc: Path) -> None:
    loaded = load(etc, "[kafka]\nconnection = my-kafka\nlinger_ms = 7\n")
    assert loaded.properties["queue.buffering.max.ms"] == "7"


def test_options_for_consumers_are_accepted_and_not_used(etc: Path) -> None:
    assert "group.id" not in load(etc, "[kafka]\nbrokers = k:1\ngroup_id = x\n").properties


def test_the_login_comes_from_manager_conf_where_the_file_says_nothing(etc: Path) -> None:
    options = load(etc, "[general]\n").source_options
    assert (options.host, options.port, options.username) == ("127.0.0.1", 5099, "amikafka")
    assert options.secret == "from-manager-conf"


def test_the_files_that_manager_conf_includes_count(etc: Path) -> None:
    (etc / "manager.conf").write_text('[general]\n#include "manager.d/*.conf"\n')
    (etc / "manager.d").mkdir()
    (etc / "manager.d" / "amikafka.conf").write_text("[amikafka]\nsecret = included\n")
    assert load(etc, "[general]\n").source_options.secret == "included"


def test_another_host_does_not_get_the_port_of_this_manager_conf(etc: Path) -> None:
    options = load(etc, "[manager]\nhost = pbx.example.com\n").source_options
    assert (options.host, options.port) == ("pbx.example.com", 0)


def test_manager_conf_is_not_needed_where_everything_is_said(tmp_path: Path) -> None:
    options = load(tmp_path, "[manager]\nhost = h\nsecret = s\n").source_options
    assert (options.host, options.secret) == ("h", "s")


def test_a_missing_secret_is_told_with_both_ways_out(tmp_path: Path) -> None:
    (tmp_path / "manager.conf").write_text("[general]\nenabled = yes\n")
    assert problems(tmp_path, "[general]\n") == [
        "ami_kafka.conf: [manager]: no secret for the manager user amikafka: set secret or secret_file here,"
        " or add a section [amikafka] with a secret to manager.conf or what it includes"
    ]


def test_everything_wrong_is_said_at_once_in_the_order_of_the_file(etc: Path) -> None:
    text = """[general]
enabled = maybe
fromat = json
format = xml
eventfilter(action(includ),name(X)) =
[kafka]
tpoic = x
topic = bad topic!
[jurnal]
[journal]
max_bytes = 10x
[manager]
port = 99999
tls_ca = ca.pem
"""
    assert problems(etc, text) == [
        'ami_kafka.conf:2: [general] enabled: "maybe" is neither yes nor no',
        'ami_kafka.conf:3: [general] fromat: unknown option (did you mean "format"?)',
        'ami_kafka.conf:4: [general] format: "xml": unknown format; there are: json, ami',
        "ami_kafka.conf:5: [general] eventfilter(action(includ),name(X)): "
        + next(each for each in problems(etc, text) if ":5:" in each).partition(": ")[2].partition(": ")[2],
        'ami_kafka.conf:7: [kafka] tpoic: unknown option (did you mean "topic"?)',
        'ami_kafka.conf:8: [kafka]: topic "bad topic!": Kafka allows letters, digits, ".", "_" and "-"',
        'ami_kafka.conf:9: [jurnal]: unknown section (did you mean "journal"?)',
        'ami_kafka.conf:11: [journal] max_bytes: "10x" is not a size such as 64m or 10g',
        "ami_kafka.conf:13: [manager] port: 99999 is too large: at most 65535",
        'ami_kafka.conf:14: [manager] tls_ca: "ca.pem" is not an absolute path',
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "[kafka]\nconnection = other\n",
            'ami_kafka.conf:2: [kafka] connection: there is no connection "other" in kafka.conf:'
            " unknown connection",
        ),
        (
            "[kafka]\nconnection = my-kafka\nbrokers = k:1\n",
            "ami_kafka.conf:2: [kafka] connection: both connection and brokers are set:"
            " which Kafka is meant?",
        ),
        (
            "[kafka]\nsasl_password_file = /gone/secret\n",
            "ami_kafka.conf:2: [kafka] sasl_password_file: /gone/secret: No such file or directory",
        ),
        (
            "[journal]\nmax_bytes = 1m\n",
            "ami_kafka.conf:2: [journal]: max_bytes must be at least twice segment_bytes",
        ),
        (
            "[kafka]\nbrokers = k1:9092, k2:x9092\n",
            'ami_kafka.conf:2: [kafka] brokers: "k2:x9092" is not host:port',
        ),
        (
            "[general]\nsource = snmp\n",
            'ami_kafka.conf:2: [general] source: "snmp": unknown source; there are: manager, eventlog, spool',
        ),
    ],
)
def test_a_problem_is_told_with_its_place(etc: Path, text: str, expected: str) -> None:
    assert problems(etc, text) == [expected]


@pytest.mark.parametrize(
    "brokers", ["k1", "k1:9092,k2", "[::1]:9092", "[::1]", "SASL_SSL://k1:9092", "10.0.0.1:9"]
)
def test_brokers_may_be_written_in_each_of_librdkafkas_ways(etc: Path, brokers: str) -> None:
    loaded = load(etc, f"[kafka]\nbrokers = {brokers}\n")
    assert loaded.properties["bootstrap.servers"] == brokers


def test_a_missing_kafka_conf_is_told(tmp_path: Path) -> None:
    (tmp_path / "manager.conf").write_text(MANAGER)
    assert problems(tmp_path, "[kafka]\nconnection = my-kafka\n") == [
        "ami_kafka.conf:2: [kafka] connection: kafka.conf: there is no such file;"
        " this connection is looked for there (or set brokers here)"
    ]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_says_who_owns_it(etc: Path) -> None:
    file = etc / "ami_kafka.conf"
    file.write_text("[general]\n")
    file.chmod(0)
    with pytest.raises(ConfigError, match="mode 0000"):
        settings.load(file, REGISTRY)


def test_no_secret_is_shown(etc: Path) -> None:
    loaded = load(etc, "[kafka]\nsasl_password = hush\n")
    assert loaded.properties["sasl.password"] == "hush"
    assert "hush" not in repr(loaded)
    assert "from-manager-conf" not in repr(loaded)


def test_a_password_comes_from_a_file(etc: Path) -> None:
    (etc / "password").write_text("hush\n")
    assert load(etc, f"[kafka]\nsasl_password_file = {etc}/password\n").properties["sasl.password"] == "hush"


def test_a_password_file_that_is_not_text_is_told(etc: Path) -> None:
    (etc / "password").write_bytes(b"\xff")
    assert problems(etc, f"[kafka]\nsasl_password_file = {etc}/password\n") == [
        "ami_kafka.conf:2: [kafka] sasl_password_file: password: is not UTF-8"
    ]


def test_bytes_that_are_not_utf_8_reach_the_manager_and_nobody_else(etc: Path) -> None:
    file = etc / "ami_kafka.conf"
    file.write_bytes(b"; B\xfcro\n[general]\neventfilter = M\xfcller\n[manager]\nsecret = gr\xfcn\n")
    assert settings.load(file, REGISTRY).source_options.secret == "gr\udcfcn"
    file.write_bytes(b"[general]\nentity_id = b\xfcro\n[kafka]\nclient_id = b\xfcro\n")
    with pytest.raises(ConfigError) as raised:
        settings.load(file, REGISTRY)
    assert [(problem.line, problem.message) for problem in raised.value.problems] == [
        (2, "the value is not UTF-8"),
        (4, "the value is not UTF-8"),
    ]


def test_the_shipped_file_is_right_as_it_is(etc: Path) -> None:
    loaded = load(etc, SHIPPED.read_text())
    assert (loaded.format, loaded.topic, loaded.properties["bootstrap.servers"]) == (
        "json",
        "asterisk_ami",
        "localhost:9092",
    )


SECTIONS: dict[str, type] = {
    "general": settings.GeneralSettings,
    "kafka": settings.KafkaSettings,
    "journal": settings.JournalSettings,
    "metrics": settings.MetricsSettings,
    **{each.name: each.options for each in REGISTRY if each.name not in ("eventfilter", "ami")},
}
DECLARED = {
    **{
        (section, option.name): option.default
        for section, options in SECTIONS.items()
        for option in declared(options)
    },
    **{("kafka", name): each.default or "" for name, each in kafka_conf.PRODUCER_OPTIONS.items()},
    ("kafka", kafka_conf.PASSWORD_FILE): "",
}
"""Every option with its default, empty where it has none."""
SAID = {("manager", "port"): "5038", ("kafka", "enable_idempotence"): "yes"}
"""What the default comes to, where the declared one says "find out"."""


@pytest.mark.parametrize(("section", "name"), sorted(DECLARED))
def test_the_shipped_file_has_every_option_with_its_true_default(section: str, name: str) -> None:
    body = SHIPPED.read_text().partition(f"\n[{section}]")[2].partition("\n[")[0]
    shown = re.search(rf"^;?{name} =([^;\n]*)", body, re.MULTILINE)
    assert shown, f"[{section}] {name} is not in {SHIPPED.name}"
    if default := SAID.get((section, name)) or DECLARED[section, name]:
        assert shown[1].strip() == default
    # What has no default stands there with an example.


@pytest.mark.parametrize(("section", "name"), sorted(DECLARED))
def test_the_manual_has_every_option_with_its_true_default(section: str, name: str) -> None:
    text = MANUAL.read_text().replace("\\-", "-")
    body = text.partition(f"\n.SH [{section}]")[2].partition("\n.SH")[0]
    told = re.search(rf"^\.BR .*?\b{name}\b(?:[ \"]*= \\fI([^\\]*)\\fR)?", body, re.MULTILINE)
    assert told, f"[{section}] {name} is not in {MANUAL.name}"
    default = SAID.get((section, name)) or DECLARED[section, name]
    if default and told[1] is None:
        assert (section, name) in UNSAID, f"[{section}] {name}: the manual does not say {default}"
    elif default:
        assert told[1] == default


UNSAID = {("spool", "watch"), ("spool", "poll_interval")}
"""Where the manual says "as above"."""


def test_an_option_is_read_as_what_its_default_is_written_as(etc: Path) -> None:
    """The words for a default mean the default."""
    lines = [
        f"[{section}]\n{name} = {default}"
        for (section, name), default in DECLARED.items()
        if default and (section, name) != ("kafka", "brokers")
    ]
    loaded = load(etc, "\n".join([*lines, "[manager]\nsecret = from-manager-conf\nport = 5099"]))
    plain = load(etc, "")
    for field in dataclasses.fields(Settings):
        if field.name not in ("property_origins", "remarks"):
            assert getattr(loaded, field.name) == getattr(plain, field.name), field.name


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({}, "/var/lib/amikafka"),
        ({"STATE_DIRECTORY": ""}, "/var/lib/amikafka"),
        ({"STATE_DIRECTORY": "/var/lib/amikafka/berlin"}, "/var/lib/amikafka/berlin"),
        ({"STATE_DIRECTORY": "/a:/b"}, "/a"),
    ],
)
def test_the_journal_is_where_systemd_wants_the_state(given: dict[str, str], wanted: str) -> None:
    assert settings.state_directory(given) == Path(wanted)


# Filters for Asterisk.

LINES = "eventfilter = A\neventfilter = !B\neventfilter(action(exclude),name(C)) =\n"
PUSH = "[manager]\npush_filters = yes\n"


def pushed(loaded: Settings) -> list[str]:
    return [f"{line.criteria} = {line.pattern}" for line in loaded.pushed]


def test_the_lines_are_for_asterisk_too_where_that_is_wanted(etc: Path) -> None:
    loaded = load(etc, f"[general]\n{LINES}{PUSH}")
    assert pushed(loaded) == LINES.replace("=\n", "= \n").splitlines()
    assert loaded.pushed == loaded.filters[0][1].lines
    assert loaded.remarks == []
    assert pushed(load(etc, f"[general]\n{LINES}")) == []
    assert pushed(load(etc, PUSH)) == []


@pytest.mark.parametrize(
    ("own", "adds_up"),
    [
        ("eventfilter = X", True),
        ("eventfilter(name(X)) =", True),
        ("eventfilter = !X", False),
        ("eventfilter(action(exclude),name(X)) =", False),
        ("eventfilter = (", False),
        ("eventfilter =", False),
    ],
)
def test_includes_stay_here_where_asterisk_has_others_for_the_user(
    etc: Path, own: str, adds_up: bool
) -> None:
    (etc / "manager.conf").write_text(MANAGER + own + "\n")
    loaded = load(etc, f"[general]\n{LINES}{PUSH}")
    assert len(loaded.pushed) == (2 if adds_up else 3)
    assert len(loaded.remarks) == adds_up
    if adds_up:
        assert "the user amikafka has includes of its own" in loaded.remarks[0]
    excludes = load(etc, f"[general]\neventfilter = !B\n{PUSH}")
    assert (len(excludes.pushed), excludes.remarks) == (1, [])
    another = load(etc, f"[general]\n{LINES}{PUSH}username = someone\nsecret = s\n")
    assert len(another.pushed) == 3

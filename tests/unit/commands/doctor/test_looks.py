"""What the doctor says of each situation, with stand-ins for Asterisk's console and for Kafka."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from amikafka_tail import cli
from amikafka_tail.ami.pushing import NOT_ALLOWED
from amikafka_tail.commands.doctor import event_files, kafka, machine, manager
from amikafka_tail.commands.doctor.findings import EXIT_CODES, Finding, as_json, lines, summary, worst
from amikafka_tail.commands.test_record import Record
from amikafka_tail.daemon.status.snapshot import Snapshot
from amikafka_tail.kafka.cluster import ClusterState, Node, Sent, TopicPart, hint
from amikafka_tail.model.errors import AlreadyLoggedIn, ClusterError, LoginRefused, SourceDisconnected
from amikafka_tail.model.pushed_filters import FilterLine, Pushed
from amikafka_tail.sources.eventlog import EventLogOptions
from tests.unit.commands.doctor.test_console import MODULES, SETTINGS, USER
from tests.unit.daemon.status.snapshots import WELL, changed

ALL = USER.replace("system,call,log,all", "system,call,all")
RECORD = Record("AmikafkaTest", b"k", b"v", [])


def said(findings: Any) -> list[tuple[str, str]]:
    return [(each.level, each.text) for each in findings]


def find(findings: Any, words: str) -> Finding:
    (found,) = [each for each in findings if words in each.text]
    return found


class Source:
    """A source that connects, or says why it does not."""

    def __init__(
        self,
        error: Exception | None = None,
        warnings: tuple[str, ...] = (),
        pushed: Pushed | None = None,
    ) -> None:
        self.error = error
        self.warnings = warnings
        self.pushed = pushed or Pushed()

    def connect(self) -> Any:
        if self.error is not None:
            raise self.error
        mine, other = socket.socketpair()
        other.close()
        return SimpleNamespace(
            socket=mine,
            peer="127.0.0.1:5038",
            asterisk_version="22.10.1",
            warnings=self.warnings,
            pushed=self.pushed,
        )


def console(**answers: str) -> Callable[[str], str | None]:
    known = {"settings": SETTINGS, "user": ALL, "like": "0 modules loaded\n", **answers}
    return lambda command: next((text for name, text in known.items() if name in command), None)


class World:
    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.settings: Any = SimpleNamespace(
            path=directory / "ami_kafka.conf",
            etc=directory,
            source_options=SimpleNamespace(username="amikafka"),
            eventlog_options=None,
            format_options=SimpleNamespace(duplicates="last"),
            format="json",
            topic="asterisk_ami",
            properties={"bootstrap.servers": "kafka-1:9092"},
            journal=SimpleNamespace(directory=directory, max_bytes=10_000),
        )
        self.manager_conf()

    def manager_conf(self, user: str = "writetimeout = 60000", general: str = "") -> None:
        text = f"[general]\nenabled = yes\n{general}\n[amikafka]\nsecret = x\n{user}\n"
        (self.directory / "manager.conf").write_text(text)

    def look(
        self,
        source: Any = None,
        asked: Callable[[str], str | None] | None = None,
        *,
        is_running: bool = False,
    ) -> list[Finding]:
        return list(
            manager.look(self.settings, source or Source(), asked or console(), is_running=is_running)
        )


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_an_asterisk_that_is_as_it_should_be(world: World) -> None:
    plain = SETTINGS.replace("CHANNEL(accountcode),LABVAR", "").replace("Newexten,RTCPSent", "")
    assert {level for level, _ in said(world.look(asked=console(settings=plain)))} == {"ok"}


def test_events_that_asterisk_keeps_back_are_said(world: World) -> None:
    assert find(world.look(), "Asterisk does not send").text.endswith("Newexten, RTCPSent")


def test_channel_variables_and_json_that_keeps_the_last_only(world: World) -> None:
    found = find(world.look(), "ChanVariable")
    assert (found.level, found.advice) == ("warning", "to publish all of them: [json] duplicates = list")
    world.settings.format_options.duplicates = "list"
    assert not [each for each in world.look() if "ChanVariable" in each.text]


@pytest.mark.parametrize(
    ("rights", "level", "words"),
    [
        ("<none>", "error", "may not read the event classes agent, agi"),
        ("system,call", "warning", "may not read the event classes agent, agi"),
        ("all", "ok", "may read all event classes"),
    ],
)
def test_rights(world: World, rights: str, level: str, words: str) -> None:
    found = find(world.look(asked=console(user=USER.replace("system,call,log,all", rights))), "may ")
    assert found.level == level
    assert words in found.text


def test_a_user_that_asterisk_does_not_know(world: World) -> None:
    found = find(world.look(asked=console(user="There is no manager called amikafka")), "has no manager user")
    assert found.level == "error"
    assert "manager reload" in found.advice


def test_the_module_that_does_the_same(world: World) -> None:
    found = find(world.look(asked=console(like=MODULES)), "app_ami_kafka")
    assert found.level == "warning"
    assert "every event is on asterisk_ami twice" in found.text
    assert "module unload app_ami_kafka.so" in found.advice


def test_the_module_beside_a_trial_with_a_configuration_of_its_own(world: World) -> None:
    world.settings.path = world.directory / "ami_kafka-trial.conf"
    found = find(world.look(asked=console(like=MODULES)), "app_ami_kafka")
    assert found.level == "note"
    assert found.advice.endswith("amikafka compare")


def test_a_manager_that_is_off(world: World) -> None:
    off = SETTINGS.replace("Manager (AMI):             Yes", "Manager (AMI):             No")
    assert find(world.look(asked=console(settings=off)), "not enabled").level == "error"


@pytest.mark.parametrize(
    ("lines_", "level", "words"),
    [
        ("", "warning", "writetimeout = 100 (ms)"),
        ("writetimeout = 4999", "warning", "writetimeout = 4999 (ms)"),
        ("writetimeout = 5000", "ok", "waits up to 5 s"),
        ("writetimeout = nonsense", "warning", "writetimeout = 100 (ms)"),
    ],
)
def test_how_long_asterisk_waits(world: World, lines_: str, level: str, words: str) -> None:
    world.manager_conf(lines_)
    (found,) = [each for each in world.look() if "writetimeout" in each.text]
    assert found.level == level
    assert words in found.text


def test_filters_of_the_manager_user_are_said(world: World) -> None:
    world.manager_conf("eventfilter = !Event: RTCPSent\neventfilter(action(exclude),name(X)) =")
    assert "2 eventfilter lines" in find(world.look(), "eventfilter").text


def test_without_a_console_the_files_are_read(world: World) -> None:
    world.manager_conf(general="timestampevents = yes")
    found = world.look(asked=lambda _command: None)
    assert find(found, "console does not answer").level == "note"
    assert find(found, "Asterisk's own time").level == "ok"
    (world.directory / "manager.conf").write_text("[general]\nenabled = no\n")
    assert find(world.look(asked=lambda _command: None), "not enabled").level == "error"
    (world.directory / "manager.conf").unlink()
    assert "there is no such file" in find(world.look(asked=lambda _command: None), "manager.conf").text


@pytest.mark.parametrize(
    ("error", "is_running", "level"),
    [
        (SourceDisconnected("127.0.0.1:5038: refuses connections"), False, "error"),
        (LoginRefused("Authentication failed"), False, "error"),
        (AlreadyLoggedIn("Login Already In Use"), False, "error"),
        (AlreadyLoggedIn("Login Already In Use"), True, "ok"),
    ],
)
def test_a_login_that_fails(world: World, error: Exception, is_running: bool, level: str) -> None:
    assert world.look(Source(error), is_running=is_running)[0].level == level


def test_what_the_login_warns_of_is_said_with_its_way_out(world: World) -> None:
    found = find(world.look(Source(warnings=("may not ask: add write = reporting",))), "may not ask")
    assert (found.level, found.advice) == ("warning", "add write = reporting")


def test_the_filters_that_asterisk_took_and_those_that_it_refused(world: World) -> None:
    line = FilterLine("eventfilter", "x", "ami_kafka.conf:3")
    pushed = Pushed(wanted=3, taken=2, refused=[(line, NOT_ALLOWED)])
    found = world.look(Source(warnings=tuple(pushed.warnings()), pushed=pushed))
    assert find(found, "push_filters").text == "Asterisk applies 2 of 3 eventfilter lines (push_filters)"
    refused = find(found, "does not apply 1 of 3 eventfilter lines (Permission denied)")
    assert refused.level == "warning"
    assert refused.advice.startswith("add system to write of the manager user")
    assert refused.advice.endswith("ami_kafka.conf:3")


# Kafka.


class Cluster:
    """A cluster of three brokers with a topic that is all right, but for what a test says."""

    def __init__(self, **state: Any) -> None:
        parts = [TopicPart(number=n, leader=1, replicas=(1, 2, 3), in_sync=(1, 2, 3)) for n in range(2)]
        known: dict[str, Any] = {
            "nodes": [Node(number=1, host="127.0.0.1", port=9), Node(number=2, host="127.0.0.1", port=9)],
            "controller": 1,
            "parts": parts,
            "topic_problem": None,
            "topic_is_missing": False,
        }
        self.state = ClusterState(**{**known, **state})
        self.values = {"min.insync.replicas": "2", "retention.ms": "604800000", "cleanup.policy": "delete"}
        self.sent: list[bytes] = []
        self.look_error: ClusterError | None = None
        self.send_error: ClusterError | None = None
        self.read_error: ClusterError | None = None
        self.there: bytes | None = None
        self.seconds = 0.01

    def look(self, topic: str) -> ClusterState:
        if self.look_error:
            raise self.look_error
        return self.state

    def settings(self, topic: str) -> dict[str, str]:
        return self.values

    def send(self, topic: str, value: bytes, key: bytes, headers: Any) -> Sent:
        if self.send_error:
            raise self.send_error
        self.sent.append(value)
        return Sent(partition=1, offset=42, seconds=self.seconds)

    def read(self, topic: str, partition: int, offset: int) -> bytes:
        if self.read_error:
            raise self.read_error
        return self.there if self.there is not None else self.sent[-1]


@pytest.fixture
def reachable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kafka, "can_connect", lambda _node: None)


def look_at(world: World, cluster: Cluster, record: Record | None = RECORD) -> list[Finding]:
    return list(kafka.look(world.settings, cluster, record))  # type: ignore[arg-type]


@pytest.mark.usefixtures("reachable")
def test_a_kafka_that_is_as_it_should_be(world: World) -> None:
    found = look_at(world, Cluster())
    assert {each.level for each in found} == {"ok"}
    assert "2 partitions, 3 replicas each" in find(found, "topic").text
    assert "7 d 0 h (retention.ms)" in find(found, "keeps").text
    assert "acknowledged and read back: partition 1, offset 42" in find(found, "test record").text


@pytest.mark.usefixtures("reachable")
def test_nothing_is_sent_where_nobody_wants_it_or_there_is_no_topic(world: World) -> None:
    cluster = Cluster()
    look_at(world, cluster, None)
    missing = Cluster(parts=None, topic_problem="Unknown topic", topic_is_missing=True)
    found = find(look_at(world, missing), "does not exist")
    assert found.level == "error"
    assert "amikafka topic create" in found.advice
    assert cluster.sent == missing.sent == []


def test_no_broker(world: World) -> None:
    cluster = Cluster()
    cluster.look_error = ClusterError("no broker can be reached: refused", hint="do this")
    (found,) = look_at(world, cluster)
    assert (found.level, found.advice) == ("error", "do this")
    assert "kafka-1:9092" in found.text


def test_a_broker_with_an_address_that_cannot_be_reached_from_here(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kafka, "can_connect", lambda node: "no route" if node.number == 2 else None)
    found = find(look_at(world, Cluster()), "cannot be reached")
    assert "broker 2 advertises the address 127.0.0.1:9" in found.text
    assert "advertised.listeners" in found.advice


def part(leader: int, replicas: tuple[int, ...], in_sync: tuple[int, ...]) -> TopicPart:
    return TopicPart(number=7, leader=leader, replicas=replicas, in_sync=in_sync)


@pytest.mark.usefixtures("reachable")
@pytest.mark.parametrize(
    ("parts", "values", "level", "words"),
    [
        ([part(-1, (1, 2, 3), (1, 2, 3))], {}, "error", "partition 7 has no leader"),
        ([part(1, (1, 2, 3), (1, 2))], {}, "warning", "replicas that are not in sync"),
        ([part(1, (1,), (1,))], {"min.insync.replicas": "1"}, "warning", "has one replica"),
        ([part(1, (1, 2, 3), (1,))], {}, "error", "min.insync.replicas = 2, but only 1 in sync"),
        (
            [part(1, (1, 2, 3), (1, 2, 3))],
            {"min.insync.replicas": "1"},
            "note",
            "a message that only one broker has",
        ),
        ([part(1, (1, 2, 3), (1, 2, 3))], {"cleanup.policy": "compact"}, "warning", "is compacted"),
    ],
)
def test_a_topic_that_is_not_as_it_should_be(
    world: World, parts: list[TopicPart], values: dict[str, str], level: str, words: str
) -> None:
    cluster = Cluster(parts=parts)
    cluster.values.update(values)
    assert find(look_at(world, cluster), words).level == level


@pytest.mark.usefixtures("reachable")
def test_a_record_that_took_long_is_said_to_be_slow(world: World) -> None:
    cluster = Cluster()
    cluster.seconds = 1.5
    found = find(look_at(world, cluster), "test record")
    assert found.level == "warning"
    assert "that is slow" in found.advice


@pytest.mark.usefixtures("reachable")
def test_a_record_that_is_not_taken_or_cannot_be_read(world: World) -> None:
    cluster = Cluster()
    cluster.send_error = ClusterError("not taken", hint="a right")
    assert find(look_at(world, cluster), "test record").level == "error"
    cluster = Cluster()
    cluster.read_error = ClusterError("not allowed")
    assert find(look_at(world, cluster), "test record").level == "note"
    cluster = Cluster()
    cluster.there = b"other"
    assert find(look_at(world, cluster), "is not the one that was sent").level == "error"


@pytest.mark.parametrize(
    ("words", "advice"),
    [
        ("Connect to ipv4#127.0.0.1:1 failed: Connection refused", "check that Kafka is running"),
        ("Failed to resolve 'x:9092': Name or service not known", "or fix DNS"),
        ("SSL handshake failed: certificate verify failed", "ssl_ca_location"),
        ("SASL authentication error: Authentication failed", "sasl_password"),
        ("Broker: Topic authorization failed", "kafka-acls.sh"),
        ("Disconnected: verify that security.protocol is right", "security_protocol = sasl_ssl"),
        ("something new", "the brokers' logs"),
    ],
)
def test_hints(words: str, advice: str) -> None:
    assert advice in hint(words, {"security.protocol": "sasl_ssl"})


# Files, this machine, and how it is printed.


def test_a_log_with_events_and_one_without(world: World, tmp_path: Path) -> None:
    log = tmp_path / "full"
    log.write_text("[2026-11-24 01:02:03] VERBOSE[1] x.c: nothing of interest\n")
    world.settings.source_options = SimpleNamespace(path=[str(log), str(tmp_path / "none*")])
    debug_off = console()
    found = list(event_files.look_at_log(world.settings, debug_off))
    assert find(found, "no event in it").level == "warning"
    assert find(found, "0 events in").text.startswith(f"{log}: no event in it, 0 events in ")
    assert find(found, "no such file").level == "error"
    assert find(found, "manager debug is off").level == "error"
    log.write_bytes(b"Event: Hangup\r\nPrivilege: call,all\r\nChannel: x\r\n\r\n" * 3)
    found = list(event_files.look_at_log(world.settings, lambda _command: None))
    assert find(found, "it contains events").level == "ok"


def test_the_form_and_the_dates_of_a_log(world: World, tmp_path: Path) -> None:
    log = tmp_path / "full"
    marker = b"[11/23/26 09:30:23] VERBOSE[1] manager.c: <-- Examining AMI event (1): -->\n"
    log.write_bytes(marker + b"Event: Hangup\r\nPrivilege: call,all\r\nChannel: x\r\n\r\n\n")
    world.settings.source_options = SimpleNamespace(path=[str(log)])
    found = list(event_files.look_at_log(world.settings, lambda _command: None))
    assert find(found, "is a text log").level == "note"
    assert "full.json => [json]verbose(5)" in find(found, "is a text log").advice
    assert "leaves out each event that is not UTF-8" in find(found, "is a text log").text
    assert find(found, "the date 11/23/26 09:30:23 cannot be read").level == "warning"
    world.settings.eventlog_options = EventLogOptions(dateformat="%D %T")
    found = list(event_files.look_at_log(world.settings, lambda _command: None))
    assert not any("cannot be read" in each.text for each in found)


@pytest.mark.parametrize(("lines", "is_enough"), [("", False), ("logger_queue_limit = 100000\n", True)])
def test_the_room_of_asterisks_logger(world: World, tmp_path: Path, lines: str, is_enough: bool) -> None:
    (tmp_path / "logger.conf").write_text(f"[general]\n{lines}[logfiles]\n")
    world.settings.etc = tmp_path
    world.settings.source_options = SimpleNamespace(path=[])
    found = list(event_files.look_at_log(world.settings, lambda _command: None))
    assert [each.level for each in found] == ([] if is_enough else ["warning"])
    assert is_enough or "when 1000 messages wait" in found[0].text


def test_a_spool_directory(world: World, tmp_path: Path) -> None:
    spool = tmp_path / "spool"
    world.settings.source_options = SimpleNamespace(directory=spool, pattern="*.ami", bad_directory=None)
    assert "install -d" in next(iter(event_files.look_at_spool(world.settings))).advice
    (spool / "bad").mkdir(parents=True)
    (spool / "1.ami").touch()
    (spool / "bad" / "0.ami").touch()
    found = list(event_files.look_at_spool(world.settings))
    if found[0].level != "error":  # a user of the service may not enter the test's directory
        assert [each.level for each in found] == ["ok", "warning"]
        assert "1 file *.ami waiting" in found[0].text
        assert "1 file could not be used" in found[1].text


def test_the_daemon(world: World) -> None:
    (away,) = machine.look_at_daemon(None, "it is not running")
    assert away.level == "warning"
    good = list(machine.look_at_daemon(changed(WELL, version=machine.__version__), ""))
    assert said(good) == [("ok", "the daemon is running: all is well")]
    bad: Snapshot = changed(kafka={"healthy": False, "state": "away"}, losses={"lost": 5})
    found = list(machine.look_at_daemon(bad, ""))
    assert [each.level for each in found] == ["error", "warning", "note"]
    assert "lost since the daemon started: 5 events dropped" in found[1].text


def test_the_disk(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "unreadable_for", lambda *_: None)

    def look(free: int, snapshot: Snapshot | None = None) -> Finding:
        monkeypatch.setattr(machine.shutil, "disk_usage", lambda _path: SimpleNamespace(free=free))
        (found,) = machine.look_at_disk(world.settings, snapshot)
        return found

    assert look(10**12).level == "ok"
    assert look(9_999).level == "warning"
    assert look(10**12, WELL).level == "ok"
    assert "room for 4 d 14 h" in look(10**12, WELL).text
    assert look(10**12, changed(journal={"hours_left": 1.0})).level == "warning"


def test_the_clock_is_looked_at() -> None:
    assert [each.level for each in machine.look_at_clock()] in (["ok"], ["warning"])


FINDINGS = [
    Finding(level="ok", part="A", text="good"),
    Finding(level="warning", part="B", text="x" * 30 + " " + "y" * 60, advice="do \x1b[2J this"),
    Finding(level="error", part="B", text="bad"),
]


def test_how_findings_are_printed() -> None:
    text = list(lines(FINDINGS, 80))
    assert text[:3] == ["A", "  ok       good", ""]
    assert text[3] == "B"
    assert all(len(line) <= 80 for line in text)
    assert "\x1b" not in "".join(text)
    assert summary(FINDINGS) == "1 error and 1 warning."
    assert summary(FINDINGS[:1]) == "No problems found."
    assert (worst(FINDINGS), worst(FINDINGS[:2]), worst([])) == ("error", "warning", "ok")
    assert [EXIT_CODES[each] for each in ("ok", "note", "warning", "error")] == [0, 0, 1, 2]
    assert json.loads(json.dumps(as_json(FINDINGS)))["worst"] == "error"


def test_advice_is_for_the_configuration_that_was_looked_at(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    configuration = tmp_path / "ami_kafka.conf"
    configuration.write_text("[kafka]\ntpoic = x\n")
    assert cli.main(["doctor", "--json", "-c", str(configuration)]) == EXIT_CODES["error"]
    advice = [each["advice"] for each in json.loads(capsys.readouterr().out)["findings"]]
    assert f"fix it, then run amikafka doctor -c {configuration} again" in advice

"""The guides, done as they are written: with a real Asterisk, a real Kafka, kcat, jq and Kafka Connect."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import zipfile
from functools import partial
from pathlib import Path

import pytest
from asterisk import Asterisk
from conftest import Daemons, or_skip
from connect import Worker, connect_jars
from kafka import Kafka
from machine import need_program

from tests.support.daemon import PROJECT, Daemon
from tests.support.markdown import blocks, commands
from tests.support.waiting import wait_for

pytestmark = pytest.mark.timeout(240)

GETTING_STARTED = PROJECT / "docs" / "getting-started.md"
CONSUMING = PROJECT / "docs" / "consuming.md"
TOPIC = "asterisk_ami"
"""The guides' topic; each test has its own in its place."""
CONNECTED = "connected: asterisk="
FOR_ROOT_ON_ANOTHER_MACHINE = ("docker ", "apt ", "editor ")


class Person:
    """Somebody who types what a guide says: `amikafka` and `asterisk` are those of this test."""

    def __init__(self, directory: Path, daemon: Daemon, asterisk: Asterisk, kafka: Kafka, topic: str) -> None:
        self._kafka = kafka
        self._topic = topic
        programs = directory / "bin"
        programs.mkdir()
        configuration = f"/{asterisk.directory.relative_to(asterisk.root)}/etc/asterisk.conf"
        scripts = {
            "asterisk": f'exec chroot {asterisk.root} /usr/sbin/asterisk -C {configuration} "$@"',
            "amikafka": f'exec {sys.executable} -m amikafka_tail "$@" -c {daemon.configuration}',
        }
        for name, script in scripts.items():
            (programs / name).write_text(f"#!/bin/sh\n{script}\n")
            (programs / name).chmod(0o755)
        self._environment = {
            **os.environ,
            "PATH": f"{programs}:{os.environ['PATH']}",
            "PYTHONPATH": str(PROJECT),
            "AMIKAFKA_LOAD_PLUGINS": "",
        }

    def type(self, command: str, expected: tuple[int, ...] = (0,)) -> str:
        """Run a command line of a guide; return what it printed."""
        line = command.replace("localhost:9092", self._kafka.bootstrap).replace(TOPIC, self._topic)
        done = subprocess.run(
            line, shell=True, capture_output=True, text=True, timeout=90, env=self._environment
        )
        assert done.returncode in expected, f"{line}\n{done.returncode}\n{done.stdout}{done.stderr}"
        assert "Traceback" not in done.stderr
        return done.stdout


@pytest.fixture
def started(daemon: Daemons, topic_name: str) -> Daemon:
    """A daemon as the guides configure it, not yet started."""
    return daemon(topic_name, kafka="key = linkedid")


@pytest.fixture
def person(tmp_path: Path, started: Daemon, asterisk: Asterisk, kafka: Kafka, topic_name: str) -> Person:
    for program in ("kcat", "jq"):
        or_skip(partial(need_program, program, program))
    (started.configuration.parent / "manager.conf").symlink_to(asterisk.directory / "etc/manager.conf")
    return Person(tmp_path, started, asterisk, kafka, topic_name)


def test_getting_started_leads_to_an_event_in_kafka(person: Person, started: Daemon, topic_name: str) -> None:
    """Each command of the page, in its order, after the installation."""
    text = GETTING_STARTED.read_text()
    begin = text[: text.index("## Look before you start")].count("\n")
    lines = [
        line
        for block in blocks(GETTING_STARTED, "")
        if block.line > begin
        for line in commands(block)
        if not line.startswith(FOR_ROOT_ON_ANOTHER_MACHINE)
    ]
    assert len(lines) == 8
    said: dict[str, str] = {}
    doctors = []
    for line in lines:
        if line == "systemctl start amikafka":
            started.start()
            started.wait_for_log(CONNECTED)
        elif line == "amikafka doctor":
            doctors.append(person.type(line, expected=(0, 1, 2)))
        elif line.startswith("kcat "):
            said["kcat"] = wait_for(partial(person.type, line), 30, "the event")
        else:
            said[line] = person.type(line)
    before, after = (" ".join(text.split()) for text in doctors)
    assert f'error topic "{topic_name}" does not exist' in before
    assert f'ok topic "{topic_name}": 6 partitions' in after
    assert "error" not in after
    assert "State    all is well" in said["amikafka status"]
    (event,) = map(json.loads, said["kcat"].splitlines())
    assert (event["Event"], event["Module"]) == ("Reload", "logger")


def test_kcat_shows_what_the_guide_says(
    person: Person, started: Daemon, kafka: Kafka, topic_name: str
) -> None:
    kafka.create_topic(topic_name, 3)
    started.start()
    started.wait_for_log(CONNECTED)
    person.type('asterisk -rx "channel originate Local/s@nowhere application NoOp"')

    def hangups() -> list[str]:
        return [
            event["Linkedid"]
            for record in kafka.read(topic_name)
            if (event := json.loads(record.value))["Event"] == "Hangup"
        ]

    wait_for(lambda: len(hangups()) >= 2, 30, "the call's end in Kafka", 0.3)
    (call,) = set(hangups())
    lines = [line for block in blocks(CONSUMING, "") for line in commands(block)]
    kcat = [line for line in lines if line.startswith("kcat ")]
    assert len(kcat) == 7
    now, last, since, whole, ended, one_call, committed = kcat

    assert "-o end" in now  # it goes on until somebody ends it
    person.type(f"timeout 3 {now}", expected=(124,))
    everything = person.type(last.replace("-o -5", "-o beginning")).splitlines()
    assert {"Newchannel", "Hangup"} <= {json.loads(line)["Event"] for line in everything}
    assert 0 < len(person.type(last).splitlines()) <= 15
    assert len(person.type(since).splitlines()) == len(everything)
    assert len(person.type(committed).splitlines()) == len(everything)
    told = person.type(whole)
    assert re.search(rf"^\d{{13}} \d/\d+ {re.escape(call)}\n  entity_id=.*hostname=\S+\n  \{{", told, re.M)
    assert [set(json.loads(line)) for line in person.type(ended).splitlines()] == [
        {"Linkedid", "Channel", "Cause", "Cause-txt"}
    ] * 2
    of_call = person.type(one_call.replace("pbx-01-1795798895.0", call)).splitlines()
    names = [json.loads(line)[1] for line in of_call]
    assert (names[0], names.count("Hangup")) == ("Newchannel", 2), "one partition, in order"


def test_connect_writes_what_the_guide_says(
    tmp_path: Path, person: Person, started: Daemon, kafka: Kafka, topic_name: str
) -> None:
    kafka.create_topic(topic_name)
    jars = or_skip(connect_jars)
    started.start()
    started.wait_for_log(CONNECTED)
    person.type(f"""echo '{{"Event":"not ours"}}' | kcat -b localhost:9092 -t {TOPIC} -P""")
    person.type('asterisk -rx "channel originate Local/s@nowhere application NoOp"')
    worker_text, connector_text = (block.text for block in blocks(CONSUMING, "properties"))
    out = tmp_path / "asterisk_ami.txt"
    connector = connector_text.replace("/var/tmp/asterisk_ami.txt", str(out))
    connector = connector.replace(f"topics={TOPIC}", f"topics={topic_name}")
    assert str(out) in connector
    assert topic_name in connector
    worker = Worker(jars, tmp_path / "connect", kafka.bootstrap, worker_text, connector)
    worker.start()
    try:

        def written() -> list[str]:
            assert worker.running, worker.log.read_text()[-3000:]
            lines = out.read_text().splitlines() if out.exists() else []
            return lines if sum("Event=Hangup" in line for line in lines) >= 2 else []

        lines = wait_for(written, 90, f"the file, see {worker.log}", 0.5)
    finally:
        worker.stop()
    assert all(re.fullmatch(r"\{\w+=.*\}", line) for line in lines)
    assert not any("not ours" in line for line in lines)
    fields = {name for line in lines for name in re.findall(r"(\w+)=", line)}
    assert fields <= {"Event", "Channel", "Linkedid", "Cause"}
    assert any("Cause=16" in line or "Cause=0" in line for line in lines)


def test_what_apache_kafka_has_for_headers_is_what_the_guide_says() -> None:
    jars = or_skip(connect_jars)
    (jar,) = jars.glob("connect-transforms-*.jar")
    with zipfile.ZipFile(jar) as archive:
        names = "\n".join(archive.namelist())
    classes = set(re.findall(r"transforms/(?:predicates/)?(\w+)\.class", names))
    of_headers = {name for name in classes if "Header" in name}
    assert of_headers == {"HasHeaderKey", "DropHeaders", "InsertHeader", "HeaderFrom"}
    assert all(f"`{name}`" in CONSUMING.read_text() for name in of_headers)
    version = re.search(r"-(\d+\.\d+)\.\d+\.jar", jar.name)
    assert version is not None
    assert f"as of {version[1]})" in CONSUMING.read_text()

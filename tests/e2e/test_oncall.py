"""What the person on call types, against a real Asterisk and a real Kafka, with things broken on purpose."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from ami import Flood
from asterisk import Asterisk
from conftest import Daemons, or_skip
from flow import wait_until_connected
from kafka import Kafka, TopicReader
from machine import need_program

from tests.support.daemon import PROJECT, Daemon
from tests.support.waiting import wait_for

pytestmark = pytest.mark.timeout(180)


class Shell:
    """A person beside a daemon, with Asterisk's console (`asterisk -rx`) at hand."""

    def __init__(self, directory: Path, asterisk: Asterisk, daemon: Daemon) -> None:
        self.daemon = daemon
        console = directory / "bin" / "asterisk"
        console.parent.mkdir()
        configuration = f"/{asterisk.directory.relative_to(asterisk.root)}/etc/asterisk.conf"
        console.write_text(
            f'#!/bin/sh\nexec chroot {asterisk.root} /usr/sbin/asterisk -C {configuration} "$@"\n'
        )
        console.chmod(0o755)
        self.environment = {
            **os.environ,
            "PATH": f"{console.parent}:{os.environ['PATH']}",
            "PYTHONPATH": str(PROJECT),
            "AMIKAFKA_LOAD_PLUGINS": "",
        }
        # manager.conf is looked for beside ami_kafka.conf.
        (daemon.configuration.parent / "manager.conf").symlink_to(asterisk.directory / "etc/manager.conf")

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "amikafka_tail", *arguments, "-c", str(self.daemon.configuration)]

    def type(self, *arguments: str, expected: Sequence[int] = (0,)) -> str:
        """Run a command; return all that it printed, with every blank a single one."""
        done = subprocess.run(
            self.command(*arguments), capture_output=True, text=True, timeout=90, env=self.environment
        )
        text = done.stdout + done.stderr
        assert done.returncode in expected, f"{done.returncode}\n{text}"
        assert "Traceback" not in text
        return " ".join(text.split())


@pytest.fixture
def shell(tmp_path: Path, asterisk: Asterisk, daemon: Daemons, topic: str) -> Shell:
    return Shell(tmp_path, asterisk, daemon(topic))


@pytest.fixture
def manager_conf(asterisk: Asterisk) -> Iterator[Path]:
    """The file, which is as before afterwards, and Asterisk knows."""
    path = asterisk.directory / "etc/manager.conf"
    before = path.read_text()
    yield path
    path.write_text(before)
    asterisk.cli("module reload manager")
    asterisk.cli("manager reload")


def test_the_doctor_finds_nothing_wrong_where_nothing_is(shell: Shell, asterisk: Asterisk) -> None:
    text = shell.daemon.configuration.read_text()
    shell.daemon.configuration.write_text(f"{text}[json]\nduplicates = list\n")
    shell.daemon.start()
    shell.daemon.wait_for_log("connected: asterisk=")
    # Whether somebody keeps this machine's clock right is not ours to say: a warning, exit code 1.
    said = shell.type("doctor", expected=(0, 1))
    assert "logged in, Asterisk 22." in said
    assert "may read every class of events" in said
    assert "events have Asterisk's own time (timestampevents)" in said
    assert "Asterisk waits 60 s for us (writetimeout)" in said
    assert "app_ami_kafka is not loaded" in said
    assert "a test record (AmikafkaTest) was acknowledged and read back" in said
    assert "the daemon runs: all is well" in said
    found = json.loads(
        subprocess.run(
            shell.command("doctor", "--json", "--no-test-record"),
            capture_output=True, text=True, timeout=90, env=shell.environment,
        ).stdout
    )  # fmt: skip
    wrong = [each["text"] for each in found["findings"] if each["level"] not in ("ok", "note")]
    assert [text for text in wrong if "clock" not in text] == []


def test_the_doctor_sees_a_wrong_password(shell: Shell) -> None:
    text = shell.daemon.configuration.read_text()
    shell.daemon.configuration.write_text(re.sub("secret = .*", "secret = quatsch", text))
    said = shell.type("doctor", "--no-test-record", expected=(2,))
    assert "Asterisk refuses the login of 'amikafka': Authentication failed" in said
    assert "quatsch" not in said, "it never says the secret"


def test_the_doctor_sees_missing_rights_and_a_short_writetimeout(
    shell: Shell, asterisk: Asterisk, manager_conf: Path
) -> None:
    text = manager_conf.read_text()
    ours = re.compile(r"(\[amikafka\].*?)read = all\n(.*?)writetimeout = 60000\n", re.DOTALL)
    manager_conf.write_text(ours.sub(r"\1read = call,cdr\n\2", text, count=1))
    asterisk.cli("manager reload")
    said = shell.type("doctor", "--no-test-record", expected=(1,))
    assert "amikafka may not read events of the class agent, agi, aoc" in said
    assert "read = all in [amikafka] of manager.conf" in said
    assert "writetimeout = 100 (ms)" in said


def test_the_doctor_sees_that_the_manager_is_off(
    shell: Shell, asterisk: Asterisk, manager_conf: Path
) -> None:
    manager_conf.write_text(manager_conf.read_text().replace("enabled = yes", "enabled = no"))
    asterisk.cli("module reload manager")
    said = shell.type("doctor", "--no-test-record", expected=(2,))
    assert "the manager interface is not enabled" in said
    assert "enabled = yes in [general]" in said


def test_the_doctor_sees_that_there_is_no_broker(shell: Shell) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{closed.getsockname()[1]}"
        text = shell.daemon.configuration.read_text()
        shell.daemon.configuration.write_text(re.sub("brokers = .*", f"brokers = {address}", text))
        said = shell.type("doctor", expected=(2,))
        assert f"{address} (plaintext): no broker can be reached" in said
        assert "Connection refused" in said
        assert "see that Kafka runs" in said
        assert said.count("Connection refused") < 5, "not every attempt"
        assert "see that Kafka runs" in shell.type("kafka", "status", expected=(69,))
        assert "see that Kafka runs" in shell.type("kafka", "send-test", expected=(69,))


def test_a_topic_that_is_missing_is_made(
    shell: Shell, kafka: Kafka, daemon: Daemons, topic_name: str
) -> None:
    missing = f"{topic_name}-missing"
    shell.daemon.configure(daemon.configuration(missing))
    said = shell.type("doctor", expected=(2,))
    assert f'there is no topic "{missing}"' in said
    assert "amikafka topic create" in said
    assert "To make it: amikafka topic create" in shell.type("kafka", "status", expected=(1,))
    said = shell.type("topic", "create", "--partitions", "3", "--replicas", "1", "--retention", "7d")
    assert f'Topic "{missing}" is made: 3 partitions, 1 replicas each' in said
    said = shell.type("kafka", "status")
    assert "2 1 1 1" in said, "partition 2, led by broker 1, on broker 1 alone"
    assert "retention.ms = 604800000" in said
    assert "already exists" in shell.type("topic", "create", expected=(69,))
    said = shell.type("kafka", "send-test")
    assert re.search(r"AmikafkaTest is on \S+, partition \d, offset 0; acknowledged after", said)
    with TopicReader(kafka.bootstrap, missing) as reader:
        record = reader.wait_for_record(lambda _record: True, 20, "the test record")
        assert json.loads(record.value)["Event"] == "AmikafkaTest"
        assert dict(record.headers)["event_type"] == b"AmikafkaTest"


def test_the_doctor_sees_that_the_disk_is_nearly_full(shell: Shell, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "full", disk], check=True)
    try:
        text = shell.daemon.configuration.read_text()
        shell.daemon.configuration.write_text(re.sub("directory = .*", f"directory = {disk}", text))
        said = shell.type("doctor", "--no-test-record", expected=(1, 2))
        assert f"make room on the disk of {disk}" in said
    finally:
        subprocess.run(["umount", disk], check=True)


def test_a_night_without_kafka(shell: Shell, asterisk: Asterisk, kafka: Kafka, topic: str) -> None:
    """Kafka goes, `status` says so and what to do; it comes back, and all is well, with nothing missing."""
    shell.daemon.start()
    with asterisk.driver() as driver, TopicReader(kafka.bootstrap, topic) as reader:
        wait_until_connected(shell.daemon, driver, reader)
        assert "State all is well Lost nothing To do nothing" in shell.type("status")
        kafka.stop()
        with Flood(driver, 200, "night"):
            wait_for(
                lambda: "PROBLEM: Kafka takes nothing" in shell.type("status", expected=(0, 1)),
                60,
                "status to say that Kafka is away",
                1.0,
            )
            time.sleep(10)
            said = shell.type("status", expected=(1,))
        assert "Lost nothing" in said
        assert "the journal has room for" in said
        found = re.search(r"([\d,]+) events wait, the oldest for", said)
        assert found is not None
        assert int(found[1].replace(",", "")) > 1000
        kafka.start()
        wait_for(
            lambda: "State all is well Lost nothing" in shell.type("status", expected=(0, 1)),
            60,
            "all to be well again",
            1.0,
        )


def test_top_in_a_terminal(
    shell: Shell, asterisk: Asterisk, kafka: Kafka, topic: str, tmp_path: Path
) -> None:
    tmux = or_skip(lambda: need_program("tmux", "tmux"))
    server = f"amikafka-{os.getpid()}"

    def run(*arguments: str) -> str:
        return subprocess.run(
            [tmux, "-L", server, *arguments],
            capture_output=True,
            text=True,
            env=shell.environment,
            timeout=20,
        ).stdout

    def shown() -> str | None:
        page = run("capture-pane", "-p")
        return page if re.search(r"UserEvent\s+user\s", page) else None

    shell.daemon.start()
    shell.daemon.wait_for_log("connected: asterisk=")
    run("new-session", "-d", "-x", "80", "-y", "24", *shell.command("top", "--interval", "0.5"))
    try:
        with asterisk.driver() as driver, Flood(driver, 100, "top"):
            screen = wait_for(shown, 40, "top to show the events", 0.5)
        lines = screen.splitlines()
        assert lines[0].startswith("amikafka ")
        assert any(line.startswith("State    all is well") for line in lines)
        assert max(map(len, lines)) <= 80
        assert len(lines) <= 24
        assert next(line for line in reversed(lines) if line).endswith("q: quit"), "nothing has scrolled"
        shell.daemon.stop()
        wait_for(lambda: "is not running" in run("capture-pane", "-p"), 20, "top to see that", 0.5)
        run("send-keys", "q")
        wait_for(lambda: not run("list-sessions"), 20, "top to end", 0.5)
    finally:
        run("kill-server")

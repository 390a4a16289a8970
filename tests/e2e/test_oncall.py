"""What the person on call types, against a real Asterisk and a real Kafka, with things broken on purpose."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from base64 import b64decode
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from ami import Flood
from asterisk import Asterisk
from conftest import Daemons, or_skip
from flow import between, marker_in, wait_for_marker, wait_until_connected
from kafka import Kafka, Record, TopicReader
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
    # This machine's clock may not be synchronized: a warning, exit code 1.
    said = shell.type("doctor", expected=(0, 1))
    assert "logged in, Asterisk 22." in said
    assert "may read all event classes" in said
    assert "events carry Asterisk's own timestamp (timestampevents)" in said
    assert "Asterisk waits up to 60 s for amikafka (writetimeout)" in said
    assert "app_ami_kafka is not loaded" in said
    assert "a test record (AmikafkaTest) was acknowledged and read back" in said
    assert "the daemon is running: all is well" in said
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
    assert "amikafka may not read the event classes agent, agi, aoc" in said
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
        assert "check that Kafka is running" in said
        assert said.count("Connection refused") < 5, "not every attempt"
        assert "suppressed" not in said
        assert "check that Kafka is running" in shell.type("kafka", "status", expected=(69,))
        assert "check that Kafka is running" in shell.type("kafka", "send-test", expected=(69,))
        assert "check that Kafka is running" in shell.type("topic", "create", expected=(69,))


def test_a_topic_that_is_missing_is_made(
    shell: Shell, kafka: Kafka, daemon: Daemons, topic_name: str
) -> None:
    missing = f"{topic_name}-missing"
    shell.daemon.configure(daemon.configuration(missing))
    said = shell.type("doctor", expected=(2,))
    assert f'topic "{missing}" does not exist' in said
    assert "amikafka topic create" in said
    assert "To create it: amikafka topic create" in shell.type("kafka", "status", expected=(1,))
    said = shell.type("kafka", "send-test", expected=(69,))
    assert f'topic "{missing}" does not exist' in said
    assert "amikafka topic create" in said
    said = shell.type("topic", "create", "--partitions", "3", "--replicas", "1", "--retention", "7d")
    assert f'Topic "{missing}" created: 3 partitions, 1 replica each' in said
    said = shell.type("kafka", "status")
    assert "2 1 1 1" in said, "partition 2, led by broker 1, on broker 1 alone"
    assert "retention.ms = 604800000" in said
    assert f'topic "{missing}" exists already' in shell.type("topic", "create", expected=(69,))
    said = shell.type("kafka", "send-test")
    assert re.search(r"AmikafkaTest was sent to \S+, partition \d, offset 0; acknowledged after", said)
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
        assert f"free space on the disk of {disk}" in said
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
                lambda: "PROBLEM: Kafka accepts no messages" in shell.type("status", expected=(0, 1)),
                60,
                "status to say that Kafka is away",
                1.0,
            )
            time.sleep(10)
            said = shell.type("status", expected=(1,))
        assert "Lost nothing" in said
        assert "the journal has room for" in said
        found = re.search(r"([\d,]+) events are waiting, the oldest for", said)
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


def tapped(output: Path) -> list[Record]:
    """Return the messages that `tap --json` has printed so far."""
    records = []
    for number, line in enumerate(output.read_text().splitlines(keepends=True)):
        if not line.endswith("\n"):
            break
        found = json.loads(line)
        value = b64decode(found["value_base64"]) if "value_base64" in found else found["value"].encode()
        headers = [(name, text.encode()) for name, text in found["headers"]]
        key = found["key"].encode()
        records.append(Record(partition=0, offset=number, key=key, headers=headers, value=value, timestamp=0))
    return records


@contextlib.contextmanager
def tapping(shell: Shell, output: Path) -> Iterator[None]:
    """Run `tap --json` into a file, connected, until the end of the block; then Ctrl-C."""
    with output.open("wb") as out:
        tap = subprocess.Popen(
            shell.command("tap", "--json"), stdout=out, stderr=subprocess.PIPE, env=shell.environment
        )
    assert tap.stderr is not None
    with tap.stderr:
        try:
            assert b"connected: asterisk=" in tap.stderr.readline()
            yield
            tap.send_signal(signal.SIGINT)
            assert tap.wait(10) == 130
            assert b"events received" in tap.stderr.read()
        finally:
            tap.kill()
            tap.wait(10)


@pytest.mark.parametrize("form", ["json", "ami"])
def test_tap_shows_byte_for_byte_what_the_daemon_publishes(
    shell: Shell, asterisk: Asterisk, topic: str, daemon: Daemons, form: str
) -> None:
    """Every event of real calls, and odd ones: key, headers and value. And the daemon misses none."""
    shell.daemon.configure(daemon.configuration(topic, general=f"format = {form}", kafka="key = linkedid"))
    shell.daemon.start()
    output = shell.daemon.directory / "tapped"
    odd = [("Latin1", b"M\xfcller"), ("Controls", b"\x01\x1b[2J\x7f"), ("Event", "x"), ("Empty", "")]
    with asterisk.driver() as driver, asterisk.witness() as witness, daemon.kafka.reader(topic) as reader:
        wait_until_connected(shell.daemon, driver, reader)
        with tapping(shell, output):
            driver.marker("begin")
            driver.calls(30, 10)
            driver.user_event("Odd", *odd)
            driver.marker("end")
            wait_for_marker(reader, "end")
            wait_for(lambda: "end" in map(marker_in, tapped(output)), 20, "the last event at the tap")
        published = between(reader.records, "begin", "end")
        seen = witness.events[witness.wait_for_marker("begin") : witness.wait_for_marker("end") + 1]
    assert len(published) == len(seen) > 30 * 40
    for one, other in zip(between(tapped(output), "begin", "end"), published, strict=True):
        assert (one.key, one.headers, one.value) == (other.key, other.headers, other.value)


def test_tap_where_the_manager_user_may_be_logged_in_only_once(
    shell: Shell, asterisk: Asterisk, manager_conf: Path, tmp_path: Path
) -> None:
    manager_conf.write_text(
        manager_conf.read_text().replace("[amikafka]\n", "[amikafka]\nallowmultiplelogin = no\n")
    )
    asterisk.cli("manager reload")
    shell.daemon.start()
    shell.daemon.wait_for_log("connected: asterisk=")
    said = shell.type("tap", expected=(77,))
    assert "the manager user amikafka may have only one session, and the daemon needs it" in said
    # Where manager.conf is not at hand, Asterisk itself says it.
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    before = shell.daemon.configuration
    shell.daemon.configuration = before.rename(elsewhere / before.name)
    said = shell.type("tap", expected=(77,))
    assert "Asterisk refuses the login of 'amikafka': Login Already In Use" in said
    assert "set allowmultiplelogin = yes in the user's section" in said
    text = manager_conf.read_text().replace("allowmultiplelogin = no", "allowmultiplelogin = yes")
    manager_conf.write_text(text)
    asterisk.cli("manager reload")
    with asterisk.driver() as driver, Flood(driver, 20, "tap"):
        said = shell.type("tap", "-n", "3", "-e", "userevent", "Series: tap")
    assert said.count("UserEvent: E2eFlood Series: tap Number: ") == 3
    assert "lost the connection" not in shell.daemon.log

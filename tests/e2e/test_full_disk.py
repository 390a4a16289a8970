"""A journal on a disk that is really full."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from amikafka_tail.kafka.mock import MockKafka, read_topic
from tests.fakes.ami_server import AmiServer
from tests.support.daemon import MEGABYTE, Daemon

EVENTS = 120_000
pytestmark = pytest.mark.timeout(300)
CONFIGURATION = """
[general]
[kafka]
brokers = {brokers}
topic = full-disk
[manager]
host = 127.0.0.1
port = {port}
secret = s3cret
[journal]
directory = {directory}
max_bytes = 64m
segment_bytes = 1m
fsync_interval = 0.2
"""


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    if os.geteuid() != 0:
        if os.environ.get("CI") == "true":
            pytest.fail("CI must run this test: it needs root to mount a small disk")
        pytest.skip("it needs root to mount a small disk")
    path = tmp_path / "disk"
    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "amikafka-test", str(path)], check=True)
    yield path
    subprocess.run(["umount", str(path)], check=True)


def event(number: int) -> bytes:
    return b"Event: Numbered\r\nPrivilege: call,all\r\nNumber: %d\r\n\r\n" % number


def collect(address: str, numbers: list[int]) -> None:
    for message in read_topic(address, "full-disk", idle=60):
        numbers.append(int(json.loads(message.value)["Number"]))
        if len(numbers) == EVENTS:
            return


def test_a_full_disk_holds_asterisk_up_and_loses_nothing(tmp_path: Path, small_disk: Path) -> None:
    kafka = MockKafka()
    with AmiServer() as asterisk:
        fields = {"port": asterisk.port, "directory": small_disk / "amikafka"}
        daemon = Daemon(tmp_path / "daemon", CONFIGURATION.format(brokers="127.0.0.1:1", **fields))
        try:
            daemon.start()
            asterisk.wait_until_ready()

            def send() -> None:
                for first in range(0, EVENTS, 1000):
                    asterisk.send(b"".join(event(number) for number in range(first, first + 1000)))

            sender = threading.Thread(target=send, daemon=True)
            sender.start()
            # The mock broker keeps some megabytes: read along.
            numbers: list[int] = []
            reader = threading.Thread(target=collect, args=(kafka.address, numbers), daemon=True)
            reader.start()
            daemon.wait_for_log("the journal cannot be written: No space left on device")
            daemon.configure(CONFIGURATION.format(brokers=kafka.address, **fields))
            daemon.signal(signal.SIGHUP)
            daemon.wait_for_log("the journal can be written again", 30)
            sender.join(60)
            assert not sender.is_alive(), daemon.tail()
            daemon.wait_for(lambda: len(numbers) == EVENTS, 60, "every event")
            assert sorted(numbers) == list(range(EVENTS))
            assert daemon.log.count("cannot be written") < 20
            assert daemon.peak() < 150 * MEGABYTE
            assert daemon.stop() == 0
        finally:
            daemon.close()


def test_an_event_log_is_published_while_the_checkpoint_finds_no_room(
    tmp_path: Path, small_disk: Path
) -> None:
    kafka = MockKafka()
    log = tmp_path / "full"
    log.write_bytes(b"".join(map(event, range(1000))))
    state = small_disk / "amikafka"
    state.mkdir()
    text = (
        f"[general]\nsource = eventlog\n[kafka]\nbrokers = {kafka.address}\ntopic = no-space\n"
        f"[eventlog]\npath = {log}\n[journal]\ndirectory = {state}\nfsync_interval = 0.2\n"
    )
    daemon = Daemon(tmp_path / "daemon", text)
    try:
        with contextlib.suppress(OSError), (small_disk / "filler").open("wb") as filler:
            while True:
                filler.write(b"x" * 4096)
                filler.flush()
        (state / "lock").unlink(missing_ok=True)
        daemon.start()
        daemon.wait_for_log("the checkpoint cannot be stored: .*No space left on device")
        (small_disk / "filler").unlink()
        daemon.wait_for_log("the checkpoint can be stored again")
        daemon.kill()
        with log.open("ab") as file:
            file.write(event(1000))
        daemon.start()

        def numbers() -> list[int]:
            found = read_topic(kafka.address, "no-space", idle=1)
            return [int(json.loads(message.value)["Number"]) for message in found]

        daemon.wait_for(lambda: len(numbers()) >= 1001, 30, "every event")
        assert numbers() == list(range(1001))
    finally:
        daemon.close()

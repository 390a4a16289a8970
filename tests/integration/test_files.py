"""The whole daemon on files: the event log while it is rotated and the daemon killed, and the spool."""

from __future__ import annotations

import gzip
import itertools
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from amikafka_tail.kafka.mock import MockKafka, read_topic
from tests.support.daemon import Daemon
from tests.support.waiting import BOUND, wait_for

CONFIGURATION = """
[general]
source = {source}
[kafka]
brokers = {brokers}
topic = {topic}
[eventlog]
path = {path}
start = beginning
poll_interval = 0.2
[spool]
directory = {path}
[journal]
directory = @HERE@/state
fsync_interval = 0.05
"""


def block(number: int) -> bytes:
    return (
        f"[2026-11-23 09:30:23.739] VERBOSE[12234] manager.c: <-- Examining AMI event (1): -->\n"
        f"Event: A\r\nPrivilege: call,all\r\nTimestamp: 1795426158.{number % 1000000:06}\r\n"
        f"SequenceNumber: {number}\r\nFile: a.c\r\nLine: 1\r\nFunc: f\r\nNumber: {number}\r\n\r\n\n"
    ).encode()


class Follower:
    """A daemon on files, and a reader that collects what it publishes."""

    def __init__(self, directory: Path, kafka: str, topic: str, source: str, path: Path) -> None:
        text = CONFIGURATION.format(source=source, brokers=kafka, topic=topic, path=path)
        self.daemon = Daemon(directory / "daemon", text)
        self.numbers: list[int] = []
        self.ended = threading.Event()
        self._thread = threading.Thread(target=self._collect, args=(kafka, topic), daemon=True)
        self._thread.start()

    def _collect(self, kafka: str, topic: str) -> None:
        for message in read_topic(kafka, topic, idle=2 * BOUND):
            self.numbers.append(int(json.loads(message.value)["Number"]))
            if self.ended.is_set():
                return

    def wait_for(self, numbers: set[int]) -> None:
        try:
            self.daemon.wait_for(lambda: numbers <= set(self.numbers), BOUND, f"{len(numbers)} events")
        except TimeoutError as error:
            missing = sorted(numbers - set(self.numbers))
            raise AssertionError(f"{len(missing)} are missing: {missing[:10]}...{missing[-3:]}") from error


@pytest.fixture(scope="module")
def kafka() -> MockKafka:
    return MockKafka()


@pytest.fixture
def topic(request: pytest.FixtureRequest) -> str:
    return re.sub("[^a-z0-9]+", "-", request.node.name)[:100]


@pytest.fixture
def follower(
    tmp_path: Path, kafka: MockKafka, topic: str, request: pytest.FixtureRequest
) -> Iterator[Follower]:
    source = getattr(request, "param", "eventlog")
    path = tmp_path / "log" / "full" if source == "eventlog" else tmp_path / "log"
    path.parent.mkdir(exist_ok=True)
    made = Follower(tmp_path, kafka.address, topic, source, path)
    yield made
    made.ended.set()
    made.daemon.close()


class Writer(threading.Thread):
    """Asterisk's logger: appends, and opens its file anew some time after it was renamed."""

    def __init__(self, path: Path, lock: threading.Lock) -> None:
        super().__init__(daemon=True)
        self.path = path
        self.lock = lock
        self.written = 0
        self.opened = 0
        self.enough = threading.Event()

    def run(self) -> None:
        file = self.path.open("ab", buffering=0)
        for turn in itertools.count():
            if self.enough.is_set():
                break
            with self.lock:
                file.write(block(self.written))
                if self.written % 3 == 0:
                    file.write(block(self.written))  # the copy for another session
            self.written += 1
            if turn % 20 == 0:
                file.close()
                file = self.path.open("ab", buffering=0)
                self.opened += 1
                self.enough.wait(0.01)
        file.close()


def rotate(path: Path, number: int, way: str, lock: threading.Lock) -> None:
    """Rotate in one of the ways; what logrotate would compress is the one before."""
    rotated = path.with_name(f"full.{number}")
    if way == "copytruncate":
        with lock:  # what is written between copy and truncation is lost to everybody
            shutil.copy2(path, rotated)
            os.truncate(path, 0)
    else:
        with lock:
            path.rename(rotated)
        if way == "create":
            path.touch()
    before = path.with_name(f"full.{number - 1}")
    if way == "compress" and before.exists():
        packed = before.with_name(before.name + ".gz")
        packed.write_bytes(gzip.compress(before.read_bytes(), 1))
        shutil.copystat(before, packed)
        before.unlink()


@pytest.mark.parametrize("kills", [0, 6])
def test_every_number_arrives_whatever_rotation_and_kills_do(follower: Follower, kills: int) -> None:
    lock, chance = threading.Lock(), random.Random(kills)
    path = follower.daemon.directory.parent / "log" / "full"
    writer = Writer(path, lock)
    follower.daemon.start()
    writer.start()
    pause = threading.Event()
    for number in range(24):
        pause.wait(chance.uniform(0.05, 0.25))
        # However busy the machine is, the writer writes to the file that is there now.
        opened = writer.opened
        wait_for(lambda opened=opened: writer.opened > opened + 1, BOUND, "the writer to open the log anew")
        rotate(path, number, chance.choice(["rename", "create", "copytruncate", "compress"]), lock)
        if kills and number % (24 // kills) == 0:
            follower.daemon.kill()
            follower.daemon.start()
    writer.enough.set()
    writer.join()
    follower.wait_for(set(range(writer.written)))
    duplicates = len(follower.numbers) - writer.written
    print(f"{writer.written} events, 24 rotations, {kills} kills: {duplicates} duplicates")
    if not kills:
        assert duplicates == 0
        assert follower.numbers == list(range(writer.written))
    assert "is gone" not in follower.daemon.log
    assert "missing" not in follower.daemon.log


def test_it_learns_of_new_lines_at_once_and_idles_otherwise(follower: Follower) -> None:
    path = follower.daemon.directory.parent / "log" / "full"
    path.write_bytes(block(0))
    follower.daemon.start()
    follower.wait_for({0})
    follower.daemon.wait_for_word("READY")
    pause = threading.Event()

    def idles() -> bool:
        before = follower.daemon.cpu_seconds()
        pause.wait(3)
        return follower.daemon.cpu_seconds() - before < 0.1

    delays: list[float] = []
    # A machine that is busy elsewhere may be late, but not each time: it would look by itself every 5 s.
    while len(delays) < 5 and min(delays, default=5) >= 4:
        wait_for(idles, BOUND, "three seconds of rest")
        delays.append(-time.monotonic())
        with path.open("ab") as file:
            file.write(block(len(delays)))
        follower.wait_for({len(delays)})
        delays[-1] += time.monotonic()
    assert min(delays) < 4, delays


def test_an_orderly_stop_and_start_repeats_nothing(follower: Follower) -> None:
    path = follower.daemon.directory.parent / "log" / "full"
    path.write_bytes(b"".join(map(block, range(500))))
    follower.daemon.start()
    follower.wait_for(set(range(500)))
    assert follower.daemon.stop() == 0
    with path.open("ab") as file:
        file.write(b"".join(map(block, range(500, 600))))
    follower.daemon.start()
    follower.wait_for(set(range(600)))
    assert follower.numbers == list(range(600))


def test_stops_in_the_middle_of_a_backlog_repeat_nothing(follower: Follower) -> None:
    path = follower.daemon.directory.parent / "log" / "full"
    path.write_bytes(b"".join(map(block, range(20_000))))
    for turn in range(4):
        follower.daemon.start()
        follower.daemon.wait_for_word("READY", count=turn + 1)
        assert follower.daemon.stop() == 0
    follower.daemon.start()
    follower.wait_for(set(range(20_000)))
    assert follower.numbers == list(range(20_000))


def test_a_reload_reads_another_file_and_goes_on_with_the_one_before(follower: Follower) -> None:
    path = follower.daemon.directory.parent / "log" / "full"
    other = path.with_name("other")
    path.write_bytes(block(0))
    follower.daemon.start()
    follower.wait_for({0})
    other.write_bytes(block(1))
    before = follower.daemon.configuration.read_text()
    follower.daemon.configure(before.replace(f"path = {path}", f"path = {path}, {other}"))
    follower.daemon.signal(signal.SIGHUP)
    follower.wait_for({0, 1})
    with path.open("ab") as file:
        file.write(block(2))
    follower.wait_for({0, 1, 2})
    follower.daemon.configure(before.replace("source = eventlog", "source = spool"))
    follower.daemon.signal(signal.SIGHUP)
    follower.daemon.wait_for_log('the source changes from "eventlog" to "spool": that takes a restart')
    assert follower.numbers == [0, 1, 2]


def test_a_log_without_events_is_said_in_the_log_and_in_the_status(follower: Follower) -> None:
    path = follower.daemon.directory.parent / "log" / "full"
    path.write_text("Nov 23 09:30:23 pbx asterisk[1]: nothing of interest\n" * 40_000)
    follower.daemon.start()
    follower.daemon.wait_for_log(f"{path}: there is no event in it: lines=40000 example='Nov 23 09:30:23 pbx")

    def status(*arguments: str) -> str:
        command = [sys.executable, "-m", "amikafka_tail", "status", "-c", str(follower.daemon.configuration)]
        return subprocess.run(
            [*command, *arguments], capture_output=True, text=True, timeout=30, check=False
        ).stdout

    shown = " ".join(status().split())
    assert "PROBLEM: no event is found in what is read: reading, 0 events in 40,000 lines: Nov 23" in shown
    assert "Lost nothing" not in shown
    values = json.loads(status("--json"))
    assert [(each["path"], each["lines"]) for each in values["unrecognized"]] == [(str(path), 40_000)]
    with path.open("ab") as file:
        file.write(block(0))
    follower.wait_for({0})
    assert "Lost nothing" in " ".join(status().split())


@pytest.mark.parametrize("way", ["killed", "stopped"])
def test_what_came_since_the_first_start_is_there_after_kafka_was_away_all_the_time(
    follower: Follower, way: str
) -> None:
    path = follower.daemon.directory.parent / "log" / "full"
    path.write_bytes(block(0))
    right = follower.daemon.configuration.read_text().replace("start = beginning", "start = end")
    follower.daemon.configure(re.sub("brokers = .*", "brokers = 127.0.0.1:1", right))
    follower.daemon.start()
    stored = follower.daemon.directory / "state" / "checkpoint-eventlog.json"
    if way == "killed":
        wait_for(lambda: stored.exists() and b'"mark"' in stored.read_bytes(), BOUND, "a note of the start")
        follower.daemon.signal(signal.SIGKILL)
        follower.daemon.wait_for_exit(BOUND)
    else:
        follower.daemon.wait_for(lambda: "READY" in str(follower.daemon.manager.messages), BOUND, "a start")
        follower.daemon.stop()
    with path.open("ab") as log:
        log.write(block(1))
    path.rename(path.with_name("full.1"))
    path.write_bytes(block(2))
    follower.daemon.configure(right)
    follower.daemon.start()
    follower.wait_for({1, 2})
    assert sorted(follower.numbers) == [1, 2]


@pytest.mark.parametrize("follower", ["spool"], indirect=True)
def test_spooled_files_are_published_and_deleted(follower: Follower) -> None:
    spool = follower.daemon.directory.parent / "log"
    for number in range(300):
        spool.mkdir(exist_ok=True)
        (spool / f"{number:04}.ami").write_bytes(b"Event: A\r\nNumber: %d\r\n\r\n" % number)
    follower.daemon.start()
    follower.wait_for(set(range(300)))
    hidden = spool / ".300.ami"
    hidden.write_bytes(b"Event: A\r\nNumber: 300\r\n\r\n")
    hidden.rename(spool / "300.ami")
    (spool / "bad.ami").write_text("nothing")
    follower.wait_for(set(range(301)))
    follower.daemon.wait_for(lambda: not list(spool.glob("*.ami")), BOUND, "an empty spool")
    assert (spool / "bad" / "bad.ami").exists()
    text = follower.daemon.configuration.read_text()
    follower.daemon.configure(text.replace(f"directory = {spool}", "directory = /proc/nowhere"))
    follower.daemon.signal(signal.SIGHUP)
    follower.daemon.wait_for_log("/proc/nowhere: cannot be made: .*")
    follower.daemon.wait_for_log("was not reloaded: the previous one stays in use")
    (spool / "400.ami").write_bytes(b"Event: A\r\nNumber: 400\r\n\r\n")
    follower.wait_for({400})
    assert follower.numbers == [*range(301), 400]
    follower.daemon.wait_for_log(r"bad\.ami: holds no events: moved to")

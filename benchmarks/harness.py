"""What the benchmarks share: a player that speaks like an Asterisk, a Kafka, and the daemon under test."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path

from amikafka_tail.ami.framing import END
from amikafka_tail.kafka.mock import MockKafka
from benchmarks.subjects import ROOT, Subject

CAPTURE = ROOT / "tests" / "data" / "captures" / "calls-22.ami"
CONFIGURATION = """
[general]
format = {format}
entity_id = 00:11:22:33:44:55
{general}
[kafka]
brokers = {brokers}
topic = {topic}
linger_ms = 5
{kafka}
[manager]
host = 127.0.0.1
port = {port}
username = {user}
secret = {secret}
auth = plain
[journal]
directory = {directory}
fsync_interval = {fsync_interval}
"""
WARM_UP = 2_000
"""Events that are carried before anything is measured: connections are made, and a topic's leader found."""
WARM_UP_SECONDS = 1.5
BOUND = 120.0
_spawn = multiprocessing.get_context("spawn")


def recorded_events() -> list[bytes]:
    """Return the events of a real mix of calls, each with the empty line at its end."""
    blocks = CAPTURE.read_bytes().split(END)
    # The greeting is no event; nobody publishes it.
    return [
        block + END
        for block in blocks
        if block.startswith(b"Event: ") and not block.startswith(b"Event: FullyBooted")
    ]


def events_of_size(size: int) -> list[bytes]:
    """Return 100 events of about `size` bytes: lines of 40 bytes, or of 200 where there would be over 50."""
    length = 40 if size <= 2_000 else 200
    events = []
    for number in range(100):
        lines = [b"Event: Sized", b"Privilege: call,all", b"Timestamp: 1795426158.%06d" % number]
        left = size - sum(map(len, lines)) - 2 * len(lines) - len(END)
        for index in range(max(0, left) // length):
            head = b"Header%d: %d " % (index, number)
            lines.append(head + b"x" * (length - 2 - len(head)))
        events.append(b"\r\n".join(lines) + END)
    return events


def _host_kafka(pipe: Connection) -> None:
    kafka = MockKafka()
    pipe.send(kafka.address)
    pipe.recv()


@contextmanager
def mock_kafka() -> Iterator[str]:
    """Run librdkafka's mock broker in a process of its own; give its address."""
    ours, theirs = _spawn.Pipe()
    process = _spawn.Process(target=_host_kafka, args=(theirs,), daemon=True)
    process.start()
    try:
        yield ours.recv()
    finally:
        ours.send(None)
        process.join(5)
        process.kill()


@contextmanager
def real_kafka() -> Iterator[str]:
    """Run an Apache Kafka of one node; give its address. Needs Java and Maven, as tests/e2e does."""
    import_end_to_end()
    from kafka import Kafka, kafka_jars  # noqa: PLC0415

    with tempfile.TemporaryDirectory(prefix="amikafka-bench-") as name:
        kafka = Kafka(kafka_jars(), Path(name) / "kafka", auto_create=True)
        try:
            kafka.start()
            yield kafka.bootstrap
        finally:
            kafka.kill()


def import_end_to_end() -> None:
    """Make what the end-to-end tests are made of importable."""
    path = str(ROOT / "tests" / "e2e")
    if path not in sys.path:
        sys.path.insert(0, path)


@contextmanager
def one_kafka(address: str | None) -> Iterator[str]:
    """Give the address of a Kafka that is there already, or of a mock broker made for the purpose."""
    if address is not None:
        yield address
        return
    with mock_kafka() as made:
        yield made


def _log_in(client: socket.socket) -> None:
    """Answer each action with success, until the ping that goes with the request for events."""
    client.sendall(b"Asterisk Call Manager/11.0.0\r\n")
    held = b""
    while True:
        held += client.recv(65536)
        while END in held:
            action, _, held = held.partition(END)
            lines = dict(line.split(b": ", 1) for line in action.split(b"\r\n"))
            answer = b"Response: Success\r\nActionID: " + lines.get(b"ActionID", b"") + b"\r\n"
            if lines[b"Action"] == b"CoreSettings":
                answer += b"AsteriskVersion: 22.10.1\r\nSystemName: pbx-01\r\n"
            answer += b"Message: Authentication accepted\r\n\r\n"
            if lines[b"Action"] == b"Login":
                answer += b"Event: FullyBooted\r\nPrivilege: system,all\r\nStatus: Fully Booted\r\n\r\n"
            client.sendall(answer)
            if lines[b"Action"] == b"Ping":
                return


def _play(pipe: Connection, events: list[bytes], count: int, rate: float) -> None:
    """Play `WARM_UP` events at once, and `count` when told; tell when each was sent, or the first.

    `rate` is how many a second, 0 as fast as they are taken.
    """
    with socket.create_server(("127.0.0.1", 0)) as server:
        pipe.send(server.getsockname()[1])
        client, _ = server.accept()
        # As Asterisk does (main/manager.c, session_do).
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        _log_in(client)
        for number in range(WARM_UP):
            client.sendall(events[number % len(events)])
        pipe.recv()
        moments = []
        started = time.monotonic()
        if rate:
            for number in range(count):
                due = started + number / rate
                time.sleep(max(0.0, due - time.monotonic()))
                moments.append(time.monotonic())
                client.sendall(events[number % len(events)])
        else:
            moments.append(started)
            # A megabyte at a time, not an event: this process shall not be what is measured.
            block = events * max(1, 1_000_000 // sum(map(len, events)))
            joined = b"".join(block)
            whole, rest = divmod(count, len(block))
            for _ in range(whole):
                client.sendall(joined)
            client.sendall(b"".join(block[:rest]))
        if pipe.recv() == "hang up":
            client.shutdown(socket.SHUT_WR)
        pipe.send(moments)
        pipe.recv()
        client.close()


class Player:
    """Plays events to the one who logs in at `port`."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe
        self.port: int = pipe.recv()

    def go(self) -> None:
        """Begin with what is measured."""
        self._pipe.send("go")

    def finish(self, *, hang_up: bool = False) -> list[float]:
        """Wait until all is sent, hang up if wanted; return when each was sent, or the first, monotonic."""
        self._pipe.send("hang up" if hang_up else "stay")
        if not self._pipe.poll(BOUND):
            raise TimeoutError("not all events were taken")
        moments: list[float] = self._pipe.recv()
        return moments


@contextmanager
def player(events: list[bytes], count: int, rate: float = 0) -> Iterator[Player]:
    """Run a player in a process of its own."""
    ours, theirs = _spawn.Pipe()
    process = _spawn.Process(target=_play, args=(theirs, events, count, rate), daemon=True)
    process.start()
    try:
        yield Player(ours)
    finally:
        with contextlib.suppress(OSError):
            ours.send(None)
        process.join(0.5)
        process.kill()
        process.join(5)


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What of the daemon's configuration differs from one run to another."""

    format: str = "json"
    general: str = ""
    kafka: str = ""
    plugins: str = ""
    topic: str = "bench"
    brokers: str = "127.0.0.1:1"
    port: int = 1
    user: str = "bench"
    secret: str = "bench"
    fsync_interval: float = 0.1
    """How often the checkpoint is stored, by which the end of a run is seen; the daemon's default is 1 s."""

    def text(self, directory: Path) -> str:
        return CONFIGURATION.format(directory=directory, **vars(self))


@dataclass
class Daemon:
    """`amikafka run` as a process of its own, in a directory of its own."""

    subject: Subject
    directory: Path
    setting: Setting
    prefix: Sequence[str] = ()
    process: subprocess.Popen[bytes] = field(init=False)

    def __enter__(self) -> Daemon:
        self.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        # Not in order: with Kafka away that takes its time, and nothing is needed any more.
        self.process.kill()
        self.process.wait()

    def start(self) -> float:
        """Start it; return the seconds that it took to say READY."""
        configuration = self.directory / "ami_kafka.conf"
        configuration.write_text(self.setting.text(self.directory))
        notify = self.directory / "notify"
        notify.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            manager.bind(str(notify))
            environment = {
                **self.subject.environment(plugins=self.setting.plugins),
                "NOTIFY_SOCKET": str(notify),
            }
            started = time.monotonic()
            self.process = subprocess.Popen(
                [*self.prefix, *self.subject.command("-m", "amikafka_tail", "run", "-c", str(configuration))],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=(self.directory / "log").open("ab"),
            )
            while True:
                ready, _, _ = select.select([manager], [], [], 10)
                if not ready or self.process.poll() is not None:
                    raise RuntimeError(f"it did not start: {self.log()}")
                if b"READY=1" in manager.recv(65536).split(b"\n"):
                    return time.monotonic() - started

    def log(self) -> str:
        return (self.directory / "log").read_text()

    def stop(self) -> None:
        """End it in order; kill it where that takes long."""
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def recorded(self) -> int:
        """Return the offset of the journal's end."""
        segments = sorted((self.directory / "journal").glob("*.log"))
        return int(segments[-1].stem) + segments[-1].stat().st_size if segments else 0

    def delivered(self) -> tuple[int, float]:
        """Return the stored checkpoint, and when it was stored, monotonic; 0 where there is none."""
        checkpoint = self.directory / "checkpoint.json"
        try:
            offset = int(json.loads(checkpoint.read_text())["offset"])
            return offset, checkpoint.stat().st_mtime - time.time() + time.monotonic()
        except FileNotFoundError:
            return 0, 0.0

    def wait_until_delivered(self, size: int) -> float:
        """Return when the checkpoint reached the journal's end, which is `size` or more; monotonic."""

        def found() -> float | None:
            offset, moment = self.delivered()
            return moment if offset >= size and offset == self.recorded() else None

        return wait(found, lambda: self.process.poll() is None, self.log)


def wait(
    found: Callable[[], float | bool | None],
    alive: Callable[[], bool] = lambda: True,
    log: Callable[[], str] = lambda: "",
) -> float:
    """Ask until there is an answer; return that. Raises `RuntimeError` with the log after `BOUND` seconds."""
    deadline = time.monotonic() + BOUND
    while time.monotonic() < deadline and alive():
        with contextlib.suppress(FileNotFoundError):
            if (answer := found()) is not None:
                return answer
        time.sleep(0.02)
    raise RuntimeError(log() or "it ended, or took too long")


def cpu_seconds(pid: int) -> float:
    """Return the processor time a process has taken, threads that have ended included; to 10 ms."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def exact_cpu_seconds(pid: int) -> float:
    """Return the processor time of a process's present threads, to the nanosecond."""
    total = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(FileNotFoundError):
            total += int((task / "schedstat").read_text().split()[0])
    return total / 1e9


def memory_mb(pid: int, name: str = "VmHWM") -> float:
    """Return a process's resident memory in MB: its peak (VmHWM), or now (VmRSS)."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1]) * 1024 / 1e6
    raise LookupError(name)

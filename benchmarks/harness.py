"""What the benchmarks share: a player that speaks like an Asterisk, and a mock Kafka, each in a process."""

from __future__ import annotations

import multiprocessing
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path

from amikafka_tail.ami.framing import END
from amikafka_tail.mock_kafka import MockKafka

CAPTURE = Path(__file__).parent.parent / "tests" / "data" / "captures" / "calls-22.ami"
CONFIGURATION = """
[general]
format = {format}
entity_id = 00:11:22:33:44:55
{general}
[kafka]
brokers = {brokers}
topic = bench
linger_ms = 5
{kafka}
[manager]
host = 127.0.0.1
port = {port}
username = bench
secret = bench
auth = plain
[journal]
directory = {directory}
fsync_interval = 0.1
"""
_spawn = multiprocessing.get_context("spawn")


def recorded_events() -> list[bytes]:
    """Return the events of a real mix of calls, each with the empty line at its end."""
    return [block + END for block in CAPTURE.read_bytes().split(END) if block.startswith(b"Event: ")]


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


def _play(pipe: Connection, count: int, rate: float) -> None:
    """Play `count` events, `rate` a second (0: as fast as they are taken); tell when each was sent."""
    events = recorded_events()
    with socket.create_server(("127.0.0.1", 0)) as server:
        pipe.send(server.getsockname()[1])
        client, _ = server.accept()
        # As Asterisk does (main/manager.c, session_do).
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        _log_in(client)
        moments = []
        started = time.monotonic()
        if rate:
            for number in range(count):
                due = started + number / rate
                time.sleep(max(0.0, due - time.monotonic()))
                moments.append(time.monotonic())
                client.sendall(events[number % len(events)])
        else:
            moments.append(time.monotonic())
            whole, rest = divmod(count, len(events))
            block = b"".join(events)
            for _ in range(whole):
                client.sendall(block)
            client.sendall(b"".join(events[:rest]))
        pipe.send(moments)
        pipe.recv()


@contextmanager
def player(count: int, rate: float = 0) -> Iterator[tuple[int, Connection]]:
    """Run a player; give its port, and the pipe on which it tells when it sent what."""
    ours, theirs = _spawn.Pipe()
    process = _spawn.Process(target=_play, args=(theirs, count, rate), daemon=True)
    process.start()
    try:
        yield ours.recv(), ours
    finally:
        ours.send(None)
        process.join(5)
        process.kill()


def cpu_seconds(pid: int) -> float:
    """Return the processor time a process has taken, its threads included."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory_mb(pid: int, field: str = "VmHWM") -> float:
    """Return a process's resident memory in MB: its peak (VmHWM), or now (VmRSS)."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) / 1024
    raise LookupError(field)

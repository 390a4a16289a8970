"""`amikafka demo`: the whole pipeline between a recorded Asterisk and librdkafka's mock broker.

It uses the daemon's own parts: the recorded stream comes through a socket, the recorder splices it into a
journal, the pipeline sends it with the usual producer, and a consumer prints what arrives on the topic.
"""

from __future__ import annotations

import gzip
import itertools
import socket
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass
from functools import partial
from importlib import resources
from pathlib import Path

from amikafka_tail.ami.framing import END
from amikafka_tail.config import settings
from amikafka_tail.daemon import logs
from amikafka_tail.delivery import build
from amikafka_tail.delivery.pipeline import Pipeline
from amikafka_tail.intake import build_source
from amikafka_tail.intake.fd_store import FdStore
from amikafka_tail.intake.recorder import Recorder
from amikafka_tail.intake.stream_reader import StreamReader
from amikafka_tail.journal.dead_letters import DeadLetters
from amikafka_tail.journal.journal import Journal
from amikafka_tail.kafka.mock import MockKafka, Received, read_topic
from amikafka_tail.model.counters import Counters
from amikafka_tail.plugins import loader

CONFIGURATION = """
[general]
format = {format_name}
entity_id = 00:11:22:33:44:55
[kafka]
brokers = {address}
topic = asterisk_ami
[manager]
username = demo
secret = demo
[journal]
directory = {directory}
"""


@dataclass
class RecordedConnection:
    """A connection to the recorded Asterisk."""

    socket: socket.socket
    tls: bool = False
    leftover: bytes = b""
    asterisk_version: str = "22.10.1"
    system_name: str = "pbx-01"
    warnings: tuple[str, ...] = ()
    peer: str = "a recorded Asterisk"
    ping: bytes = b"Action: Ping\r\n\r\n"
    keepalive: float = 3600.0
    timeout: float = 10.0


class RecordedAsterisk:
    """A live source that plays events from the package's data, `rate` per second (0: without pauses)."""

    def __init__(self, count: int, rate: float) -> None:
        data = resources.files("amikafka_tail").joinpath("data/demo.ami.gz").read_bytes()
        blocks = [block + END for block in gzip.decompress(data).split(END)[:-1]]
        self._events = list(itertools.islice(itertools.cycle(blocks), count))
        self._pause = 1 / rate if rate > 0 else 0.0

    def connect(self) -> RecordedConnection:
        """Return a connection and start playing."""
        near, far = socket.socketpair()
        near.setblocking(False)
        threading.Thread(target=self._play, args=(far,), name="recorded-asterisk", daemon=True).start()
        return RecordedConnection(near)

    def _play(self, far: socket.socket) -> None:
        due = time.monotonic()
        for event in self._events:
            far.sendall(event)
            due += self._pause
            time.sleep(max(0.0, due - time.monotonic()))
        # Keep it open: an idle Asterisk does not close the connection.
        threading.Event().wait()


def run(*, count: int, rate: float, format_name: str) -> int:
    """Play `count` events and print each message that arrives; return the command's exit code."""
    logs.set_up("error")
    kafka = MockKafka()
    print("Kafka      librdkafka's mock broker, in this process")
    print("Asterisk   a recorded one: 22.10.1, real calls")
    print(
        "path       socket > recorder > journal > framer > filters > format > producer > Kafka > consumer\n"
    )
    received: list[Received] = []
    reader = threading.Thread(target=_print_messages, args=(kafka.address, received), daemon=True)
    with tempfile.TemporaryDirectory(prefix="amikafka-demo-") as name:
        configuration = Path(name) / "ami_kafka.conf"
        configuration.write_text(
            CONFIGURATION.format(format_name=format_name, address=kafka.address, directory=name)
        )
        reader.start()
        counters, seconds = _carry(configuration, RecordedAsterisk(count, rate), count)
        reader.join()
    names = Counter(message.key for message in received)
    print(
        f"\n{counters.events} events read, {counters.sent} sent, {len(received)} received in {seconds:.1f} s"
    )
    for name_bytes, times in names.most_common(8):
        print(f"  {times:6}  {(name_bytes or b'-').decode()}")
    if len(names) > 8:
        print(f"          and {len(names) - 8} other names")
    return 0 if len(received) == counters.events == count else 1


def _carry(path: Path, asterisk: RecordedAsterisk, count: int) -> tuple[Counters, float]:
    """Send the recorded events to the mock broker; return the counts and the duration in seconds."""
    registry = loader.load()
    configuration = settings.load(path, registry)
    directory = configuration.journal.directory
    journal = Journal(directory / "journal", segment_bytes=1 << 26, max_bytes=1 << 30)
    counters = Counters()
    recorder = Recorder(
        asterisk,
        journal,
        identify=build_source.identify(configuration),
        counters=counters,
        wake=lambda: None,
        clock=time.monotonic,
        now_ms=lambda: time.time_ns() // 1_000_000,
        store=FdStore(None),
        key="demo",
    )
    pipeline = Pipeline(
        StreamReader(journal, 0, counters=counters),
        messages=build.messages(configuration, registry),
        connect=partial(build.producer, configuration),
        dead_letters=DeadLetters(directory / "dead-letter.jsonl"),
        counters=counters,
        clock=time.monotonic,
    )
    started = time.monotonic()
    while counters.events < count or not pipeline.settled:
        if not recorder.collect() | pipeline.step():
            pipeline.take_reports(0.005)
    seconds = time.monotonic() - started
    recorder.close()
    journal.close()
    return counters, seconds


def _print_messages(address: str, received: list[Received]) -> None:
    bold, dim, plain = ("\033[1m", "\033[2m", "\033[0m") if sys.stdout.isatty() else ("", "", "")
    for message in read_topic(address, "asterisk_ami", idle=2.0):
        received.append(message)
        headers = "  ".join(f"{name}={value.decode()}" for name, value in message.headers)
        key = (message.key or b"").decode()
        print(
            f"{bold}{key}{plain}  topic={message.topic} partition={message.partition} offset={message.offset}"
        )
        print(f"  {dim}{headers}{plain}")
        print(f"  {message.value.decode(errors='replace').rstrip()}", flush=True)

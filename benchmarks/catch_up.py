"""How fast a journal that has grown while Kafka was away is caught up with, and in how much memory.

    python -m benchmarks catch_up

Asterisk is not there meanwhile. The rate is that from the first checkpoint to the last.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import NamedTuple

from amikafka_tail.journal.journal import Journal
from amikafka_tail.model.identity import Identity
from benchmarks.figures import Table, by_turns, figure, say
from benchmarks.harness import Daemon, Setting, cpu_seconds, memory_mb, one_kafka, recorded_events, wait
from benchmarks.plan import Plan
from benchmarks.subjects import Subject

BYTES = 2_000_000_000


class Run(NamedTuple):
    events_per_second: float
    microseconds_per_event: float
    peak_mb: float


def fill(directory: Path, size: int) -> int:
    """Make a journal of `size` bytes of a recorded mix; return how many events that is."""
    events = recorded_events()
    block = b"".join(events)
    journal = Journal(directory, segment_bytes=64 << 20, max_bytes=10 << 30)
    identity = Identity(entity_id="a", system_name="pbx-01", asterisk_version="22.10.1", hostname="h")
    journal.begin_connection(identity, 1_795_426_158_000)
    rounds = max(1, size // len(block))
    for number in range(rounds):
        # What a busy Asterisk sends in a second comes in a few hundred moves.
        for start in range(0, len(block), 65536):
            journal.append(block[start : start + 65536], 1_795_426_158_000 + number * 100 + start // 65536)
    journal.sync()
    journal.close()
    return rounds * len(events)


def _link(made: Path, copy: Path) -> None:
    """Make another journal of the same segments: what is delivered is deleted. The last may be written to."""
    copy.mkdir()
    paths = sorted(made.iterdir())
    last = [path for path in paths if path.suffix == ".log"][-1].stem
    for path in paths:
        if path.suffix in (".log", ".times") and path.stem != last:
            os.link(path, copy / path.name)
        else:
            shutil.copy(path, copy / path.name)


def measure(subject: Subject, made: Path, count: int, kafka: str | None) -> Run:
    """Catch up once."""
    with (
        one_kafka(kafka) as brokers,
        tempfile.TemporaryDirectory(prefix="amikafka-bench-", dir=made.parent) as name,
    ):
        _link(made, Path(name) / "journal")
        topic = "bench" if kafka is None else f"bench-{time.time_ns()}"
        daemon = Daemon(subject, Path(name), Setting(brokers=brokers, topic=topic))
        size = daemon.recorded()
        with daemon:
            wait(lambda: daemon.delivered()[0] or None)
            begin, begun = daemon.delivered()
            before = cpu_seconds(daemon.process.pid)
            wait(
                lambda: daemon.delivered()[0] >= size or None,
                lambda: daemon.process.poll() is None,
                daemon.log,
            )
            _, finished = daemon.delivered()
            cpu = cpu_seconds(daemon.process.pid) - before
            peak = memory_mb(daemon.process.pid)
    mean = size / count
    events = (size - begin) / mean
    return Run(events / (finished - begun), cpu / events * 1e6, peak)


def run(plan: Plan) -> list[Table]:
    """Catch up with the same journal with every interpreter, by turns."""
    made = plan.directory / "backlog"
    size = int(BYTES * plan.scale)
    say(f"catch-up: writing a journal of {size / 1e6:.0f} MB")
    count = fill(made, size)
    ways = {subject.name: partial(measure, subject, made, count, plan.kafka) for subject in plan.subjects}
    runs = by_turns(ways, 1, show=lambda name, run: say(f"  {name:40} {run.events_per_second:9.0f} events/s"))
    shutil.rmtree(made)
    table = Table(
        "catch-up",
        "Catching up with a journal",
        ("", "events/s", "CPU per event, µs", "peak memory, MB"),
        ("", ".0f", ".2f", ".0f"),
        f"{size / 1e6:,.0f} MB, {count:,} events, in the page cache; {_kafka(plan)}; one run each.",
    )
    for name, found in runs.items():
        table.add(name, *(figure([run[index] for run in found]) for index in range(3)))
    return [table]


def _kafka(plan: Plan) -> str:
    return "a mock broker in another process" if plan.kafka is None else "a real Kafka"

"""What the daemon takes while it does nothing, while Kafka is away, and while it starts.

python -m benchmarks footprint
"""

from __future__ import annotations

import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from benchmarks.figures import Table, figure, say
from benchmarks.harness import (
    WARM_UP_SECONDS,
    Daemon,
    Setting,
    events_of_size,
    exact_cpu_seconds,
    memory_mb,
    mock_kafka,
    player,
    recorded_events,
    wait,
)
from benchmarks.plan import Plan
from benchmarks.subjects import Subject

IDLE_SECONDS = 30
SETTLE_SECONDS = 15
"""After the last event: until then the loop looks for reports more often."""
STARTS = 11
AWAY = "127.0.0.1:1"
"""A broker that nobody is."""
LOADS = {
    "nothing happens, Kafka is there": (0, True),
    "nothing happens, Kafka is away": (0, False),
    "300,000 events while Kafka is away": (300_000, False),
    "30,000 events of 20 kB": (30_000, True),
}


def run(plan: Plan) -> list[Table]:
    return [_idle(plan), _memory(plan), _starts(plan)]


def _idle(plan: Plan) -> Table:
    """Let all of them do nothing at the same time."""
    seconds = plan.seconds(IDLE_SECONDS)
    say(f"footprint: idle for {seconds:.0f} s")
    table = Table(
        "idle",
        "Processor time while nothing happens",
        ("", "Kafka is there, % of a core", "Kafka is away, % of a core", "memory, MB"),
        ("", ".3f", ".3f", ".0f"),
        f"Connected to an Asterisk that says nothing, over {seconds:.0f} s.",
    )
    with ExitStack() as stack:
        there = [_connected(stack, subject, reachable=True) for subject in plan.subjects]
        away = [_connected(stack, subject, reachable=False) for subject in plan.subjects]
        time.sleep(SETTLE_SECONDS)
        pids = [daemon.process.pid for daemon in there + away]
        begun, before = time.monotonic(), list(map(exact_cpu_seconds, pids))
        time.sleep(seconds)
        elapsed = time.monotonic() - begun
        shares = [
            (exact_cpu_seconds(pid) - used) / elapsed * 100 for pid, used in zip(pids, before, strict=True)
        ]
        for index, subject in enumerate(plan.subjects):
            table.add(
                subject.name,
                shares[index],
                shares[index + len(there)],
                memory_mb(there[index].process.pid, "VmRSS"),
            )
    return table


def _connected(stack: ExitStack, subject: Subject, *, reachable: bool) -> Daemon:
    """Return a daemon that has carried, or recorded, a few events."""
    brokers = stack.enter_context(mock_kafka()) if reachable else AWAY
    asterisk = stack.enter_context(player(recorded_events(), 0))
    directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="amikafka-bench-")))
    setting = Setting(brokers=brokers, port=asterisk.port, fsync_interval=1)
    daemon = stack.enter_context(Daemon(subject, directory, setting))
    wait(lambda: daemon.recorded() or None, log=daemon.log)
    return daemon


def _memory(plan: Plan) -> Table:
    table = Table(
        "memory",
        "Peak of resident memory, MB",
        ("", *(subject.name for subject in plan.subjects)),
        ("", *[".0f"] * len(plan.subjects)),
        "The other tables say how much it is under full load and while catching up.",
    )
    for name, (count, reachable) in LOADS.items():
        say(f"footprint: memory: {name}")
        table.add(name, *(_peak(plan, subject, count, reachable) for subject in plan.subjects))
    return table


def _peak(plan: Plan, subject: Subject, count: int, reachable: bool) -> float:
    """Return the most memory that it had while so many events came."""
    count = plan.count(count) if count else 0
    events = events_of_size(20_000) if reachable and count else recorded_events()
    with ExitStack() as stack:
        brokers = stack.enter_context(mock_kafka()) if reachable else AWAY
        asterisk = stack.enter_context(player(events, count))
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="amikafka-bench-")))
        setting = Setting(brokers=brokers, port=asterisk.port)
        daemon = stack.enter_context(Daemon(subject, directory, setting))
        time.sleep(WARM_UP_SECONDS)
        recorded = daemon.recorded()
        asterisk.go()
        asterisk.finish()
        size = sum(map(len, events)) * (count // len(events))
        wait(lambda: daemon.recorded() if daemon.recorded() >= recorded + size else None, log=daemon.log)
        if reachable:
            daemon.wait_until_delivered(recorded + size)
        else:
            time.sleep(3)
        return memory_mb(daemon.process.pid)


def _starts(plan: Plan) -> Table:
    """Start every one of them again and again, by turns."""
    say("footprint: starts")
    found: dict[str, list[float]] = {subject.name: [] for subject in plan.subjects}
    with tempfile.TemporaryDirectory(prefix="amikafka-bench-") as name:
        for turn in range(max(3, int(STARTS * plan.scale)) + 1):
            for index, subject in enumerate(plan.subjects):
                directory = Path(name) / str(index)
                directory.mkdir(exist_ok=True)
                daemon = Daemon(subject, directory, Setting())
                seconds = daemon.start()
                daemon.stop()
                if turn:  # the first compiles
                    found[subject.name].append(seconds)
    table = Table(
        "start",
        "From the start of the process to READY",
        ("", "seconds"),
        ("", ".2f"),
        f"Medians of {len(next(iter(found.values())))} starts by turns.",
    )
    for name, values in found.items():
        table.add(name, figure(values))
    return table

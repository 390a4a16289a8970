"""What the PBX notices: a real Asterisk with amikafka attached, beside a bare listener that only reads.

    python -m benchmarks pbx

Both are manager sessions with the same rights, by turns: native/manager_client.c, which reads and forgets,
and amikafka, to a mock broker or with Kafka away. Asterisk is flooded with UserEvents as fast as it takes
them, once with a core of its own (as taskset does: everything else shares the others) and once with nobody
confined, where what amikafka and the broker use is missing to Asterisk. Then there are 50 calls a second.
amikafka is as nice as its systemd unit makes it. Needs root and the chroot of tests/e2e.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from benchmarks import native
from benchmarks.figures import Table, by_turns, figure, ratio, say
from benchmarks.harness import Daemon, Setting, cpu_seconds, import_end_to_end, mock_kafka, wait
from benchmarks.plan import Plan
from benchmarks.subjects import Subject

if TYPE_CHECKING:
    from asterisk import Asterisk

FLOOD, LINES = 60_000, 15
CALLS_PER_SECOND, CALL_SECONDS = 50, 8
CALL_TURNS = 3
EXTENSIONS = ("100", "310", "400")
LISTENER = "a listener that only reads"
AWAY = "127.0.0.1:1"
NICE = ("nice", "-n", "5")
USER, SECRET = "amikafka", "amikafka-secret"


class Run(NamedTuple):
    per_second: float
    asterisk_cpu_us: float
    seconds: float


@dataclass(frozen=True)
class Stage:
    """An Asterisk that runs, and the programs that are attached to it."""

    asterisk: Asterisk
    client: Path
    plan: Plan

    @property
    def pid(self) -> int:
        process: subprocess.Popen[bytes] = self.asterisk._process
        return process.pid

    def settle(self) -> float:
        """Wait until Asterisk has nothing to do; return since when, monotonic."""
        used, since = cpu_seconds(self.pid), time.monotonic()
        while time.monotonic() - since < 0.3:
            time.sleep(0.02)
            if (now := cpu_seconds(self.pid)) > used + 0.015:
                used, since = now, time.monotonic()
        return since

    def confine(self, cores: set[int]) -> None:
        """Let every thread of Asterisk run on these cores alone."""
        for task in Path(f"/proc/{self.pid}/task").iterdir():
            os.sched_setaffinity(int(task.name), cores)


@contextmanager
def _stage(plan: Plan) -> Iterator[Stage | None]:
    """Start an Asterisk; `None`, with the reason printed, where this machine cannot have one."""
    import_end_to_end()
    from asterisk import Asterisk  # noqa: PLC0415
    from chroot import asterisk_root  # noqa: PLC0415

    from tests.support.waiting import Unavailable  # noqa: PLC0415

    client = native.build("manager_client", plan.directory)
    try:
        asterisk = Asterisk(asterisk_root(), f"bench-{os.getpid()}")
    except Unavailable as error:
        say(f"no pbx: {error}")
        yield None
        return
    try:
        asterisk.start()
        yield Stage(asterisk, client, plan) if client else None
    finally:
        asterisk.remove()


@contextmanager
def _listener(stage: Stage) -> Iterator[None]:
    command = [str(stage.client), "listen", str(stage.asterisk.port), USER, SECRET]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        try:
            yield
        finally:
            process.terminate()
            assert int(process.stdout.read()) > FLOOD * stage.plan.scale


@contextmanager
def _amikafka(subject: Subject, stage: Stage, *, reachable: bool = True) -> Iterator[None]:
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="amikafka-bench-")))
        brokers = stack.enter_context(mock_kafka()) if reachable else AWAY
        setting = Setting(port=stage.asterisk.port, user=USER, secret=SECRET, brokers=brokers)
        daemon = stack.enter_context(Daemon(subject, directory, setting, prefix=NICE))
        wait(lambda: daemon.recorded() or None, log=daemon.log)
        yield


def _ways(stage: Stage) -> dict[str, Callable[[Stage], Any]]:
    """Return what is attached, by name."""
    floor = stage.plan.floor
    ways: dict[str, Callable[[Stage], Any]] = {
        LISTENER: _listener,
        f"amikafka, {floor.name}": partial(_amikafka, floor),
        "amikafka, Kafka away": partial(_amikafka, floor, reachable=False),
    }
    if faster := stage.plan.with_speedups(floor):
        ways[f"amikafka, {faster.name}"] = partial(_amikafka, faster)
    return ways


def _flood(stage: Stage, attach: Callable[[Stage], Any]) -> Run:
    """Flood Asterisk until it has written the last event to the one who is attached."""
    count = stage.plan.count(FLOOD)
    asterisk = stage.asterisk
    arguments = [str(asterisk.port), "driver", "driver-secret", str(count), str(LINES)]
    with attach(stage):
        time.sleep(0.5)
        stage.settle()
        before, began = cpu_seconds(stage.pid), time.monotonic()
        subprocess.run([stage.client, "flood", *arguments], check=True, stdout=subprocess.DEVNULL, timeout=60)
        ended = stage.settle()
        cpu = cpu_seconds(stage.pid) - before
    return Run(count / (ended - began), cpu / count * 1e6, ended - began)


def _calls(stage: Stage, attach: Callable[[Stage], Any]) -> Run:
    """Make calls at a steady rate until all are over."""
    count = int(CALLS_PER_SECOND * max(2.0, stage.plan.seconds(CALL_SECONDS)))
    with attach(stage), stage.asterisk.driver() as driver:
        time.sleep(0.5)
        stage.settle()
        before, began = cpu_seconds(stage.pid), time.monotonic()
        driver.calls(count, CALLS_PER_SECOND, EXTENSIONS)
        seconds = time.monotonic() - began
        cpu = cpu_seconds(stage.pid) - before
    return Run(count / seconds, cpu / count * 1e6, seconds)


def run(plan: Plan) -> list[Table]:
    """Flood it, once on a core of its own and once on all, then make calls."""
    with _stage(plan) as stage:
        if stage is None:
            return []
        cores = sorted(os.sched_getaffinity(0))
        # A thread that is scheduled otherwise changes a rate by a tenth.
        flood_turns = 2 * plan.headline_turns - 1
        tables = []
        own = Table(
            "flood-own-core",
            "Asterisk flooded with UserEvents, on a core of its own",
            ("attached", "events/s", "Asterisk's CPU per event, µs", "events/s", "CPU"),
            ("", ".0f", ".1f", ".3f", ".3f"),
            f"{plan.count(FLOOD):,} events of {LINES} lines; medians of {flood_turns} runs by turns;"
            " the last columns to the listener's. Everything else shares the other cores.",
        )
        if len(cores) > 1:
            stage.confine({cores[0]})
            os.sched_setaffinity(0, set(cores[1:]))
            try:
                tables.append(_table(stage, own, _flood, flood_turns))
            finally:
                os.sched_setaffinity(0, set(cores))
                stage.confine(set(cores))
        shared = Table(
            "flood-shared",
            f"The same with nobody confined, on {len(cores)} cores",
            own.columns,
            own.formats,
            f"What amikafka and the broker use is missing to Asterisk here. Medians of {flood_turns} runs by"
            " turns.",
        )
        tables.append(_table(stage, shared, _flood, flood_turns))
        turns = min(CALL_TURNS, plan.turns)
        calls = Table(
            "calls",
            f"{CALLS_PER_SECOND} calls a second",
            ("attached", "calls/s", "Asterisk's CPU per call, µs", "calls/s", "CPU"),
            ("", ".1f", ".0f", ".3f", ".3f"),
            "Plain calls, answered ones, and dialled ones, nobody confined; until the last is over; medians"
            f" of {turns} runs by turns; the last columns to the listener's.",
        )
        tables.append(_table(stage, calls, _calls, turns))
        return tables


def _table(
    stage: Stage, table: Table, measure: Callable[[Stage, Callable[[Stage], Any]], Run], turns: int
) -> Table:
    say(f"pbx: {table.title}")
    runs = by_turns(
        {name: partial(measure, stage, attach) for name, attach in _ways(stage).items()},
        turns,
        show=lambda name, run: say(f"  {name:40} {run.per_second:8.1f}/s {run.asterisk_cpu_us:7.1f} us CPU"),
    )
    rates = {name: [each.per_second for each in found] for name, found in runs.items()}
    cpu = {name: [each.asterisk_cpu_us for each in found] for name, found in runs.items()}
    for name in runs:
        compared = [ratio(of[name], of[LISTENER]) for of in (rates, cpu)] if name != LISTENER else ["-", "-"]
        table.add(name, figure(rates[name]), figure(cpu[name]), *compared)
    return table

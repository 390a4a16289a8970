"""How fast a large debug event log is caught up with, beside other ways to carry a file to Kafka.

    python -m benchmarks eventlog

`amikafka replay --from eventlog` finds the events, drops the copies that a second manager session left,
and publishes each as JSON with eight headers. `kcat -P -l` and rsyslog (imfile, omkafka) carry the same file
line by line, as it is: less work per byte, and many more messages. All send to the same mock broker, by
turns; each has ended when the last of its messages is acknowledged. What is not installed is left out.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import NamedTuple

from benchmarks.figures import Table, by_turns, figure, say
from benchmarks.harness import memory_mb, mock_kafka, recorded_events
from benchmarks.plan import Plan

EVENTS = 100_000

RSYSLOG = """
global(workDirectory="{directory}")
module(load="imfile" mode="polling" pollingInterval="1")
module(load="omkafka")
template(name="raw" type="string" string="%msg%")
input(type="imfile" file="{log}" tag="a" ruleset="r" freshStartTail="off"
      persistStateInterval="1000")
main_queue(queue.size="100000" queue.dequeueBatchSize="1000")
ruleset(name="r") {{
  action(type="omkafka" broker=["{brokers}"] topic="bench" template="raw"
         confParam=["queue.buffering.max.ms=5"] closeTimeout="60000")
}}
"""


class Run(NamedTuple):
    seconds: float
    cpu: float
    peak_mb: float


def write_log(path: Path, count: int) -> int:
    """Write `count` events of a recorded mix, each for two sessions; return the file's size."""
    events = [event for event in recorded_events() if b"\r\nSystemName: " in event]
    with path.open("wb") as file:
        for number in range(count):
            event = events[number % len(events)].lstrip(b"\r\n")
            head, end, rest = event.partition(b"\r\nSystemName: ")
            numbered = b"\r\nSequenceNumber: %d\r\nFile: manager.c\r\nLine: 593\r\nFunc: f" % number
            text = head + numbered + end + rest
            for session in (12234, 12235):
                file.write(
                    b"[2026-11-23 09:30:23.739] VERBOSE[%d] manager.c:"
                    b" <-- Examining AMI event (1754218554): -->\n" % session
                )
                file.write(text + b"\n")
    return path.stat().st_size


def measure(command: list[str], directory: Path, environment: Mapping[str, str] | None = None) -> Run:
    """Run a command to its end."""
    started = time.monotonic()
    with (directory / "output").open("wb") as out:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=environment)
        status, used, peak = _wait_for(process)
    seconds = time.monotonic() - started
    if status:
        raise RuntimeError((directory / "output").read_text(errors="replace")[-2000:])
    return Run(seconds, used.ru_utime + used.ru_stime, peak)


def _wait_for(process: subprocess.Popen[bytes]) -> tuple[int, resource.struct_rusage, float]:
    """Wait for the end of a process; return its status, what it used, and its peak of memory in MB.

    The peak that wait4 tells is this process's own, where that is higher.
    """
    peak = 0.0
    while True:
        pid, status, used = os.wait4(process.pid, os.WNOHANG)
        if pid:
            process.returncode = os.waitstatus_to_exitcode(status)
            return status, used, peak
        with contextlib.suppress(LookupError, OSError):
            peak = memory_mb(process.pid)
        time.sleep(0.005)


def measure_rsyslog(directory: Path, log: Path, brokers: str, size: int) -> Run:
    """Let rsyslog carry the file; it has when its state file says that it has read all."""
    state = directory / "rsyslog"
    shutil.rmtree(state, ignore_errors=True)
    state.mkdir()
    configuration = state / "rsyslog.conf"
    configuration.write_text(RSYSLOG.format(directory=state, log=log, brokers=brokers))
    command = ["rsyslogd", "-n", "-f", str(configuration), "-i", str(state / "pid")]
    started = time.monotonic()
    with (directory / "output").open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out)
        # Its note is written once in a thousand lines.
        while _offset(state) < size - 200_000 and process.poll() is None and time.monotonic() < started + 120:
            time.sleep(0.05)
        process.terminate()  # it delivers what is queued
        _, used, peak = _wait_for(process)
    return Run(time.monotonic() - started, used.ru_utime + used.ru_stime, peak)


def _offset(state: Path) -> int:
    """Return how far imfile has read, as its state file says."""
    for path in state.glob("imfile-state:*"):
        try:
            return int(json.loads(path.read_text())["curr_offs"])
        except (ValueError, KeyError, FileNotFoundError):
            pass
    return 0


def run(plan: Plan) -> list[Table]:
    """Carry the same file in each way."""
    with tempfile.TemporaryDirectory(prefix="amikafka-bench-") as name, mock_kafka() as brokers:
        directory = Path(name)
        log = directory / "full"
        count = plan.count(EVENTS)
        size = write_log(log, count)
        configuration = directory / "ami_kafka.conf"
        configuration.write_text(f"[kafka]\nbrokers = {brokers}\ntopic = bench\n")
        arguments = ("replay", "-c", str(configuration), "--from", "eventlog", str(log))
        ways: dict[str, Callable[[], Run]] = {}
        for subject in filter(None, (plan.floor, plan.with_speedups(plan.floor))):
            command = subject.command("-m", "amikafka_tail", *arguments)
            ways[f"amikafka replay, {subject.name}"] = partial(
                measure, command, directory, subject.environment()
            )
        if shutil.which("kcat"):
            kcat = ["kcat", "-P", "-b", brokers, "-t", "bench", "-l", str(log)]
            ways["kcat -P -l, every line a message"] = partial(measure, kcat, directory)
        if shutil.which("rsyslogd"):
            ways["rsyslog, every line a message"] = partial(measure_rsyslog, directory, log, brokers, size)
        runs = by_turns(ways, plan.turns, show=lambda name, run: say(f"  {name:40} {run.seconds:6.1f} s"))
    table = Table(
        "eventlog",
        "Catching up with a debug event log",
        ("", "MB/s", "events/s", "CPU s", "peak memory, MB"),
        ("", ".1f", ".0f", ".1f", ".0f"),
        f"{size / 1e6:.0f} MB, {count:,} events, each there for two sessions; from the start of the process;"
        f" a mock broker in another process; medians of {plan.turns} runs by turns. The others carry lines as"
        " they are, about twenty messages an event: nothing left out, no event found.",
    )
    for name, found in runs.items():
        seconds = [run.seconds for run in found]
        events = figure([count / each for each in seconds]) if name.startswith("amikafka") else "-"
        cpu, peak = figure([run.cpu for run in found]), figure([run.peak_mb for run in found])
        table.add(name, figure([size / each / 1e6 for each in seconds]), events, cpu, peak)
    return [table]

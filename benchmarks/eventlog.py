"""How fast a large debug event log is caught up with, beside other ways to carry a file to Kafka.

    python benchmarks/eventlog.py [--events N] [--runs N]

`amikafka replay --from eventlog` finds the events, drops the copies that a second manager session left,
and publishes each as JSON with eight headers. `kcat -P -l` and rsyslog (imfile, omkafka) carry the same file
line by line, as it is: less work per byte, and many more messages. All send to the same mock broker, by
turns; each has ended when the last of its messages is acknowledged. What is not installed is left out.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import harness

from amikafka_tail.producer import libraries

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
    events = [event for event in harness.recorded_events() if b"\r\nSystemName: " in event]
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


def measure(command: list[str], directory: Path) -> Run:
    """Run a command to its end."""
    started = time.monotonic()
    with (directory / "output").open("wb") as out:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
        _, status, used = os.wait4(process.pid, 0)
    seconds = time.monotonic() - started
    if status:
        raise RuntimeError((directory / "output").read_text(errors="replace")[-2000:])
    return _run(seconds, used)


def _run(seconds: float, used: resource.struct_rusage) -> Run:
    return Run(seconds, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)


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
        _, _, used = os.wait4(process.pid, 0)
    return _run(time.monotonic() - started, used)


def _offset(state: Path) -> int:
    """Return how far imfile has read, as its state file says."""
    for path in state.glob("imfile-state:*"):
        try:
            return int(json.loads(path.read_text())["curr_offs"])
        except (ValueError, KeyError, FileNotFoundError):
            pass
    return 0


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--events", type=int, default=200_000)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    print(f"{sys.version.split()[0]} ({sys.executable}), {libraries()}")
    with tempfile.TemporaryDirectory(prefix="amikafka-bench-") as name, harness.mock_kafka() as brokers:
        directory = Path(name)
        log = directory / "full"
        size = write_log(log, options.events)
        configuration = directory / "ami_kafka.conf"
        configuration.write_text(f"[kafka]\nbrokers = {brokers}\ntopic = bench\n")
        print(f"{size / 1e6:.0f} MB, {options.events} events, each there twice")
        replay = [sys.executable, "-m", "amikafka_tail", "replay"]
        ways = {
            "amikafka": lambda: measure(
                [*replay, "-c", str(configuration), "--from", "eventlog", str(log)],
                directory,
            )
        }
        if shutil.which("kcat"):
            ways["kcat -P -l"] = lambda: measure(
                ["kcat", "-P", "-b", brokers, "-t", "bench", "-l", str(log)], directory
            )
        if shutil.which("rsyslogd"):
            ways["rsyslog"] = lambda: measure_rsyslog(directory, log, brokers, size)
        print("              run   MB/s  events/s  CPU s  peak MB")
        runs: dict[str, list[Run]] = {way: [] for way in ways}
        for number in range(1, options.runs + 1):
            for way, run in ways.items():
                runs[way].append(run())
                show(way, str(number), runs[way][-1], size, options.events)
        for way, done in runs.items():
            show(way, "med", Run(*map(statistics.median, zip(*done, strict=True))), size, options.events)


def show(way: str, number: str, run: Run, size: int, events: int) -> None:
    print(
        f"{way:12} {number:>4}  {size / run.seconds / 1e6:5.1f}  {events / run.seconds:8.0f}"
        f"  {run.cpu:5.1f}  {run.peak_mb:7.1f}",
        flush=True,
    )


if __name__ == "__main__":
    main()

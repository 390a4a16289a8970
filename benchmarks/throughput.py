"""How many events a second the whole daemon carries: socket, journal, json, headers, delivery reports.

    python benchmarks/throughput.py [--events N] [--runs N] [--format json|ami]

The daemon is a process of its own, as is the mock broker and the player of recorded events. A run ends when
the checkpoint says that every byte is delivered.
"""

from __future__ import annotations

import argparse
import json
import platform
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import harness

from amikafka_tail.producer import libraries


class Run(NamedTuple):
    events_per_second: float
    microseconds_per_event: float
    peak_mb: float


def measure(count: int, format_name: str, general: str = "", kafka: str = "") -> Run:
    """Carry `count` events once."""
    with (
        harness.mock_kafka() as brokers,
        harness.player(count) as (port, pipe),
        tempfile.TemporaryDirectory(prefix="amikafka-bench-") as name,
    ):
        directory = Path(name)
        configuration = directory / "ami_kafka.conf"
        configuration.write_text(
            harness.CONFIGURATION.format(
                format=format_name,
                brokers=brokers,
                port=port,
                directory=directory,
                general=general,
                kafka=kafka,
            )
        )
        daemon = subprocess.Popen(
            [sys.executable, "-m", "amikafka_tail", "run", "-c", str(configuration)],
            stderr=(directory / "log").open("wb"),
        )
        try:
            started = pipe.recv()[0]
            finished = _wait_until_delivered(directory, daemon)
            cpu = harness.cpu_seconds(daemon.pid)
            peak = harness.memory_mb(daemon.pid)
        finally:
            daemon.send_signal(signal.SIGTERM)
            daemon.wait(20)
    return Run(count / (finished - started), cpu / count * 1e6, peak)


def _wait_until_delivered(directory: Path, daemon: subprocess.Popen[bytes]) -> float:
    """Return when the checkpoint reached the journal's end, which no longer grows."""
    checkpoint = directory / "checkpoint.json"
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline and daemon.poll() is None:
        segments = sorted((directory / "journal").glob("*.log"))
        if checkpoint.exists() and segments:
            try:
                end = int(segments[-1].stem) + segments[-1].stat().st_size
                if end > 100_000 and json.loads(checkpoint.read_text())["offset"] == end:
                    return checkpoint.stat().st_mtime - time.time() + time.monotonic()
            except FileNotFoundError:
                pass
        time.sleep(0.02)
    raise RuntimeError((directory / "log").read_text() or "the daemon ended or took too long")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--format", default="json")
    options = parser.parse_args()
    print(f"Python {platform.python_version()} ({sys.executable}), {libraries()}")
    print(f"{options.events} events of a recorded mix, format {options.format}, eight headers, linger 5 ms")
    print("run   events/s   us CPU/event   peak MB")
    runs = []
    for number in range(options.runs):
        run = measure(options.events, options.format)
        runs.append(run)
        print(
            f"{number + 1:3}  {run.events_per_second:9.0f}  {run.microseconds_per_event:13.2f}"
            f"  {run.peak_mb:8.1f}"
        )
    medians = [statistics.median(column) for column in zip(*runs, strict=True)]
    print(f"med  {medians[0]:9.0f}  {medians[1]:13.2f}  {medians[2]:8.1f}")


if __name__ == "__main__":
    main()

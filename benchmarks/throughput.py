"""How many events a second the whole daemon carries: socket, journal, json, headers, delivery reports.

    python benchmarks/throughput.py [--events N] [--runs N] [--format json|ami]

The daemon is a process of its own, as is the mock broker and the player of recorded events. A run ends when
the checkpoint says that every byte is delivered. By turns with it runs the reference, a bare loop in C that
does the module's work (reference.c).
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


def build_reference(directory: Path) -> Path | None:
    """Compile the yardstick; `None`, with the reason printed, where this machine cannot."""
    binary = directory / "reference"
    source = Path(__file__).with_name("reference.c")
    command = ["cc", "-O2", "-o", str(binary), str(source), "-lrdkafka", "-ljansson"]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        print("no reference: it needs a C compiler, librdkafka-dev and libjansson-dev")
        return None
    return binary


def measure_reference(binary: Path, count: int) -> Run:
    """Let the C reference carry `count` events once."""
    with harness.mock_kafka() as brokers, harness.player(count) as (port, pipe):
        command = [str(binary), str(port), brokers, "bench", str(count)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            started = pipe.recv()[0]
            assert process.stdout is not None
            finished, cpu, _ = process.stdout.read().split()
    return Run(count / (float(finished) - started), float(cpu) / count * 1e6, 0)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--events", type=int, default=500_000)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--format", default="json")
    options = parser.parse_args()
    print(f"Python {platform.python_version()} ({sys.executable}), {libraries()}")
    print(f"{options.events} events of a recorded mix, format {options.format}, eight headers, linger 5 ms")
    with tempfile.TemporaryDirectory(prefix="amikafka-bench-") as name:
        reference = build_reference(Path(name))
        rows: dict[str, list[Run]] = {"amikafka": []} | ({"reference": []} if reference else {})
        print("           run   events/s   us CPU/event   peak MB")
        for number in range(1, options.runs + 1):
            for who, runs in rows.items():
                if who == "reference":
                    assert reference is not None
                    runs.append(measure_reference(reference, options.events))
                else:
                    runs.append(measure(options.events, options.format))
                show(who, str(number), runs[-1])
    medians = {who: Run(*map(statistics.median, zip(*runs, strict=True))) for who, runs in rows.items()}
    for who, median in medians.items():
        show(who, "med", median)
    if reference:
        ours, yardstick = medians["amikafka"], medians["reference"]
        print(
            f"to the reference: {ours.events_per_second / yardstick.events_per_second:.2f} of its events/s,"
            f" {ours.microseconds_per_event / yardstick.microseconds_per_event:.2f} of its CPU per event"
        )


def show(who: str, number: str, run: Run) -> None:
    """Print one row of the table."""
    peak = f"{run.peak_mb:8.1f}" if run.peak_mb else ""
    print(
        f"{who:10} {number:>3}  {run.events_per_second:9.0f}  {run.microseconds_per_event:13.2f}  {peak}",
        flush=True,
    )


if __name__ == "__main__":
    main()

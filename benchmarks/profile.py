"""Where the main thread's time goes under full load: py-spy's samples, by the function that is running.

    python -m benchmarks profile

What a function calls in C (produce(), a regular expression) counts as its own. Needs py-spy.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from benchmarks.figures import Table, say
from benchmarks.harness import WARM_UP_SECONDS, Daemon, Setting, mock_kafka, player, recorded_events
from benchmarks.plan import Plan
from benchmarks.subjects import Subject

EVENTS = 800_000
SECONDS = 4
LEAST = 0.01
"""A share below that is counted as others."""


def run(plan: Plan) -> list[Table]:
    """Look at the first interpreter, without and with speedups."""
    py_spy = shutil.which("py-spy") or shutil.which("py-spy", path=str(Path(sys.executable).parent))
    if py_spy is None:
        say("no profile: it needs py-spy")
        return []
    subjects = [each for each in (plan.floor, plan.with_speedups(plan.floor)) if each is not None]
    found = [_shares(py_spy, subject, max(1, int(plan.seconds(SECONDS)))) for subject in subjects]
    table = Table(
        "profile",
        "Where the main thread's time goes, % of its samples",
        ("function", *(subject.name for subject in subjects)),
        ("", *[".1f"] * len(subjects)),
        "Under full load, format json, no filters. What a function calls in C counts as its own; librdkafka's"
        " threads are not in here.",
    )
    names = {name: max(each.get(name, 0) for each in found) for shares in found for name in shares}
    for name in sorted(names, key=lambda each: -names[each]):
        if names[name] >= LEAST:
            table.add(name, *(shares.get(name, 0) * 100 for shares in found))
    rest = [name for name in names if names[name] < LEAST]
    table.add("others", *(sum(shares.get(name, 0) for name in rest) * 100 for shares in found))
    return [table]


def _shares(py_spy: str, subject: Subject, seconds: int) -> dict[str, float]:
    say(f"profile: {subject.name}")
    with (
        mock_kafka() as brokers,
        player(recorded_events(), EVENTS) as asterisk,
        tempfile.TemporaryDirectory(prefix="amikafka-bench-") as name,
        Daemon(subject, Path(name), Setting(brokers=brokers, port=asterisk.port)) as daemon,
    ):
        time.sleep(WARM_UP_SECONDS)
        asterisk.go()
        time.sleep(0.2)
        samples = Path(name) / "samples"
        command = [py_spy, "record", "--rate", "400", "--duration", str(seconds), "--format", "raw"]
        command += ["--output", str(samples), "--pid", str(daemon.process.pid)]
        subprocess.run(command, check=True, capture_output=True, timeout=60)
        return _by_function(samples.read_text())


def _by_function(samples: str) -> dict[str, float]:
    """Return the share of each function among the samples of the loop."""
    counts: Counter[str] = Counter()
    for line in samples.splitlines():
        stack, _, number = line.rpartition(" ")
        if "Service._round" not in stack:
            continue
        function, _, place = stack.split(";")[-1].partition(" (")
        module = place.rpartition(":")[0].removeprefix("amikafka_tail/")
        counts[f"{function.replace('<locals>.', '')}, {module}"] += int(number)
    return {name: number / counts.total() for name, number in counts.items()}

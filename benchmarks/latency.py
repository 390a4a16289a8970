"""How long an event takes from being sent by Asterisk to Kafka's delivery report, at a steady rate.

    python -m benchmarks latency

The daemon's own loop runs in a process with a clock beside it; the player and the mock broker are processes
of their own. An event counts as delivered when the checkpoint has passed it, never before its own report.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from bisect import bisect_left
from itertools import accumulate
from pathlib import Path

from amikafka_tail.config import settings
from amikafka_tail.daemon import logs
from amikafka_tail.daemon.service import Service
from amikafka_tail.plugins import loader
from benchmarks.figures import Table, figure, percentile, say
from benchmarks.harness import (
    BOUND,
    WARM_UP_SECONDS,
    Setting,
    one_kafka,
    player,
    recorded_events,
    wait,
)
from benchmarks.plan import Plan
from benchmarks.subjects import Subject

RATES = (100, 1_000, 10_000, 40_000)
SECONDS = 4.0
TURNS = 2
SHARES = {"p50": 0.5, "p99": 0.99, "p99.9": 0.999}


class TimedService(Service):
    """Notes when the checkpoint moved to where."""

    def __init__(self, *arguments: object) -> None:
        super().__init__(*arguments)  # type: ignore[arg-type]
        self.moved: list[tuple[int, float]] = []

    @property
    def lag(self) -> int:
        """Bytes that are not delivered."""
        return self._pipeline.lag

    def _release(self) -> None:
        position = self._pipeline.ledger.position
        if not self.moved or self.moved[-1][0] != position:
            self.moved.append((position, time.monotonic()))
        super()._release()


def measure(rate: int, seconds: float, kafka: str | None) -> list[float]:
    """Return the latency of every event in ms, in the order of sending."""
    events = recorded_events()
    count = int(rate * seconds)
    with (
        one_kafka(kafka) as brokers,
        player(events, count, rate) as asterisk,
        tempfile.TemporaryDirectory(prefix="amikafka-bench-") as name,
    ):
        path = Path(name) / "ami_kafka.conf"
        path.write_text(Setting(brokers=brokers, port=asterisk.port).text(Path(name)))
        registry = loader.load()
        service = TimedService(settings.load(path, registry), registry, lambda: settings.load(path, registry))
        moments: list[float] = []

        def play() -> None:
            time.sleep(WARM_UP_SECONDS)
            # A topic that a real Kafka has to make first takes longer.
            wait(lambda: service.lag == 0 or None)
            asterisk.go()
            moments.extend(asterisk.finish())
            time.sleep(1)
            os.kill(os.getpid(), signal.SIGTERM)

        threading.Thread(target=play, daemon=True).start()
        service.run()
    sizes = [len(events[number % len(events)]) for number in range(count)]
    # Whatever the login and the warm-up left in the journal stands before the first event.
    before = service.moved[-1][0] - sum(sizes)
    positions = [position for position, _ in service.moved]
    return [
        (service.moved[bisect_left(positions, before + end)][1] - sent) * 1000
        for sent, end in zip(moments, accumulate(sizes), strict=True)
    ]


def run(plan: Plan) -> list[Table]:
    """Measure each interpreter at each rate, in a process of its own, by turns; Python alone."""
    subjects = [subject for subject in plan.subjects if subject.speedups is None]
    seconds = max(2.0, plan.seconds(SECONDS))
    table = Table(
        "latency",
        "From sent by Asterisk to Kafka's delivery report, ms",
        ("", "events/s", *SHARES),
        ("", ",.0f", *[".1f"] * len(SHARES)),
        f"Linger 5 ms; {seconds:.0f} s at each rate, {TURNS} times by turns: the median of both, and both.",
    )
    found: dict[tuple[str, int], list[list[float]]] = {}
    for turn in range(TURNS):
        for subject in subjects if turn % 2 == 0 else subjects[::-1]:
            for rate in RATES:
                at = _in_process(subject, rate, seconds, plan.kafka)
                say(f"latency: {subject.name:40} {rate:6} events/s: p50 {at[0]:.1f} p99 {at[1]:.1f} ms")
                found.setdefault((subject.name, rate), []).append(at)
    for subject in subjects:
        for rate in RATES:
            percentiles = zip(*found[subject.name, rate], strict=True)
            table.add(subject.name, rate, *(figure(values) for values in percentiles))
    return [table]


def _in_process(subject: Subject, rate: int, seconds: float, kafka: str | None) -> list[float]:
    command = subject.command("-m", "benchmarks.latency", str(rate), str(seconds), kafka or "")
    done = subprocess.run(
        command, env=subject.environment(), stdout=subprocess.PIPE, check=True, timeout=BOUND
    )
    at: list[float] = json.loads(done.stdout)
    return at


def main() -> None:
    logs.set_up("error")
    latencies = sorted(measure(int(sys.argv[1]), float(sys.argv[2]), sys.argv[3] or None))
    json.dump([percentile(latencies, share) for share in SHARES.values()], sys.stdout)


if __name__ == "__main__":
    main()

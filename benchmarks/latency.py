"""How long an event takes from being sent by Asterisk to Kafka's delivery report, at a steady rate.

    python benchmarks/latency.py [--rates 100,1000,10000] [--seconds N]

The daemon's own loop runs here, in this process; the player and the mock broker are processes of their own.
An event counts as delivered when the checkpoint has passed it, which is never before its own report.
"""

from __future__ import annotations

import argparse
import os
import signal
import tempfile
import threading
import time
from bisect import bisect_left
from itertools import accumulate
from pathlib import Path

import harness

from amikafka_tail import plugins
from amikafka_tail.config import settings
from amikafka_tail.service import Service

WARM_UP_SECONDS = 2.0
"""librdkafka looks for the leader of a topic that it has not seen yet once a second."""


class TimedService(Service):
    """Notes when the checkpoint moved to where."""

    def __init__(self, *arguments: object) -> None:
        super().__init__(*arguments)  # type: ignore[arg-type]
        self.moved: list[tuple[int, float]] = []

    def _report(self) -> None:
        position = self._pipeline.ledger.position
        if not self.moved or self.moved[-1][0] != position:
            self.moved.append((position, time.monotonic()))
        super()._report()


def measure(rate: int, seconds: float) -> list[float]:
    """Return the latency of every event in ms, in the order of sending, without those of the warm-up."""
    warm_up = int(rate * WARM_UP_SECONDS)
    count = int(rate * seconds) + warm_up
    with (
        harness.mock_kafka() as brokers,
        harness.player(count, rate) as (port, pipe),
        tempfile.TemporaryDirectory(prefix="amikafka-bench-") as name,
    ):
        path = Path(name) / "ami_kafka.conf"
        path.write_text(
            harness.CONFIGURATION.format(
                format="json", brokers=brokers, port=port, directory=name, general="", kafka=""
            )
        )
        registry = plugins.load()
        service = TimedService(settings.load(path, registry), registry, lambda: settings.load(path, registry))
        moments: list[float] = []

        def stop_at_the_end() -> None:
            moments.extend(pipe.recv())
            time.sleep(1)
            os.kill(os.getpid(), signal.SIGTERM)

        threading.Thread(target=stop_at_the_end, daemon=True).start()
        service.run()
    events = harness.recorded_events()
    sizes = [len(events[number % len(events)]) for number in range(count)]
    # Whatever the login left in the journal stands before the first event.
    before = service.moved[-1][0] - sum(sizes)
    positions = [position for position, _ in service.moved]
    latencies = [
        (service.moved[bisect_left(positions, before + end)][1] - sent) * 1000
        for sent, end in zip(moments, accumulate(sizes), strict=True)
    ]
    return latencies[warm_up:]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rates", default="100,1000,10000")
    parser.add_argument("--seconds", type=float, default=10)
    options = parser.parse_args()
    print("events/s    p50 ms    p99 ms  p99.9 ms    max ms")
    for rate in map(int, options.rates.split(",")):
        latencies = sorted(measure(rate, options.seconds))
        at = [latencies[int(len(latencies) * share)] for share in (0.5, 0.99, 0.999)]
        print(f"{rate:8}  {at[0]:8.2f}  {at[1]:8.2f}  {at[2]:8.2f}  {latencies[-1]:8.2f}", flush=True)


if __name__ == "__main__":
    main()

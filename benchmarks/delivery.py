"""What exactly_once costs: the time to carry a journal to a real Kafka, with each delivery, by turns.

    python -m benchmarks delivery

Needs Java and Maven, as tests/e2e does; a broker of one node on loopback. A run ends when a consumer of what
is committed has seen the last event.
"""

from __future__ import annotations

import tempfile
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from benchmarks.catch_up import fill
from benchmarks.figures import Table, by_turns, figure, ratio, say
from benchmarks.harness import BOUND, Daemon, Setting, import_end_to_end, recorded_events
from benchmarks.plan import Plan

if TYPE_CHECKING:
    from kafka import Kafka

EVENTS = 200_000
DELIVERIES = ("at_least_once", "exactly_once")


class Run(NamedTuple):
    events_per_second: float


def measure(kafka: Kafka, plan: Plan, count: int, delivery: str) -> Run:
    """Carry a journal once, from the daemon's start."""
    from kafka import TopicReader  # noqa: PLC0415

    topic = kafka.create_topic(f"{delivery}-{time.time_ns()}")
    setting = Setting(brokers=kafka.bootstrap, topic=topic, kafka=f"delivery = {delivery}")
    with tempfile.TemporaryDirectory(prefix="amikafka-bench-") as name:
        events = fill(
            Path(name) / "journal", count * sum(map(len, recorded_events())) // len(recorded_events())
        )
        seen = 0
        with TopicReader(kafka.bootstrap, topic, committed=True) as reader:
            begin = time.monotonic()
            with Daemon(plan.floor, Path(name), setting) as daemon:
                while seen < events:
                    reader.poll(0.05)
                    seen += len(reader.records)
                    reader.records.clear()
                    if daemon.process.poll() is not None or time.monotonic() - begin > BOUND:
                        raise RuntimeError(daemon.log())
                return Run(events / (time.monotonic() - begin))


def run(plan: Plan) -> list[Table]:
    """Compare both deliveries on one Kafka."""
    import_end_to_end()
    from kafka import Kafka, kafka_jars  # noqa: PLC0415

    from tests.support.waiting import Unavailable  # noqa: PLC0415

    try:
        jars = kafka_jars()
    except Unavailable as error:
        say(f"no delivery: {error}")
        return []
    count = plan.count(EVENTS)
    with tempfile.TemporaryDirectory(prefix="amikafka-bench-") as name:
        kafka = Kafka(jars, Path(name) / "kafka")
        try:
            kafka.start()
            ways = {each: partial(measure, kafka, plan, count, each) for each in DELIVERIES}
            runs = by_turns(
                ways,
                plan.turns,
                show=lambda name, run: say(f"  {name:16} {run.events_per_second:8.0f} events/s"),
            )
        finally:
            kafka.kill()
    table = Table(
        "delivery",
        "exactly_once beside at_least_once, to a real Kafka",
        ("delivery", "events/s", "to at_least_once"),
        ("", ".0f", ".2f"),
        f"{count:,} events of a journal, from the daemon's start until a consumer of what is committed has"
        f" seen the last; the consumer shares the machine. Medians of {plan.turns} runs by"
        " turns.",
    )
    rates = {name: [run.events_per_second for run in found] for name, found in runs.items()}
    for name in DELIVERIES:
        base = rates[DELIVERIES[0]]
        compared = "-" if name == DELIVERIES[0] else ratio(rates[name], base)
        table.add(f"{name}, {plan.floor.name}", figure(rates[name]), compared)
    return [table]

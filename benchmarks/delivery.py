"""What exactly_once costs: the time to carry a journal to a real Kafka, with each delivery, by turns.

Needs Java and Maven, as tests/e2e does; a broker of one node on loopback.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "e2e")]

from kafka import Kafka, TopicReader, kafka_jars  # noqa: E402

from amikafka_tail.config.identity import Identity  # noqa: E402
from amikafka_tail.journal import Journal  # noqa: E402
from benchmarks.harness import recorded_events  # noqa: E402
from tests.support.daemon import Daemon  # noqa: E402

EVENTS = 200_000
ROUNDS = 3
CONFIGURATION = """
[general]
entity_id = 00:11:22:33:44:55
[kafka]
brokers = {brokers}
topic = {topic}
delivery = {delivery}
[manager]
host = 127.0.0.1
port = 1
secret = none
[journal]
directory = @HERE@/state
"""


def fill(directory: Path) -> None:
    """Put a backlog of real events into a journal."""
    events = recorded_events()
    journal = Journal(directory, segment_bytes=64 << 20, max_bytes=10 << 30)
    journal.begin_connection(Identity(entity_id="a", system_name="", asterisk_version="22", hostname="h"), 0)
    left = EVENTS
    while left:
        part = events[: min(left, len(events))]
        journal.append(b"".join(part), 1_795_426_158_000)
        left -= len(part)
    journal.sync()
    journal.close()


def seconds_to_carry(kafka: Kafka, directory: Path, delivery: str) -> float:
    """Return the time from the daemon's start until a consumer has seen the last event."""
    topic = kafka.create_topic(directory.name)
    fill(directory / "state" / "journal")
    text = CONFIGURATION.format(brokers=kafka.bootstrap, topic=topic, delivery=delivery)
    daemon = Daemon(directory, text)
    seen = 0
    with TopicReader(kafka.bootstrap, topic, committed=True) as reader:
        begin = time.monotonic()
        daemon.start()
        try:
            while seen < EVENTS:
                reader.poll(0.05)
                seen += len(reader.records)
                reader.records.clear()
                assert daemon.running, daemon.tail()
            return time.monotonic() - begin
        finally:
            daemon.close()


def main() -> None:
    """Print the figures."""
    rates: dict[str, list[float]] = {"at_least_once": [], "exactly_once": []}
    with tempfile.TemporaryDirectory() as name:
        kafka = Kafka(kafka_jars(), Path(name) / "kafka")
        try:
            kafka.start()
            for number in range(ROUNDS):
                for delivery, found in rates.items():
                    directory = Path(name) / f"{delivery}-{number}"
                    found.append(EVENTS / seconds_to_carry(kafka, directory, delivery))
        finally:
            kafka.kill()
    for delivery, found in rates.items():
        print(
            f"{delivery:14} {statistics.median(found):8.0f} events/s  ({min(found):.0f} to {max(found):.0f})"
        )
    ratio = statistics.median(rates["exactly_once"]) / statistics.median(rates["at_least_once"])
    print(f"ratio {ratio:.2f}")


if __name__ == "__main__":
    main()

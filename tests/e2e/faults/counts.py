"""What happened, what was recorded, what arrived: numbered events, counted at each place."""

from __future__ import annotations

import contextlib
import json
import os
import re
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path

from ami import Driver
from confluent_kafka import Consumer, KafkaError, TopicPartition

END = b"\r\n\r\n"
NUMBER = re.compile(rb"\r\nSeries: faults\r\nNumber: (\d+)\r\n")
GAP = b"\r\nEvent: AmikafkaGap\r\n"
LARGE = 60
"""Lines of padding in an event that is large: about 50 kB."""


class Tally:
    """How often each number came."""

    def __init__(self) -> None:
        self.counts = bytearray()
        self.total = 0

    def add(self, number: int) -> bool:
        """Count a number; return whether it came for the first time."""
        if number >= len(self.counts):
            self.counts.extend(bytes(number + 10_000 - len(self.counts)))
        self.total += 1
        self.counts[number] = min(255, self.counts[number] + 1)
        return self.counts[number] == 1

    def __contains__(self, number: int) -> bool:
        return number < len(self.counts) and self.counts[number] > 0

    @property
    def distinct(self) -> int:
        """How many numbers came."""
        return len(self.counts) - self.counts.count(0)


class Load:
    """Raises numbered UserEvents at an even rate, whatever becomes of Asterisk; `sent` is the next number."""

    def __init__(self, connect: Callable[[], Driver], per_second: float) -> None:
        self.sent = 0
        self.large_every = 0
        self._connect = connect
        self._per_second = per_second
        self._paused = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def pause(self) -> None:
        """Raise nothing for a while."""
        self._paused.set()
        self._stop.wait(0.2)

    def resume(self) -> None:
        """Go on after `pause`."""
        self._paused.clear()

    def stop(self) -> None:
        """End."""
        self._stop.set()
        self._thread.join(20)

    def _run(self) -> None:
        driver: Driver | None = None
        last = time.monotonic()
        owed = 0.0
        while not self._stop.wait(0.02):
            now = time.monotonic()
            owed = min(owed + (now - last) * self._per_second, self._per_second)
            last = now
            if self._paused.is_set():
                owed = 0
                continue
            try:
                if driver is not None and driver.closed.is_set():
                    driver.close()
                    driver = None
                if driver is None:
                    driver = self._connect()
                count, owed = int(owed), owed % 1
                numbers = range(self.sent, self.sent + count)
                self.sent += count
                driver.send_raw(b"".join(map(self._action, numbers)))
            except (OSError, AssertionError, TimeoutError):  # Asterisk has gone
                if driver is not None:
                    driver.close()
                    driver = None
        if driver is not None:
            driver.close()

    def _action(self, number: int) -> bytes:
        lines = [b"Action: UserEvent", b"UserEvent: E2eFault", b"Series: faults", b"Number: %d" % number]
        large = self.large_every and not number % self.large_every
        lines += [b"Padding: " + b"x" * (900 if large else 200)] * (LARGE if large else 1)
        return b"\r\n".join(lines) + END


class Keeper:
    """Sees every byte that comes into the daemon's journal, before it is deleted: it has links of its own."""

    def __init__(self, journal: Path) -> None:
        self.recorded = Tally()
        self.bytes = 0
        self._journal = journal
        self._links = journal.parent / "kept"
        self._links.mkdir(parents=True, exist_ok=True)
        self._read: dict[str, int] = {}
        self._held = b""
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End."""
        self._stop.set()
        self._thread.join(20)

    def look(self) -> None:
        """Read what is new."""
        with self._lock:
            for segment in sorted(self._journal.glob("*.log")):
                if segment.name not in self._read:
                    with contextlib.suppress(OSError):  # gone, or on a disk that is full or read-only
                        os.link(segment, self._links / segment.name)
                        self._read[segment.name] = 0
            kept = sorted(self._links.glob("*.log"))
            for index, link in enumerate(kept):
                self._take(link)
                if index + 1 < len(kept) and link.stat().st_nlink == 1:
                    with contextlib.suppress(OSError):
                        link.unlink()

    def cut(self, link_name: str, size: int) -> None:
        """Somebody has cut a segment: what comes next stands there."""
        with self._lock:
            self._read[link_name] = min(self._read[link_name], size)
            self._held = b"\0"  # what comes up to the next end is the rest of some event

    def _take(self, link: Path) -> None:
        with link.open("rb") as file:
            file.seek(self._read[link.name])
            data = file.read()
        self._read[link.name] += len(data)
        self.bytes += len(data)
        *blocks, self._held = (self._held + data).split(END)
        for block in blocks:
            if b"\0" not in block and (found := NUMBER.search(block + b"\r\n")) is not None:
                self.recorded.add(int(found[1]))

    def _run(self) -> None:
        while not self._stop.wait(0.02):
            with contextlib.suppress(OSError):
                self.look()


class Arrivals:
    """Reads the topic all the time."""

    def __init__(self, bootstrap: str, topic: str, *, committed: bool) -> None:
        self.arrived = Tally()
        self.gaps: list[bytes] = []
        self.out_of_order: list[tuple[int, int, int]] = []
        self.messages = 0
        self._bootstrap = bootstrap
        self._topic = topic
        self._committed = committed
        self._last: dict[int, int] = {}
        self._stop = threading.Event()
        self.begin()

    def begin(self) -> None:
        """Read from the topic's beginning."""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(self._stop,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End."""
        self._stop.set()
        self._thread.join(30)

    def _run(self, stop: threading.Event) -> None:
        consumer = Consumer(
            {
                "bootstrap.servers": self._bootstrap,
                "group.id": f"faults-{uuid.uuid4()}",
                "enable.auto.commit": False,
                "isolation.level": "read_committed" if self._committed else "read_uncommitted",
                "auto.offset.reset": "earliest",
                "topic.metadata.refresh.interval.ms": 1000,
                "reconnect.backoff.max.ms": 500,
                "log_level": 0,
            }
        )
        consumer.assign([TopicPartition(self._topic, partition, 0) for partition in range(3)])
        while not stop.is_set():
            for message in consumer.consume(5000, 0.2):
                error = message.error()
                if error is None:
                    self._count(message.partition(), message.value() or b"")
                elif error.code() not in (KafkaError._PARTITION_EOF, KafkaError.UNKNOWN_TOPIC_OR_PART):
                    stop.wait(0.1)
        consumer.close()

    def _count(self, partition: int, value: bytes) -> None:
        self.messages += 1
        if GAP in value[:200]:
            self.gaps.append(value)
            return
        if (found := NUMBER.search(value)) is None:
            return
        number = int(found[1])
        if self.arrived.add(number):
            last = self._last.get(partition, -1)
            if number < last:
                self.out_of_order.append((partition, last, number))
            self._last[partition] = max(number, last)


def set_aside(dead_letters: Path) -> set[int]:
    """Return the numbers of the events in the dead-letter files."""
    numbers: set[int] = set()
    for path in (dead_letters.with_name(dead_letters.name + ".1"), dead_letters):
        with contextlib.suppress(FileNotFoundError):
            # The last line may be half there: it is looked at next time.
            for line in path.read_text().rpartition("\n")[0].splitlines():
                entry = json.loads(line)
                if entry["kind"] == "refused":
                    raw = entry.get("event", "").encode()
                    if (found := NUMBER.search(raw + b"\r\n")) is not None:
                        numbers.add(int(found[1]))
    return numbers

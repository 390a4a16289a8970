"""Following events through to Kafka: markers, numbers, and when the daemon is really connected."""

from __future__ import annotations

import itertools
import json
import re
import uuid
from collections.abc import Iterable, Sequence

from ami import MARKER, Driver
from kafka import Record, TopicReader

from tests.support.daemon import Daemon

_MARKER_TEXT = re.compile(rb'\bMarker(?:": ?"|: )([\w-]+)')


def marker_in(record: Record) -> str | None:
    """Return the text of a marker event in either format, `None` for any other message."""
    if MARKER not in record.value or (match := _MARKER_TEXT.search(record.value)) is None:
        return None
    return match[1].decode()


def wait_until_connected(daemon: Daemon, driver: Driver, reader: TopicReader, timeout: float = 40) -> None:
    """Raise markers until one has reached the topic: from then on nothing that happens may be missing."""
    text = f"connect-{uuid.uuid4().hex}"
    looked_at = len(reader.records)

    def arrived() -> bool:
        driver.marker(text)
        reader.poll(0.2)
        return any(marker_in(record) == text for record in reader.records[looked_at:])

    daemon.wait_for(arrived, timeout, "the first event in Kafka")


def wait_until_journalled(daemon: Daemon, driver: Driver, timeout: float = 40) -> None:
    """Raise markers until one stands in the daemon's journal: the same without Kafka."""
    text = f"journal-{uuid.uuid4().hex}"

    def arrived() -> bool:
        driver.marker(text)
        return text.encode() in daemon.journal_end()

    daemon.wait_for(arrived, timeout, "the first event in the journal")


def wait_for_marker(reader: TopicReader, text: str, timeout: float = 60) -> None:
    """Read a topic until it holds a marker."""
    reader.wait_for_record(lambda record: marker_in(record) == text, timeout, f"marker {text} in Kafka")


def between(records: Sequence[Record], begin: str, end: str) -> list[Record]:
    """Return the messages from one marker to another, in the order they were read."""
    marks = [marker_in(record) for record in records]
    return list(records[marks.index(begin) : marks.index(end) + 1])


def number_of(record: Record, series: str) -> int | None:
    """Return the number that a JSON message of a flood has, `None` for any other."""
    if b'"UserEvent":"E2eFlood"' not in record.value:
        return None
    fields = json.loads(record.value)
    return int(fields["Number"]) if fields["Series"] == series else None


def numbers(records: Sequence[Record], series: str) -> list[int]:
    """Return a flood's numbers from JSON messages, in the order of the messages."""
    found = (number_of(record, series) for record in records)
    return [number for number in found if number is not None]


def first_appearances(found: Sequence[int]) -> list[int]:
    """Return numbers without their repetitions."""
    return list(dict.fromkeys(found))


def wait_for_numbers(reader: TopicReader, wanted: Iterable[int], series: str, timeout: float = 60) -> None:
    """Read a topic until it holds each of some numbers."""
    missing = set(wanted)
    try:
        reader.wait_for_all(missing, lambda record: number_of(record, series), timeout)
    except TimeoutError as error:
        raise AssertionError(f"{len(missing)} are missing, first {sorted(missing)[:5]}: {error}") from None


def assert_in_order(records: Sequence[Record], series: str) -> None:
    """Fail unless each partition's numbers rise, not counting what was sent again."""
    for partition in {record.partition for record in records}:
        of_partition = numbers([record for record in records if record.partition == partition], series)
        once = first_appearances(of_partition)
        for before, after in itertools.pairwise(once):
            assert before < after, f"partition {partition}: {after} was put after {before}"

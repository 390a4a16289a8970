"""The real things themselves: if one of these fails, no other result here means anything."""

from __future__ import annotations

import pytest
from ami import Flood, numbers_in
from asterisk import Asterisk
from confluent_kafka import Producer
from expected import name_of
from kafka import Kafka

pytestmark = pytest.mark.timeout(1500)  # the first run fetches Asterisk and Kafka


def test_a_driven_call_is_seen_by_a_witness(asterisk: Asterisk):
    with asterisk.driver() as driver, asterisk.witness() as witness:
        driver.marker("begin")
        driver.calls(1, 10, ["100"])
        driver.marker("end")
        seen = witness.events[witness.wait_for_marker("begin") : witness.wait_for_marker("end")]
    assert len(seen) >= 40
    names = {event.split(b"\r\n", 1)[0].removeprefix(b"Event: ").decode() for event in seen}
    assert {"Newchannel", "VarSet", "UserEvent", "Hangup", "CEL", "Cdr"} <= names
    assert all(b"\r\nTimestamp: " in event and b"\r\nSystemName: pbx-01\r\n" in event for event in seen)
    assert asterisk.origin.asterisk_version


def test_two_witnesses_see_the_same_in_the_same_order_within_each_kind(asterisk: Asterisk):
    with asterisk.driver() as driver, asterisk.witness() as one, asterisk.witness() as other:
        driver.marker("begin")
        driver.calls(16, 20)
        driver.marker("end")
        streams = [
            witness.events[witness.wait_for_marker("begin") : witness.wait_for_marker("end")]
            for witness in (one, other)
        ]
    # From 22.11 and 23.5 on each session has a queue of its own.
    assert sorted(streams[0], key=name_of) == sorted(streams[1], key=name_of)
    assert len(streams[0]) > 16 * 30


def test_a_flood_is_numbered_without_a_gap(asterisk: Asterisk):
    with asterisk.driver() as driver, asterisk.witness() as witness:
        with Flood(driver, 1000, "s") as flood:
            driver.closed.wait(1)
        driver.marker("end")
        seen = witness.events[: witness.wait_for_marker("end")]
    assert flood.sent > 500
    assert [number for event in seen for number in numbers_in(event + b"\r\n", "s")] == list(
        range(flood.sent)
    )


def test_kafka_returns_a_record_with_its_headers(kafka: Kafka, topic: str):
    producer = Producer({"bootstrap.servers": kafka.bootstrap})
    producer.produce(topic, b"value", b"key", headers=[("one", b"1"), ("two", b"\xff")])
    assert producer.flush(20) == 0
    (record,) = kafka.read(topic)
    assert (record.partition, record.offset, record.key, record.value) == (0, 0, b"key", b"value")
    assert record.headers == [("one", b"1"), ("two", b"\xff")]


def test_kafka_keeps_its_records_over_a_crash_and_a_restart(kafka: Kafka, topic: str):
    producer = Producer({"bootstrap.servers": kafka.bootstrap, "log_level": 0})
    producer.produce(topic, b"before")
    assert producer.flush(20) == 0
    for end in (kafka.stop, kafka.kill):
        end()
        kafka.start()
        assert [record.value for record in kafka.read(topic)] == [b"before"]

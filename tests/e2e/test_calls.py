"""Every event of real calls is in Kafka once, in the order of its kind, with key, headers and payload."""

from __future__ import annotations

import json
from collections import Counter, defaultdict

import pytest
from ami import line_value
from asterisk import Asterisk
from conftest import Daemons
from expected import difference
from flow import between, wait_for_marker, wait_until_connected
from kafka import Kafka

pytestmark = pytest.mark.timeout(240)


def test_200_calls_are_in_kafka_event_for_event_in_both_formats(
    asterisk: Asterisk, kafka: Kafka, topic_name: str, daemon: Daemons
):
    forms = ("json", "ami")
    topics = {form: kafka.create_topic(f"{topic_name}-{form}") for form in forms}
    subjects = {form: daemon(topics[form], form, general=f"format = {form}").start() for form in forms}
    with (
        asterisk.driver() as driver,
        asterisk.witness() as witness,
        kafka.reader(topics["json"]) as json_reader,
        kafka.reader(topics["ami"]) as ami_reader,
    ):
        wait_until_connected(subjects["json"], driver, json_reader)
        wait_until_connected(subjects["ami"], driver, ami_reader)
        driver.marker("begin")
        driver.calls(200, 10)
        driver.marker("end")
        seen = witness.events[witness.wait_for_marker("begin") : witness.wait_for_marker("end") + 1]
        assert len(seen) > 200 * 40
        for form, reader in (("json", json_reader), ("ami", ami_reader)):
            wait_for_marker(reader, "end")
            assert difference(seen, between(reader.records, "begin", "end"), asterisk.origin, form) == ""


def test_calls_keyed_by_linkedid_keep_their_order_over_three_partitions(
    asterisk: Asterisk, kafka: Kafka, topic_name: str, daemon: Daemons
):
    topic = kafka.create_topic(topic_name, partitions=3)
    subject = daemon(topic, kafka="key = linkedid").start()
    with asterisk.driver() as driver, asterisk.witness() as witness, kafka.reader(topic) as reader:
        wait_until_connected(subject, driver, reader)
        driver.marker("begin")
        driver.calls(60, 15)
        driver.marker("end")
        begin, end = witness.wait_for_marker("begin"), witness.wait_for_marker("end")
        seen = witness.events[begin : end + 1]
        wanted = Counter(asterisk.origin.json(event) for event in seen)
        reader.wait_for_all(set(wanted), lambda record: record.value, 30)
        earlier = {asterisk.origin.json(event) for event in witness.events[:begin]}
        later = {asterisk.origin.json(event) for event in witness.events[end + 1 :]}
        records = reader.records
    found = Counter(record.value for record in records if record.value not in earlier | later)
    assert found == wanted

    by_call: dict[str, list[bytes]] = defaultdict(list)
    for event in seen:
        if call := line_value(event, "Linkedid") or line_value(event, "LinkedID"):
            by_call[call].append(asterisk.origin.json(event))
    assert len(by_call) >= 60
    partitions = set()
    for call, payloads in by_call.items():
        own = set(payloads)
        of_call = [record for record in records if record.value in own]
        assert {record.key for record in of_call} == {call.encode()}
        assert len({record.partition for record in of_call}) == 1
        # The witness is another session: its order across kinds of events may be another one.
        assert sorted((record.value for record in of_call), key=kind) == sorted(payloads, key=kind)
        partitions.add(of_call[0].partition)
    assert partitions == {0, 1, 2}


def kind(payload: bytes) -> str:
    """Return the name of the event in a JSON payload: a sort by it keeps the order within each kind."""
    name: str = json.loads(payload)["Event"]
    return name


def test_odd_values_arrive_as_asterisk_sent_them_in_both_formats(
    asterisk: Asterisk, kafka: Kafka, topic_name: str, daemon: Daemons
):
    forms = ("json", "ami")
    topics = {form: kafka.create_topic(f"{topic_name}-{form}") for form in forms}
    subjects = {form: daemon(topics[form], form, general=f"format = {form}").start() for form in forms}
    odd: list[tuple[str, str | bytes]] = [
        ("Empty", ""),
        ("Colons", "a: b:c: d"),
        ("Quotes", "\"double\" 'single' back\\slash \\n /"),
        ("Blanks", "  two before, two after  "),
        ("Controls", b"\x01\x02\t\x0b\x0c\x1b\x1f\x7f"),
        ("Latin1", b"M\xfcller"),
        ("HalfUtf8", b"\xe6\x97 \xf0\x9f"),
        ("Surrogate", b"\xed\xa0\x80"),
        ("Utf8", "žluťoučký 日本 \U0001f600"),
        ("Separators", "a\u0085b\u2028c\u2029d"),
        ("Repeated", "first"),
        ("Repeated", "last"),
        ("Event", "Forged"),
        ("Privilege", "forged,all"),
        ("EntityID", "forged"),
        ("SystemName", "forged"),
        ("Timestamp", "1.000000"),
        ("Long", "x" * 900),  # Asterisk takes no line over 1,024 bytes
    ]
    with (
        asterisk.driver() as driver,
        asterisk.witness() as witness,
        kafka.reader(topics["json"]) as json_reader,
        kafka.reader(topics["ami"]) as ami_reader,
    ):
        wait_until_connected(subjects["json"], driver, json_reader)
        wait_until_connected(subjects["ami"], driver, ami_reader)
        driver.marker("begin")
        for name, value in odd:
            driver.user_event("Odd", (name, value), ("After", "it"))
        driver.user_event("OddAll", *odd)
        driver.send_raw(
            b"Action: UserEvent\r\nUserEvent: OddLines\r\nNoSpace:value\r\nEmpty:\r\nOne: 1\r\n\r\n"
        )
        driver.marker("end")
        seen = witness.events[witness.wait_for_marker("begin") : witness.wait_for_marker("end") + 1]
        assert len(seen) == len(odd) + 4
        for form, reader in (("json", json_reader), ("ami", ami_reader)):
            wait_for_marker(reader, "end")
            assert difference(seen, between(reader.records, "begin", "end"), asterisk.origin, form) == ""

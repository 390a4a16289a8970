"""The daemon dies by SIGKILL at random moments under load; what it had is not lost."""

from __future__ import annotations

import os
import random

import pytest
from ami import Flood, numbers_in
from asterisk import Asterisk
from conftest import Daemons
from expected import Origin
from flow import assert_in_order, numbers, wait_for_marker, wait_for_numbers, wait_until_connected
from kafka import Kafka, Record

KILLS = 10
RATE = 500
pytestmark = pytest.mark.timeout(180)


def moments() -> list[float]:
    """Seconds that the daemon lives, each time: from before it has connected to well into its work."""
    chance = random.Random(int(os.environ.get("AMIKAFKA_E2E_SEED", "1")))
    return [chance.uniform(0.2, 3.0) for _ in range(KILLS)]


def assert_all_were_seen(records: list[Record], seen: list[bytes], origin: Origin) -> None:
    """Fail if Kafka holds anything that did not happen: two halves of events put together, for one."""
    happened = {origin.json(event) for event in seen}
    invented = [record.value for record in records if record.value not in happened]
    assert not invented, f"{len(invented)} messages that no witness saw, first {invented[0]!r}"


def test_what_was_in_the_journal_when_killed_reaches_kafka(
    asterisk: Asterisk, kafka: Kafka, topic_name: str, daemon: Daemons
):
    topic = kafka.create_topic(topic_name, partitions=3)
    # Keyed by number, so that all three partitions get some.
    victim = daemon(topic, kafka="key = Number")
    journalled: set[int] = set()
    with (
        asterisk.witness() as witness,
        asterisk.driver() as driver,
        kafka.reader(topic) as reader,
    ):
        with Flood(driver, RATE, "kill") as flood:
            for number, moment in enumerate(moments()):
                before = len(victim.log)
                victim.start()
                if number % 2:  # of the others some are killed before they have connected
                    victim.wait_for_log("connected: asterisk=", after=before)
                driver.closed.wait(moment)
                victim.kill()
                journalled.update(numbers_in(victim.journal(), "kill"))
            victim.start()
            wait_until_connected(victim, driver, reader)
        assert len(journalled) > RATE * KILLS / 4, "the daemon hardly lived"
        wait_for_numbers(reader, journalled, "kill")
        driver.marker("end")
        wait_for_marker(reader, "end")
        reader.catch_up()
        witness.wait_for_marker("end")
        records = reader.records
        assert_all_were_seen(records, witness.events, asterisk.origin)
    delivered = set(numbers(records, "kill"))
    assert delivered <= set(range(flood.sent))
    assert len({record.partition for record in records}) == 3
    assert_in_order(records, "kill")
    assert victim.stop() == 0


def test_with_a_descriptor_store_kills_lose_nothing_at_all(
    asterisk: Asterisk, kafka: Kafka, topic: str, daemon: Daemons
):
    victim = daemon(topic, hand_over=True).start()
    with (
        asterisk.witness() as witness,
        asterisk.driver() as driver,
        kafka.reader(topic) as reader,
    ):
        wait_until_connected(victim, driver, reader)
        with Flood(driver, RATE, "kept") as flood:
            for moment in moments():
                driver.closed.wait(moment)
                victim.kill()
                victim.start()
        assert flood.sent > RATE * KILLS / 4
        wait_for_numbers(reader, range(flood.sent), "kept")
        driver.marker("end")
        wait_for_marker(reader, "end")
        reader.catch_up()
        witness.wait_for_marker("end")
        records = reader.records
        assert_all_were_seen(records, witness.events, asterisk.origin)
        logins = [event for event in witness.events if b"\r\nAccountID: amikafka\r\n" in event]
    assert_in_order(records, "kept")
    assert len(logins) <= 1, "the connection did not outlive the process"

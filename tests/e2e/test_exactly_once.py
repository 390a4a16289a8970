"""With delivery = exactly_once a read_committed consumer sees every event once, whatever breaks."""

from __future__ import annotations

import random

import pytest
from ami import Flood
from asterisk import Asterisk
from conftest import Daemons
from flow import assert_in_order, numbers, wait_for_marker, wait_for_numbers, wait_until_connected
from kafka import Kafka
from test_kill import RATE, moments

from tests.support.daemon import Daemon

EXACTLY_ONCE = "delivery = exactly_once"
pytestmark = pytest.mark.timeout(240)


def test_kills_and_broker_crashes_neither_lose_nor_repeat(
    asterisk: Asterisk, kafka: Kafka, topic_name: str, daemon: Daemons
):
    topic = kafka.create_topic(topic_name, partitions=3)
    victim = daemon(topic, hand_over=True, kafka=f"key = Number\n{EXACTLY_ONCE}").start()
    chance = random.Random(5)
    with (
        asterisk.driver() as driver,
        kafka.reader(topic, committed=True) as reader,
        kafka.reader(topic) as raw,
    ):
        wait_until_connected(victim, driver, reader)
        with Flood(driver, RATE, "once") as flood:
            for number, moment in enumerate(moments()):
                driver.closed.wait(moment)
                victim.kill()
                if number in (3, 6):
                    kafka.kill()
                    driver.closed.wait(chance.uniform(0, 2))
                    kafka.start()
                victim.start()
        wait_for_numbers(reader, range(flood.sent), "once", 90)
        driver.marker("end")
        wait_for_marker(reader, "end")
        reader.catch_up()
        raw.catch_up()
    found = numbers(reader.records, "once")
    assert sorted(found) == list(range(flood.sent))
    assert len(numbers(raw.records, "once")) > flood.sent, (
        "no transaction was ever cut off: nothing was tried"
    )
    assert_in_order(reader.records, "once")
    assert victim.stop() == 0


def test_of_two_with_the_same_entity_id_one_publishes_and_the_other_says_why_not(
    asterisk: Asterisk, kafka: Kafka, topic: str, daemon: Daemons
):
    both = [daemon(topic, name, kafka=EXACTLY_ONCE) for name in ("first", "second")]
    with asterisk.driver() as driver, kafka.reader(topic, committed=True) as reader:
        wait_until_connected(both[0].start(), driver, reader)
        both[1].start()

        def silent() -> list[Daemon]:
            driver.marker("something to publish")
            return [each for each in both if "another amikafka publishes as" in each.log]

        (loser,) = both[0].wait_for(silent, 60, "one to give in")
        winner = both[loser is both[0]]
        with Flood(driver, RATE, "one") as flood:
            driver.closed.wait(3)
        wait_for_numbers(reader, range(flood.sent), "one")
        reader.catch_up()
        winner.wait_for_word("STATUS")
        loser.wait_for(lambda: "another amikafka" in loser.manager.said("STATUS")[-1], 20, "its status")
    assert sorted(numbers(reader.records, "one")) == list(range(flood.sent))
    assert "another amikafka publishes as" not in winner.log
    assert [each.stop() for each in both] == [0, 0]

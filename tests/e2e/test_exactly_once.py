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

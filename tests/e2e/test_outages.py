"""What fails around the daemon: broker, topic, password, Asterisk; and how it stops and reloads."""

from __future__ import annotations

import json
import re
import signal

import pytest
from ami import Driver, Flood, numbers_in
from asterisk import Asterisk
from conftest import Daemons
from flow import (
    assert_in_order,
    numbers,
    wait_for_numbers,
    wait_until_connected,
    wait_until_journalled,
)
from kafka import Kafka

from tests.support.daemon import MEGABYTE, Daemon
from tests.support.waiting import wait_for

REFUSED = (b"Event: ChallengeResponseFailed\r\n", b"Event: InvalidPassword\r\n")
pytestmark = pytest.mark.timeout(180)


def let_pass(driver: Driver, seconds: float) -> None:
    """Let a fault last."""
    driver.closed.wait(seconds)


def journalled_last(subject: Daemon, flood: Flood) -> bool:
    """Tell whether a flood's last event stands in the journal."""
    return flood.sent - 1 in numbers_in(subject.journal_end(), flood.series)


# The broker.


def test_a_broker_that_comes_after_the_daemon_gets_everything(
    asterisk: Asterisk, kafka: Kafka, topic: str, daemon: Daemons
):
    kafka.stop()
    subject = daemon(topic).start()
    with asterisk.driver() as driver:
        wait_until_journalled(subject, driver)
        with Flood(driver, 500, "early") as flood:
            let_pass(driver, 4)
        subject.wait_for(lambda: journalled_last(subject, flood), 20, "all in the journal")
        kafka.start()
        with kafka.reader(topic) as reader:
            wait_for_numbers(reader, range(flood.sent), "early")
            assert_in_order(reader.records, "early")
    assert subject.stop() == 0


def test_a_broker_that_is_away_for_a_while_loses_nothing(
    asterisk: Asterisk, kafka: Kafka, topic: str, daemon: Daemons
):
    subject = daemon(topic).start()
    with asterisk.driver() as driver, asterisk.witness() as witness, kafka.reader(topic) as reader:
        wait_until_connected(subject, driver, reader)
        with Flood(driver, 500, "away") as flood:
            for end in (kafka.stop, kafka.kill):
                let_pass(driver, 2)
                end()
                let_pass(driver, 5)
                kafka.start()
            let_pass(driver, 2)
        wait_for_numbers(reader, range(flood.sent), "away")
        assert_in_order(reader.records, "away")
        happened = {asterisk.origin.json(event) for event in witness.events}
        assert [record.value for record in reader.records if record.value not in happened] == []
    assert subject.stop() == 0


def hang_three_times(kafka: Kafka, driver: Driver, series: str) -> int:
    """Raise events while the broker hangs now and then; return how many there were."""
    with Flood(driver, 2000, series) as flood:
        for _ in range(3):
            let_pass(driver, 1)
            kafka.pause()
            try:
                let_pass(driver, 5)
            finally:
                kafka.resume()
        let_pass(driver, 2)
    return flood.sent


def test_a_broker_that_hangs_gets_each_event_once_and_in_order(
    asterisk: Asterisk, kafka: Kafka, topic: str, daemon: Daemons
):
    subject = daemon(topic).start()
    with asterisk.driver() as driver, kafka.reader(topic) as reader:
        wait_until_connected(subject, driver, reader)
        sent = hang_three_times(kafka, driver, "hang")
        wait_for_numbers(reader, range(sent), "hang")
        reader.catch_up()
        assert numbers(reader.records, "hang") == list(range(sent))
    assert subject.stop() == 0


def test_message_timeouts_lose_nothing(asterisk: Asterisk, kafka: Kafka, topic: str, daemon: Daemons):
    """Whoever sets a timeout gives up the order (docs/adr/0002), and no event."""
    subject = daemon(topic, kafka="message_timeout_ms = 2000").start()
    with asterisk.driver() as driver, kafka.reader(topic) as reader:
        wait_until_connected(subject, driver, reader)
        sent = hang_three_times(kafka, driver, "hang")
        wait_for_numbers(reader, range(sent), "hang")
        with Flood(driver, 500, "away") as flood:
            let_pass(driver, 1)
            kafka.stop()
            let_pass(driver, 8)
            kafka.start()
        wait_for_numbers(reader, range(flood.sent), "away")
    assert "Message timed out" in subject.log, "no message has timed out"
    assert subject.stop() == 0


def test_a_large_backlog_is_delivered_in_bounded_memory(
    asterisk: Asterisk, kafka: Kafka, topic: str, daemon: Daemons
):
    kafka.stop()
    subject = daemon(topic).start()
    with asterisk.driver() as driver:
        wait_until_journalled(subject, driver)
        with Flood(driver, 8000, "heap", padding=900) as flood:
            wait_for(lambda: flood.sent > 60_000, 60, "60,000 events")
        subject.wait_for(lambda: journalled_last(subject, flood), 60, "all in the journal")
        before = subject.resident()
        kafka.start()
        most = before
        with kafka.reader(topic) as reader:
            missing = set(range(flood.sent))

            def drained() -> bool:
                nonlocal most
                most = max(most, subject.resident())
                start = len(reader.records)
                reader.poll()
                missing.difference_update(numbers(reader.records[start:], "heap"))
                return not missing

            subject.wait_for(drained, 90, "the backlog to be delivered")
            assert_in_order(reader.records, "heap")
    assert before < 100 * MEGABYTE
    assert most < 200 * MEGABYTE


# The topic.


def test_an_unknown_topic_is_named_and_gets_everything_once_it_is_there(
    asterisk: Asterisk, kafka: Kafka, topic_name: str, daemon: Daemons
):
    subject = daemon(topic_name).start()
    with asterisk.driver() as driver:
        wait_until_journalled(subject, driver)
        with Flood(driver, 200, "unknown") as flood:
            subject.wait_for_log(f"(?i)topic.*{topic_name}.*(does not exist|unknown)", 45)
            let_pass(driver, 3)
        lines = [line for line in subject.log.splitlines() if topic_name in line]
        assert len(lines) < 30, "the same words again and again"
        kafka.create_topic(topic_name)
        with kafka.reader(topic_name) as reader:
            wait_for_numbers(reader, range(flood.sent), "unknown", 90)
            assert_in_order(reader.records, "unknown")
    assert subject.stop() == 0


# Asterisk.


def test_a_wrong_password_is_said_in_words_and_can_be_mended_by_a_reload(
    asterisk: Asterisk, kafka: Kafka, topic: str, daemon: Daemons
):
    wrong = "not-this-one-4711"
    subject = daemon(topic, manager=f"secret = {wrong}")
    with asterisk.driver() as driver, asterisk.witness() as witness, kafka.reader(topic) as reader:
        subject.start()
        subject.wait_for_log(r"(?i)(refused|authentication failed|wrong|password)", 20)
        let_pass(driver, 8)
        assert subject.running, "it gave up"
        refusals = [event for event in witness.events if event.startswith(REFUSED)]
        assert 1 <= len(refusals) <= 10, "a storm of logins"
        assert wrong not in subject.log
        assert asterisk.user in subject.log
        assert subject.resident() < 100 * MEGABYTE
        subject.configure(daemon.configuration(topic))
        subject.signal(signal.SIGHUP)
        wait_until_connected(subject, driver, reader, 60)
    assert subject.stop() == 0


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_an_asterisk_that_goes_and_comes_back_is_followed(
    how: str, asterisk: Asterisk, kafka: Kafka, topic: str, daemon: Daemons
):
    subject = daemon(topic).start()
    with kafka.reader(topic) as reader:
        with asterisk.driver() as driver:
            wait_until_connected(subject, driver, reader)
            with Flood(driver, 1000, "up"):
                let_pass(driver, 1)
                getattr(asterisk, how)()
        asterisk.start()
        with asterisk.driver() as driver:
            wait_until_connected(subject, driver, reader, 60)
            with Flood(driver, 1000, "again") as flood:
                let_pass(driver, 1)
            wait_for_numbers(reader, range(flood.sent), "again")
        # Up to the last moment, and no half event put together with what came later.
        before = numbers(reader.records, "up")
        assert len(before) > 500
        assert before == list(range(len(before)))
        floods = [json.loads(record.value) for record in reader.records if b'"E2eFlood"' in record.value]
        assert {tuple(fields) for fields in floods} == {
            (
                "Event",
                "EntityID",
                "SystemName",
                "Privilege",
                "Timestamp",
                "UserEvent",
                "Series",
                "Number",
                "Padding",
            )
        }
        assert {fields["Padding"] for fields in floods} == {"x" * 200}
    assert subject.stop() == 0


def test_a_paused_daemon_is_not_cut_off(asterisk: Asterisk, kafka: Kafka, topic: str, daemon: Daemons):
    subject = daemon(topic).start()
    with asterisk.driver() as driver, kafka.reader(topic) as reader:
        wait_until_connected(subject, driver, reader)
        with Flood(driver, 4000, "pause", padding=800) as flood:
            subject.signal(signal.SIGSTOP)
            let_pass(driver, 6)
            subject.signal(signal.SIGCONT)
        assert flood.sent * 1000 > 12 * MEGABYTE, "less than what socket buffers hold"
        wait_for_numbers(reader, range(flood.sent), "pause")
        found = numbers(reader.records, "pause")
        assert found == sorted(found)
    assert subject.stop() == 0


# Stopping and reloading.


def test_sigterm_delivers_what_was_read_and_exits_0(
    asterisk: Asterisk, kafka: Kafka, topic: str, daemon: Daemons
):
    subject = daemon(topic, kafka="linger_ms = 1000").start()
    subject.wait_for_word("READY")
    with asterisk.driver() as driver, kafka.reader(topic) as reader:
        wait_until_connected(subject, driver, reader)
        with Flood(driver, 3000, "stop"):
            let_pass(driver, 1)
            assert subject.stop(20) == 0
        journalled = set(numbers_in(subject.journal(), "stop"))
        reader.catch_up()
        assert subject.manager.said("STOPPING") == ["1"]
        delivered = numbers(reader.records, "stop")
        assert len(delivered) > 1000
        assert delivered == list(range(len(delivered)))
        assert journalled <= set(delivered)
        again = subject.start()
        wait_until_connected(subject, driver, reader)
        let_pass(driver, 1)
        reader.catch_up()
        assert numbers(reader.records, "stop")[: len(delivered)] == delivered
        repeated = [number for number in numbers(reader.records, "stop") if number < len(delivered)]
        assert len(repeated) == len(delivered), "delivered again after an orderly stop"
        assert again.stop() == 0


def test_sigterm_while_the_broker_is_away_ends_in_time_and_loses_nothing(
    asterisk: Asterisk, kafka: Kafka, topic: str, daemon: Daemons
):
    kafka.stop()
    subject = daemon(topic).start()
    with asterisk.driver() as driver:
        wait_until_journalled(subject, driver)
        with Flood(driver, 500, "dark"):
            let_pass(driver, 2)
            assert subject.stop(30) == 0
        journalled = numbers_in(subject.journal(), "dark")
        assert len(journalled) > 500
    kafka.start()
    subject.start()
    with kafka.reader(topic) as reader:
        wait_for_numbers(reader, journalled, "dark")
        assert_in_order(reader.records, "dark")
    assert subject.stop() == 0


def test_an_orderly_restart_with_a_descriptor_store_loses_nothing(
    asterisk: Asterisk, kafka: Kafka, topic: str, daemon: Daemons
):
    subject = daemon(topic, hand_over=True).start()
    with asterisk.driver() as driver, asterisk.witness() as witness, kafka.reader(topic) as reader:
        wait_until_connected(subject, driver, reader)
        with Flood(driver, 1000, "upgrade") as flood:
            for _ in range(3):
                let_pass(driver, 1)
                assert subject.stop() == 0
                let_pass(driver, 1)
                before = len(subject.log)
                subject.start().wait_for_log("went on with the connection", after=before)
            let_pass(driver, 1)
        wait_for_numbers(reader, range(flood.sent), "upgrade")
        found = numbers(reader.records, "upgrade")
        assert found == list(range(flood.sent)), "delivered twice after an orderly stop"
        assert len([event for event in witness.events if b"\r\nAccountID: amikafka\r\n" in event]) <= 1
    assert subject.stop() == 0


def test_sighup_takes_a_good_configuration_and_loses_nothing(
    asterisk: Asterisk, kafka: Kafka, topic: str, topic_name: str, daemon: Daemons
):
    other = kafka.create_topic(f"{topic_name}-other")
    subject = daemon(topic).start()
    with asterisk.driver() as driver, kafka.reader(topic) as reader, kafka.reader(other) as other_reader:
        wait_until_connected(subject, driver, reader)
        with Flood(driver, 1000, "reload") as flood:
            let_pass(driver, 1)
            subject.configure(daemon.configuration(other))
            ready = len(subject.manager.said("READY"))
            subject.signal(signal.SIGHUP)
            subject.wait_for_word("RELOADING")
            subject.wait_for_word("READY", count=ready + 1)
            let_pass(driver, 1)
        wait_for_numbers(other_reader, [flood.sent - 1], "reload")
        reader.catch_up()
        first, second = numbers(reader.records, "reload"), numbers(other_reader.records, "reload")
    assert first
    assert second
    assert first + second == list(range(flood.sent))
    assert subject.stop() == 0


def test_sighup_with_a_bad_configuration_says_what_is_wrong_and_goes_on(
    asterisk: Asterisk, kafka: Kafka, topic: str, daemon: Daemons
):
    subject = daemon(topic).start()
    with asterisk.driver() as driver, kafka.reader(topic) as reader:
        wait_until_connected(subject, driver, reader)
        good = daemon.configuration(topic)
        bad = good.replace("linger_ms = 5", "lingr_ms = 5")
        line = bad.splitlines().index("lingr_ms = 5") + 1
        with Flood(driver, 1000, "bad") as flood:
            let_pass(driver, 0.5)
            subject.configure(bad)
            subject.signal(signal.SIGHUP)
            said = subject.wait_for_log(rf"ami_kafka\.conf:{line}: .*lingr_ms.*", 20)
            let_pass(driver, 1)
        assert "linger_ms" in said[0]
        assert re.search(asterisk.secret, subject.log) is None
        wait_for_numbers(reader, range(flood.sent), "bad")
        assert numbers(reader.records, "bad") == list(range(flood.sent))
        # What systemd waits for ends the reload, even a failed one.
        assert len(subject.manager.said("READY")) == 1 + len(subject.manager.said("RELOADING"))
    assert subject.stop() == 0


def test_a_bad_configuration_at_start_exits_78_with_every_line_named(topic_name: str, daemon: Daemons):
    subject = daemon(topic_name, kafka="lingr_ms = 5\ntpoic = t").start()
    assert subject.wait_for_exit(20) == 78
    assert "lingr_ms" in subject.log
    assert "tpoic" in subject.log
    assert "Traceback" not in subject.log

"""The debug event log of the real Asterisk gives the same messages as its manager interface."""

from __future__ import annotations

import json
import threading

import pytest
from asterisk import Asterisk
from conftest import Daemons
from flow import between, wait_for_marker, wait_until_connected
from kafka import Kafka, Record

pytestmark = pytest.mark.timeout(180)
DEBUG_HEADERS = ("SequenceNumber", "File", "Line", "Func")


def undebugged(record: Record) -> tuple[object, ...]:
    """Return a message as it would be without manager debug."""
    value = {name: said for name, said in json.loads(record.value).items() if name not in DEBUG_HEADERS}
    return record.key, sorted(record.headers), list(value.items())


def test_both_sources_publish_the_same_messages_while_the_log_is_rotated(
    asterisk: Asterisk, kafka: Kafka, topic_name: str, daemon: Daemons
):
    topics = {source: kafka.create_topic(f"{topic_name}-{source}") for source in ("manager", "eventlog")}
    log = asterisk.directory / "log" / "full"
    assert asterisk.cli("manager set debug on") is not None
    try:
        manager = daemon(topics["manager"], "manager").start()
        eventlog = daemon(
            topics["eventlog"], "eventlog", general="source = eventlog", eventlog=f"path = {log}\nstart = end"
        ).start()
        with (
            asterisk.driver() as driver,
            asterisk.witness(),
            kafka.reader(topics["manager"]) as of_manager,
            kafka.reader(topics["eventlog"]) as of_log,
        ):
            wait_until_connected(manager, driver, of_manager)
            wait_until_connected(eventlog, driver, of_log)
            driver.marker("begin")
            calls = threading.Thread(target=driver.calls, args=(60, 10))
            calls.start()
            pause = threading.Event()
            for _ in range(4):
                pause.wait(1.2)
                assert asterisk.cli("logger rotate") is not None
            calls.join()
            driver.marker("end")
            for reader in (of_manager, of_log):
                wait_for_marker(reader, "end")
            expected = [undebugged(each) for each in between(of_manager.records, "begin", "end")]
            found = [undebugged(each) for each in between(of_log.records, "begin", "end")]
        assert len(list(log.parent.glob("full.*"))) >= 4
        assert len(expected) > 60 * 40
        assert found == expected
        assert "missing" not in eventlog.log
    finally:
        asterisk.cli("manager set debug off")

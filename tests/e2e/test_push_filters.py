"""Filters that are handed to a real Asterisk: the messages are the same, and a change loses none."""

from __future__ import annotations

import json
import select
import signal
import threading
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

import pytest
from ami import Driver, Flood, events_in, numbers_in
from asterisk import Asterisk
from conftest import Daemons
from flow import between, numbers, wait_for_marker, wait_for_numbers, wait_until_connected
from kafka import Kafka

from amikafka_tail.ami.eventfilter import EventFilterOptions
from amikafka_tail.filters.eventfilter import eventfilter
from amikafka_tail.model.event import Event
from amikafka_tail.model.live_source import Connection
from amikafka_tail.model.pushed_filters import FilterLine, Pushed
from amikafka_tail.sources.manager import ManagerOptions, ManagerSource
from tests.support.daemon import PROJECT
from tests.support.waiting import wait_for

pytestmark = pytest.mark.timeout(240)

USER = "username = filtering\nsecret = filtering-secret"
PUSH = f"{USER}\npush_filters = yes"
ORACLE = json.loads((PROJECT / "tests/data/eventfilter-oracle.json").read_text())
SETS = {
    **{name: found["filters"] for name, found in ORACLE.items()},
    "excludes_of_each_kind": [
        ("eventfilter", "!Event: (VarSet|Newexten)"),
        ("eventfilter(action(exclude),name(RTCPSent))", ""),
        ("eventfilter(action(exclude),header(Channel),method(ends_with))", ";1"),
        ("eventfilter(action(exclude),header(ChanVariable),method(contains))", "LABVAR"),
    ],
    "includes_of_each_kind": [
        ("eventfilter", "Event: Hangup.*Cause: 16"),
        ("eventfilter(name(UserEvent))", ""),
        ("eventfilter(header(Linkedid),method(regex))", "[13579]$"),
        ("eventfilter(header(Extension),method(exact))", "100"),
    ],
    "both": [
        ("eventfilter(header(Name),method(starts_with))", "M"),
        ("eventfilter", "^Event: (Hangup|Newchannel|UserEvent)"),
        ("eventfilter", "!CallerIDName: Lab [0-4]"),
        ("eventfilter(action(exclude),header(After:),method(exact))", "not wanted"),
    ],
    "bytes": [
        ("eventfilter", "M\udcfcller"),
        ("eventfilter", "Name: M.ller"),
        ("eventfilter(header(Utf8),method(contains))", "日本"),
        ("eventfilter(header(Controls),method(regex))", "^\x02"),
        ("eventfilter(header(Blanks),method(regex))", "^two.*after  $"),
        ("eventfilter(header(Empty),method(regex))", ".*"),
        ("eventfilter(header(NoSpace),method(exact))", "value"),
        ("eventfilter(header(Repeated),method(exact))", "last"),
        ("eventfilter(header(Event),method(exact))", "Forged"),
    ],
    "across_lines": [
        ("eventfilter", "AppData: [^:]*AccountCode"),
        ("eventfilter", "Context: lab.*Priority: [2-4]"),
        ("eventfilter", "!ChannelState: [^6].*Exten: 400"),
    ],
    "nothing": [("eventfilter(name(NoSuchEvent))", "")],
}
ODD: list[tuple[str, str | bytes]] = [
    ("Empty", ""),
    ("Blanks", "  two before, two after  "),
    ("Controls", b"\x01\x02\t\x0b\x0c\x1b\x1f\x7f"),
    ("Name", b"M\xfcller"),
    ("Name", "Müller"),
    ("HalfUtf8", b"\xe6\x97 \xf0\x9f"),
    ("Utf8", "žluťoučký 日本 \U0001f600"),
    ("Repeated", "first"),
    ("Repeated", "last"),
    ("Event", "Forged"),
    ("Privilege", "forged,all"),
    ("Linkedid", "1"),
    ("After", "not wanted"),
    ("Long", "x" * 900),
]


def cause_all_sorts_of_events(driver: Driver) -> None:
    for name, value in ODD:
        driver.user_event("Odd", (name, value), ("After", "it"))
    driver.user_event("OddAll", *ODD)
    driver.send_raw(
        b"Action: UserEvent\r\nUserEvent: OddLines\r\nNoSpace:value\r\nEmpty:\r\nNo colon\r\n\r\n"
    )
    driver.calls(32, 10)


def lines_of(filters: list[tuple[str, str]]) -> tuple[FilterLine, ...]:
    return tuple(FilterLine(criteria, pattern) for criteria, pattern in filters)


class Reading:
    """What comes on a connection, read by a thread until the answer to a ping."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.data = connection.leftover
        self._thread = threading.Thread(target=self._read, daemon=True)

    def __enter__(self) -> Reading:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.connection.socket.close()

    def events(self) -> list[bytes]:
        """Return all events that have come by now."""
        self.connection.socket.send(self.connection.ping)
        self._thread.join(30)
        assert not self._thread.is_alive()
        return events_in(self.data)

    def _read(self) -> None:
        while b"ActionID: amikafka-ping\r\n" not in self.data[-2000:]:
            select.select([self.connection.socket], [], [], 30)
            self.data += self.connection.socket.recv(1 << 20)


@pytest.mark.parametrize("debug", ["off", "on"])
def test_asterisk_sends_exactly_what_the_filters_keep_here(asterisk: Asterisk, debug: str) -> None:
    asterisk.cli(f"manager set debug {debug}")
    options = ManagerOptions(port=asterisk.port, username="filtering", secret="filtering-secret")
    with ExitStack() as stack:
        stack.callback(asterisk.cli, "manager set debug off")
        driver = stack.enter_context(asterisk.driver())
        witness = stack.enter_context(asterisk.witness())
        readings = {}
        for name, filters in SETS.items():
            connection = ManagerSource(options, lines_of(filters)).connect()
            readings[name] = stack.enter_context(Reading(connection))
            assert connection.pushed == Pushed(wanted=len(filters), taken=len(filters))
        driver.marker("begin")
        cause_all_sorts_of_events(driver)
        driver.marker("end")
        first = witness.wait_for_marker("begin")
        seen = witness.events[first : witness.wait_for_marker("end") + 1]
        came = {name: reading.events() for name, reading in readings.items()}
    assert len(seen) > 1000
    for name, events in came.items():
        keep = eventfilter(EventFilterOptions(lines=lines_of(SETS[name])))
        wanted = [event for event in seen if keep(Event(event))]
        # Before the first marker are the logins of the others.
        before, during = events[: len(events) - len(wanted)], events[len(events) - len(wanted) :]
        assert during == wanted, name
        assert not any(event in seen for event in before), name
        assert any(b"\r\nSequenceNumber: " in event for event in during) is (debug == "on" and wanted != [])
    assert sum(len(events) for events in came.values()) < 0.5 * len(seen) * len(SETS)


@pytest.mark.parametrize("name", ["excludes_of_each_kind", "both"])
def test_the_messages_of_a_daemon_that_hands_its_filters_over_are_those_of_one_that_does_not(
    asterisk: Asterisk, kafka: Kafka, topic_name: str, daemon: Daemons, name: str
) -> None:
    escaped = [(criteria, pattern.replace(";", "\\;")) for criteria, pattern in SETS[name]]
    general = "".join(f"{criteria} = {pattern}\n" for criteria, pattern in escaped)
    ways = {"pushed": PUSH, "plain": USER, "refused": "push_filters = yes"}
    topics = {way: kafka.create_topic(f"{topic_name}-{way}") for way in ways}
    subjects = {}
    for way, manager in ways.items():
        subjects[way] = daemon(topics[way], way, manager=manager)
        text = subjects[way].configuration.read_text()
        subjects[way].configure(text.replace("[kafka]", f"{general}[kafka]", 1))
        subjects[way].start()
    with (
        asterisk.driver() as driver,
        kafka.reader(topics["pushed"]) as pushed,
        kafka.reader(topics["plain"]) as plain,
        kafka.reader(topics["refused"]) as refused,
    ):
        readers = {"pushed": pushed, "plain": plain, "refused": refused}
        for way, reader in readers.items():
            wait_until_connected(subjects[way], driver, reader)
        driver.marker("begin")
        cause_all_sorts_of_events(driver)
        driver.marker("end")
        found = {}
        for way, reader in readers.items():
            wait_for_marker(reader, "end")
            records = between(reader.records, "begin", "end")
            found[way] = [(record.key, record.value) for record in records]
    count = len(SETS[name])
    assert len(found["plain"]) > 30
    assert found["pushed"] == found["plain"]
    assert found["refused"] == found["plain"]
    assert f"Asterisk filters by {count} of {count} eventfilter lines" in subjects["pushed"].log
    assert f"not apply {count} of {count} eventfilter lines (Permission denied)" in subjects["refused"].log
    assert len(subjects["pushed"].journal()) < 0.6 * len(subjects["plain"].journal())


def configuration(daemon: Daemons, topic: str, *lines: str) -> str:
    general = "\n".join(["eventfilter(name(UserEvent)) = ", *lines])
    return daemon.configuration(topic, general=general, manager=PUSH)


# The flood passes all of them; every change is another session.
CHANGES = [f"eventfilter(action(exclude),header(Number),method(exact)) = no {number}" for number in range(20)]


def test_reloads_with_other_filters_lose_nothing(
    asterisk: Asterisk, kafka: Kafka, topic: str, daemon: Daemons
) -> None:
    subject = daemon(topic)
    subject.configure(configuration(daemon, topic))
    subject.start()
    notes = subject.directory / "journal" / "journal" / "connections.jsonl"
    with asterisk.driver() as driver, kafka.reader(topic) as reader:
        wait_until_connected(subject, driver, reader)
        with Flood(driver, 5000, "reload") as flood:
            for number, change in enumerate(CHANGES, 1):
                subject.configure(configuration(daemon, topic, change))
                subject.signal(signal.SIGHUP)
                subject.wait_for(lambda: count_of(notes) > number, 20, f"connection {number}")  # noqa: B023
        wait_for_numbers(reader, range(flood.sent), "reload")
        twice = len(numbers(reader.records, "reload")) - flood.sent
    assert twice < 0.1 * flood.sent
    assert "there was no connection" not in subject.log
    assert "may be lost" not in subject.log
    assert subject.stop() == 0


def test_restarts_with_other_filters_lose_nothing(
    asterisk: Asterisk, kafka: Kafka, topic: str, daemon: Daemons
) -> None:
    subject = daemon(topic, hand_over=True)
    subject.configure(configuration(daemon, topic))
    subject.start()
    with asterisk.driver() as driver, kafka.reader(topic) as reader:
        wait_until_connected(subject, driver, reader)
        with Flood(driver, 1000, "restart") as flood:
            for number, change in enumerate(CHANGES[:4], 1):
                assert subject.stop() == 0
                driver.closed.wait(0.5)
                subject.configure(configuration(daemon, topic, change))
                subject.start()
                said = "until there is one with the options of now"
                subject.wait_for(lambda: subject.log.count(said) == number, 20, said)  # noqa: B023
                after = subject.log.rindex(said)
                subject.wait_for_log("connected: asterisk=", after=after)
        wait_for_numbers(reader, range(flood.sent), "restart")
    assert "there was no connection" not in subject.log
    assert subject.stop() == 0


def test_a_restart_with_other_filters_makes_room_where_a_user_may_be_logged_in_only_once(
    asterisk: Asterisk, kafka: Kafka, topic: str, daemon: Daemons
) -> None:
    subject = daemon(topic, hand_over=True)
    manager_conf = asterisk.directory / "etc/manager.conf"
    text = manager_conf.read_text()
    manager_conf.write_text(text.replace("[filtering]\n", "[filtering]\nallowmultiplelogin = no\n"))
    asterisk.cli("manager reload")
    try:
        subject.configure(configuration(daemon, topic))
        subject.start()
        with asterisk.driver() as driver, kafka.reader(topic) as reader:
            wait_until_connected(subject, driver, reader)
            assert subject.stop() == 0
            subject.configure(configuration(daemon, topic, CHANGES[1]))
            subject.start()
            subject.wait_for_log("closing the connection of the previous process to make room")
            wait_for(lambda: "there was no connection" in subject.log, 30, "the next connection")
            wait_until_connected(subject, driver, reader)
        assert subject.stop() == 0
    finally:
        manager_conf.write_text(text)
        asterisk.cli("manager reload")


def count_of(notes: Path) -> int:
    """Return how many connections there have been."""
    return len(notes.read_text().splitlines())


def test_a_flood_that_nobody_wants_does_not_cross_the_socket(
    asterisk: Asterisk, kafka: Kafka, topic: str, daemon: Daemons
) -> None:
    subject = daemon(topic)
    subject.configure(
        configuration(daemon, topic, "eventfilter(action(exclude),header(Series),method(exact)) = x")
    )
    subject.start()
    with asterisk.driver() as driver, kafka.reader(topic) as reader:
        wait_until_connected(subject, driver, reader)
        with Flood(driver, 1000, "x"):
            driver.closed.wait(2)
        driver.marker("end")
        wait_for_marker(reader, "end")
    assert numbers_in(subject.journal(), "x") == []

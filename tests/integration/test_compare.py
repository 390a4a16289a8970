"""`amikafka compare` of what app_ami_kafka published (see the data) and what amikafka publishes."""

from __future__ import annotations

import json
import os
import re
import shlex
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import confluent_kafka
import pytest

from amikafka_tail.cli import main
from amikafka_tail.kafka.mock import MockKafka
from amikafka_tail.kafka.topic_reader import Message
from amikafka_tail.model.identity import Identity
from tests.support.daemon import PROJECT
from tests.support.module import module_message
from tests.support.terminal import Terminal
from tests.support.waiting import BOUND
from tests.support.world import World, event

CAPTURES = PROJECT / "tests" / "data" / "captures"
FIRST_S = 1_795_426_157
"""When the recording begins."""
IDENTITY = """
[general]
format = {format}
entity_id = 00:11:22:33:44:55
system_name = pbx-01
asterisk_version = 22.10.1+dfsg+~cs6.17.60671434-1
hostname = vm
[kafka]
brokers = {brokers}
topic = {topic}
"""
STAMP = re.compile(rb'(Timestamp(?:: |":"))(\d{10})(\.\d{6})')


class Bench:
    """Both configurations, a topic for each, and the comparison as a process on a terminal."""

    def __init__(self, directory: Path, brokers: str, name: str) -> None:
        self.directory = directory
        self.module_topic, self.topic = name, f"{name}_trial"
        self.trial = directory / "ami_kafka-trial.conf"
        self.brokers = brokers
        self.configure()
        (directory / "ami_kafka.conf").write_text(f"[kafka]\nbrokers = {brokers}\ntopic = {name}\n")
        self.producer = confluent_kafka.Producer({"bootstrap.servers": brokers, "linger.ms": 5})
        for topic in (self.module_topic, self.topic):
            self.producer.produce(topic, b"the first, from before anybody reads")
        self.producer.flush()
        # The recording happens when both are read, however long it takes until then.
        self.later_s = int(time.time()) + int(BOUND) - FIRST_S

    def configure(self, format_name: str = "json") -> None:
        self.trial.write_text(IDENTITY.format(format=format_name, brokers=self.brokers, topic=self.topic))

    def compare(self, *arguments: str) -> Terminal:
        """Start it; return when it reads. Its report for programs is in a file."""
        command = [
            sys.executable, "-m", "amikafka_tail", "compare", "-c", str(self.trial), "--json",
            "--wait", "3s", *arguments,
        ]  # fmt: skip
        environment = {**os.environ, "PYTHONPATH": str(PROJECT), "AMIKAFKA_LOAD_PLUGINS": ""}
        terminal = Terminal(
            ["sh", "-c", f"exec {shlex.join(command)} > {self.directory}/report"], environment
        )
        terminal.wait_for("s left")
        return terminal

    def report(self) -> dict[str, Any]:
        values: dict[str, Any] = json.loads((self.directory / "report").read_text())
        return values

    def moved(self, text: bytes) -> bytes:
        """Return text with its events as late as if they happened now."""
        return STAMP.sub(lambda found: found[1] + b"%d" % (int(found[2]) + self.later_s) + found[3], text)

    def recorded(self) -> bytes:
        return self.moved((CAPTURES / "calls-22.ami").read_bytes())

    def captured(self) -> list[Message]:
        """Return what the module published of the recording."""
        lines = (CAPTURES / "calls-22.app_ami_kafka-json.jsonl").read_text(encoding="utf-8").splitlines()
        stream = (CAPTURES / "calls-22.ami").read_text(encoding="latin-1")
        stamps = set(re.findall(r"^Timestamp: (\S+)", stream, re.MULTILINE))
        messages = []
        for captured in map(json.loads, lines):
            if json.loads(captured["v"])["Timestamp"] not in stamps:
                continue  # the module was there a little earlier and later
            headers = dict(captured["h"])
            headers["timestamp"] = str(int(headers["timestamp"]) + self.later_s)
            messages.append(
                Message(
                    captured["p"],
                    captured["o"],
                    captured["k"].encode(),
                    [(name, value.encode()) for name, value in headers.items()],
                    self.moved(captured["v"].encode()),
                    captured["ts"] + self.later_s * 1000,
                )
            )
        return messages

    def publish(self, messages: Iterable[Message], topic: str | None = None) -> None:
        """Publish what the module does."""
        for each in messages:
            self.producer.produce(
                topic or self.module_topic,
                each.value,
                each.key,
                partition=each.partition % 4,
                headers=list(each.headers),
                timestamp=each.time_ms,
            )
            self.producer.poll(0)
        self.producer.flush()

    def replay(self, stream: bytes) -> None:
        """Publish what amikafka does."""
        path = self.directory / "recorded.ami"
        path.write_bytes(stream)
        assert main(["replay", "-c", str(self.trial), str(path)]) == 0


@pytest.fixture
def bench(
    tmp_path: Path, kafka: MockKafka, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Bench:
    monkeypatch.setenv("AMIKAFKA_LOAD_PLUGINS", "")
    monkeypatch.chdir(tmp_path)
    return Bench(tmp_path, kafka.address, re.sub("[^a-z0-9]+", "-", request.node.name)[:100])


def published(bench: Bench, messages: list[Message], stream: bytes, expected: int) -> dict[str, Any]:
    """Compare while both publish; return the report."""
    with bench.compare("--for", "12s") as terminal:
        bench.publish(messages)
        bench.replay(stream)
        assert terminal.wait_for_exit(2 * BOUND) == expected, terminal.text
    return bench.report()


def test_what_the_module_published_is_what_amikafka_publishes(bench: Bench) -> None:
    messages = bench.captured()
    report = published(bench, messages, bench.recorded(), 0)
    assert report["total"] == {
        "agree": len(messages), "known": 0, "differ": 0, "only_module": 0, "only_ours": 0,
        "byte_for_byte": len(messages),
    }  # fmt: skip
    assert len(messages) == 1555
    assert report["events"]["DialBegin"]["agree"] == 33
    assert report["module"]["messages"] == report["ours"]["messages"] == 1555
    assert report["agrees"] is True
    assert report["text"] == "1,555 events compared, all agree: the module can be switched off."


def test_it_says_exactly_what_does_not_agree(bench: Bench) -> None:
    """One event is removed, one is altered, one is there that the module did not have."""
    stream = bench.recorded()
    events = stream.split(b"\r\n\r\n")
    removed = next(number for number, each in enumerate(events) if each.startswith(b"Event: Hangup"))
    lost = events.pop(removed)
    place = next(number for number, each in enumerate(events) if each.startswith(b"Event: Newchannel"))
    events[place] = events[place].replace(b"Context: lab", b"Context: \x1b[2Jlab", 1)
    invented = b"Event: Invented\r\nPrivilege: call,all\r\n" + lost.split(b"\r\n")[2]
    events.insert(place, invented)
    report = published(bench, bench.captured(), b"\r\n\r\n".join(events), 1)
    total = report["total"]
    assert (total["agree"], total["differ"], total["only_module"], total["only_ours"]) == (1553, 1, 1, 1)
    (difference,) = report["differences"]
    assert difference["in"] == ["Context"]
    (example,) = difference["examples"]
    assert example["event"] == "Newchannel"
    assert example["differences"] == [
        {"where": "Context", "module": "lab", "ours": "\x1b[2Jlab", "known": ""}
    ]
    (alone,) = report["module"]["only_here"]
    uniqueid = re.search(rb"Uniqueid: (\S+)", lost)
    assert uniqueid is not None
    assert json.loads(alone["value"])["Uniqueid"] == uniqueid[1].decode()
    (alone,) = report["ours"]["only_here"]
    assert alone["event"] == "Invented"
    assert report["text"] == (
        "Not every event agrees: 1 event of 1,554 with differences, 1 only on the module's topic,"
        " 1 only on amikafka's."
    )


def user_events(bench: Bench) -> list[bytes]:
    lines: list[list[bytes]] = [
        [b"Plain: x"],
        [b"CallerIDName: Zo\xeb"],
        [b"Empty:", b"NoSpace:value"],
        [b"EntityID: evil", b"Event: Hangup"],
    ]
    return [
        b"\r\n".join(
            [
                b"Event: UserEvent",
                b"Privilege: user,all",
                b"Timestamp: %d.%06d" % (FIRST_S + bench.later_s, number),
                b"SystemName: pbx-01",
                b"UserEvent: Odd",
                *more,
            ]
        )
        for number, more in enumerate(lines)
    ]


def odd_messages(bench: Bench) -> list[Message]:
    """Return what the module publishes of events that carry what it cannot handle."""
    messages = []
    for number, raw in enumerate(user_events(bench)):
        made = module_message(raw, offset=number)
        version = ("asterisk_version", b"22.10.1+dfsg+~cs6.17.60671434-1")
        messages.append(
            made._replace(
                partition=number,
                headers=[version if each[0] == version[0] else each for each in made.headers],
            )
        )
    return messages


@pytest.mark.parametrize("format_name", ["json", "ami"])
def test_intended_differences_are_named_and_no_reason_to_keep_the_module(
    bench: Bench, format_name: str
) -> None:
    bench.configure(format_name)
    stream = b"".join(raw + b"\r\n\r\n" for raw in user_events(bench))
    report = published(bench, odd_messages(bench), stream, 0)
    kinds = {each["kind"]: each["events"] for each in report["known_differences"]}
    assert kinds == {
        "not-utf-8": 1,
        "no-separator": 1,
        "forged": 1,
        **({"format": 4} if format_name == "ami" else {}),
    }
    assert report["differences"] == []
    assert report["total"]["known"] == (4 if format_name == "ami" else 3)
    assert "with known differences: the module can be switched off" in report["text"]


def test_messages_of_another_pbx_and_copies_sent_again_are_left_aside(bench: Bench) -> None:
    messages = bench.captured()[:300]
    elsewhere = [
        each._replace(
            value=each.value.replace(b"00:11:22:33:44:55", b"other").replace(b"Timestamp", b"Other"),
            headers=[("entity_id", b"other"), *each.headers[1:]],
        )
        for each in messages[:50]
    ]
    with bench.compare("--for", "8s") as terminal:
        bench.publish([*messages, *elsewhere])
        bench.publish([*messages, *messages[100:150]], bench.topic)
        assert terminal.wait_for_exit(2 * BOUND) == 0, terminal.text
    report = bench.report()
    assert report["total"]["agree"] == 300
    assert report["module"]["left_aside"] == {"before": 0, "after": 0, "elsewhere": 50}
    assert report["ours"]["sent_again"] == 50


def test_it_can_be_ended_earlier_and_says_what_was_seen(bench: Bench) -> None:
    messages = bench.captured()[:200]
    with bench.compare("--for", "1h") as terminal:
        bench.publish(messages)
        bench.publish(messages, bench.topic)
        terminal.wait_for("200 agree  0 differ  0 wait")
        terminal.press("\x03")
        assert terminal.wait_for_exit(2 * BOUND) == 0, terminal.text
    assert bench.report()["total"]["agree"] == 200


def test_it_ends_with_what_was_seen_where_kafka_goes(tmp_path: Path, bench: Bench) -> None:
    """The broker that goes is one of its own."""
    kafka = MockKafka()
    own = Bench(tmp_path, kafka.address, "gone")
    messages = own.captured()[:100]
    with own.compare("--for", "10s") as terminal:
        own.publish(messages)
        own.publish(messages, own.topic)
        terminal.wait_for("100 agree")
        del kafka, own.producer
        assert terminal.wait_for_exit(2 * BOUND) == os.EX_UNAVAILABLE, terminal.text
    report = own.report()
    assert report["total"]["agree"] == 100
    assert "gone cannot be read" in report["problem"]
    assert "check that Kafka is running" in terminal.text
    assert "Traceback" not in terminal.text


def test_the_report_is_read_on_a_terminal(bench: Bench) -> None:
    command = [sys.executable, "-m", "amikafka_tail", "compare", "-c", str(bench.trial), "--for", "8s"]
    environment = {**os.environ, "PYTHONPATH": str(PROJECT), "AMIKAFKA_LOAD_PLUGINS": ""}
    messages = bench.captured()[:200]
    with Terminal(command, environment) as terminal:
        terminal.wait_for("s left")
        bench.publish(messages)
        bench.publish(messages, bench.topic)
        assert terminal.wait_for_exit(2 * BOUND) == 0
    assert "\x1b[K" in terminal.raw, "the line that says how it goes is taken away"
    lines = terminal.text.replace("\r", "\n").splitlines()
    assert "200 events compared, all agree: the module can be switched off." in lines
    assert max(map(len, lines)) <= 80


def test_the_daemon_and_the_module_side_by_side(world: World, tmp_path: Path) -> None:
    """With one configuration file the module's topic is named; the events have no time of Asterisk's."""
    world.start()
    world.carry(event(0))
    module_topic = f"{world.topic}-module"
    producer = confluent_kafka.Producer({"bootstrap.servers": world.brokers})
    producer.produce(module_topic, b"the first, from before anybody reads")
    producer.flush()
    command = [
        sys.executable, "-m", "amikafka_tail", "compare", "-c", str(world.daemon.configuration),
        "--module-topic", module_topic, "--for", "15s", "--wait", "2s",
    ]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": str(PROJECT), "AMIKAFKA_LOAD_PLUGINS": ""}
    with Terminal(command, environment) as terminal:
        terminal.wait_for("12 s left")  # what happens at the edge need not have two copies
        world.carry(b"".join(event(number) for number in range(1, 201)))
        for each in world.messages(201)[1:]:
            headers = {name: value.decode() for name, value in each.headers}
            identity = Identity(
                entity_id=headers["entity_id"],
                system_name=headers.get("system_name", ""),
                asterisk_version=headers["asterisk_version"],
                hostname=headers["hostname"],
            )
            raw = event(int(json.loads(each.value)["Number"])).removesuffix(b"\r\n\r\n")
            made = module_message(raw, each.timestamp_ms + 3, identity=identity)
            producer.produce(
                module_topic, made.value, made.key, headers=list(made.headers), timestamp=made.time_ms
            )
        producer.flush()
        assert terminal.wait_for_exit(2 * BOUND) == 0, terminal.text
    assert "200 events compared, all agree: the module can be switched off." in terminal.text

"""The whole daemon as a process, between a stand-in for Asterisk and librdkafka's mock broker."""

from __future__ import annotations

import json
from pathlib import Path

from amikafka_tail.kafka.mock import Received, read_topic
from tests.fakes.ami_server import AmiServer
from tests.support.daemon import Daemon
from tests.support.waiting import BOUND, wait_for

CONFIGURATION = """
[general]
format = {format}
entity_id = 00:11:22:33:44:55
hostname = vm

[kafka]
brokers = {brokers}
topic = {topic}
linger_ms = 5

[manager]
host = 127.0.0.1
port = {port}
username = amikafka
secret = s3cret
timeout = {timeout}
keepalive = 1

[journal]
directory = @HERE@/journal
max_bytes = 256m
segment_bytes = 1m
fsync_interval = 0.05
"""


def event(number: int, *lines: str) -> bytes:
    """Return a numbered event, with the empty line at its end."""
    text = ["Event: Numbered", "Privilege: call,all", f"Number: {number}", *lines, "", ""]
    return "\r\n".join(text).encode()


class World:
    """One Asterisk, one Kafka with a topic of this test's own, one daemon."""

    def __init__(self, directory: Path, asterisk: AmiServer, brokers: str, topic: str) -> None:
        self.asterisk = asterisk
        self.brokers = brokers
        self.topic = topic
        self.daemon = Daemon(directory, self.configuration())
        self._connected = 0

    def configuration(self, **changes: object) -> str:
        fields = {"format": "json", "brokers": self.brokers, "topic": self.topic, "port": self.asterisk.port}
        return CONFIGURATION.format(**{**fields, "timeout": 30, **changes})

    def start(self) -> None:
        """Start the daemon; return when it is connected."""
        self.daemon.start()
        self.wait_until_connected()

    def wait_until_connected(self) -> None:
        said = "connected: asterisk="
        self.daemon.wait_for(lambda: self.daemon.log.count(said) > self._connected, BOUND, "a connection")
        self._connected = self.daemon.log.count(said)

    @property
    def checkpoint(self) -> int:
        """The stored checkpoint, -1 where there is none yet."""
        path = self.daemon.directory / "journal" / "checkpoint.json"
        return int(json.loads(path.read_text())["offset"]) if path.exists() else -1

    def carry(self, data: bytes) -> None:
        """Let Asterisk send something; return when it is delivered, and the checkpoint says so."""
        self.asterisk.send(data)
        self.wait_until_recorded(data[-100:])
        segments = self.daemon.directory / "journal" / "journal"

        def delivered() -> bool:
            last = max(segments.glob("*.log"), default=None)
            return last is not None and self.checkpoint == int(last.stem) + last.stat().st_size

        self.daemon.wait_for(delivered, BOUND, "the checkpoint at the journal's end")

    def wait_until_recorded(self, data: bytes) -> None:
        self.daemon.wait_for(lambda: data in self.daemon.journal_end(), BOUND, f"{data!r} in the journal")

    def messages(self, count: int, topic: str | None = None) -> list[Received]:
        """Wait until there are so many messages on the topic; return all there are."""

        def enough() -> list[Received] | None:
            found = list(read_topic(self.brokers, topic or self.topic, idle=0.3))
            return found if len(found) >= count else None

        return wait_for(enough, BOUND, f"{count} messages") or []

    def numbers(self, count: int) -> list[int]:
        """Return the numbers of all messages, at least `count`."""
        return [int(json.loads(message.value)["Number"]) for message in self.messages(count)]

    @property
    def dead_letters(self) -> list[dict[str, str]]:
        path = self.daemon.directory / "journal" / "dead-letter.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

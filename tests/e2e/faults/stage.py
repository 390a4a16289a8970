"""A real Asterisk, a real Kafka, the daemon between them in a network of its own, and a load to count."""

from __future__ import annotations

import os
import random
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from asterisk import Asterisk
from chroot import asterisk_root
from counts import Arrivals, Keeper, Load, Tally, set_aside
from kafka import Kafka, kafka_jars
from network import Network

from tests.support.daemon import Daemon
from tests.support.waiting import wait_for

PARTITIONS = 3
DISK = "192m"
TOPIC = "faults"
SECURED = """
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
allow.everyone.if.no.acl.found=true
super.users=User:ANONYMOUS
early.start.listeners=CONTROLLER
sasl.enabled.mechanisms=PLAIN
listener.name.clients.plain.sasl.jaas.config=\\
  org.apache.kafka.common.security.plain.PlainLoginModule required user_pbx="pbx-secret";
"""
CONFIGURATION = """
[general]
entity_id = 00:11:22:33:44:55
format = ami
[kafka]
brokers = {brokers}
topic = {topic}
key = Number
gap_events = yes
event_id = yes
{delivery}
reconnect_backoff_max_ms = 1000
security_protocol = sasl_plaintext
sasl_mechanisms = PLAIN
sasl_username = pbx
sasl_password = pbx-secret
[manager]
host = {host}
port = {port}
username = amikafka
secret = amikafka-secret
keepalive = 2
timeout = 3
[journal]
directory = @HERE@/disk
segment_bytes = 4m
max_bytes = 128m
"""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What one fault did."""

    fault: str
    seconds: float
    """From its end until what happened then, and everything that was recorded, had arrived."""
    raised: int
    """Events that happened meanwhile."""
    not_recorded: int
    """Of them, those that Asterisk had nobody to give to."""
    again: int
    """Messages that came more than once."""
    set_aside: int
    """Events that went to the dead letters."""
    gaps: int
    """AmikafkaGap events on the topic."""


class Broken(AssertionError):
    """A promise was not kept."""


class Stage:
    """All of it. `close` ends it, whatever state it is in."""

    def __init__(self, directory: Path, *, nodes: int, exactly_once: bool, rate: float, seed: int) -> None:
        self.chance = random.Random(seed)
        self.exactly_once = exactly_once
        self.destroyed: set[int] = set()
        self._directory = directory
        self._closing: list[Callable[[], object]] = []
        self._set_aside: set[int] = set()
        try:
            self._open(nodes, rate)
        except BaseException:
            self.close()
            raise

    def _open(self, nodes: int, rate: float) -> None:
        jars, root = kafka_jars(), asterisk_root()
        self.network = Network()
        self._closing.append(self.network.remove)
        self.kafka = Kafka(
            jars,
            self._directory / "kafka",
            nodes=nodes,
            host=self.network.kafka.host,
            protocol="SASL_PLAINTEXT",
            more=SECURED,
        )
        self._closing.append(self.kafka.kill)
        self.kafka.start()
        self.topic = self.kafka.create_topic(TOPIC, PARTITIONS)
        self.asterisk = Asterisk(
            root, f"faults-{os.getpid()}", host=self.network.ami.host, permit="10.99.0.0/255.255.0.0"
        )
        self._closing.append(self.asterisk.remove)
        self.start_asterisk()
        self.daemon = Daemon(
            self._directory / "daemon",
            CONFIGURATION.format(
                brokers=self.kafka.secured,
                topic=self.topic,
                delivery="delivery = exactly_once" if self.exactly_once else "",
                host=self.network.ami.host,
                port=self.asterisk.port,
            ),
            hand_over=True,
            prefix=self.network.prefix,
        )
        self._closing.append(self.daemon.close)
        self.disk = self.daemon.directory / "disk"
        self.disk.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK}", "faults", self.disk], check=True)
        self._closing.append(lambda: subprocess.run(["umount", "-l", self.disk], check=False))
        self.daemon.start()
        self.daemon.wait_for_log("connected: asterisk=")
        self.keeper = Keeper(self.disk / "journal")
        self._closing.append(self.keeper.stop)
        self.arrivals = Arrivals(self.kafka.bootstrap, self.topic, committed=self.exactly_once)
        self._closing.append(self.arrivals.stop)
        self.load = Load(self.asterisk.driver, rate)
        self._closing.append(self.load.stop)
        self.load.start()
        wait_for(lambda: self.arrivals.arrived.total, 60, "the first event in Kafka")

    def start_asterisk(self) -> None:
        """Start it, with numbers on its events."""
        self.asterisk.start()
        self.asterisk.cli("manager set debug on")

    @property
    def recorded(self) -> Tally:
        """What came into the journal."""
        return self.keeper.recorded

    def missing(self) -> list[int]:
        """Return the numbers that were recorded and have not arrived."""
        self.keeper.look()
        arrived, recorded = self.arrivals.arrived.counts, self.recorded.counts
        size = max(len(arrived), len(recorded))
        there = bytes(recorded) + bytes(size - len(recorded))
        here = bytes(arrived) + bytes(size - len(arrived))
        if not any(map(_lost, there, here)):
            return []
        return [
            number
            for number, pair in enumerate(zip(there, here, strict=True))
            if _lost(*pair) and number not in self._set_aside and number not in self.destroyed
        ]

    def go_through(self, fault: str, inflict: Callable[[Stage], None], bound: float) -> Outcome:
        """Let a fault happen; see that all promises are kept after it. Raises `Broken`."""
        raised, recorded = self.load.sent, self.recorded.distinct
        again = self.again
        gaps, aside = len(self.arrivals.gaps), len(self._set_aside)
        try:
            inflict(self)
        finally:
            self.network.heal()
        begin = time.monotonic()
        self._live_again(fault, bound)
        self._catch_up(fault, bound)
        seconds = time.monotonic() - begin
        outcome = Outcome(
            fault=fault,
            seconds=seconds,
            raised=self.load.sent - raised,
            not_recorded=max(0, self.load.sent - raised - (self.recorded.distinct - recorded)),
            again=self.again - again,
            set_aside=len(self._set_aside) - aside,
            gaps=len(self.arrivals.gaps) - gaps,
        )
        for partition, before, after in self.arrivals.out_of_order:
            if after not in self._set_aside:  # that one Kafka may take when the journal is sent once more
                raise Broken(f"{fault}: partition {partition}: {after} came after {before}")
        if self.exactly_once and self.again:
            raise Broken(f"{fault}: {self.again} messages came twice")
        return outcome

    def _live_again(self, fault: str, bound: float) -> None:
        """Wait until something that happens from now on arrives."""
        next_one = self.load.sent
        end = time.monotonic() + bound
        while not any(self.arrivals.arrived.counts[next_one : next_one + 1_000_000]):
            if time.monotonic() > end:
                raise Broken(f"{fault}: nothing new has arrived for {bound:g} s\n{self.daemon.tail()}")
            if not self.daemon.running:
                raise Broken(f"{fault}: the daemon has ended\n{self.daemon.tail()}")
            self._pause(0.1)

    @property
    def again(self) -> int:
        """Messages that came once more."""
        return self.arrivals.arrived.total - self.arrivals.arrived.distinct

    def _catch_up(self, fault: str, bound: float) -> None:
        """Wait until what was recorded until now has arrived."""
        self.load.pause()
        try:
            end = time.monotonic() + bound
            quiet = 0
            while quiet < 3:
                self._set_aside |= set_aside(self.disk / "dead-letter.jsonl")
                missing = self.missing()
                quiet = 0 if missing else quiet + 1
                if time.monotonic() > end:
                    raise Broken(
                        f"{fault}: {len(missing)} recorded events are not in Kafka after {bound:g} s: first"
                        f" {missing[:5]}, last {missing[-5:]}\n{self.daemon.tail()}"
                    )
                if not self.daemon.running:
                    raise Broken(f"{fault}: the daemon has ended\n{self.daemon.tail()}")
                self._pause(0.1)
        finally:
            self.load.resume()

    def catch_up(self) -> None:
        """Wait, with no load, until everything has arrived."""
        self._catch_up("a pause", 60)

    def let_pass(self, least: float, most: float | None = None) -> None:
        """Let a fault last so many seconds, or a random time between two."""
        self._pause(least if most is None else self.chance.uniform(least, most))

    def _pause(self, seconds: float) -> None:
        time.sleep(seconds)

    def close(self) -> None:
        """End everything, the last first."""
        while self._closing:
            self._closing.pop()()


def _lost(recorded: int, arrived: int) -> bool:
    return recorded > 0 and arrived == 0

"""The real Apache Kafka: KRaft nodes on loopback, from the jars that Maven fetches once."""

from __future__ import annotations

import base64
import signal
import socket
import subprocess
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TypeVar

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from machine import fetched, free_port, need_program

from tests.support.waiting import wait_for

T = TypeVar("T")
JAVA_OPTIONS = ("-Xms128m", "-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData")
LOG4J = """
rootLogger.level = warn
rootLogger.appenderRef.out.ref = out
appender.out.type = Console
appender.out.name = out
appender.out.layout.type = PatternLayout
appender.out.layout.pattern = [%d] %p %m (%c)%n
"""
PROPERTIES = """
process.roles=broker,controller
node.id={node}
controller.quorum.voters={voters}
listeners=PLAINTEXT://{host}:{port},CLIENTS://{host}:{secured},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://{host}:{port},CLIENTS://{host}:{secured}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,CLIENTS:{protocol}
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
log.dirs={data}
num.network.threads=2
num.io.threads=2
default.replication.factor={copies}
min.insync.replicas={least}
offsets.topic.replication.factor={copies}
offsets.topic.num.partitions=1
transaction.state.log.replication.factor={copies}
transaction.state.log.min.isr={least}
transaction.state.log.num.partitions=1
share.coordinator.state.topic.replication.factor={copies}
share.coordinator.state.topic.min.isr={least}
group.initial.rebalance.delay.ms=0
broker.heartbeat.interval.ms=500
broker.session.timeout.ms=2000
replica.lag.time.max.ms=5000
auto.create.topics.enable={auto_create}
{more}
"""


def kafka_jars() -> Path:
    """Return the directory with the broker's jars, fetched now if it is not there."""
    return fetched("kafka")


@dataclass(frozen=True, kw_only=True)
class Record:
    """One message as a consumer gets it."""

    partition: int
    offset: int
    key: bytes | None
    headers: list[tuple[str, bytes]]
    value: bytes
    timestamp: int


class Broker:
    """One node, broker and controller, that can be stopped, killed and started again with what it held."""

    def __init__(self, jars: Path, directory: Path, properties: str, cluster: str, address: str) -> None:
        self.log = directory / "kafka.log"
        self._host, _, port = address.rpartition(":")
        self._port = int(port)
        self._class_path = f"{jars}/*"
        self._properties = directory / "server.properties"
        self._log4j = directory / "log4j2.properties"
        self._process: subprocess.Popen[bytes] | None = None
        directory.mkdir(parents=True, exist_ok=True)
        self._log4j.write_text(LOG4J)
        self._properties.write_text(properties)
        # With "=": one in 64 begins with "-".
        format_storage = ("format", f"--cluster-id={cluster}", "-c", str(self._properties))
        done = subprocess.run(
            self._java("kafka.tools.StorageTool", *format_storage), capture_output=True, timeout=60
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def _java(self, *arguments: str) -> list[str]:
        log4j = f"-Dlog4j2.configurationFile={self._log4j}"
        java = need_program("java", "default-jre-headless")
        return [java, *JAVA_OPTIONS, log4j, "-cp", self._class_path, *arguments]

    @property
    def running(self) -> bool:
        """Whether its process is there."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start it, if it is not running. Returns at once."""
        if self.running:
            return
        with self.log.open("ab") as out:
            self._process = subprocess.Popen(
                self._java("kafka.Kafka", str(self._properties)),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )

    def listening(self) -> bool:
        """Tell whether somebody could connect."""
        assert self.running, f"Kafka ended: {self.log.read_text(errors='replace')[-2000:]}"
        with socket.socket() as probe:
            return probe.connect_ex((self._host, self._port)) == 0

    def stop(self) -> None:
        """Shut it down in order."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it as a crash would."""
        self._end(signal.SIGKILL)

    def pause(self) -> None:
        """Make it hang: its connections stay, and nothing answers."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on after `pause`."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def _end(self, how: signal.Signals) -> None:
        if self._process is None:
            return
        self._process.send_signal(how)
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None


class Kafka:
    """A cluster of one node or more, of which all topics have as many copies as there are nodes.

    At `bootstrap` everybody may do everything; at `secured`, the listener CLIENTS, `protocol` is spoken.
    `more` are properties of the brokers.
    """

    def __init__(
        self,
        jars: Path,
        directory: Path,
        *,
        nodes: int = 1,
        host: str = "127.0.0.1",
        auto_create: bool = False,
        protocol: str = "PLAINTEXT",
        more: str = "",
    ) -> None:
        ports = [free_port() for _ in range(nodes)]
        secured = [free_port() for _ in range(nodes)]
        controllers = [free_port() for _ in range(nodes)]
        self.bootstrap = ",".join(f"{host}:{port}" for port in ports)
        self.secured = ",".join(f"{host}:{port}" for port in secured)
        cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        self.brokers = []
        for node, (port, controller) in enumerate(zip(ports, controllers, strict=True), 1):
            place = directory if nodes == 1 else directory / str(node)
            properties = PROPERTIES.format(
                node=node,
                voters=",".join(f"{each}@127.0.0.1:{at}" for each, at in enumerate(controllers, 1)),
                host=host,
                port=port,
                secured=secured[node - 1],
                protocol=protocol,
                controller=controller,
                data=place / "data",
                copies=nodes,
                least=min(2, nodes),
                auto_create=str(auto_create).lower(),
                more=more,
            )
            self.brokers.append(Broker(jars, place, properties, cluster, f"{host}:{port}"))

    @property
    def log(self) -> Path:
        """What the first node prints."""
        return self.brokers[0].log

    @property
    def port(self) -> int:
        """The first node's."""
        return int(self.bootstrap.partition(",")[0].rpartition(":")[2])

    @property
    def running(self) -> bool:
        """Whether all its processes are there."""
        return all(broker.running for broker in self.brokers)

    def start(self) -> None:
        """Start what is not running, and wait until all serve."""
        if self.running:
            return
        for broker in self.brokers:
            broker.start()
        wait_for(
            lambda: all(broker.listening() for broker in self.brokers), 120, f"Kafka, see {self.log}", 0.1
        )
        admin = self.admin()
        wait_for(lambda: _serving(admin) == len(self.brokers), 90, f"Kafka to serve, see {self.log}", 0.1)

    def stop(self) -> None:
        """Shut it down in order."""
        for broker in self.brokers:
            broker.stop()

    def kill(self) -> None:
        """End it as a crash would."""
        for broker in self.brokers:
            broker.kill()

    def pause(self) -> None:
        """Make it hang: its connections stay, and nothing answers."""
        for broker in self.brokers:
            broker.pause()

    def resume(self) -> None:
        """Let it go on after `pause`."""
        for broker in self.brokers:
            broker.resume()

    def admin(self) -> AdminClient:
        """Return a client for administration."""
        return AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 0})

    def create_topic(self, name: str, partitions: int = 1) -> str:
        """Create a topic and wait until it can be used; return its name."""
        admin = self.admin()
        for done in admin.create_topics([NewTopic(name, partitions, len(self.brokers))]).values():
            done.result(30)
        wait_for(lambda: _leaders(admin, name) == partitions, 30, f"topic {name}")
        return name

    def reader(self, topic: str, *, committed: bool = False) -> TopicReader:
        """Return a reader of a topic from its beginning; with `committed` of what was committed alone."""
        return TopicReader(self.bootstrap, topic, committed=committed)

    def read(self, topic: str) -> list[Record]:
        """Return all that a topic holds now, by partition and offset."""
        with self.reader(topic) as reader:
            reader.catch_up()
            return sorted(reader.records, key=lambda record: (record.partition, record.offset))


class TopicReader:
    """Reads a topic from its beginning; `records` grows with each wait, in order within a partition."""

    def __init__(self, bootstrap: str, topic: str, *, committed: bool = False) -> None:
        self.records: list[Record] = []
        self._topic = topic
        self._read_to: dict[int, int] = {}
        self._consumer = Consumer(
            {
                "bootstrap.servers": bootstrap,
                "group.id": f"e2e-{uuid.uuid4()}",
                "enable.auto.commit": False,
                "enable.partition.eof": True,
                "isolation.level": "read_committed" if committed else "read_uncommitted",
                "log_level": 0,
            }
        )
        partitions = self._consumer.list_topics(topic, timeout=20).topics[topic].partitions
        self._partitions = sorted(partitions)
        self._consumer.assign([TopicPartition(topic, partition, 0) for partition in self._partitions])

    def __enter__(self) -> TopicReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._consumer.close()

    def poll(self, timeout: float = 0.1) -> int:
        """Take what has come; return how many records that were."""
        before = len(self.records)
        for message in self._consumer.consume(2000, timeout):
            error = message.error()
            if error is not None and error.code() == KafkaError._PARTITION_EOF:
                self._read_to[message.partition()] = message.offset()
            if error is None:
                self.records.append(
                    Record(
                        partition=message.partition(),
                        offset=message.offset(),
                        key=message.key(),
                        headers=message.headers() or [],
                        value=message.value() or b"",
                        timestamp=message.timestamp()[1],
                    )
                )
        return len(self.records) - before

    def wait_for_record(self, wanted: Callable[[Record], bool], timeout: float, what: str) -> Record:
        """Read until a record is what is wanted; return it. Looks at those already read, too."""
        looked_at = 0

        def found() -> Record | None:
            nonlocal looked_at
            self.poll()
            while looked_at < len(self.records):
                looked_at += 1
                if wanted(self.records[looked_at - 1]):
                    return self.records[looked_at - 1]
            return None

        try:
            return wait_for(found, timeout, what, 0)
        except TimeoutError as error:
            raise TimeoutError(f"{error}; {len(self.records)} messages are in {self._topic}") from None

    def wait_for_all(self, missing: set[T], found_in: Callable[[Record], T], timeout: float) -> None:
        """Read until each of `missing` has been found; those that have are taken out of the set."""

        def seen(record: Record) -> bool:
            missing.discard(found_in(record))
            return not missing

        if missing:
            self.wait_for_record(seen, timeout, f"{len(missing)} messages in Kafka")

    def catch_up(self, timeout: float = 60) -> None:
        """Read up to what the topic holds now."""
        ends = {}
        for partition in self._partitions:
            low, high = self._consumer.get_watermark_offsets(
                TopicPartition(self._topic, partition), timeout=20
            )
            if high > low:
                ends[partition] = high

        def reached() -> bool:
            self.poll()
            # The last record may be the mark of a transaction, which no consumer is given.
            return all(self._read_to.get(partition, -1) >= end for partition, end in ends.items())

        wait_for(reached, timeout, f"all of {self._topic}", 0)


def _serving(admin: AdminClient) -> int:
    try:
        return len(admin.list_topics(timeout=2).brokers)
    except KafkaException:
        return 0


def _leaders(admin: AdminClient, topic: str) -> int:
    try:
        found = admin.list_topics(topic, timeout=5).topics[topic]
    except KafkaException:
        return 0
    return sum(partition.leader >= 0 for partition in found.partitions.values())

"""The faults, by name. Each is a function of the stage; what it breaks it mends again."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ResourcePatternType,
    ResourceType,
)
from kafka import Broker
from stage import Stage

from tests.support.waiting import wait_for

Fault = Callable[[Stage], None]
FAULTS: dict[str, Fault] = {}
CLUSTER: set[str] = set()
"""Those that need more than one broker."""


def fault(function: Fault) -> Fault:
    """Take a fault into the list, under its name with dashes."""
    FAULTS[function.__name__.replace("_", "-")] = function
    return function


def cluster_fault(function: Fault) -> Fault:
    """The same for one that needs a cluster."""
    CLUSTER.add(function.__name__.replace("_", "-"))
    return fault(function)


# The daemon.


@fault
def daemon_killed(stage: Stage) -> None:
    """kill -9, and a new process some time later."""
    stage.daemon.kill()
    stage.let_pass(0, 2)
    stage.daemon.start()
    stage.let_pass(0, 2)


@fault
def daemon_killed_often(stage: Stage) -> None:
    """Five kills, some of them before it has really begun."""
    for _ in range(5):
        stage.daemon.kill()
        stage.daemon.start()
        stage.let_pass(0.1, 1.5)


@fault
def daemon_restarted(stage: Stage) -> None:
    """As `systemctl restart` and a package upgrade do."""
    assert stage.daemon.stop() == 0
    stage.daemon.start()


@fault
def daemon_frozen(stage: Stage) -> None:
    """SIGSTOP."""
    stage.daemon.signal(signal.SIGSTOP)
    stage.let_pass(4, 30)
    stage.daemon.signal(signal.SIGCONT)


@fault
def reload_storm(stage: Stage) -> None:
    """Many SIGHUPs in a second."""
    for _ in range(20):
        stage.daemon.signal(signal.SIGHUP)
        stage.let_pass(0.05)


# Kafka.


@cluster_fault
def leader_killed(stage: Stage) -> None:
    """The broker that leads a partition crashes."""
    _leader(stage).kill()
    stage.let_pass(2, 8)
    stage.kafka.start()


@fault
def brokers_killed(stage: Stage) -> None:
    """All of them crash."""
    stage.kafka.kill()
    stage.let_pass(1, 5)
    stage.kafka.start()


@fault
def brokers_restarted(stage: Stage) -> None:
    """All of them are shut down in order and started again."""
    stage.kafka.stop()
    stage.let_pass(0, 2)
    stage.kafka.start()


@fault
def broker_hangs(stage: Stage) -> None:
    """One stops answering, and its connections stay."""
    broker = stage.chance.choice(stage.kafka.brokers)
    broker.pause()
    try:
        stage.let_pass(4, 12)
    finally:
        broker.resume()


@cluster_fault
def not_enough_replicas(stage: Stage) -> None:
    """More copies are asked for than there are brokers left."""
    _set_topic(stage, {"min.insync.replicas": "3"})
    broker = _leader(stage)
    broker.kill()
    stage.let_pass(4, 8)
    stage.kafka.start()
    _set_topic(stage, {"min.insync.replicas": "2"})


@fault
def topic_deleted(stage: Stage) -> None:
    """The topic is deleted, after everybody has read it, and created again some time later."""
    stage.catch_up()
    stage.load.pause()
    stage.catch_up()
    stage.load.pause()
    stage.arrivals.stop()
    admin = stage.kafka.admin()
    admin.delete_topics([stage.topic])[stage.topic].result(30)
    stage.load.resume()
    stage.let_pass(2, 6)
    wait_for(lambda: stage.topic not in admin.list_topics(timeout=5).topics, 30, "the topic to be gone")
    stage.kafka.create_topic(stage.topic, 3)
    stage.arrivals.begin()


@fault
def messages_too_large(stage: Stage) -> None:
    """The topic takes no more than 40 kB, and some events have more."""
    _set_topic(stage, {"max.message.bytes": "40000"})
    stage.load.large_every = 500
    stage.let_pass(4)
    stage.load.large_every = 0
    stage.catch_up()
    _set_topic(stage, {"max.message.bytes": "1048588"})


@fault
def writing_denied(stage: Stage) -> None:
    """An ACL keeps the daemon from writing to the topic."""
    denied = _acl(stage, AclOperation.WRITE, AclPermissionType.DENY)
    admin = stage.kafka.admin()
    for created in admin.create_acls([denied]).values():
        created.result(20)
    stage.let_pass(3, 6)
    of_topic = AclBindingFilter(
        ResourceType.TOPIC,
        stage.topic,
        ResourcePatternType.LITERAL,
        None,
        None,
        AclOperation.ANY,
        AclPermissionType.ANY,
    )
    for deleted in admin.delete_acls([of_topic]).values():
        deleted.result(20)


# The network.


@fault
def kafka_cut_off(stage: Stage) -> None:
    """The cable to Kafka is taken out."""
    stage.network.kafka.cut()
    stage.let_pass(3, 10)


@fault
def kafka_slow(stage: Stage) -> None:
    """The network to Kafka is slow, and loses packets."""
    stage.network.kafka.slow_down()
    stage.let_pass(5, 10)


@fault
def kafka_half_open(stage: Stage) -> None:
    """Packets to and from Kafka vanish."""
    stage.network.kafka.swallow()
    stage.let_pass(5, 15)


@fault
def ami_cut_off(stage: Stage) -> None:
    """The cable to Asterisk is taken out for longer than the daemon waits."""
    stage.network.ami.cut()
    stage.let_pass(7, 10)


@fault
def ami_slow(stage: Stage) -> None:
    """The network to Asterisk is slow, and loses packets: nothing may be lost."""
    stage.network.ami.slow_down()
    stage.let_pass(4, 8)


@fault
def ami_half_open(stage: Stage) -> None:
    """Packets to and from Asterisk vanish."""
    stage.network.ami.swallow()
    stage.let_pass(7, 10)


# Asterisk.


@fault
def asterisk_killed(stage: Stage) -> None:
    """It crashes and comes back; its numbers begin again."""
    stage.asterisk.kill()
    stage.let_pass(0, 2)
    stage.start_asterisk()


@fault
def session_kicked(stage: Stage) -> None:
    """Asterisk closes the daemon's session under load."""
    _kick(stage)
    stage.let_pass(1, 2)


@fault
def manager_user_removed(stage: Stage) -> None:
    """The manager user is taken out of manager.conf, and put back later."""
    path = stage.asterisk.directory / "etc/manager.conf"
    text = path.read_text()
    path.write_text(text.replace("[amikafka]", "[somebody-else]"))
    stage.asterisk.cli("manager reload")
    _kick(stage)
    stage.let_pass(3, 6)
    path.write_text(text)
    stage.asterisk.cli("manager reload")


# The disk.


@fault
def disk_full(stage: Stage) -> None:
    """Somebody fills the disk to its last byte, and gives it back later; Kafka is away meanwhile."""
    ballast = stage.disk / "ballast"
    stage.network.kafka.cut()
    try:
        with ballast.open("wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(1 << 16))
            except OSError:
                pass
        stage.let_pass(3, 8)
        stage.network.heal()
        stage.let_pass(1, 3)
    finally:
        ballast.unlink()


@fault
def disk_read_only(stage: Stage) -> None:
    """The journal's disk is read-only when a process starts; it is mended, and the next one starts."""
    stage.daemon.kill()
    _remount(stage, "ro")
    try:
        stage.daemon.start()
        assert stage.daemon.wait_for_exit(20) == 73
    finally:
        _remount(stage, "rw")
    stage.daemon.start()


@fault
def checkpoint_spoilt(stage: Stage) -> None:
    """The checkpoint is overwritten with garbage while no process runs."""
    stage.daemon.kill()
    path = stage.disk / "checkpoint.json"
    path.write_bytes(stage.chance.randbytes(path.stat().st_size))
    stage.daemon.start()
    stage.daemon.wait_for((stage.disk / "checkpoint.json.damaged").exists, 20, "it to be noticed")


@fault
def checkpoint_cut_short(stage: Stage) -> None:
    """The checkpoint loses its end while no process runs."""
    stage.daemon.kill()
    path = stage.disk / "checkpoint.json"
    path.write_bytes(path.read_bytes()[: stage.chance.randrange(path.stat().st_size - 2)])
    stage.daemon.start()


@fault
def segment_cut_short(stage: Stage) -> None:
    """The last segment loses its end while no process runs: what was only there is lost, and nothing else."""
    stage.daemon.kill()
    stage.keeper.look()
    before = set(stage.missing())
    segment = max((stage.disk / "journal").glob("*.log"))
    size = max(0, segment.stat().st_size - stage.chance.randrange(10, 5000))
    with segment.open("r+b") as file:
        file.truncate(size)
    stage.keeper.cut(segment.name, size)
    stage.daemon.start()
    stage.destroyed |= before


def _leader(stage: Stage) -> Broker:
    admin = stage.kafka.admin()
    leader = admin.list_topics(stage.topic, timeout=20).topics[stage.topic].partitions[0].leader
    return stage.kafka.brokers[leader - 1]


def _set_topic(stage: Stage, values: dict[str, str]) -> None:
    resource = ConfigResource(
        ConfigResource.Type.TOPIC,
        stage.topic,
        incremental_configs=[
            ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
            for name, value in values.items()
        ],
    )
    admin = stage.kafka.admin()
    for done in admin.incremental_alter_configs([resource]).values():
        done.result(30)


def _acl(stage: Stage, operation: AclOperation, permission: AclPermissionType) -> AclBinding:
    return AclBinding(
        ResourceType.TOPIC,
        stage.topic,
        ResourcePatternType.LITERAL,
        "User:pbx",
        "*",
        operation,
        permission,
    )


def _kick(stage: Stage) -> None:
    connected = stage.asterisk.cli("manager show connected") or ""
    for line in connected.splitlines():
        fields = line.split()
        if fields and fields[0] == "amikafka":
            stage.asterisk.cli(f"manager kick session {fields[4]}")


def _remount(stage: Stage, how: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{how}", Path(stage.disk)], check=True)

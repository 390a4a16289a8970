"""The commands `amikafka kafka status` and `kafka send-test` (as in res_kafka), and `topic create`."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from typing import TypeVar

from amikafka_tail.commands import test_record
from amikafka_tail.commands.status.command import AddCommand
from amikafka_tail.config import settings
from amikafka_tail.config.settings import Settings
from amikafka_tail.kafka.cluster import Cluster, can_connect
from amikafka_tail.model.advice import for_configuration
from amikafka_tail.model.errors import ClusterError
from amikafka_tail.model.humanize import counted, span
from amikafka_tail.plugins import loader

T = TypeVar("T")
Configure = Callable[[argparse.ArgumentParser], None]


def add_to(add: AddCommand, add_configuration: Configure) -> None:
    """Add the commands to the command line."""
    kafka = add("kafka", show, "show the state of Kafka, or send a test event").add_subparsers(
        title="commands", metavar="COMMAND", required=True
    )
    text = "show the brokers and the topic's partitions"
    showing = kafka.add_parser("status", help=text, description=text)
    showing.set_defaults(command=show)
    text = "publish one event AmikafkaTest and wait until Kafka acknowledges it"
    sending = kafka.add_parser("send-test", help=text, description=text)
    sending.set_defaults(command=send_test)
    topics = add("topic", create, "create the topic").add_subparsers(
        title="commands", metavar="COMMAND", required=True
    )
    text = "create the topic that [kafka] topic names"
    creating = topics.add_parser("create", help=text, description=text)
    creating.set_defaults(command=create)
    creating.add_argument(
        "--partitions", type=int, default=6, metavar="N", help="how many partitions (default: 6)"
    )
    creating.add_argument(
        "--replicas",
        type=int,
        default=-1,
        metavar="N",
        help="replicas of each partition (default: the brokers' default)",
    )
    creating.add_argument(
        "--retention",
        type=_retention,
        metavar="TIME",
        help="how long Kafka keeps events: 12h, 7d, or forever (default: the brokers' default)",
    )
    for each in (showing, sending, creating):
        add_configuration(each)


def show(options: argparse.Namespace) -> int:
    """Print the brokers and the topic."""
    configuration = _settings(options)
    cluster = Cluster(configuration.properties)
    state = _explained(options, lambda: cluster.look(configuration.topic))
    protocol = configuration.properties.get("security.protocol", "plaintext")
    print(f"{configuration.properties['bootstrap.servers']} ({protocol})\n")
    print(f"{'BROKER':<8}{'ADDRESS':<40}STATE")
    reachable = True
    for node in state.nodes:
        problem = can_connect(node)
        reachable = reachable and problem is None
        role = ", controller" if node.number == state.controller else ""
        print(f"{node.number:<8}{node!s:<40}{problem or 'up'}{role}")
    print()
    if state.parts is None:
        print(f'Topic "{configuration.topic}" does not exist: {state.topic_problem}')
        print(for_configuration("To create it: amikafka topic create", options.configuration))
        return 1
    print(f'Topic "{configuration.topic}"')
    print(f"{'PARTITION':<11}{'LEADER':<8}{'REPLICAS':<16}IN SYNC")
    for part in state.parts:
        replicas, in_sync = (",".join(map(str, each)) for each in (part.replicas, part.in_sync))
        leader = part.leader if part.leader >= 0 else "none"
        print(f"{part.number:<11}{leader!s:<8}{replicas:<16}{in_sync}")
    for name, value in cluster.settings(configuration.topic).items():
        print(f"{name} = {value}")
    return 0 if reachable and all(part.leader >= 0 for part in state.parts) else 1


def send_test(options: argparse.Namespace) -> int:
    """Publish one record."""
    configuration = _settings(options)
    record = test_record.make(configuration, loader.load())
    cluster = Cluster(configuration.properties)
    sent = _explained(
        options, lambda: cluster.send(configuration.topic, record.value, record.key, record.headers)
    )
    print(
        f"{record.name} was sent to {configuration.topic}, partition {sent.partition}, offset {sent.offset};"
        f" acknowledged after {span(sent.seconds)}"
    )
    return 0


def create(options: argparse.Namespace) -> int:
    """Create the topic."""
    configuration = _settings(options)
    values = {} if options.retention is None else {"retention.ms": str(options.retention)}
    cluster = Cluster(configuration.properties)
    _explained(
        options,
        lambda: cluster.create(
            configuration.topic, partitions=options.partitions, replicas=options.replicas, settings=values
        ),
    )
    copies = "" if options.replicas < 0 else f", {counted(options.replicas, 'replica')} each"
    print(f'Topic "{configuration.topic}" created: {counted(options.partitions, "partition")}{copies}')
    return 0


def _explained(options: argparse.Namespace, work: Callable[[], T]) -> T:
    """Call `work`; add to an error what to do about it."""
    try:
        return work()
    except ClusterError as error:
        raise error.explained(options.configuration) from error


def _retention(text: str) -> int:
    """Parse a span of time for retention.ms, in ms; -1 is forever."""
    if text == "forever":
        return -1
    found = re.fullmatch(r"(\d+)([mhd])", text)
    if found is None:
        raise argparse.ArgumentTypeError(f'"{text}" is not a time such as 90m, 12h or 7d')
    return int(found[1]) * {"m": 60_000, "h": 3_600_000, "d": 86_400_000}[found[2]]


def _settings(options: argparse.Namespace) -> Settings:
    return settings.load(options.configuration, loader.load(), need_source=False)

"""What administers a cluster, with the least that confluent-kafka offers: version 1.7.0, Debian 12's own."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import pytest
from confluent_kafka.admin import AdminClient

from amikafka_tail.kafka import checkpoint_topic, cluster
from amikafka_tail.kafka.mock import MockKafka


class Admin170(AdminClient):
    """Takes properties and nothing else."""

    def __init__(self, conf: Mapping[str, Any]) -> None:
        super().__init__(conf)


@pytest.fixture(autouse=True)
def oldest(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (checkpoint_topic, cluster):
        monkeypatch.setattr(module, "AdminClient", Admin170)


def test_the_topic_of_checkpoints_is_asked_for(kafka: MockKafka) -> None:
    topic = checkpoint_topic.CheckpointTopic(
        {"bootstrap.servers": kafka.address}, topic="a.checkpoints", key=b"a", logger=logging.getLogger("a")
    )
    topic.create(5)  # the mock broker does not know how, which is no error


def test_a_topic_is_looked_at_and_asked_for(kafka: MockKafka) -> None:
    found = cluster.Cluster({"bootstrap.servers": kafka.address}, seconds=5)
    assert found.settings("a") == {}
    with pytest.raises(cluster.ClusterError, match="a was not created"):
        found.create("a", partitions=1, replicas=1, settings={})

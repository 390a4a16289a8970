"""One daemon for each test that asks for a `world`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from amikafka_tail.kafka.mock import MockKafka
from tests.fakes.ami_server import AmiServer
from tests.support.world import World


@pytest.fixture(scope="module")
def kafka() -> MockKafka:
    return MockKafka()


@pytest.fixture
def asterisk() -> Iterator[AmiServer]:
    with AmiServer() as server:
        yield server


@pytest.fixture
def world(
    tmp_path: Path, asterisk: AmiServer, kafka: MockKafka, request: pytest.FixtureRequest
) -> Iterator[World]:
    topic = re.sub("[^a-z0-9]+", "-", request.node.name)[:100]
    made = World(tmp_path, asterisk, kafka.address, topic)
    yield made
    made.daemon.close()

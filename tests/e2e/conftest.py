"""Fixtures: a real Asterisk, a real Kafka, and the daemon between them."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from asterisk import Asterisk
from chroot import asterisk_root
from daemon import Daemon
from expected import Origin
from kafka import Kafka, kafka_jars
from waiting import Unavailable

StartDaemon = Callable[..., Daemon]


def _or_skip(make: Callable[[], Path]) -> Path:
    """Return what `make` returns; where the machine cannot have it skip, saying why, but fail in CI."""
    try:
        return make()
    except Unavailable as error:
        if os.environ.get("CI") == "true":
            pytest.fail(f"CI must run this test: {error}")
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def asterisk() -> Iterator[Asterisk]:
    """An Asterisk that runs; the tests of a session share it."""
    asterisk = Asterisk(_or_skip(asterisk_root), f"e2e-{os.getpid()}")
    try:
        asterisk.start()
        yield asterisk
    finally:
        asterisk.remove()


@pytest.fixture(scope="session")
def origin(asterisk: Asterisk) -> Origin:
    """What every message says of this Asterisk."""
    with asterisk.driver() as driver:
        version = driver.request("CoreSettings")["AsteriskVersion"]
    return Origin(entity_id=asterisk.entity_id, system_name=asterisk.system_name, asterisk_version=version)


@pytest.fixture(scope="session")
def _broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kafka]:
    kafka = Kafka(_or_skip(kafka_jars), tmp_path_factory.mktemp("kafka"))
    try:
        yield kafka
    finally:
        kafka.kill()


@pytest.fixture
def kafka(_broker: Kafka) -> Kafka:
    """A Kafka that runs and does not create topics by itself; the tests of a session share it."""
    _broker.start()
    return _broker


@pytest.fixture
def topic_name(request: pytest.FixtureRequest, _numbers: Iterator[int]) -> str:
    """A topic's name of this test alone; nobody has created it."""
    return f"{re.sub('[^a-z0-9]+', '-', request.node.name.lower())[:60]}-{next(_numbers)}"


@pytest.fixture(scope="session")
def _numbers() -> Iterator[int]:
    return itertools.count(1)


@pytest.fixture
def topic(kafka: Kafka, topic_name: str) -> str:
    """A topic of this test alone, with one partition, so that all of it has one order."""
    return kafka.create_topic(topic_name)


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[StartDaemon]:
    """Makes daemons, not yet started: `daemon(text, name="json", hand_over=False)`; ends them all."""
    made: list[Daemon] = []

    def make(configuration: str, name: str = "daemon", *, hand_over: bool = False) -> Daemon:
        made.append(Daemon(tmp_path / name, configuration, hand_over=hand_over))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture
def configuration(asterisk: Asterisk, _broker: Kafka) -> Callable[..., str]:
    """Makes the text of ami_kafka.conf: `configuration(topic, general="key = linkedid")` adds a line.

    The journal is `journal` in the daemon's own directory.
    """

    def text(topic: str, *, secret: str = asterisk.secret, **more: str) -> str:
        sections = {
            "general": f"entity_id = {asterisk.entity_id}",
            "kafka": f"brokers = {_broker.bootstrap}\ntopic = {topic}\nlinger_ms = 5",
            "manager": f"port = {asterisk.port}\nusername = {asterisk.user}\nsecret = {secret}",
            "journal": "directory = journal",
        }
        names = [*sections, *(name for name in more if name not in sections)]
        return "".join(f"[{name}]\n{sections.get(name, '')}\n{more.get(name, '')}\n\n" for name in names)

    return text

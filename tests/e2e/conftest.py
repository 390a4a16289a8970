"""Fixtures: a real Asterisk, a real Kafka, and the daemon between them."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest
from asterisk import Asterisk
from chroot import asterisk_root
from kafka import Kafka, kafka_jars

from tests.support.daemon import Daemon
from tests.support.waiting import Unavailable

T = TypeVar("T")


def or_skip(make: Callable[[], T], *, required: bool = True) -> T:
    """Return what `make` returns; where the machine cannot have it skip, saying why.

    In CI what is `required` fails instead.
    """
    try:
        return make()
    except Unavailable as error:
        if required and os.environ.get("CI") == "true":
            pytest.fail(f"CI must run this test: {error}")
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def asterisk() -> Iterator[Asterisk]:
    """An Asterisk that runs; the tests of a session share it."""
    asterisk = Asterisk(or_skip(asterisk_root), f"e2e-{os.getpid()}")
    try:
        asterisk.start()
        yield asterisk
    finally:
        asterisk.remove()


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kafka]:
    kafka = Kafka(or_skip(kafka_jars), tmp_path_factory.mktemp("kafka"))
    try:
        yield kafka
    finally:
        kafka.kill()


@pytest.fixture
def kafka(broker: Kafka) -> Kafka:
    """A Kafka that runs and does not create topics by itself; the tests of a session share it."""
    broker.start()
    return broker


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


class Daemons:
    """Makes daemons that are not started yet, each in a directory of its own, and ends them all."""

    def __init__(self, directory: Path, asterisk: Asterisk, kafka: Kafka) -> None:
        self._directory = directory
        self._asterisk = asterisk
        self.kafka = kafka
        self._made: list[Daemon] = []

    def __call__(self, topic: str, name: str = "daemon", *, hand_over: bool = False, **more: str) -> Daemon:
        """Make one. `more` is for `configuration`, `hand_over` for `Daemon`."""
        made = Daemon(self._directory / name, self.configuration(topic, **more), hand_over=hand_over)
        self._made.append(made)
        return made

    def configuration(self, topic: str, **more: str) -> str:
        """Return the text of ami_kafka.conf; `more` adds lines to sections: `kafka="key = linkedid"`.

        A line of an option that is there already takes its place.
        """
        sections = {
            "general": {"entity_id": self._asterisk.entity_id},
            "kafka": {"brokers": self.kafka.bootstrap, "topic": topic, "linger_ms": "5"},
            "manager": {
                "host": "127.0.0.1",
                "port": str(self._asterisk.port),
                "username": self._asterisk.user,
                "secret": self._asterisk.secret,
            },
            "journal": {"directory": "@HERE@/journal"},
        }
        for name, lines in more.items():
            for line in lines.splitlines():
                key, _, value = line.partition(" = ")
                sections.setdefault(name, {})[key] = value
        return "\n".join(
            "\n".join([f"[{name}]", *(f"{key} = {value}" for key, value in options.items())]) + "\n"
            for name, options in sections.items()
        )

    def close(self) -> None:
        """End them all."""
        for made in self._made:
            made.close()


@pytest.fixture
def daemon(tmp_path: Path, asterisk: Asterisk, broker: Kafka) -> Iterator[Daemons]:
    """Makes daemons between the two: `daemon(topic)` is one, not yet started."""
    daemons = Daemons(tmp_path, asterisk, broker)
    yield daemons
    daemons.close()

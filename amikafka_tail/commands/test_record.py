"""The test record: an event AmikafkaTest, made like any other message."""

from __future__ import annotations

import socket
import time
from typing import NamedTuple

from amikafka_tail.config.settings import Settings
from amikafka_tail.delivery import build
from amikafka_tail.model.event import Event
from amikafka_tail.model.payload import Headers, unpack
from amikafka_tail.plugins.registry import Registry

NAME = "AmikafkaTest"


class Record(NamedTuple):
    """One message."""

    name: str
    key: bytes | None
    value: bytes
    headers: Headers


def make(settings: Settings, registry: Registry) -> Record:
    """Make it in the configured format, with the usual headers. Raises `AmikafkaError`."""
    messages = build.messages(settings, registry)
    envelope, render = messages.route(messages.fallback)
    now = time.time()
    lines = (
        f"Event: {NAME}",
        "Privilege: system,all",
        f"Timestamp: {now:.6f}",
        f"Host: {socket.gethostname()}",
        "Message: a test of the path from amikafka to Kafka",
    )
    event = Event("\r\n".join(lines).encode(), 0, int(now * 1000))
    key, headers, _ = envelope(event)
    value = render(event)
    if type(value) is not bytes:
        value, headers = unpack(value, headers)
    return Record(NAME, key, value, headers)

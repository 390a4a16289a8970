"""Runs events through the whole pipeline in memory and returns the messages."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from amikafka_tail.ami.events import begins_event
from amikafka_tail.ami.framing import END
from amikafka_tail.config import settings
from amikafka_tail.delivery import build
from amikafka_tail.delivery.pipeline import Pipeline
from amikafka_tail.delivery.printer import Message
from amikafka_tail.intake.recording import Recording
from amikafka_tail.intake.stream_reader import StreamReader
from amikafka_tail.journal.dead_letters import DeadLetters
from amikafka_tail.model.counters import Counters
from amikafka_tail.model.event import Event
from amikafka_tail.plugins import loader


@dataclass(frozen=True)
class Published:
    """The result of publishing events."""

    messages: list[Message]
    dead_letters: list[dict[str, Any]]
    """The lines of the dead-letter file."""
    counters: Counters


PONG = b"Response: Success\r\nPing: Pong"


class _Collector:
    """Takes the place of the producer."""

    has_room = True
    fatal: str | None = None

    def __init__(self, messages: list[Message]) -> None:
        self._messages = messages

    def __len__(self) -> int:
        return 0

    def produce(self, *message: Any) -> None:
        topic, value, key, _partition, _callback, _on_delivery, timestamp_ms, headers = message
        self._messages.append(Message(topic, key, value, list(headers), timestamp_ms))

    def poll(self, _seconds: float = 0) -> int:
        return 0

    def has_leaders(self, _topic: str, _seconds: float) -> bool:
        """Return true."""
        return True

    def purge(self) -> None:
        pass

    def discard(self) -> None:
        pass


def _block(event: Event | bytes) -> bytes:
    raw = event.raw if isinstance(event, Event) else event
    # After a response, a block is never taken for the rest of the previous event.
    return (b"" if begins_event(raw) else PONG + END) + raw + END


def publish(
    configuration: str, events: Iterable[Event | bytes], directory: Path, *, seconds: float = 30
) -> Published:
    """Publish events with the text of an ami_kafka.conf, without Asterisk and Kafka; return the result.

    `directory` gets the configuration, the events and the dead letters; it may contain `ami_kafka.d` with a
    plugin's options. Blocks until everything is published. Raises `TimeoutError` after `seconds`, and
    `AmikafkaError` for problems of the configuration or a plugin.
    """
    path = directory / "ami_kafka.conf"
    path.write_text(configuration, encoding="utf-8")
    stream = directory / "events.ami"
    stream.write_bytes(b"".join(map(_block, events)))
    registry = loader.load()
    configured = settings.load(path, registry, need_source=False)
    messages: list[Message] = []
    counters = Counters()
    letters = directory / "dead-letter.jsonl"
    letters.unlink(missing_ok=True)
    made = build.messages(configured, registry)
    recording = Recording(stream.open("rb"), stream.name)
    pipeline = Pipeline(
        StreamReader(recording, 0, counters=counters),
        messages=made,
        connect=lambda batch_size=None: _Collector(messages),  # noqa: ARG005, there are no batches
        dead_letters=DeadLetters(letters),
        counters=counters,
        clock=time.monotonic,
    )
    until = time.monotonic() + seconds
    try:
        while not pipeline.exhausted:
            if not pipeline.step():
                if time.monotonic() > until:
                    raise TimeoutError(f"not published after {seconds} s: a plugin is still waiting")
                time.sleep(0.005)
    finally:
        recording.close()
    dead = letters.read_text().splitlines() if letters.exists() else []
    return Published(messages, [json.loads(line) for line in dead], counters)

"""Sends captured streams through the pipeline, to Kafka or to standard output."""

from __future__ import annotations

import json
import logging
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, BinaryIO, TextIO

from amikafka_tail.ami.framing import END
from amikafka_tail.delivery.attempts import Connect
from amikafka_tail.delivery.messages import Messages
from amikafka_tail.delivery.pipeline import Pipeline
from amikafka_tail.intake.recording import Recording
from amikafka_tail.journal.dead_letters import DeadLetters
from amikafka_tail.journal.dead_letters import read as read_letters
from amikafka_tail.journal.durable import replace_file
from amikafka_tail.journal.segment import CaptureTime
from amikafka_tail.model.counters import Counters
from amikafka_tail.model.errors import DeliveryFailed, InputError
from amikafka_tail.model.replayable_source import Reader

log = logging.getLogger("amikafka.replay")


class Letters(Recording):
    """The events of a dead-letter file, as one captured stream.

    Raises `InputError` if it is not a dead-letter file.
    """

    def __init__(self, file: BinaryIO, name: str) -> None:
        stream = tempfile.TemporaryFile()  # noqa: SIM115, it is this object's own
        self._capture_times: list[CaptureTime] = []
        try:
            passed_over = 0
            for letter in read_letters(file, name):
                if letter.kind != "refused":
                    passed_over += 1  # half an event can never be published
                    continue
                self._capture_times.append(CaptureTime(stream.tell(), letter.captured_ms))
                stream.write(letter.raw + END)
            stream.flush()
        except InputError:
            stream.close()
            raise
        finally:
            file.close()
        if passed_over:
            log.warning("%s: %d entries are not complete events and are skipped", name, passed_over)
        super().__init__(stream, name)

    def capture_times(self, start: int, end: int) -> list[CaptureTime]:
        """Return when each of the events was read from Asterisk."""
        return [moment for moment in self._capture_times if start <= moment.offset < end]


class Progress:
    """A progress line on standard error, if that is a terminal."""

    def __init__(self, out: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self._out = out if out.isatty() else None
        self._clock = clock
        self._started = clock()
        self._next = self._started

    def show(self, done: int, total: int, events: int) -> None:
        """Draw the line, a few times per second."""
        now = self._clock()
        if self._out is None or now < self._next:
            return
        self._next = now + 0.2
        seconds = max(now - self._started, 1e-6)
        left = seconds * (total - done) / done if done else 0.0
        share = done / max(total, 1)
        bar = ("#" * int(share * 30)).ljust(30)
        self._out.write(
            f"\r[{bar}] {share:4.0%}  {events} events  {events / seconds:.0f}/s  {left:.0f} s left "
        )
        self._out.flush()

    def clear(self) -> None:
        """Erase the line."""
        if self._out is not None:
            self._out.write("\r\033[K")
            self._out.flush()


class Bookmark:
    """A file with the position of a replay, to resume from there. Deleted when the replay is complete."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._clock = clock
        self._next = 0.0

    def load(self) -> dict[str, Any] | None:
        """Return the stored position, `None` if there is none. Raises `InputError`."""
        try:
            return dict(json.loads(self._path.read_bytes()))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError) as error:
            raise InputError(f"{self._path}: is not the position of a replay: {error}") from error

    def note(self, place: Callable[[], dict[str, Any] | None]) -> None:
        """Store a position, at most once per second."""
        if self._clock() >= self._next:
            self._next = self._clock() + 1.0
            self.store(place)

    def store(self, place: Callable[[], dict[str, Any] | None]) -> None:
        """Store a position now."""
        if (found := place()) is not None:
            replace_file(self._path, json.dumps(found).encode() + b"\n")

    def remove(self) -> None:
        """Delete the file: the replay is complete."""
        self._path.unlink(missing_ok=True)


def replay(
    inputs: Sequence[tuple[str, Reader]],
    *,
    messages: Messages,
    connect: Connect,
    dead_letters: DeadLetters,
    counters: Counters,
    out: TextIO,
    delivered: Callable[[int], None] = lambda _position: None,
) -> None:
    """Publish every event of the inputs, in order; return when all are delivered. Blocks.

    What cannot be published goes to the dead letters and is counted. `delivered` is called from time to time
    with the offset up to which everything of the current input is delivered.

    Raises `DeliveryFailed` where Kafka refuses one event after another, which a person has to mend: nobody
    waits for that in front of a command. What is not delivered then is still in the inputs.
    """
    progress = Progress(out)
    done = 0
    try:
        for index, (name, reader) in enumerate(inputs):
            pipeline = Pipeline(
                reader,
                messages=messages,
                connect=connect,
                dead_letters=dead_letters,
                counters=counters,
                clock=time.monotonic,
            )
            while not pipeline.exhausted:
                if not pipeline.step():
                    pipeline.take_reports(0.05)
                if pipeline.is_held_up:
                    pipeline.producer.discard()
                    delivered(pipeline.ledger.position)
                    raise DeliveryFailed(f"{pipeline.trouble}; the events that are left were not sent")
                total = done + sum(each.end for _, each in inputs[index:])
                progress.show(done + pipeline.ledger.position, total, counters.events)
                delivered(pipeline.ledger.position)
            pipeline.producer.discard()
            done += reader.end
            if (partial := pipeline.partial).strip():
                at, reason = reader.end - len(partial), f"cut off by the end of {name}"
                dead_letters.keep(partial, position=at, reason=reason, kind="torn")
                counters.torn += 1
                counters.dead_letters += 1
                log.warning("%s: ends in the middle of an event: %r", name, partial[:80])
    finally:
        progress.clear()

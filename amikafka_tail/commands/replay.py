"""Pushes captured streams through the pipeline: to Kafka, or to standard output to look at."""

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
from amikafka_tail.model.errors import InputError
from amikafka_tail.model.replayable_source import Reader

log = logging.getLogger("amikafka.replay")


class Letters(Recording):
    """The events of a dead-letter file, as if they had been captured one behind the other.

    Raises `InputError` where the file is none.
    """

    def __init__(self, file: BinaryIO, name: str) -> None:
        stream = tempfile.TemporaryFile()  # noqa: SIM115, it is this object's own
        self._capture_times: list[CaptureTime] = []
        try:
            passed_over = 0
            for letter in read_letters(file, name):
                if letter.kind != "refused":
                    passed_over += 1  # half an event is none, whatever was mended
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
            log.warning("%s: %d entries are no whole events and are passed over", name, passed_over)
        super().__init__(stream, name)

    def capture_times(self, start: int, end: int) -> list[CaptureTime]:
        """Return when each of the events was read from Asterisk."""
        return [moment for moment in self._capture_times if start <= moment.offset < end]


class Progress:
    """A line on a terminal that says how far it is; nothing where standard error is not one."""

    def __init__(self, out: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self._out = out if out.isatty() else None
        self._clock = clock
        self._started = clock()
        self._next = self._started

    def show(self, done: int, total: int, events: int) -> None:
        """Draw the line, some times a second."""
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
        """Take the line away."""
        if self._out is not None:
            self._out.write("\r\033[K")
            self._out.flush()


class Bookmark:
    """A file that says how far a replay is, so that it can go on there. Gone when the replay has ended."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._clock = clock
        self._next = 0.0

    def load(self) -> dict[str, Any] | None:
        """Return what an earlier run noted, `None` where there is nothing. Raises `InputError`."""
        try:
            return dict(json.loads(self._path.read_bytes()))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError) as error:
            raise InputError(f"{self._path}: is no note of a replay: {error}") from error

    def note(self, place: Callable[[], dict[str, Any] | None]) -> None:
        """Note a place, once a second."""
        if self._clock() >= self._next:
            self._next = self._clock() + 1.0
            if (found := place()) is not None:
                replace_file(self._path, json.dumps(found).encode() + b"\n")

    def remove(self) -> None:
        """The replay has ended."""
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

    What cannot be published is in the dead letters and in the counts. `delivered` is told now and then up to
    which offset of the present input all is delivered.
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

"""What each stage costs an event, in CPU time, in one process per way to run amikafka.

    python -m benchmarks stages

The stages of one process are measured by turns, some thousand events at a time. What Asterisk itself spends
on legacy filters (native/filters.c) is measured over the same events, between those processes.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from amikafka_tail.ami.framing import END, Framer
from amikafka_tail.config import settings
from amikafka_tail.delivery import build
from amikafka_tail.delivery.ledger import DeliveryToken, Ledger
from amikafka_tail.delivery.messages import Messages
from amikafka_tail.intake.stream_reader import CHUNK, StreamReader
from amikafka_tail.journal.journal import Journal
from amikafka_tail.kafka.producer import Producer
from amikafka_tail.model.counters import Counters
from amikafka_tail.model.event import Event
from amikafka_tail.model.identity import Identity
from amikafka_tail.plugins import loader
from benchmarks import native
from benchmarks.figures import Table, figure, say
from benchmarks.filter_sets import LEGACY, SETS
from benchmarks.harness import BOUND, Setting, mock_kafka, recorded_events
from benchmarks.plan import Plan
from benchmarks.subjects import Subject

FORMATS = ("json", "ami", "avro")
MOVES = {"journal: splice and note, 32 KiB at once": CHUNK, "journal: splice and note, event by event": 0}
Stage = Callable[[], float]
"""Runs once over all events; returns the nanoseconds of CPU that each took."""


def _timed(work: Callable[[], int]) -> Stage:
    """Make a stage of work that returns how many events it was."""

    def stage() -> float:
        begin = time.process_time_ns()
        count = work()
        return (time.process_time_ns() - begin) / count

    return stage


def _configured(directory: Path, brokers: str, **changes: Any) -> settings.Settings:
    path = directory / "ami_kafka.conf"
    path.write_text(Setting(brokers=brokers, **changes).text(directory))
    return settings.load(path, loader.load())


def _messages(directory: Path, brokers: str, **changes: str) -> Messages:
    return build.messages(_configured(directory, brokers, **changes), loader.load())


class _Moves:
    """Moves events from a socket through a pipe into a journal, as the recorder does."""

    def __init__(self, directory: Path, blocks: list[bytes], at_once: int) -> None:
        self._journal = Journal(directory, segment_bytes=1 << 26, max_bytes=1 << 27)
        self._near, self._far = socket.socketpair()
        self._near.setblocking(False)
        self._out, self._in = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        whole = b"".join(blocks)
        self._parts = (
            [whole[start : start + at_once] for start in range(0, len(whole), at_once)] if at_once else blocks
        )
        self._count = len(blocks)

    def __call__(self) -> float:
        """Return the time of the moves alone: what is sent is sent between them."""
        spent = 0
        flags = os.SPLICE_F_NONBLOCK | os.SPLICE_F_MOVE
        for part in self._parts:
            self._far.sendall(part)
            begin = time.process_time_ns()
            left = len(part)
            while left:
                moved = os.splice(self._near.fileno(), self._in, left, flags=flags)
                self._journal.splice_from(self._out, moved, time.time_ns() // 1_000_000)
                left -= moved
            spent += time.process_time_ns() - begin
        self._journal.release(self._journal.end)
        return spent / self._count


class _Producing:
    """Sends messages: the time of produce(), of taking reports, and of librdkafka's own threads."""

    def __init__(self, producer: Producer, messages: list[tuple[Any, ...]]) -> None:
        self._producer = producer
        self._messages = messages
        self._ledger = Ledger(0)
        self.polling: list[float] = []
        self.behind: list[float] = []

    def __call__(self) -> float:
        produce, poll = self._producer.produce, self._producer.poll
        report = DeliveryToken(self._ledger.open(0, 1))
        began = time.process_time_ns()
        begin = time.thread_time_ns()
        for value, key, moment_ms, headers in self._messages:
            produce("bench", value, key, -1, report, report, moment_ms, headers)
        produced = time.thread_time_ns() - begin
        del report
        while len(self._producer):
            time.sleep(0.002)
            poll(0)
        # From here the reports are all there is to take.
        used, mine = time.process_time_ns() - began, time.thread_time_ns() - begin
        count = len(self._messages)
        self.polling.append((mine - produced) / count)
        self.behind.append((used - mine) / count)
        return produced / count


def _stages(directory: Path, brokers: str, rounds: int) -> Iterator[tuple[str, list[float]]]:
    """Measure every stage `rounds` times, by turns."""
    blocks = recorded_events() * 5
    stream = b"".join(blocks)
    chunks = [stream[start : start + CHUNK] for start in range(0, len(stream), CHUNK)]
    raws = [block[: -len(END)] for block in blocks]
    events = [Event(raw, 0, 1_795_426_158_000 + index // 100) for index, raw in enumerate(raws)]

    def frame() -> int:
        framer = Framer()
        return sum(len(framer.feed(chunk)) for chunk in chunks)

    def make_events() -> int:
        return len([Event(raw, 0, 0) for raw in raws])

    journal = Journal(directory / "read", segment_bytes=1 << 26, max_bytes=1 << 28)
    journal.begin_connection(
        Identity(entity_id="a", system_name="pbx-01", asterisk_version="22.10.1", hostname="h"), 1
    )
    for chunk in chunks:
        journal.append(chunk, 1)

    def read() -> int:
        reader = StreamReader(journal, 0, counters=Counters())
        found = 0
        while (chunk := reader.read()) is not None:
            found += len(list(chunk.events))
        return found

    def each(function: Callable[[Event], object]) -> Stage:
        def work() -> int:
            for event in events:
                function(event)
            return len(events)

        return _timed(work)

    plain = _messages(directory, brokers)
    route = plain.route(plain.fallback)
    ids = _messages(directory, brokers, kafka="event_id = yes")
    stages: dict[str, Stage] = {
        "framing": _timed(frame),
        "Event": _timed(make_events),
        "reader (reads, frames, makes Events)": _timed(read),
        "envelope (key, 8 headers, time)": each(route.envelope),
        "envelope with event_id": each(ids.route(ids.fallback).envelope),
    }
    for name, lines in SETS.items():
        choose = _messages(directory, brokers, general="\n".join(lines)).choose
        if choose is not None:
            assert all(map(choose, events)), f"{name} took an event away"
            stages[f"filters: {name}"] = each(choose)
    for name in FORMATS:
        registry = loader.load()
        if name in registry.names("format"):
            made = _messages(directory, brokers, format=name)
            stages[f"format {name}"] = each(made.route(made.fallback).render)
    for name, at_once in MOVES.items():
        stages[name] = _Moves(directory / name.replace(" ", "-"), blocks[:2000], at_once)
    producer = build.producer(_configured(directory, brokers))
    sent = [(route.render(event), *_around(route.envelope(event))) for event in events[:4000]]
    producing = _Producing(producer, sent)
    stages["produce() with 8 headers"] = producing

    found: dict[str, list[float]] = {name: [] for name in stages}
    for number in range(rounds + 1):
        for name, stage in stages.items():
            nanoseconds = stage()
            if number:  # the first finds nothing in any cache
                found[name].append(nanoseconds)
    yield from found.items()
    yield "poll: letting go of what is delivered", producing.polling[1:]
    yield "librdkafka's own threads", producing.behind[1:]
    journal.close()


def _around(envelope: tuple[bytes | None, Any, int]) -> tuple[bytes | None, int, Any]:
    key, headers, moment_ms = envelope
    return key, moment_ms, headers


def run(plan: Plan) -> list[Table]:
    """Measure each subject in a process of its own, and Asterisk's legacy filters between them."""
    found: dict[str, dict[str, list[float]]] = {subject.name: {} for subject in plan.subjects}
    asterisk: list[float] = []
    program = native.build("filters", plan.directory)
    events = plan.directory / "events"
    events.write_bytes(b"".join(recorded_events()))
    for turn in range(plan.turns):
        for subject in plan.subjects if turn % 2 == 0 else plan.subjects[::-1]:
            say(f"stages: {subject.name}")
            for stage, values in _in_process(subject, plan.rounds).items():
                found[subject.name].setdefault(stage, []).append(statistics.median(values))
        if program:
            done = subprocess.run([program, events, "5", *LEGACY], check=True, capture_output=True, text=True)
            *times, passed = map(float, done.stdout.split())
            assert passed == len(recorded_events()), "a filter took an event away"
            asterisk.append(statistics.median(times))
    names = [subject.name for subject in plan.subjects]
    table = Table(
        "stages",
        "What each stage costs, ns of CPU per event",
        ("stage", *names),
        ("", *[".0f"] * len(names)),
        f"{len(recorded_events())} recorded events of {_mean():.0f} bytes on average, over and over; medians"
        f" of {plan.turns} processes by turns.",
    )
    for stage in found[names[0]]:
        table.add(stage, *(figure(found[name][stage]) if stage in found[name] else "-" for name in names))
    for stage in {stage for stages in found.values() for stage in stages} - set(found[names[0]]):
        table.add(stage, *(figure(found[name][stage]) if stage in found[name] else "-" for name in names))
    if asterisk:
        table.add("10 legacy filters in Asterisk's own way (C)", figure(asterisk), *["-"] * (len(names) - 1))
    return [table]


def _mean() -> float:
    return statistics.mean(map(len, recorded_events()))


def _in_process(subject: Subject, rounds: int) -> dict[str, list[float]]:
    environment = subject.environment(plugins=",".join(subject.plugins & set(FORMATS)))
    done = subprocess.run(
        subject.command("-m", "benchmarks.stages", str(rounds)),
        env=environment,
        stdout=subprocess.PIPE,
        check=False,
        timeout=BOUND,
    )
    if done.returncode:
        raise RuntimeError(f"the stages of {subject.name} could not be measured")
    measured: dict[str, list[float]] = json.loads(done.stdout)
    return measured


def main() -> None:
    logging.getLogger("amikafka").setLevel(logging.ERROR)
    with mock_kafka() as brokers, tempfile.TemporaryDirectory(prefix="amikafka-bench-") as name:
        json.dump(dict(_stages(Path(name), brokers, int(sys.argv[1]))), sys.stdout)


if __name__ == "__main__":
    main()

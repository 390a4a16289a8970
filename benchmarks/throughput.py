"""How many events a second the whole daemon carries, at what CPU: socket, journal, ledger, headers, reports.

    python -m benchmarks headline
    python -m benchmarks variants

The daemon, the player of recorded events and Kafka are processes of their own. A run begins when all are
connected and a few thousand events have gone through, and ends when the checkpoint says that every byte is
delivered. By turns with it run two others: native/reference.c, a bare loop that does the module's work, and
`kcat -P`, which publishes each event as it is.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

from benchmarks import native
from benchmarks.figures import Table, by_turns, figure, ratio, say
from benchmarks.filter_sets import SETS
from benchmarks.harness import (
    BOUND,
    WARM_UP,
    WARM_UP_SECONDS,
    Daemon,
    Setting,
    cpu_seconds,
    events_of_size,
    memory_mb,
    one_kafka,
    player,
    recorded_events,
)
from benchmarks.plan import Plan
from benchmarks.subjects import Subject

HEADLINE_EVENTS, VARIANT_EVENTS = 400_000, 150_000
SIZES = {200: 200_000, 500: VARIANT_EVENTS, 2_000: 60_000, 20_000: 12_000}
CODECS = ("none", "lz4", "zstd")
LOGIN = b"Action: Login\r\n\r\nAction: Events\r\n\r\nAction: Ping\r\n\r\n"
HEADERS = ("entity_id=00:11:22:33:44:55", "system_name=pbx-01", "asterisk_version=22.10.1", "event_type=x")
MORE_HEADERS = ("event_category=call", "format=ami", "timestamp=1795426158", "hostname=vm")
REFERENCE, KCAT = "C reference", "kcat -P"
COLUMNS = ("", "events/s", "CPU per event, µs", "events/s to the reference's", "CPU to the reference's")


class Run(NamedTuple):
    events_per_second: float
    microseconds_per_event: float
    peak_mb: float


Way = Callable[[], Run]


def measure(
    subject: Subject, count: int, setting: Setting, events: Sequence[bytes], kafka: str | None
) -> Run:
    """Carry `count` events once with amikafka."""
    with (
        one_kafka(kafka) as brokers,
        player(list(events), count) as asterisk,
        tempfile.TemporaryDirectory(prefix="amikafka-bench-") as name,
        Daemon(
            subject, Path(name), replace(setting, brokers=brokers, port=asterisk.port, topic=_topic(kafka))
        ) as daemon,
    ):
        assert daemon.process is not None
        time.sleep(WARM_UP_SECONDS)
        recorded = daemon.recorded()
        before = cpu_seconds(daemon.process.pid)
        asterisk.go()
        started = asterisk.finish()[0]
        size = sum(map(len, events)) * (count // len(events)) + sum(map(len, events[: count % len(events)]))
        finished = daemon.wait_until_delivered(recorded + size)
        cpu = cpu_seconds(daemon.process.pid) - before
        peak = memory_mb(daemon.process.pid)
    return Run(count / (finished - started), cpu / count * 1e6, peak)


def measure_reference(
    binary: Path, count: int, events: Sequence[bytes], kafka: str | None, *properties: str
) -> Run:
    """Let the C reference carry `count` events once."""
    with one_kafka(kafka) as brokers, player(list(events), count) as asterisk:
        command = [str(binary), str(asterisk.port), brokers, _topic(kafka), str(WARM_UP + count), *properties]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            time.sleep(WARM_UP_SECONDS)
            before = cpu_seconds(process.pid)
            asterisk.go()
            started = asterisk.finish()[0]
            said, _ = process.communicate(timeout=BOUND)
            finished, cpu, _ = map(float, said.split())
    return Run(count / (finished - started), (cpu - before) / count * 1e6, 0)


def measure_kcat(count: int, events: Sequence[bytes], kafka: str | None, *properties: str) -> Run:
    """Let kcat publish the same stream: each event one message with eight headers, nothing looked at."""
    # Not with its escapes: kcat 1.7.1 does not find a delimiter of several.
    command = ["kcat", "-P", "-t", _topic(kafka), "-D", "\r\n\r\n", "-X", "linger.ms=5"]
    command += [option for header in HEADERS + MORE_HEADERS for option in ("-H", header)]
    command += [option for each in properties for option in ("-X", each)]
    with (
        one_kafka(kafka) as brokers,
        player(list(events), count) as asterisk,
        socket.create_connection(("127.0.0.1", asterisk.port)) as connection,
    ):
        connection.sendall(LOGIN)
        process = subprocess.Popen([*command, "-b", brokers], stdin=connection)
        time.sleep(WARM_UP_SECONDS)
        before = cpu_seconds(process.pid)
        asterisk.go()
        started = asterisk.finish(hang_up=True)[0]
        _, status, used = os.wait4(process.pid, 0)
        finished = time.monotonic()
        if status:
            raise RuntimeError("kcat failed")
    cpu = used.ru_utime + used.ru_stime - before
    return Run(count / (finished - started), cpu / count * 1e6, 0)


def _topic(kafka: str | None) -> str:
    """Return a topic: on a Kafka that is there already, one of its own."""
    return "bench" if kafka is None else f"bench-{time.time_ns()}"


def _show(name: str, run: Run) -> None:
    say(f"  {name:44} {run.events_per_second:9.0f} events/s  {run.microseconds_per_event:6.2f} us CPU/event")


def headline(plan: Plan) -> list[Table]:
    """Compare every interpreter, without and with speedups, with the reference and kcat."""
    count = plan.count(HEADLINE_EVENTS)
    events = recorded_events()
    ways: dict[str, Way] = {}
    reference = native.build("reference", plan.directory)
    if reference is not None:
        ways[REFERENCE] = partial(measure_reference, reference, count, events, plan.kafka)
    if shutil.which("kcat"):
        ways[KCAT] = partial(measure_kcat, count, events, plan.kafka)
    for subject in plan.subjects:
        ways[subject.name] = partial(measure, subject, count, Setting(), events, plan.kafka)
    say(f"headline: {count} events of a recorded mix, format json, eight headers, linger 5 ms")
    runs = by_turns(ways, plan.headline_turns, show=_show)
    table = Table(
        "headline",
        "The whole pipeline, beside others",
        (*COLUMNS, "peak memory, MB"),
        ("", ".0f", ".2f", ".2f", ".2f", ".0f"),
        f"{count:,} events of a recorded mix ({_mean(events):.0f} bytes on average), format json, eight"
        f" headers, linger 5 ms, {'a mock broker' if plan.kafka is None else 'a real Kafka'} in another"
        f" process; medians of {plan.headline_turns} runs by turns, with the least and the most.",
    )
    for name, found in runs.items():
        table.add(
            name,
            *_compared(found, runs.get(REFERENCE)),
            figure([run.peak_mb for run in found]) if found[0].peak_mb else "-",
        )
    return [table]


def _compared(found: Sequence[Run], reference: Sequence[Run] | None) -> list[object]:
    rates, cpu = [run.events_per_second for run in found], [run.microseconds_per_event for run in found]
    if reference is None or reference is found:
        return [figure(rates), figure(cpu), "-", "-"]
    return [
        figure(rates),
        figure(cpu),
        ratio(rates, [run.events_per_second for run in reference]),
        ratio(cpu, [run.microseconds_per_event for run in reference]),
    ]


def _mean(events: Sequence[bytes]) -> float:
    return sum(map(len, events)) / len(events)


def variants(plan: Plan) -> list[Table]:
    """Change one thing at a time: the format, the filters, a header, the size, the compression."""
    tables = []
    reference = native.build("reference", plan.directory)
    subjects = [plan.floor, *filter(None, [plan.with_speedups(plan.floor)])]
    for name, title, cases, others in _variants(plan, subjects, reference):
        say(f"variants: {title}")
        runs = by_turns(cases, plan.turns, show=_show)
        table = Table(
            name,
            title,
            ("", "events/s", "CPU per event, µs", *(f"{what} to {others}" for what in ("events/s", "CPU"))),
            ("", ".0f", ".2f", ".2f", ".2f"),
            f"Otherwise as above; medians of {plan.turns} runs by turns.",
        )
        for case, found in runs.items():
            table.add(case, *_compared(found, runs[_base_of(case, list(runs), others)]))
        tables.append(table)
    return tables


def _base_of(case: str, cases: Sequence[str], others: str) -> str:
    """Return which case another one is compared with: the first of its own group."""
    group = case.partition(": ")[0] if others != "the reference's" else case.rpartition(", ")[2]
    return next(each for each in cases if group in each)


def _variants(
    plan: Plan, subjects: Sequence[Subject], reference: Path | None
) -> list[tuple[str, str, Mapping[str, Way], str]]:
    """Return name, title, the cases to run by turns, and what they are compared with."""
    count = plan.count(VARIANT_EVENTS)
    events = recorded_events()

    def ours(subject: Subject, **changes: str) -> Way:
        return partial(measure, subject, count, Setting(**changes), events, plan.kafka)

    formats: dict[str, Way] = {}
    for subject in subjects:
        formats |= {f"{subject.name}: {name}": ours(subject, format=name) for name in ("json", "ami")}
    if with_avro := [each for each in plan.subjects if "avro" in each.plugins]:
        for subject in with_avro:
            for name in ("json", "avro"):
                formats[f"{subject.name}: {name}"] = ours(subject, format=name, plugins="avro")
    filters = {
        f"{subject.name}: {name}": ours(subject, general="\n".join(lines))
        for subject in subjects
        for name, lines in SETS.items()
    }
    headers = {
        f"{subject.name}: {name}": ours(subject, kafka=kafka)
        for subject in subjects
        for name, kafka in (("8 headers", ""), ("9 headers, with event_id", "event_id = yes"))
    }
    sizes: dict[str, Way] = {}
    codecs: dict[str, Way] = {}
    for size, number in SIZES.items():
        sized = recorded_events() if size == 500 else events_of_size(size)
        label = "the recorded mix" if size == 500 else f"{size:,} bytes"
        if reference:
            sizes[f"{REFERENCE}, {label}"] = partial(
                measure_reference, reference, plan.count(number), sized, plan.kafka
            )
        for subject in subjects:
            sizes[f"{subject.name}, {label}"] = partial(
                measure, subject, plan.count(number), Setting(), sized, plan.kafka
            )
    for codec in CODECS:
        if reference:
            codecs[f"{REFERENCE}, {codec}"] = partial(
                measure_reference, reference, count, events, plan.kafka, f"compression.codec={codec}"
            )
        for subject in subjects:
            codecs[f"{subject.name}, {codec}"] = ours(subject, kafka=f"compression_codec = {codec}")
    same, first = "the first of the same", "the reference's"
    return [
        ("formats", "By format", formats, same),
        ("filters", "By filters, of which none takes an event away", filters, same),
        ("headers", "With a header more", headers, same),
        ("sizes", "By the size of events", sizes, first if reference else same),
        ("codecs", "By compression", codecs, first if reference else same),
    ]

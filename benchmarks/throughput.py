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
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

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
SIZES = {200: 150_000, 2_000: 50_000, 20_000: 10_000}
CODECS = ("lz4", "zstd")
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


def measure(subject: Subject, count: int, setting: Setting, events: Sequence[bytes], kafka: str) -> Run:
    """Carry `count` events once with amikafka."""
    with (
        player(list(events), count) as asterisk,
        tempfile.TemporaryDirectory(prefix="amikafka-bench-") as name,
        Daemon(
            subject, Path(name), replace(setting, brokers=kafka, port=asterisk.port, topic=_topic())
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


def measure_reference(binary: Path, count: int, events: Sequence[bytes], kafka: str, *properties: str) -> Run:
    """Let the C reference carry `count` events once."""
    with player(list(events), count) as asterisk:
        command = [str(binary), str(asterisk.port), kafka, _topic(), str(WARM_UP + count), *properties]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            time.sleep(WARM_UP_SECONDS)
            before = cpu_seconds(process.pid)
            asterisk.go()
            started = asterisk.finish()[0]
            said, _ = process.communicate(timeout=BOUND)
            finished, cpu, _ = map(float, said.split())
    return Run(count / (finished - started), (cpu - before) / count * 1e6, 0)


def measure_kcat(count: int, events: Sequence[bytes], kafka: str, *properties: str) -> Run:
    """Let kcat publish the same stream: each event one message with eight headers, nothing looked at."""
    # Not with its escapes: kcat 1.7.1 does not find a delimiter of several.
    command = ["kcat", "-P", "-t", _topic(), "-D", "\r\n\r\n", "-X", "linger.ms=5"]
    command += [option for header in HEADERS + MORE_HEADERS for option in ("-H", header)]
    command += [option for each in properties for option in ("-X", each)]
    with (
        player(list(events), count) as asterisk,
        socket.create_connection(("127.0.0.1", asterisk.port)) as connection,
    ):
        connection.sendall(LOGIN)
        process = subprocess.Popen([*command, "-b", kafka], stdin=connection.fileno())
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


def _topic() -> str:
    """Return a topic of one run's own."""
    return f"bench-{time.time_ns()}"


def _show(name: str, run: Run) -> None:
    say(f"  {name:44} {run.events_per_second:9.0f} events/s  {run.microseconds_per_event:6.2f} us CPU/event")


def headline(plan: Plan) -> list[Table]:
    """Compare every interpreter, without and with speedups, with the reference and kcat."""
    count = plan.count(HEADLINE_EVENTS)
    events = recorded_events()
    reference = native.build("reference", plan.directory)
    say(f"headline: {count} events of a recorded mix, format json, eight headers, linger 5 ms")
    with one_kafka(plan.kafka) as kafka:
        ways: dict[str, Way] = {}
        if reference is not None:
            ways[REFERENCE] = partial(measure_reference, reference, count, events, kafka)
        if shutil.which("kcat"):
            ways[KCAT] = partial(measure_kcat, count, events, kafka)
        for subject in plan.subjects:
            ways[subject.name] = partial(measure, subject, count, Setting(), events, kafka)
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
        peak = figure([run.peak_mb for run in found]) if found[0].peak_mb else "-"
        table.add(name, *_compared(found, runs.get(REFERENCE)), peak)
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


class Case(NamedTuple):
    """One run of a table, and the one that it is compared with."""

    way: Way
    base: str


def variants(plan: Plan) -> list[Table]:
    """Change one thing at a time: the format, the filters, a header, the size, the compression."""
    subjects = [plan.floor, *filter(None, [plan.with_speedups(plan.floor)])]
    tables = []
    with one_kafka(plan.kafka) as kafka:
        measured = {
            ("formats", "By format"): _formats(plan, subjects, kafka),
            ("filters", "By filters, of which none takes an event away"): _filters(plan, subjects, kafka),
            ("headers", "With a header more"): _headers(plan, kafka),
            ("sizes", "By the size of events"): _sizes(plan, subjects, kafka),
            ("codecs", "By compression"): _codecs(plan, subjects, kafka),
        }
        for (name, title), cases in measured.items():
            say(f"variants: {title}")
            runs = by_turns({case: found.way for case, found in cases.items()}, plan.turns, show=_show)
            base = "the reference's" if name in ("sizes", "codecs") else "that of the first of its kind"
            table = Table(
                name,
                title,
                ("", "events/s", "CPU per event, µs", f"events/s to {base}", f"CPU to {base}"),
                ("", ".0f", ".2f", ".2f", ".2f"),
                f"Otherwise as above; medians of {plan.turns} runs by turns.",
            )
            for case, found in runs.items():
                table.add(case, *_compared(found, runs.get(cases[case].base)))
            tables.append(table)
    return tables


def _ours(plan: Plan, subject: Subject, brokers: str, **changes: Any) -> Way:
    setting = Setting(**changes)
    return partial(measure, subject, plan.count(VARIANT_EVENTS), setting, recorded_events(), brokers)


def _formats(plan: Plan, subjects: Sequence[Subject], kafka: str) -> dict[str, Case]:
    cases = {}
    with_avro = [each for each in plan.subjects if "avro" in each.plugins and each.speedups is None]
    for subject, others, plugins in (
        *((each, "ami", "") for each in subjects),
        *((each, "avro", "avro") for each in with_avro[:1]),
    ):
        for name in ("json", others):
            way = _ours(plan, subject, kafka, format=name, plugins=plugins)
            cases[f"{subject.name}: {name}"] = Case(way, f"{subject.name}: json")
    return cases


def _filters(plan: Plan, subjects: Sequence[Subject], kafka: str) -> dict[str, Case]:
    return {
        f"{subject.name}: {name}": Case(
            _ours(plan, subject, kafka, general="\n".join(lines)), f"{subject.name}: no filters"
        )
        for subject in subjects
        for name, lines in SETS.items()
    }


def _headers(plan: Plan, kafka: str) -> dict[str, Case]:
    first = f"{plan.floor.name}: 8 headers"
    return {
        first: Case(_ours(plan, plan.floor, kafka), first),
        f"{plan.floor.name}: 9, with event_id": Case(
            _ours(plan, plan.floor, kafka, kafka="event_id = yes"), first
        ),
    }


def _sizes(plan: Plan, subjects: Sequence[Subject], kafka: str) -> dict[str, Case]:
    cases = {}
    reference = native.build("reference", plan.directory)
    for size, number in SIZES.items():
        count, events = plan.count(number), events_of_size(size)
        base = f"{REFERENCE}, {size:,} bytes"
        if reference:
            cases[base] = Case(partial(measure_reference, reference, count, events, kafka), base)
        for subject in subjects:
            way = partial(measure, subject, count, Setting(), events, kafka)
            cases[f"{subject.name}, {size:,} bytes"] = Case(way, base)
    return cases


def _codecs(plan: Plan, subjects: Sequence[Subject], kafka: str) -> dict[str, Case]:
    cases = {}
    count, events = plan.count(VARIANT_EVENTS), recorded_events()
    reference = native.build("reference", plan.directory)
    for codec in CODECS:
        base = f"{REFERENCE}, {codec}"
        if reference:
            way = partial(measure_reference, reference, count, events, kafka, f"compression.codec={codec}")
            cases[base] = Case(way, base)
        for subject in subjects:
            ours = _ours(plan, subject, kafka, kafka=f"compression_codec = {codec}")
            cases[f"{subject.name}, {codec}"] = Case(ours, base)
    return cases

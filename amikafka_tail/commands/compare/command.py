"""The command `amikafka compare`."""

from __future__ import annotations

import argparse
import contextlib
import json
import re
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TextIO

from amikafka_tail.ami.eventfilter import EventFilterOptions
from amikafka_tail.commands.compare import screen
from amikafka_tail.commands.compare.copies import Side
from amikafka_tail.commands.compare.follow import Follower
from amikafka_tail.commands.compare.judge import Expected
from amikafka_tail.commands.compare.pairing import Comparison
from amikafka_tail.commands.compare.report import Report
from amikafka_tail.commands.compare.screen import Names
from amikafka_tail.commands.compare.verdict import Verdict, judge
from amikafka_tail.commands.status.command import AddCommand
from amikafka_tail.config import settings
from amikafka_tail.config.settings import FILTER, MODULE_FILE, Settings
from amikafka_tail.daemon import logs
from amikafka_tail.formats.json import JsonOptions
from amikafka_tail.kafka.cluster import Cluster
from amikafka_tail.kafka.topic_reader import TopicTail
from amikafka_tail.model.advice import for_configuration
from amikafka_tail.model.errors import ClusterError, UsageError
from amikafka_tail.plugins import loader
from amikafka_tail.plugins.registry import Registry
from amikafka_tail.sources.eventlog import EventLogOptions

FORMATS = ("json", "ami")
DISAGREES = 1
MOST_COLUMNS = 100
SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}


def add_to(add: AddCommand, add_configuration: Callable[[argparse.ArgumentParser], None]) -> None:
    """Add the command to the command line."""
    text = "compare, event by event, what amikafka and the module app_ami_kafka publish; exit 0 or 1"
    comparing = add("compare", compare, text)
    add_configuration(comparing)
    comparing.add_argument(
        "--module-topic",
        metavar="TOPIC",
        help=f"the module's topic (default: the one in {MODULE_FILE} beside FILE)",
    )
    comparing.add_argument("--topic", metavar="TOPIC", help="amikafka's topic (default: the topic in FILE)")
    comparing.add_argument(
        "--for",
        dest="seconds",
        type=_span,
        default=60.0,
        metavar="TIME",
        help="how long to read: 90s, 10m, 2h (default: 60s); Ctrl-C ends it earlier and prints the report",
    )
    comparing.add_argument(
        "--since",
        type=_span,
        default=0.0,
        metavar="TIME",
        help="also read what was published before: 10m, 1h; with --for 0 only that (default: start now)",
    )
    comparing.add_argument(
        "--wait",
        type=_span,
        default=10.0,
        metavar="TIME",
        help="at the end, how long to wait for events that one topic lacks (default: 10s)",
    )
    comparing.add_argument("--json", action="store_true", help="print the report as one JSON object")


def compare(options: argparse.Namespace) -> int:
    """Compare, and print the report."""
    logs.set_up("error")
    registry = loader.load()
    configuration = settings.load(options.configuration, registry, need_source=False)
    names, remarks = _names(options, configuration, registry)
    for remark in remarks:
        print(f"amikafka: {logs.printable(remark)}", file=sys.stderr)
    report, failure = _compare(options, configuration, names)
    verdict = judge(report)
    advice = [for_configuration(each, configuration.path) for each in verdict.advice]
    verdict = verdict._replace(advice=advice)
    if options.json:
        _print_json(report, verdict, names, failure)
    else:
        width = min(MOST_COLUMNS, shutil.get_terminal_size().columns)
        for line in screen.lines(report, verdict, names, width):
            print(line)
    if failure is not None:
        raise failure.explained(configuration.path)
    return 0 if verdict.agrees else DISAGREES


def _names(
    options: argparse.Namespace, configuration: Settings, registry: Registry
) -> tuple[Names, list[str]]:
    """Return the topics to compare, and remarks for the user. Raises `AmikafkaError`."""
    remarks = []
    ours = options.topic or configuration.topic
    module = options.module_topic
    if configuration.format not in FORMATS:
        raise UsageError(
            f"format = {configuration.format} cannot be compared with the module's messages: set format ="
            " json or ami while you compare"
        )
    if module is None:
        file = configuration.path.parent / MODULE_FILE
        of_module = configuration
        if file.resolve() != configuration.path.resolve():
            if not file.exists():
                raise UsageError(f"{file} does not exist: name the module's topic with --module-topic")
            of_module = settings.load(file, registry, need_source=False)
            remarks = [*_remarks(of_module, configuration)]
        module = of_module.topic
    if module == ours:
        raise UsageError(_one_topic(module, configuration.path))
    changing = [name for name, _ in configuration.filters if name != FILTER]
    if changing:
        remarks.append(
            f"filters = {', '.join(changing)}: every event that they change or drop counts as a difference"
        )
    return Names(module, ours, configuration.properties["bootstrap.servers"]), remarks


def _remarks(module: Settings, ours: Settings) -> Iterator[str]:
    """Yield what makes two configurations hard to compare."""
    where = "bootstrap.servers"
    if module.properties[where] != ours.properties[where]:
        yield (
            f"{module.path} has the brokers {module.properties[where]}, {ours.path} has"
            f" {ours.properties[where]}: both topics are read from the latter"
        )
    if _filter_lines(module) != _filter_lines(ours):
        yield (
            f"the eventfilter lines of {module.path} and {ours.path} differ: every event that only one of"
            " them lets pass counts as a difference"
        )


def _filter_lines(configuration: Settings) -> list[tuple[str, str]]:
    options = dict(configuration.filters).get(FILTER, EventFilterOptions())
    return [(line.criteria, line.pattern) for line in options.lines]


def _one_topic(topic: str, path: Path) -> str:
    """Return why a topic cannot be compared with itself, and what to do."""
    trial = path.parent / "ami_kafka-trial.conf"
    others = sorted(each for each in path.parent.glob("ami_kafka-*.conf") if each != path)
    text = (
        f'both topics are "{topic}": on one topic the two publishers cannot be told apart, and consumers get'
        " every event twice"
    )
    if others:
        return f"{text}\namikafka's topic may be in another file: amikafka compare -c {others[0]}"
    return "\n".join([
        f"{text}\nwhile the module is loaded, give amikafka its own topic and configuration:",
        f"  cp -p {path.parent / MODULE_FILE} {trial}",
        f"  editor {trial}      # [kafka] topic = {topic}_trial",
        f"  amikafka topic create -c {trial}",
        "  systemctl start amikafka@trial",
        f"  amikafka compare -c {trial}",
        "or name both topics: --module-topic TOPIC --topic TOPIC",
    ])  # fmt: skip


def _compare(
    options: argparse.Namespace, configuration: Settings, names: Names
) -> tuple[Report, ClusterError | None]:
    """Read and compare; return the report, and the error that ended it early."""
    json_options, log_options = configuration.format_options, configuration.source_options
    expected = Expected(
        key=configuration.key,
        fallback=json_options.fallback_encoding if isinstance(json_options, JsonOptions) else "latin-1",
        leaves_debug_lines_out=configuration.source == "spool"
        or (isinstance(log_options, EventLogOptions) and not log_options.keep_debug_headers),
    )
    topics: dict[Side, str] = {"module": names.module, "ours": names.ours}
    failure = None
    with contextlib.ExitStack() as opened, _stopped_by_signals() as stopped:
        tails = _open(topics, configuration, int((time.time() - options.since) * 1000), opened)
        comparison = Comparison(expected, {side: tail.begins_ms for side, tail in tails.items()})
        progress = _Progress(sys.stderr, comparison)
        opened.callback(progress.clear)
        follower = Follower(
            tails, comparison, clock=time.monotonic, stopped=stopped.is_set, show=progress.show
        )
        try:
            complete = follower.run(options.seconds, options.wait)
        except ClusterError as error:
            # The report on what was read so far is still useful.
            failure, complete = error, False
    return comparison.finish(interrupted=not complete), failure


def _open(
    topics: dict[Side, str], configuration: Settings, since_ms: int, opened: contextlib.ExitStack
) -> dict[Side, TopicTail]:
    """Start reading both topics. Raises `ClusterError` with what to do."""
    tails: dict[Side, TopicTail] = {}
    try:
        for side, topic in topics.items():
            state = Cluster(configuration.properties).look(topic)
            if state.parts is None:
                hint = "check [kafka] topic in the module's configuration, or use --module-topic"
                raise ClusterError(
                    f'topic "{topic}" does not exist: {state.topic_problem}',
                    hint="amikafka topic create" if side == "ours" else hint,
                )
            numbers = [part.number for part in state.parts]
            tails[side] = TopicTail(configuration.properties, topic, numbers, since_ms=since_ms)
            opened.callback(tails[side].close)
    except ClusterError as error:
        raise error.explained(configuration.path) from error
    return tails


@contextlib.contextmanager
def _stopped_by_signals() -> Iterator[threading.Event]:
    """Make the first Ctrl-C or SIGTERM set an event; the next one ends the process as usual."""
    stopped = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stopped
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def stop(number: int, _frame: object) -> None:
        stopped.set()
        signal.signal(number, before[signal.Signals(number)])

    for number in before:
        signal.signal(number, stop)
    try:
        yield stopped
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _Progress:
    """A progress line on standard error, if that is a terminal."""

    def __init__(self, out: TextIO, comparison: Comparison) -> None:
        self._out = out if out.isatty() else None
        self._comparison = comparison
        self._next = 0.0

    def show(self, left: float) -> None:
        """Draw the line, a few times per second."""
        now = time.monotonic()
        if self._out is None or now < self._next:
            return
        self._next = now + 0.2
        total = self._comparison.report.total
        when = f"{left:.0f} s left" if left else "reading to the end"
        text = (
            f"{when}  {total.agree + total.known:,} agree  {total.wrong:,} differ"
            f"  {self._comparison.waiting:,} waiting for the other topic"
        )
        self._out.write(f"\r{text[: shutil.get_terminal_size().columns - 1]}\033[K")
        self._out.flush()

    def clear(self) -> None:
        """Erase the line."""
        if self._out is not None:
            self._out.write("\r\033[K")
            self._out.flush()


def _print_json(report: Report, verdict: Verdict, names: Names, failure: ClusterError | None) -> None:
    values: dict[str, Any] = {
        **verdict._asdict(),
        "topics": {"module": names.module, "ours": names.ours},
        **report.to_json(),
    }
    if failure is not None:
        values["problem"] = str(failure)
    json.dump(values, sys.stdout, indent=2)
    print()


def _span(text: str) -> float:
    """Parse a span of time, in seconds."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd]?)", text)
    if found is None:
        raise argparse.ArgumentTypeError(f'"{text}" is not a time such as 90s, 10m or 2h')
    return float(found[1]) * SECONDS[found[2]]

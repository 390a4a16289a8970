"""The command `amikafka doctor`."""

from __future__ import annotations

import argparse
import dataclasses
import json
import shutil
import sys
from collections.abc import Callable, Iterator

from amikafka_tail.commands import test_record
from amikafka_tail.commands.doctor import event_files, kafka, machine, manager
from amikafka_tail.commands.doctor.console import asterisk
from amikafka_tail.commands.doctor.findings import EXIT_CODES, Finding, as_json, lines, summary, worst
from amikafka_tail.commands.status import command as status_commands
from amikafka_tail.commands.status.command import AddCommand
from amikafka_tail.config.settings import Settings
from amikafka_tail.daemon import logs
from amikafka_tail.daemon.status.snapshot import Snapshot
from amikafka_tail.delivery import checking
from amikafka_tail.intake import build_source
from amikafka_tail.kafka.cluster import Cluster
from amikafka_tail.model.advice import for_configuration
from amikafka_tail.model.errors import AmikafkaError, ConfigError, NotRunning, Problem
from amikafka_tail.model.live_source import LiveSource
from amikafka_tail.plugins import loader
from amikafka_tail.plugins.registry import Registry

PART = "Configuration"
MOST_COLUMNS = 100


def add_to(add: AddCommand, add_configuration: Callable[[argparse.ArgumentParser], None]) -> None:
    """Add the command to the command line."""
    text = "check the whole path from Asterisk to Kafka; exit 0, 1 for a warning, 2 for an error"
    looking = add("doctor", doctor, text)
    add_configuration(looking)
    looking.add_argument("--json", action="store_true", help="all findings, as one JSON object")
    looking.add_argument(
        "--no-test-record",
        action="store_true",
        help="publish nothing; by default an event AmikafkaTest is sent and read back",
    )
    looking.add_argument("--socket", metavar="PATH", type=str, default=None, help=argparse.SUPPRESS)


def doctor(options: argparse.Namespace) -> int:
    """Run every check and print each finding as soon as it is known."""
    logs.set_up("error")
    found: list[Finding] = []
    width = min(MOST_COLUMNS, shutil.get_terminal_size().columns)
    printed = 0
    for finding in findings(options):
        advice = for_configuration(finding.advice, options.configuration)
        found.append(dataclasses.replace(finding, advice=advice))
        if not options.json:
            # Some checks take seconds, so do not wait for the last one.
            text = list(lines(found, width))
            print("\n".join(text[printed:]), flush=True)
            printed = len(text)
    if options.json:
        json.dump(as_json(found), sys.stdout, indent=2)
        print()
    else:
        print(f"\n{summary(found)}")
    return EXIT_CODES[worst(found)]


def findings(options: argparse.Namespace) -> Iterator[Finding]:
    """Yield every finding, in the order of the path."""
    registry, problems = loader.discover()
    try:
        configuration = checking.check(options.configuration, registry)
    except AmikafkaError as error:
        parts = error.problems if isinstance(error, ConfigError) else (error,)
        for problem in parts:
            is_note = isinstance(problem, Problem) and problem.is_warning
            yield Finding(level="note" if is_note else "error", part=PART, text=str(problem))
        yield Finding(
            level="note",
            part=PART,
            text="the other checks need a correct configuration",
            advice="fix it, then run amikafka doctor again",
        )
        yield from machine.look_at_software(registry, problems)
        return
    snapshot, reason = _ask(options)
    yield from _of_configuration(configuration)
    yield from _of_source(configuration, registry, is_running=snapshot is not None)
    record = None if options.no_test_record else test_record.make(configuration, registry)
    yield from kafka.look(configuration, Cluster(configuration.properties), record)
    yield from machine.look_at_daemon(snapshot, reason)
    yield from machine.look_at_disk(configuration, snapshot)
    yield from machine.look_at_clock()
    yield from machine.look_at_software(registry, problems)


def _of_configuration(configuration: Settings) -> Iterator[Finding]:
    if not configuration.warnings:
        yield Finding(level="ok", part=PART, text=f"{configuration.path}: no problem found")
    for warning in configuration.warnings:
        yield Finding(level="error", part=PART, text=str(warning))
    if not configuration.enabled:
        yield Finding(
            level="error",
            part=PART,
            text=f"{configuration.disabled_by}: the daemon reads and publishes nothing",
            advice="correct it, then: systemctl reload amikafka",
        )
    for remark in configuration.remarks:
        yield Finding(level="note", part=PART, text=remark)


def _of_source(configuration: Settings, registry: Registry, *, is_running: bool) -> Iterator[Finding]:
    if configuration.source == "eventlog":
        yield from event_files.look_at_log(configuration, asterisk)
        return
    if configuration.source == "spool":
        yield from event_files.look_at_spool(configuration)
        return
    source = build_source.source(configuration, registry)
    if configuration.source == "manager" and isinstance(source, LiveSource):
        yield from manager.look(configuration, source, asterisk, is_running=is_running)
        return
    text = f"the source {configuration.source} comes from a plugin: doctor has no checks for it"
    yield Finding(level="note", part="Source", text=text)


def _ask(options: argparse.Namespace) -> tuple[Snapshot | None, str]:
    try:
        return status_commands.ask(options), ""
    except NotRunning as error:
        return None, str(error)

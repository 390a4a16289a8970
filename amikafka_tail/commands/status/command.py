"""The commands that query the running daemon: `amikafka status` and `amikafka top`."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from amikafka_tail.commands.status import client, screen
from amikafka_tail.config import settings
from amikafka_tail.daemon.status.server import NAME
from amikafka_tail.daemon.status.snapshot import Snapshot
from amikafka_tail.daemon.status.verdict import judge
from amikafka_tail.journal import checkpoint
from amikafka_tail.model.advice import for_configuration
from amikafka_tail.model.errors import AmikafkaError, NobodyListens, NotRunning, UsageError
from amikafka_tail.model.humanize import size
from amikafka_tail.plugins import loader

AddCommand = Callable[[str, Callable[[argparse.Namespace], int], str], argparse.ArgumentParser]
PROBLEM = 1
"""Exit code of `status` if something is wrong."""


def add_to(add: AddCommand, add_configuration: Callable[[argparse.ArgumentParser], None]) -> None:
    """Add the commands to the command line."""
    showing = add(
        "status",
        status,
        "show the state of the running daemon; exit 0, 1 for a problem, 69 if it is not running",
    )
    showing.add_argument("--json", action="store_true", help="the whole state as one JSON object")
    watching = add("top", top, "show the state of the running daemon, live")
    watching.add_argument(
        "--interval", type=float, default=1.0, metavar="SECONDS", help="refresh interval (default: 1)"
    )
    for each in (showing, watching):
        add_configuration(each)
        each.add_argument(
            "--socket",
            type=Path,
            metavar="PATH",
            help="the daemon's status socket (default: derived from FILE)",
        )


def status(options: argparse.Namespace) -> int:
    """Print the daemon's state."""
    try:
        snapshot = ask(options)
    except NotRunning as error:
        if options.json:
            print(json.dumps({"problem": str(error)}))
            return error.exit_code
        if not isinstance(error, NobodyListens):
            raise
        lines = [for_configuration(line, options.configuration) for line in _left_behind(options)]
        said = "".join(f"\n{line}" for line in lines)
        raise NobodyListens(f"{error}{said}") from error
    if options.json:
        print(json.dumps(snapshot.to_json(), indent=2))
    else:
        for line in screen.status(snapshot):
            print(line)
    return 0 if judge(snapshot).healthy else PROBLEM


def top(options: argparse.Namespace) -> int:
    """Show the daemon's state until a key ends it."""
    if not (sys.stdout.isatty() and sys.stdin.isatty()):
        raise UsageError("top needs a terminal; amikafka status prints the same once")
    try:
        from amikafka_tail.commands.status.top import watch  # noqa: PLC0415 - rich may not be installed
    except ImportError:
        raise UsageError("top needs the Python package rich: apt install python3-rich") from None
    watch(lambda: ask(options), max(0.2, options.interval))
    return 0


def ask(options: argparse.Namespace) -> Snapshot:
    """Return the snapshot of the daemon that the options select. Raises `NotRunning`."""
    missed: list[NobodyListens] = []
    for path in _paths(options):
        try:
            return client.ask(path)
        except NobodyListens as error:
            missed.append(error)
    raise missed[0]


def _paths(options: argparse.Namespace) -> Iterator[Path]:
    """Yield where the daemon may listen. Without systemd it has no runtime directory."""
    if options.socket is not None:
        yield options.socket
        return
    yield client.socket_path(options.configuration, os.environ)
    if (directory := _journal_directory(options)) is not None:
        yield directory / NAME


def _journal_directory(options: argparse.Namespace) -> Path | None:
    try:
        found = settings.load(options.configuration, loader.load(), need_source=False)
    except (AmikafkaError, OSError):
        return None  # `amikafka check` says what is wrong
    return found.journal.directory


def _left_behind(options: argparse.Namespace) -> Iterator[str]:
    """Yield what a stopped daemon has not delivered, and what to do."""
    directory = _journal_directory(options)
    if directory is None:
        file = options.configuration
        yield f"{file} is unreadable or wrong: amikafka check"
    else:
        yield from _undelivered(directory)
    yield "to start it: systemctl start amikafka; to see why it stopped: journalctl -u amikafka -n 50"


def _undelivered(directory: Path) -> Iterator[str]:
    try:
        stored = checkpoint.load(directory / "checkpoint.json")
        last = max((directory / "journal").glob("*.log"), default=None)
        if last is None:
            return
        behind = int(last.stem) + last.stat().st_size - (stored.offset if stored else 0)
    except (AmikafkaError, OSError, ValueError):
        return
    if behind > 0:
        yield f"{size(behind)} in {directory}/journal not delivered yet; they will be after the next start"

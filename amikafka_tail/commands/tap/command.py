"""The command `amikafka tap`."""

from __future__ import annotations

import argparse
import dataclasses
import io
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TextIO

from amikafka_tail.commands.status.command import AddCommand
from amikafka_tail.commands.tap import selection
from amikafka_tail.commands.tap.requested_names import RequestedNames
from amikafka_tail.commands.tap.tap import Tap
from amikafka_tail.commands.tap.view import COLOURS, PLAIN, View
from amikafka_tail.config import files, manager_conf, settings
from amikafka_tail.config.settings import Settings
from amikafka_tail.daemon import logs
from amikafka_tail.delivery import build
from amikafka_tail.delivery.printer import Message, Printer, as_json
from amikafka_tail.intake import build_source
from amikafka_tail.model.advice import for_configuration
from amikafka_tail.model.errors import ConfigError, LoginRefused, NotPermitted, UsageError
from amikafka_tail.model.humanize import counted, size
from amikafka_tail.model.live_source import LiveSource
from amikafka_tail.model.replayable_source import ReplayableSource
from amikafka_tail.plugins import loader
from amikafka_tail.plugins.registry import Registry
from amikafka_tail.sources.logs import LogOptions

EPOCH = "tap"
"""Stands for the journal's name in the ids of events."""
AS_ROOT = "tap logs in like the daemon and needs to read the same secret: run it as root (sudo)"


def add_to(add: AddCommand, add_configuration: Callable[[argparse.ArgumentParser], None]) -> None:
    """Add the command to the command line."""
    tapping = add(
        "tap", tap, "show live events as they would be published; needs neither Kafka nor the daemon"
    )
    add_configuration(tapping)
    tapping.add_argument(
        "-e",
        "--event",
        action="append",
        default=[],
        metavar="NAME",
        help="only events with this name; repeat it for several names",
    )
    tapping.add_argument(
        "-a", "--all", action="store_true", help="also show events that the configured filters exclude"
    )
    tapping.add_argument("-n", "--count", type=_count, metavar="N", help="stop after N events")
    tapping.add_argument(
        "-l", "--long", action="store_true", help="show the whole message, not one line with the main fields"
    )
    tapping.add_argument("--headers", action="store_true", help="also show the message's headers")
    tapping.add_argument(
        "--json", action="store_true", help="print each message as a line of JSON, like replay"
    )
    tapping.add_argument(
        "--color",
        choices=["auto", "always", "never"],
        default="auto",
        help="use colour; auto: on a terminal, unless NO_COLOR is set (default: auto)",
    )
    tapping.add_argument(
        "filter",
        nargs="*",
        metavar="FILTER",
        help="only events that pass this eventfilter, as in manager.conf: a regular expression, !EXPRESSION,"
        " or 'eventfilter(name(Hangup))='; several form one list of eventfilter lines",
    )


def _count(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f'"{text}" is not a number of 1 or more')
    return int(text)


def tap(options: argparse.Namespace) -> int:
    """Show events until a signal or the count ends it."""
    chosen = selection.filters(options.filter, options.event)
    registry = loader.load()
    configuration = _settings(options.configuration, registry)
    logs.set_up("debug" if configuration.log_level == "debug" else "info")
    if options.all:
        configuration = dataclasses.replace(configuration, filters=(), pushed=())
    messages = build.messages(
        configuration,
        registry,
        epoch=EPOCH,
        fixed_offsets=not isinstance(configuration.source_options, LogOptions),
        more_filters=chosen,
    )
    out = _output(utf_8=options.json)
    show: Callable[[Message], str] = as_json
    if not options.json:
        colours = COLOURS if in_colour(options.color, out, os.environ) else PLAIN
        view = View(long=options.long, headers=options.headers, colours=colours)
        show, messages = view, view.over(messages)
    printer = Printer(out, show, most=options.count)
    tap = Tap(messages, printer, out, RequestedNames(options.event))
    try:
        _follow(tap, configuration, registry)
    except KeyboardInterrupt:
        _sum_up(tap, printer)
        raise
    _sum_up(tap, printer)
    return 0


def in_colour(when: str, out: TextIO, environment: Mapping[str, str]) -> bool:
    """Return whether to print in colour. The command line overrides NO_COLOR."""
    if when != "auto":
        return when == "always"
    return out.isatty() and not environment.get("NO_COLOR") and environment.get("TERM") != "dumb"


def _follow(tap: Tap, configuration: Settings, registry: Registry) -> None:
    options = configuration.source_options
    if isinstance(options, LogOptions):
        options = dataclasses.replace(options, start="end")
        configuration = dataclasses.replace(configuration, source_options=options)
    source = build_source.source(configuration, registry)
    if isinstance(source, LiveSource):
        _refuse_to_be_the_only_one(configuration)
        try:
            tap.live(source, build_source.identify(configuration))
        except LoginRefused as error:
            if _is_closed(getattr(options, "secret_file", None)):
                raise NotPermitted(f"{error}\n{AS_ROOT}") from error
            if "Already In Use" in str(error):
                raise LoginRefused(f"{error}. {_for_several(configuration)}") from error
            raise
    elif isinstance(source, ReplayableSource) and isinstance(options, LogOptions):
        tap.files(source, options, build_source.identify_log(configuration))
    else:
        advice = "to see what would be published from a file: amikafka replay --from eventlog --to - FILE"
        raise UsageError(
            f"tap does not work with the source {configuration.source}: only the daemon may take its files;"
            f" {for_configuration(advice, configuration.path)}"
        )


def _settings(path: Path, registry: Registry) -> Settings:
    """Load the configuration. Raises `NotPermitted` if this user may not read all of it."""
    try:
        return settings.load(path, registry)
    except PermissionError as error:
        raise NotPermitted(f"{path}: {files.why_unreadable(path, error)}\n{AS_ROOT}") from error
    except ConfigError as error:
        if any(_is_closed(problem.file) for problem in error.problems):
            raise NotPermitted(f"{error}\n{AS_ROOT}") from error
        raise


def _is_closed(file: Path | None) -> bool:
    return file is not None and not os.access(file, os.R_OK) and (
        not os.access(file.parent, os.X_OK) or file.exists()
    )  # fmt: skip


def _refuse_to_be_the_only_one(configuration: Settings) -> None:
    """Raise `LoginRefused` if our login would keep the daemon from logging in."""
    if configuration.source != "manager":
        return
    username = configuration.source_options.username
    user = manager_conf.find_user(files.load(configuration.etc / "manager.conf"), username)
    if not user.several_logins:
        raise LoginRefused(
            f"the manager user {username} may have only one session, and the daemon needs it."
            f" {_for_several(configuration)}"
        )


def _for_several(configuration: Settings) -> str:
    return (
        "tap needs its own session: set allowmultiplelogin = yes in the user's section of"
        f" {configuration.etc}/manager.conf or a file it includes, then: asterisk -rx 'manager reload'"
    )


def _output(*, utf_8: bool) -> TextIO:
    """Return standard output without line buffering. What its encoding lacks is escaped."""
    out = sys.stdout
    if isinstance(out, io.TextIOWrapper):
        encoding = "utf-8" if utf_8 else out.encoding
        out.reconfigure(encoding=encoding, errors="backslashreplace", line_buffering=False)
    return out


def _sum_up(tap: Tap, printer: Printer) -> None:
    counters = tap.counters
    parts = [f"{counted(counters.events, 'event')} received", f"{printer.printed:,} shown"]
    if counters.filtered:
        parts.append(f"{counters.filtered:,} excluded by filters")
    if tap.unprinted:
        parts.append(f"{size(tap.unprinted)} skipped")
    print(f"amikafka: {', '.join(parts)}", file=sys.stderr)

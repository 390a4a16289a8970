"""The command line. Every error that a person can act on becomes a line of text and an exit code."""

from __future__ import annotations

import argparse
import contextlib
import io
import logging
import os
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO
from zlib import crc32

from amikafka_tail import __version__
from amikafka_tail.commands import demo, kafka, plugins, replay, replay_inputs
from amikafka_tail.commands.compare import command as compare_command
from amikafka_tail.commands.doctor import command as doctor_command
from amikafka_tail.commands.status import command as status_commands
from amikafka_tail.commands.tap import command as tap_command
from amikafka_tail.config import settings
from amikafka_tail.config.settings import Settings
from amikafka_tail.daemon import core_dumps, logs, reloads
from amikafka_tail.daemon.service import Service, wait_while_disabled
from amikafka_tail.delivery import build, checking
from amikafka_tail.delivery.printer import Printer
from amikafka_tail.intake import build_source
from amikafka_tail.intake.recording import Recording, copied
from amikafka_tail.intake.stream_reader import StreamReader
from amikafka_tail.journal.dead_letters import DeadLetters
from amikafka_tail.kafka.producer import libraries
from amikafka_tail.model import speedups
from amikafka_tail.model.advice import CONFIGURATION
from amikafka_tail.model.counters import Counters
from amikafka_tail.model.errors import AmikafkaError, ConfigError, DeliveryFailed, InputError, Problem
from amikafka_tail.model.humanize import counted, size
from amikafka_tail.model.replayable_source import Reader, ReplayableSource
from amikafka_tail.model.suggestions import unknown
from amikafka_tail.plugins import loader, template
from amikafka_tail.plugins.registry import KINDS
from amikafka_tail.sources.files import FilesReader, identified

MOST_LINES = 40
"""Problems printed at most. A file that is not a configuration at all has one in every line."""

log = logging.getLogger("amikafka")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command that the arguments name; return its exit code (sysexits.h)."""
    options = _parser().parse_args(arguments)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # file names may contain any bytes
    try:
        code: int = options.command(options)
        sys.stdout.flush()
    except AmikafkaError as error:
        parts = error.problems if isinstance(error, ConfigError) else (error,)
        lines = [
            f"note: {part}" if isinstance(part, Problem) and part.is_warning else str(part) for part in parts
        ]
        lines = [line for each in lines for line in each.splitlines()]
        for line in lines[:MOST_LINES]:
            logs.complain(line)
        if len(lines) > MOST_LINES:
            logs.complain(f"... and {len(lines) - MOST_LINES} more")
        return error.exit_code
    except BrokenPipeError:
        # The reader of our output is gone. Python would complain again when it closes standard output.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return 130
    except OSError as error:
        logs.complain(f"{error.filename or 'input or output'}: {error.strerror}")
        return os.EX_IOERR
    except Exception as error:
        log.debug("internal error", exc_info=True)
        logs.complain(
            f"internal error: {type(error).__name__}: {error}"
            " (please report it; log_level = debug shows where)"
        )
        return os.EX_SOFTWARE
    finally:
        logs.tell_of_storms(at_once=True)
    return code


def run(options: argparse.Namespace) -> int:
    """Run the daemon."""
    registry = loader.load()

    def load() -> Settings:
        return checking.load(options.configuration, registry)

    configuration = load()
    logs.set_up(configuration.log_level)
    core_dumps.disable_core_dumps()
    if not configuration.enabled:
        log.warning(
            "%s: %s: nothing is read or published until a reload",
            configuration.path,
            configuration.disabled_by,
        )
        reloaded = wait_while_disabled(load, configuration.disabled_by)
        if reloaded is None:
            return 0
        configuration = reloaded
    Service(configuration, registry, load).run()
    return 0


def check(options: argparse.Namespace) -> int:
    """Print every problem of the configuration, or a summary of it."""
    logs.set_up("error")
    registry = loader.load()
    configuration = checking.check(options.configuration, registry)
    for warning in configuration.warnings:
        logs.complain(f"warning: {warning}" if options.quiet else str(warning))
    if options.quiet:
        return 0  # what Asterisk's files lack keeps no daemon from running
    if not configuration.warnings:
        print(f"{configuration.path}: no problem found")
    for name, value in _summary(configuration):
        print(f"  {name:<9} {value}")
    source = build_source.source(configuration, registry)
    remarks = list(configuration.remarks)
    if isinstance(source, ReplayableSource):
        remarks += source.remarks()
    for remark in remarks:
        print(f"note: {remark}")
    return os.EX_CONFIG if configuration.warnings else 0


def reload(_options: argparse.Namespace) -> int:
    """Make the daemon reload its configuration, and print what is wrong with it."""
    reloads.ask(os.environ)
    return 0


def _summary(configuration: Settings) -> list[tuple[str, str]]:
    filters = ", ".join(name for name, _ in configuration.filters) or "none, every event is published"
    return [
        ("enabled", f"no, nothing is done: {off}" if (off := configuration.disabled_by) else "yes"),
        ("source", configuration.source),
        ("filters", filters),
        ("format", configuration.format),
        ("topic", f"{configuration.topic} (key: {configuration.key})"),
        ("brokers", configuration.properties["bootstrap.servers"]),
        ("journal", f"{configuration.journal.directory} (at most {size(configuration.journal.max_bytes)})"),
    ]


def replay_command(options: argparse.Namespace) -> int:
    """Publish captured streams."""
    registry = loader.load()
    to_output = options.to == "-"
    if to_output and options.configuration == CONFIGURATION and not CONFIGURATION.exists():
        configuration = settings.defaults(CONFIGURATION, registry)
    else:
        configuration = settings.load(options.configuration, registry, need_source=False)
    logs.set_up(configuration.log_level)
    named = " ".join(options.input).encode()
    messages = build.messages(configuration, registry, epoch=f"replay-{crc32(named):08x}")
    counters = Counters()
    if to_output and isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8")  # JSON is UTF-8, whatever the locale
    bookmark = replay.Bookmark(options.resume) if options.resume else None
    if bookmark is not None and options.source != "eventlog":
        print("amikafka: --resume needs --from eventlog", file=sys.stderr)
        return os.EX_USAGE
    if any(name != "-" and Path(name).resolve() == options.dead_letter.resolve() for name in options.input):
        print(
            f"amikafka: {options.dead_letter} is also an input: move it away first, or name another file with"
            " --dead-letter",
            file=sys.stderr,
        )
        return os.EX_USAGE
    with contextlib.ExitStack() as opened:
        inputs: list[tuple[str, Reader]]
        found: FilesReader | None = None
        if options.source == "eventlog":
            found = _open_logs(options.input, bookmark, configuration, counters, opened)
            inputs = [(", ".join(options.input), found)]
        else:
            kind = replay.Letters if options.source == "dead-letter" else replay_inputs.stream
            recordings = [
                opened.enter_context(contextlib.closing(_open(name, kind))) for name in options.input
            ]
            inputs = [(each.name, StreamReader(each, 0, counters=counters)) for each in recordings]

        refused = _broken_off(
            bookmark,
            found,
            inputs=inputs,
            messages=messages,
            connect=Printer(sys.stdout).connect if to_output else partial(build.producer, configuration),
            dead_letters=DeadLetters(options.dead_letter),
            counters=counters,
            out=sys.stderr,
        )
    joined = f", {counters.joined} put together" if counters.joined else ""
    print(
        f"amikafka: {counters.events} events read, {counters.delivered} messages"
        f" {'printed' if to_output else 'delivered'}, {counters.filtered} filtered,"
        f" {counters.dead_letters} set aside, {counters.torn} cut off, {counters.overlong} too"
        " long" + (f", {counters.gaps} missing in the input" if counters.gaps else "") + joined,
        file=sys.stderr,
    )
    if refused is not None:
        raise refused
    is_all_published = not (counters.dead_letters or counters.torn or counters.overlong)
    if found is not None:
        for path, count, example in found.without_events:
            is_all_published = False
            print(
                f"amikafka: {path}: 0 events in {counted(count, 'line')}, such as {example!r}",
                file=sys.stderr,
            )
    elif not counters.events and is_all_published and any(reader.end for _, reader in inputs):
        is_all_published = False
        print(f"amikafka: {', '.join(options.input)}: 0 events in it", file=sys.stderr)
    return 0 if is_all_published else os.EX_DATAERR


def _broken_off(
    bookmark: replay.Bookmark | None, found: FilesReader | None, **arguments: Any
) -> DeliveryFailed | None:
    """Replay, and keep the bookmark of what is delivered; return why it ended early, `None` if it did not."""
    position = 0

    def delivered(up_to: int) -> None:
        nonlocal position
        position = up_to
        if bookmark is not None and found is not None:
            bookmark.note(lambda: found.bookmark(up_to))

    try:
        replay.replay(delivered=delivered, **arguments)
    except DeliveryFailed as error:
        if bookmark is not None and found is not None:
            bookmark.store(lambda: found.bookmark(position))
        return error
    if bookmark is not None:
        bookmark.remove()
    return None


def _open(name: str, kind: Callable[[BinaryIO, str], Recording]) -> Recording:
    if name == "-":
        return kind(sys.stdin.buffer, "standard input")
    try:
        return kind(Path(name).open("rb"), name)
    except OSError as error:
        raise InputError(f"{name}: {error.strerror}") from error


def _open_logs(
    names: Sequence[str],
    bookmark: replay.Bookmark | None,
    configuration: Settings,
    counters: Counters,
    opened: contextlib.ExitStack,
) -> FilesReader:
    """Open log files in any format, the oldest first; `-` is standard input."""
    paths = []
    try:
        for name in names:
            if name == "-":
                copy = opened.enter_context(contextlib.closing(copied(sys.stdin.buffer)))
                paths.append(Path(f"/proc/self/fd/{copy.fileno()}"))
            else:
                paths.append(Path(name))
        reader = FilesReader(
            paths,
            bookmark=bookmark.load() if bookmark is not None else None,
            counters=counters,
            identity=identified(build_source.identify_log(configuration), paths),
            options=configuration.eventlog_options,
        )
        return opened.enter_context(contextlib.closing(reader))
    except OSError as error:
        raise InputError(f"{error.filename}: {error.strerror}") from error


def show_plugins(_options: argparse.Namespace) -> int:
    """Print what is installed, and why something cannot be loaded."""
    registry, problems = loader.discover()
    print(plugins.table(registry))
    print(f"\nspeedups: {speedups.found()}")
    for problem in problems:
        print(f"amikafka: {problem}", file=sys.stderr)
    return os.EX_CONFIG if problems else 0


def show_plugin(options: argparse.Namespace) -> int:
    """Print one source, filter or format with its options."""
    registry, _ = loader.discover()
    found = next((each for each in registry if each.name == options.name), None)
    if found is None:
        known = [each.name for each in registry]
        text = unknown("source, filter or format", options.name, known)
        print(f'amikafka: "{options.name}": {text}; known are: {", ".join(known)}', file=sys.stderr)
        return os.EX_USAGE
    print(plugins.details(found))
    return 0


def new_plugin(options: argparse.Namespace) -> int:
    """Write the skeleton of a plugin."""
    directory = template.write(options.name, options.kind, options.directory)
    print(f"{directory}: a {options.kind} called {options.name}. Next:")
    print(f"  cd {directory}")
    print("  pip install --editable '.[test]'")
    print("  pytest")
    return 0


def run_demo(options: argparse.Namespace) -> int:
    """Run the demo."""
    return demo.run(count=options.events, rate=options.rate, format_name=options.format)


def _add_plugin_commands(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    text = "show one of them with all its options"
    showing = commands.add_parser("show", help=text, description=text)
    showing.add_argument("name", metavar="NAME")
    showing.set_defaults(command=show_plugin)
    text = "write the skeleton of a plugin: code, tests, pyproject.toml, README"
    making = commands.add_parser("new", help=text, description=text)
    making.add_argument("name", metavar="NAME", help="its name in the configuration: letters, digits, -")
    making.add_argument("kind", choices=KINDS, metavar="KIND", help="source, filter or format")
    making.add_argument("directory", type=Path, metavar="DIR", help="the directory to create")
    making.set_defaults(command=new_plugin)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="amikafka",
        description="Publishes every event of an Asterisk PBX to Apache Kafka.",
        epilog="Exit codes are those of sysexits.h: 78 configuration, 69 unavailable, 77 permission.",
    )
    versions = f"amikafka {__version__} ({libraries()}, speedups {speedups.found().used})"
    parser.add_argument("--version", action="version", version=versions)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def add(name: str, command: Callable[[argparse.Namespace], int], text: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=text, description=text)
        added.set_defaults(command=command)
        return added

    def add_configuration(to: argparse.ArgumentParser) -> None:
        to.add_argument(
            "-c",
            "--config",
            dest="configuration",
            type=Path,
            default=CONFIGURATION,
            metavar="FILE",
            help=f"the configuration file (default: {CONFIGURATION})",
        )

    add_configuration(add("run", run, "run the daemon in the foreground"))
    checking = add("check", check, "check the configuration and print every problem; exit 0 or 78")
    add_configuration(checking)
    checking.add_argument(
        "-q", "--quiet", action="store_true", help="print only problems; exit 0 if the daemon can run"
    )
    add("reload", reload, "make the daemon reload its configuration and wait for the result; for systemd")
    status_commands.add_to(add, add_configuration)
    tap_command.add_to(add, add_configuration)
    doctor_command.add_to(add, add_configuration)
    kafka.add_to(add, add_configuration)
    compare_command.add_to(add, add_configuration)
    replaying = add("replay", replay_command, "publish captured AMI streams, log files or dead letters")
    add_configuration(replaying)
    replaying.add_argument(
        "--from",
        dest="source",
        choices=["ami", "eventlog", "dead-letter"],
        default="ami",
        help="what the inputs are: streams of the manager interface, log files in any format, or dead-letter"
        " files (default: ami)",
    )
    replaying.add_argument(
        "--to",
        choices=["kafka", "-"],
        default="kafka",
        help="where to send the messages: kafka, or - to print them as JSON lines (default: kafka)",
    )
    replaying.add_argument(
        "--resume",
        type=Path,
        metavar="FILE",
        help="store the position in FILE, and resume from there after an interruption; with --from eventlog",
    )
    replaying.add_argument(
        "--dead-letter",
        type=Path,
        default=Path("dead-letter.jsonl"),
        metavar="FILE",
        help="where to write events that cannot be published (default: %(default)s)",
    )
    replaying.add_argument("input", nargs="+", metavar="INPUT", help="a file, or - for standard input")
    _add_plugin_commands(add("plugins", show_plugins, "show the installed sources, filters and formats"))
    showing = add(
        "demo", run_demo, "run the whole pipeline with a recorded Asterisk and a Kafka in this process"
    )
    showing.add_argument(
        "--events", type=int, default=200, metavar="N", help="number of events (default: %(default)s)"
    )
    showing.add_argument(
        "--rate",
        type=float,
        default=100,
        metavar="N",
        help="events per second, 0 for all at once (default: 100)",
    )
    showing.add_argument("--format", default="json", help="the format (default: json)")
    return parser

"""The way from Asterisk, where the source is the manager interface."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from amikafka_tail.commands.doctor.console import Console, manager_state, module_is_loaded, read_rights
from amikafka_tail.commands.doctor.findings import Finding, Level
from amikafka_tail.config import files
from amikafka_tail.config.dialect import Document
from amikafka_tail.config.options import boolean
from amikafka_tail.config.settings import MODULE_FILE, Settings
from amikafka_tail.model.errors import AlreadyLoggedIn, AmikafkaError, LoginRefused
from amikafka_tail.model.humanize import counted
from amikafka_tail.model.live_source import LiveSource
from amikafka_tail.model.pushed_filters import Filtered

PART = "Asterisk"
CLASSES = frozenset(
    ["system", "call", "log", "verbose", "command", "agent", "user", "config", "dtmf", "reporting"]
) | frozenset(["cdr", "dialplan", "originate", "agi", "cc", "aoc", "test", "security", "message"])
"""The event classes of Asterisk 22 (main/manager.c, perms)."""
SHORT_WRITETIMEOUT = 5000
"""In ms. Asterisk's default, 100, cuts off a reader that a busy machine stops for a moment."""


def look(settings: Settings, source: LiveSource, console: Console, *, is_running: bool) -> Iterator[Finding]:
    """Yield what is found. `is_running` says that the daemon has a connection of its own."""
    document = files.load(settings.etc / "manager.conf")
    username = settings.source_options.username
    yield from _of_login(source, is_running=is_running)
    answered = console("manager show settings")
    state = manager_state(answered) if answered is not None else None
    if state is None:
        yield _finding(
            "note",
            "Asterisk's console does not answer here (asterisk -rx): what follows is what its files say",
        )
        yield from _of_files(document, settings.etc / "manager.conf")
    else:
        if not state.enabled:
            yield _finding(
                "error",
                "the manager interface is not enabled",
                f"enabled = yes in [general] of {settings.etc}/manager.conf, then: asterisk -rx 'module"
                " reload manager'",
            )
        yield _of_timestamps(settings.etc, enabled=state.timestamps)
        yield from _of_variables(settings, state.channel_variables)
        if state.disabled_events:
            yield _finding(
                "warning",
                f"Asterisk itself sends no {', '.join(state.disabled_events)}",
                f"disabledevents in [general] of {settings.etc}/manager.conf",
            )
        yield from _of_rights(console(f"manager show user {username}") or "", username, settings.etc)
        yield _of_module(console("module show like app_ami_kafka") or "", settings)
    yield from _of_user(document, username, settings.etc / "manager.conf")


def _of_login(source: LiveSource, *, is_running: bool) -> Iterator[Finding]:
    try:
        connection = source.connect()
    except LoginRefused as error:
        if is_running and isinstance(error, AlreadyLoggedIn):
            yield _finding("ok", "the daemon is logged in, and the user may be so only once")
            return
        yield _finding(
            "error", str(error), "the log of Asterisk says why: asterisk -rx 'logger show channels'"
        )
        return
    except AmikafkaError as error:
        advice = "see that Asterisk runs (systemctl status asterisk), and [manager] host and port"
        yield _finding("error", str(error), advice)
        return
    connection.socket.close()
    version = f", Asterisk {connection.asterisk_version}" if connection.asterisk_version else ""
    yield _finding("ok", f"{connection.peer}: logged in{version}")
    if isinstance(connection, Filtered) and (pushed := connection.pushed).taken:
        lines = counted(pushed.wanted, "eventfilter line")
        yield _finding("ok", f"Asterisk itself filters by {pushed.taken} of {lines} (push_filters)")
    for warning in connection.warnings:
        text, _, advice = str(warning).partition(": ")
        yield _finding("warning", text, advice)


def _of_files(document: Document, path: Path) -> Iterator[Finding]:
    """What `manager show settings` would have said, as far as the files tell."""
    if document.problems and not document.sections:
        yield _finding("note", f"{path}: {document.problems[0].message}")
        return
    if not _is_on(document, "general", "enabled"):
        yield _finding(
            "error",
            f"{path}: the manager interface is not enabled",
            "enabled = yes in [general], then: asterisk -rx 'module reload manager'",
        )
    yield _of_timestamps(path.parent, enabled=_is_on(document, "general", "timestampevents"))


def _of_timestamps(etc: Path, *, enabled: bool) -> Finding:
    if enabled:
        return _finding("ok", "events have Asterisk's own time (timestampevents)")
    return _finding(
        "note",
        "events have no time of Asterisk's: a message's timestamp is when the event came here",
        f"timestampevents = yes in [general] of {etc}/manager.conf",
    )


def _of_variables(settings: Settings, variables: tuple[str, ...]) -> Iterator[Finding]:
    duplicates = getattr(settings.format_options, "duplicates", None)
    if len(variables) > 1 and settings.format == "json" and duplicates == "last":
        yield _finding(
            "warning",
            f"each event has a line ChanVariable for each of {len(variables)} channel variables"
            f" ({', '.join(variables)}), and of a line that repeats JSON has the last only",
            "[json] duplicates = list publishes all of them",
        )


def _of_rights(output: str, username: str, etc: Path) -> Iterator[Finding]:
    rights = read_rights(output)
    if rights is None:
        yield _finding(
            "error",
            f'Asterisk knows no manager user "{username}"',
            f"make a section [{username}] in {etc}/manager.conf, with secret, read = all, write = reporting,"
            " then: asterisk -rx 'manager reload'",
        )
        return
    missing = sorted(CLASSES - rights)
    if not missing or "all" in rights:
        yield _finding("ok", f"{username} may read every class of events")
        return
    level: Level = "error" if len(missing) == len(CLASSES) else "warning"
    yield _finding(
        level,
        f"{username} may not read events of the class {', '.join(missing)}: they are not published",
        f"read = all in [{username}] of manager.conf, then: asterisk -rx 'manager reload'; where that is"
        " meant, nothing is to be done",
    )


def _of_module(output: str, settings: Settings) -> Finding:
    if module_is_loaded(output, "app_ami_kafka"):
        if settings.path.name != MODULE_FILE:
            return _finding(
                "note",
                f"the module app_ami_kafka is loaded, too, and publishes what {MODULE_FILE} says",
                "to see whether both publish the same: amikafka compare",
            )
        return _finding(
            "warning",
            f"the module app_ami_kafka is loaded, too: every event is twice on {settings.topic}",
            "asterisk -rx 'module unload app_ami_kafka.so', and noload = app_ami_kafka.so in modules.conf;"
            " to compare both first: amikafka compare",
        )
    return _finding("ok", "the module app_ami_kafka is not loaded: nobody else publishes the events")


def _of_user(document: Document, username: str, path: Path) -> Iterator[Finding]:
    """What only the file says of a manager user."""
    sections = document.named(username)
    if not sections:
        return
    values = [section.get("writetimeout") for section in sections]
    set_to = next((value for value in reversed(values) if value is not None), None)
    milliseconds = int(set_to) if set_to is not None and set_to.isdigit() else 100
    if milliseconds < SHORT_WRITETIMEOUT:
        yield _finding(
            "warning",
            f"{path}: [{username}] has writetimeout = {milliseconds} (ms): Asterisk cuts the connection when"
            " this machine is busy for that long, and what it does until the next one is lost",
            "writetimeout = 60000, then: asterisk -rx 'manager reload', and systemctl restart amikafka",
        )
    else:
        yield _finding("ok", f"Asterisk waits {milliseconds / 1000:g} s for us (writetimeout)")
    names = [line.name for section in sections for line in section.lines]
    if filters := sum(name.startswith("eventfilter") for name in names):
        yield _finding(
            "note",
            f"{path}: [{username}] has {counted(filters, 'eventfilter line')}: what Asterisk keeps back by"
            " them never comes here",
        )


def _is_on(document: Document, section: str, name: str) -> bool:
    value: Any = None
    for each in document.named(section):
        value = each.get(name) or value
    try:
        return value is not None and boolean(value)
    except ValueError:
        return False


def _finding(level: Level, text: str, advice: str = "") -> Finding:
    return Finding(level=level, part=PART, text=text, advice=advice)

"""Checks a source that reads the manager interface."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from amikafka_tail.commands.doctor.console import Console, manager_state, module_is_loaded, read_rights
from amikafka_tail.commands.doctor.findings import Finding, Level
from amikafka_tail.config import files
from amikafka_tail.config.dialect import Document, fold
from amikafka_tail.config.options import TRUE
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
"""In ms. With Asterisk's default, 100, a short pause of a busy machine costs the connection."""


def look(settings: Settings, source: LiveSource, console: Console, *, is_running: bool) -> Iterator[Finding]:
    """Yield the findings. `is_running` says that the daemon has a connection of its own."""
    document = files.load(settings.etc / "manager.conf")
    username = settings.source_options.username
    yield from _of_login(source, is_running=is_running)
    answered = console("manager show settings")
    state = manager_state(answered) if answered is not None else None
    if state is None:
        yield _finding(
            "note",
            "Asterisk's console does not answer (asterisk -rx): the next findings come from its files",
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
                f"Asterisk does not send {', '.join(state.disabled_events)}",
                f"see disabledevents in [general] of {settings.etc}/manager.conf",
            )
        yield from _of_rights(console(f"manager show user {username}") or "", username, settings.etc)
        yield _of_module(console("module show like app_ami_kafka") or "", settings)
    yield from _of_user(document, username, settings.etc / "manager.conf")


def _of_login(source: LiveSource, *, is_running: bool) -> Iterator[Finding]:
    try:
        connection = source.connect()
    except LoginRefused as error:
        if is_running and isinstance(error, AlreadyLoggedIn):
            yield _finding("ok", "the daemon is logged in, and this user may have only one session")
            return
        yield _finding(
            "error",
            str(error),
            "Asterisk's log has the reason; to find the log: asterisk -rx 'logger show channels'",
        )
        return
    except AmikafkaError as error:
        advice = (
            "check that Asterisk is running (systemctl status asterisk), and check [manager] host and port"
        )
        yield _finding("error", str(error), advice)
        return
    connection.socket.close()
    version = f", Asterisk {connection.asterisk_version}" if connection.asterisk_version else ""
    yield _finding("ok", f"{connection.peer}: logged in{version}")
    if isinstance(connection, Filtered) and (pushed := connection.pushed).taken:
        lines = counted(pushed.wanted, "eventfilter line")
        yield _finding("ok", f"Asterisk applies {pushed.taken} of {lines} (push_filters)")
    for warning in connection.warnings:
        text, _, advice = str(warning).partition(": ")
        yield _finding("warning", text, advice)


def _of_files(document: Document, path: Path) -> Iterator[Finding]:
    """Check in the files what `manager show settings` would have said."""
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
        return _finding("ok", "events carry Asterisk's own timestamp (timestampevents)")
    return _finding(
        "note",
        "events carry no timestamp of Asterisk's own: messages get the time of arrival",
        f"set timestampevents = yes in [general] of {etc}/manager.conf",
    )


def _of_variables(settings: Settings, variables: tuple[str, ...]) -> Iterator[Finding]:
    duplicates = getattr(settings.format_options, "duplicates", None)
    if len(variables) > 1 and settings.format == "json" and duplicates == "last":
        yield _finding(
            "warning",
            f"each event repeats the line ChanVariable for {len(variables)} channel variables"
            f" ({', '.join(variables)}), and the JSON has only the last of a repeated line",
            "to publish all of them: [json] duplicates = list",
        )


def _of_rights(output: str, username: str, etc: Path) -> Iterator[Finding]:
    rights = read_rights(output)
    if rights is None:
        yield _finding(
            "error",
            f'Asterisk has no manager user "{username}"',
            f"add a section [{username}] to {etc}/manager.conf, with secret, read = all, write = reporting,"
            " then: asterisk -rx 'manager reload'",
        )
        return
    missing = sorted(CLASSES - rights)
    if not missing or "all" in rights:
        yield _finding("ok", f"{username} may read all event classes")
        return
    level: Level = "error" if len(missing) == len(CLASSES) else "warning"
    yield _finding(
        level,
        f"{username} may not read the event classes {', '.join(missing)}: these events are not published",
        f"set read = all in [{username}] of manager.conf, then: asterisk -rx 'manager reload'; if that is"
        " intended, no action is needed",
    )


def _of_module(output: str, settings: Settings) -> Finding:
    if module_is_loaded(output, "app_ami_kafka"):
        if settings.path.name != MODULE_FILE:
            return _finding(
                "note",
                f"the module app_ami_kafka is also loaded, and publishes as {MODULE_FILE} says",
                "to check that both publish the same: amikafka compare",
            )
        return _finding(
            "warning",
            f"the module app_ami_kafka is also loaded: every event is on {settings.topic} twice",
            "unload it: asterisk -rx 'module unload app_ami_kafka.so', and noload = app_ami_kafka.so in"
            " modules.conf; to compare both first: amikafka compare",
        )
    return _finding("ok", "the module app_ami_kafka is not loaded: nothing else publishes the events")


def _of_user(document: Document, username: str, path: Path) -> Iterator[Finding]:
    """Check the options of a manager user that only the file has."""
    sections = document.named(username)
    if not sections:
        return
    values = [section.get("writetimeout") for section in sections]
    set_to = next((value for value in reversed(values) if value is not None), None)
    milliseconds = int(set_to) if set_to is not None and set_to.isdigit() else 100
    if milliseconds < SHORT_WRITETIMEOUT:
        yield _finding(
            "warning",
            f"{path}: [{username}] has writetimeout = {milliseconds} (ms): if this machine is busy for that"
            " long, Asterisk closes the connection, and events are lost until the next login",
            "set writetimeout = 60000, then: asterisk -rx 'manager reload', and systemctl restart amikafka",
        )
    else:
        yield _finding("ok", f"Asterisk waits up to {milliseconds / 1000:g} s for amikafka (writetimeout)")
    names = [line.name for section in sections for line in section.lines]
    if filters := sum(fold(name).startswith("eventfilter") for name in names):
        yield _finding(
            "note",
            f"{path}: [{username}] has {counted(filters, 'eventfilter line')}: Asterisk does not send the"
            " events that they exclude",
        )


def _is_on(document: Document, section: str, name: str) -> bool:
    values = [line.value for line in document.first(section) if line.is_named(name)]
    return bool(values) and values[-1].lower() in TRUE


def _finding(level: Level, text: str, advice: str = "") -> Finding:
    return Finding(level=level, part=PART, text=text, advice=advice)

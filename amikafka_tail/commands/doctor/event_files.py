"""Checks a source that reads a log or a spool directory."""

from __future__ import annotations

import glob
import os
import pwd
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from amikafka_tail.ami.debuglog import LogFramer
from amikafka_tail.commands.doctor.console import Console, manager_state
from amikafka_tail.commands.doctor.findings import Finding, Level
from amikafka_tail.config import files
from amikafka_tail.config.settings import Settings
from amikafka_tail.model.humanize import counted
from amikafka_tail.sources.logfile import LogFile
from amikafka_tail.sources.logtime import LogTimes
from amikafka_tail.sources.rotation import CHUNK

PART = "Files"
USER = "amikafka"
"""The user that the service runs as."""
QUEUE_LIMIT = 1000
"""Asterisk's own logger_queue_limit, in messages (main/logger.c)."""
ENOUGH_QUEUED = 100_000
"""Of 12,603 events of a burst 6,730 did not reach the log with the default."""
MOST_READ = 64 << 20
"""Bytes at the end of a log that are searched for an event."""


def look_at_log(settings: Settings, console: Console) -> Iterator[Finding]:
    """Yield the findings on `[eventlog] path`."""
    for pattern in settings.source_options.path:
        paths = [Path(name) for name in sorted(glob.glob(pattern))]  # noqa: PTH207 - it may be absolute
        if not paths:
            yield _finding(
                "error",
                f"{pattern}: no such file",
                "in logger.conf: full => notice,warning,error,verbose(5); then: asterisk -rx 'logger reload'",
            )
        for path in paths:
            yield from _of_log(settings, path)
    yield from _of_queue_limit(settings.etc / "logger.conf")
    answered = console("manager show settings")
    state = manager_state(answered) if answered is not None else None
    if state is not None and not state.debug:
        yield _finding(
            "error",
            "Asterisk writes no events to its log: manager debug is off",
            "set debug = on in [general] of manager.conf; to start at once: asterisk -rx 'manager set"
            " debug on'",
        )


def _of_log(settings: Settings, path: Path) -> Iterator[Finding]:
    if (reason := unreadable_for(USER, path)) is not None:
        yield _finding("error", f"{path}: {reason}", f"adduser {USER} asterisk, or chmod g+r {path}")
        return
    try:
        found, size = _searched(path), path.stat().st_size
    except OSError as error:
        yield _finding("error", f"{path}: {error}")
        return
    if found.has_events:
        yield _finding("ok", f"{path}: it contains events")
        yield from _of_form(settings, path)
    else:
        where = "its last 64 MB" if size > MOST_READ else "it"
        example = f": {found.example}" if found.example else ""
        yield _finding(
            "warning",
            f"{path}: no event in {where}, 0 events in {counted(found.lines, 'line')}{example}",
            "check three things: asterisk -rx 'manager set debug on', verbose(5) in logger.conf, and a"
            " manager session",
        )


def _searched(path: Path) -> LogFile:
    """Return a log, closed, that was read as far as its first event, or to its end where it has none."""
    with closing(LogFile(path)) as file:
        if file.size > MOST_READ:
            framer = LogFramer()
            framer.feed(file.read_at(0, CHUNK))
            file.start_at(file.size - MOST_READ, framer.form)
        while not file.has_events and (data := file.read(CHUNK)):
            file.feed(data)
        return file


def _of_form(settings: Settings, path: Path) -> Iterator[Finding]:
    """Yield what the form of a log costs, and whether its dates can be read."""
    framer = LogFramer()
    with closing(LogFile(path)) as file:
        found = framer.feed(file.read_at(0, CHUNK))
        modified_ms = file.modified_ns // 1_000_000
    form = (framer.form or "").rpartition(":")[2]
    if form in ("log", "log-lf", "log-crlf"):
        yield _finding(
            "note",
            f"{path}: is a text log: Asterisk takes ESC, and all up to the next m, out of it. [json] keeps"
            " both, but leaves out each event that is not UTF-8",
            f"in logger.conf: {path.name}.json => [json]verbose(5), and [eventlog] path = {path}.json",
        )
    dateformat = settings.eventlog_options.dateformat if settings.eventlog_options else ""
    dated = next((each.logged_at for each in found if each.logged_at), b"")
    if dated and LogTimes(dateformat).read(dated, modified_ms) is None:
        yield _finding(
            "warning",
            f"{path}: the date {dated.decode(errors='replace')} cannot be read: events without a Timestamp"
            " get the time when the file was last written to",
            "[eventlog] dateformat = the dateformat of logger.conf, or timestampevents = yes in manager.conf",
        )


def _of_queue_limit(logger_conf: Path) -> Iterator[Finding]:
    """Yield whether Asterisk's logger has room for a burst of events: what it has no room for it discards."""
    said = [section.get("logger_queue_limit") for section in files.load(logger_conf).named("general")]
    value = next((each for each in said if each is not None), None)
    limit = int(value) if value is not None and value.isascii() and value.isdigit() else QUEUE_LIMIT
    if limit < ENOUGH_QUEUED:
        yield _finding(
            "warning",
            f"Asterisk's logger discards what comes when {limit} messages wait: in a burst events do not"
            " reach the log",
            f"logger_queue_limit = {ENOUGH_QUEUED} in [general] of {logger_conf}, then: asterisk -rx"
            " 'logger reload'",
        )


def look_at_spool(settings: Settings) -> Iterator[Finding]:
    """Yield the findings on `[spool] directory`."""
    options = settings.source_options
    directory: Path = options.directory
    if not directory.is_dir():
        yield _finding(
            "error",
            f"{directory}: no such directory",
            f"install -d -o {USER} -g {USER} -m 2770 {directory}",
        )
        return
    if (reason := unreadable_for(USER, directory, os.R_OK | os.W_OK | os.X_OK)) is not None:
        yield _finding("error", f"{directory}: {reason}", f"chown {USER}:{USER} {directory}")
        return
    waiting = len(list(directory.glob(options.pattern)))
    yield _finding("ok", f"{directory}: {counted(waiting, 'file')} {options.pattern} waiting")
    bad: Path = options.bad_directory or directory / "bad"
    refused = len(list(bad.iterdir())) if bad.is_dir() else 0
    if refused:
        yield _finding(
            "warning",
            f"{bad}: {counted(refused, 'file')} could not be used",
            "the file beside each one has the reason",
        )


def unreadable_for(user: str, path: Path, wanted: int = os.R_OK) -> str | None:
    """Return why a user cannot access a path, `None` if it can. As root it asks the kernel as that user."""
    try:
        entry = pwd.getpwnam(user)
    except KeyError:
        entry = None
    if os.geteuid() != 0 or entry is None:
        return None if os.access(path, wanted) else "this user has no access"
    child = os.fork()
    if child == 0:
        try:
            os.initgroups(user, entry.pw_gid)
            os.setgid(entry.pw_gid)
            os.setuid(entry.pw_uid)
            os._exit(0 if os.access(path, wanted) else 1)
        finally:
            os._exit(2)
    _, status = os.waitpid(child, 0)
    return None if os.waitstatus_to_exitcode(status) == 0 else f"the user {user} has no access"


def _finding(level: Level, text: str, advice: str = "") -> Finding:
    return Finding(level=level, part=PART, text=text, advice=advice)

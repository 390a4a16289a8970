"""Checks this machine: the daemon, the journal's disk, the clock, plugins, versions."""

from __future__ import annotations

import ctypes
import os
import platform
import shutil
from collections.abc import Iterator

from amikafka_tail import __version__
from amikafka_tail.commands.doctor.event_files import USER, unreadable_for
from amikafka_tail.commands.doctor.findings import Finding, Level
from amikafka_tail.config.settings import Settings
from amikafka_tail.daemon.status.snapshot import Snapshot
from amikafka_tail.daemon.status.verdict import LITTLE_HOURS, judge
from amikafka_tail.kafka.producer import libraries
from amikafka_tail.model import speedups
from amikafka_tail.model.humanize import size, span
from amikafka_tail.plugins.registry import DISTRIBUTION, Registry

PART = "This machine"
_TIME_ERROR = 5
"""What adjtimex(2) returns while the clock is not synchronized."""
LITTLE_DISK = 1 << 30


def look_at_daemon(snapshot: Snapshot | None, reason: str) -> Iterator[Finding]:
    """Yield the daemon's state; `reason` says why there is no snapshot."""
    if snapshot is None:
        yield _finding(
            "warning",
            reason,
            "to start it: systemctl start amikafka; to see why it stopped: journalctl -u amikafka -n 50",
        )
        return
    verdict = judge(snapshot)
    # The verdict's advice is to run doctor, so leave it out.
    yield _finding("ok" if verdict.healthy else "error", f"the daemon is running: {verdict.state}")
    for lost in verdict.lost:
        yield _finding("warning", f"lost since the daemon started: {lost}", "see docs/reliability.md")
    if snapshot.version != __version__:
        yield _finding(
            "note",
            f"the daemon is version {snapshot.version}, this is {__version__}",
            "systemctl restart amikafka",
        )


def look_at_disk(settings: Settings, snapshot: Snapshot | None) -> Iterator[Finding]:
    """Yield how much room the journal has, and for how long."""
    journal = settings.journal
    directory = journal.directory
    if not directory.exists():
        yield _finding("note", f"{directory} does not exist yet: the daemon creates it at the first start")
        return
    if (reason := unreadable_for(USER, directory, os.R_OK | os.W_OK | os.X_OK)) is not None:
        yield _finding("error", f"{directory}: {reason}", f"chown {USER}:{USER} {directory}")
    usage = shutil.disk_usage(directory)
    text = f"{directory}: {size(usage.free)} free, the journal may use {size(journal.max_bytes)}"
    level: Level = "ok"
    advice = ""
    state = snapshot.journal if snapshot is not None else None
    if state is not None and state.hours_left is not None:
        text += f": room for {span(state.hours_left * 3600)} without Kafka at the current rate"
        if state.hours_left < LITTLE_HOURS:
            level, advice = "warning", "increase [journal] max_bytes, if the disk has room"
    if usage.free < min(journal.max_bytes, LITTLE_DISK):
        level, advice = "warning", f"free space on the disk of {directory}, or lower [journal] max_bytes"
    yield _finding(level, text, advice)


def look_at_clock() -> Iterator[Finding]:
    """Yield whether the clock is synchronized (adjtimex(2))."""
    libc = ctypes.CDLL(None, use_errno=True)
    state = libc.adjtimex(ctypes.create_string_buffer(512))  # struct timex, all zero: read only
    if state == _TIME_ERROR:
        yield _finding(
            "warning",
            "this machine's clock is not synchronized: the times of events may be wrong",
            "apt install chrony, or timedatectl set-ntp true",
        )
    elif state >= 0:
        yield _finding("ok", "the clock is synchronized")


def look_at_software(registry: Registry, problems: list[str]) -> Iterator[Finding]:
    """Yield the versions, and the plugins that cannot be loaded."""
    for problem in problems:
        yield _finding("error", f"plugin: {problem}", "amikafka plugins shows what is loaded")
    others = sorted(
        {
            f"{each.origin.distribution} {each.origin.version}"
            for each in registry
            if each.origin.distribution != DISTRIBUTION
        }
    )
    accelerator = speedups.found()
    if accelerator.advice:
        yield _finding("warning", f"{accelerator.reason}: each event costs more CPU time", accelerator.advice)
    versions = f"amikafka {__version__}, {libraries()}, Python {platform.python_version()}"
    plugins = f"; plugins: {', '.join(others)}" if others else ""
    yield _finding("ok", f"{versions}; speedups: {accelerator}{plugins}")


def _finding(level: Level, text: str, advice: str = "") -> Finding:
    return Finding(level=level, part=PART, text=text, advice=advice)

"""The page of `amikafka top` on the smallest terminal."""

from __future__ import annotations

import dataclasses

import pytest

pytest.importorskip("rich")

from rich.console import Console

from amikafka_tail.commands.status.top import page
from amikafka_tail.daemon.status.snapshot import Snapshot
from tests.unit.daemon.status.snapshots import WELL, changed

WORDY = [
    dataclasses.replace(WELL.said[0], text=f"{word} " + "no connection to Asterisk " * 20) for word in "ab"
]


def shown(snapshot: Snapshot) -> list[str]:
    console = Console(width=80, height=24, highlight=False)
    with console.capture() as capture:
        console.print(page(snapshot, None, 80, 24))
    return capture.get().splitlines()


def test_long_warnings_leave_room_for_the_events() -> None:
    lines = shown(changed(said=WORDY))
    assert any(line.startswith("Newchannel") for line in lines)
    assert any(line.startswith("Hangup") for line in lines)
    assert sum("no connection to Asterisk" in line for line in lines) == len(WORDY)


def test_the_page_fits_the_terminal() -> None:
    lines = shown(changed(said=WORDY))
    assert len(lines) <= 24
    assert max(map(len, lines)) <= 80

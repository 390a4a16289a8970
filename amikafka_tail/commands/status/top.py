"""`amikafka top`: the daemon, live, on a terminal of 80 by 24 or more."""

from __future__ import annotations

import contextlib
import os
import select
import sys
import termios
import time
import tty
from collections.abc import Callable, Iterator

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from amikafka_tail.commands.status import screen
from amikafka_tail.daemon.logs import printable
from amikafka_tail.daemon.status.snapshot import Snapshot
from amikafka_tail.daemon.status.verdict import judge
from amikafka_tail.model.errors import NotRunning
from amikafka_tail.model.humanize import rate

COLOURS = {"State": "bold green", "Lost": "yellow", "To do": "yellow"}
MOST_SAID = 2
ENDLESS = 100_000
QUIT = b"qQ\x1b\x03\x04"


def watch(ask: Callable[[], Snapshot], interval: float) -> None:
    """Show what `ask` returns every `interval` seconds until q is pressed. Blocks."""
    console = Console(highlight=False)
    before: Snapshot | None = None
    with _keys() as pressed, Live(console=console, screen=True, auto_refresh=False) as live:
        while True:
            try:
                now = ask()
                live.update(page(now, before, console.width, console.height), refresh=True)
                before = now
            except NotRunning as error:
                live.update(_without_daemon(str(error)), refresh=True)
                before = None
            if pressed(interval):
                return


def page(now: Snapshot, before: Snapshot | None, width: int, height: int) -> Group:
    """Return the screen. `before` is the previous snapshot, for the rates."""
    verdict = judge(now)
    lines = [_coloured(line, healthy=verdict.healthy) for line in screen.summary(now, verdict, width - 1)]
    # One line each: wrapped, old warnings would leave no room for the events.
    said = [
        Text(line, "dim", no_wrap=True, overflow="ellipsis") for line in screen.said(now, ENDLESS, MOST_SAID)
    ]
    room = height - len(lines) - len(said) - 4
    table = _kinds(now, before, max(0, room))
    clock = time.strftime("%H:%M:%S", time.localtime(now.at_ms / 1000))
    foot = Text(f"{clock}  q: quit", "dim", no_wrap=True)
    return Group(*lines, Text(""), table, *said, foot)


def _kinds(now: Snapshot, before: Snapshot | None, most: int) -> Table:
    """Return the events by name, those with the highest current rate first."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("event", no_wrap=True, max_width=34)
    table.add_column("category", no_wrap=True, max_width=20)
    table.add_column("sent", justify="right", no_wrap=True)
    table.add_column("rate", justify="right", no_wrap=True)
    old = {each[:2]: each[2] for each in before.events.kinds} if before else {}
    seconds = (now.at_ms - before.at_ms) / 1000 if before else 0.0

    def per_second(kind: tuple[str, str, int]) -> float:
        return max(0.0, (kind[2] - old.get(kind[:2], 0)) / seconds) if seconds > 0 else 0.0

    for kind in sorted(now.events.kinds, key=lambda each: (-per_second(each), -each[2]))[:most]:
        name, category, count = kind
        table.add_row(Text(printable(name)), Text(printable(category)), f"{count:,}", rate(per_second(kind)))
    return table


def _coloured(line: str, *, healthy: bool) -> Text:
    label = line[: screen.LABEL].strip()
    style = COLOURS.get(label, "")
    if label == "State" and not healthy:
        style = "bold red"
    if line[screen.LABEL :] == "nothing":
        style = ""
    return Text(line, style, no_wrap=True)


def _without_daemon(text: str) -> Group:
    return Group(Text(text, "bold red"), Text("retrying ...  q: quit", "dim"))


@contextlib.contextmanager
def _keys() -> Iterator[Callable[[float], bool]]:
    """Give a function that waits for some seconds and returns whether a quit key was pressed."""
    descriptor = sys.stdin.fileno()
    saved = termios.tcgetattr(descriptor)

    def pressed(seconds: float) -> bool:
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            ready, _, _ = select.select([descriptor], [], [], left)
            if ready:
                data = os.read(descriptor, 64)
                if not data or any(key in QUIT for key in data):
                    return True
        return False

    try:
        tty.setcbreak(descriptor)
        yield pressed
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, saved)

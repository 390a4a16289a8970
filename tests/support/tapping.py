"""`amikafka tap` as a process, whose lines are read as they come."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.support.daemon import PROJECT
from tests.support.waiting import wait_for
from tests.support.world import BOUND, World


def command(world: World, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "amikafka_tail", "tap", "-c", str(world.daemon.configuration), *arguments]


def environment(**more: str) -> dict[str, str]:
    found = {**os.environ, "PYTHONPATH": str(PROJECT), "AMIKAFKA_LOAD_PLUGINS": "", **more}
    found.pop("NO_COLOR", None)
    return found


class Tap:
    """A tap whose output is read line by line."""

    def __init__(self, process: subprocess.Popen[bytes], errors: Path) -> None:
        self.process = process
        self._errors = errors
        self._held = b""
        assert process.stdout is not None
        self._out = process.stdout.fileno()

    @property
    def said(self) -> str:
        """What it has said beside the events."""
        return self._errors.read_text()

    def wait_until_said(self, text: str) -> None:
        try:
            wait_for(lambda: text in self.said, BOUND, f"{text!r}")
        except TimeoutError as error:
            raise TimeoutError(f"{error}\n{self.said}") from None

    def lines(self, count: int) -> list[str]:
        """Wait for so many lines more."""
        until = time.monotonic() + BOUND
        while self._held.count(b"\n") < count:
            ready, _, _ = select.select([self._out], [], [], until - time.monotonic())
            assert ready, f"no {count} lines: {self._held!r} {self.said}"
            data = os.read(self._out, 1 << 20)
            assert data, f"ended: {self._held!r} {self.said}"
            self._held += data
        *found, self._held = self._held.split(b"\n", count)
        return [line.decode() for line in found]

    def messages(self, count: int) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.lines(count)]

    def end(self, number: signal.Signals = signal.SIGINT) -> int:
        self.process.send_signal(number)
        return self.process.wait(BOUND)


@contextlib.contextmanager
def tapping(world: World, *arguments: str, **more: Any) -> Iterator[Tap]:
    """Run a tap until the end of the block."""
    errors = world.daemon.directory / f"tap-{time.monotonic_ns()}"
    with errors.open("wb") as err:
        process = subprocess.Popen(
            command(world, *arguments), stdout=subprocess.PIPE, stderr=err, env=environment(), **more
        )
    assert process.stdout is not None
    with process.stdout:
        try:
            yield Tap(process, errors)
        finally:
            if process.poll() is None:
                process.kill()
            process.wait(BOUND)
    assert "Traceback" not in errors.read_text()
    assert "s3cret" not in errors.read_text()

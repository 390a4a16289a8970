"""A terminal for a command: a pseudo terminal of 80 by 24, and what it printed."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time
from collections.abc import Sequence
from types import TracebackType

from tests.support.waiting import BOUND

ESCAPES = re.compile(r"\x1b(\[[0-9;?]*[a-zA-Z]|[()][A-Z0-9])")


class Terminal:
    """Runs a command on a terminal of its own. `text` is all that it printed, without escapes."""

    def __init__(self, command: Sequence[str], environment: dict[str, str], rows: int = 24) -> None:
        self.raw = ""
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, 80, 0, 0))
        self.process = subprocess.Popen(
            ["setsid", "--ctty", *command],  # so that Ctrl-C is a signal
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env={**environment, "TERM": "xterm-256color"},
        )
        os.close(slave)

    def __enter__(self) -> Terminal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(BOUND)
        os.close(self._master)

    @property
    def text(self) -> str:
        return ESCAPES.sub("", self.raw)

    def wait_for(self, text: str, seconds: float = BOUND) -> None:
        """Wait until it has printed something."""
        until = time.monotonic() + seconds
        while text not in self.text:
            if time.monotonic() > until:
                raise TimeoutError(f"no {text!r} in {seconds:g} s:\n{self.text[-3000:]}")
            self._read(0.1)

    def press(self, keys: str) -> None:
        os.write(self._master, keys.encode())

    def wait_for_exit(self, seconds: float = BOUND) -> int:
        until = time.monotonic() + seconds
        while self.process.poll() is None and time.monotonic() < until:
            self._read(0.1)
        self._read(0.1)
        return self.process.wait(BOUND)

    def _read(self, seconds: float) -> None:
        ready, _, _ = select.select([self._master], [], [], seconds)
        if ready:
            with contextlib.suppress(OSError):  # it has ended
                self.raw += os.read(self._master, 1 << 16).decode("utf-8", "replace")

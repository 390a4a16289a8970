"""Reports the result of each reload to `amikafka reload`, which waits for it.

A signal has no answer. So the daemon writes the result into its runtime directory. systemd starts the
command with the same directory, and the command reads the result there.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path

from amikafka_tail.journal.durable import replace_file
from amikafka_tail.model.errors import ReloadFailed, UsageError

NAME = "reload.json"
SECONDS = 60.0
"""How long a reload may take: it first delivers the messages in flight."""


class Reloads:
    """The daemon's side. Without a runtime directory it does nothing."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        directory = environment.get("RUNTIME_DIRECTORY")
        self._path = None if not directory else Path(directory.partition(":")[0]) / NAME
        self._number = 0 if self._path is None else _read(self._path)[0]

    def done(self, problems: list[str]) -> None:
        """Report that a reload was done, or why it was not. Never raises."""
        if self._path is None:
            return
        self._number += 1
        answer = {"number": self._number, "problems": problems}
        try:
            replace_file(self._path, json.dumps(answer).encode() + b"\n")
        except OSError:
            return  # the log has the result


def ask(environment: Mapping[str, str], *, seconds: float = SECONDS) -> None:
    """Make the daemon reload, and wait for the result. Blocks for at most `seconds`.

    systemd passes the daemon's MAINPID and RUNTIME_DIRECTORY. Raises `ReloadFailed` with the problems that
    the daemon found, `UsageError` if systemd did not start this command.
    """
    directory, pid = environment.get("RUNTIME_DIRECTORY"), environment.get("MAINPID", "")
    if not directory or not pid.isdigit():
        raise UsageError("only systemd can run this command: use systemctl reload amikafka")
    path = Path(directory.partition(":")[0]) / NAME
    before, _ = _read(path)
    try:
        os.kill(int(pid), signal.SIGHUP)
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            number, problems = _read(path)
            if number > before:
                if problems:
                    raise ReloadFailed("\n".join([*problems, "the previous configuration stays in use"]))
                return
            os.kill(int(pid), 0)
            time.sleep(0.05)
    except ProcessLookupError:
        raise ReloadFailed("the daemon has stopped") from None
    raise ReloadFailed(f"the daemon has not answered within {seconds:.0f} s")


def _read(path: Path) -> tuple[int, list[str]]:
    """Return the number of the last reload and its problems; the number is 0 if there was none."""
    try:
        answer = json.loads(path.read_bytes())
        return int(answer["number"]), [str(problem) for problem in answer["problems"]]
    except (OSError, ValueError, KeyError, TypeError):
        return 0, []

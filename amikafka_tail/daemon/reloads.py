"""What became of each reload, for who asked for it: `amikafka reload` waits for that.

A signal brings no answer. So the daemon writes one into its runtime directory, and the command, which systemd
starts beside it with the same directory, looks there.
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
"""How long a reload may take: it delivers what is under way first."""


class Reloads:
    """The daemon's side. Without a runtime directory nobody can ask."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        directory = environment.get("RUNTIME_DIRECTORY")
        self._path = None if not directory else Path(directory.partition(":")[0]) / NAME
        self._number = 0 if self._path is None else _read(self._path)[0]

    def done(self, problems: list[str]) -> None:
        """Tell that a reload has been done, or why it was not. Never raises."""
        if self._path is None:
            return
        self._number += 1
        answer = {"number": self._number, "problems": problems}
        try:
            replace_file(self._path, json.dumps(answer).encode() + b"\n")
        except OSError:
            return  # the log has it


def ask(environment: Mapping[str, str], *, seconds: float = SECONDS) -> None:
    """Let the daemon reload, and wait until it has. Blocks, at most `seconds`.

    The daemon is systemd's MAINPID, and RUNTIME_DIRECTORY is its. Raises `ReloadFailed` with what the daemon
    found wrong, `UsageError` where it is not systemd that asks.
    """
    directory, pid = environment.get("RUNTIME_DIRECTORY"), environment.get("MAINPID", "")
    if not directory or not pid.isdigit():
        raise UsageError("this is what systemd runs for `systemctl reload amikafka`")
    path = Path(directory.partition(":")[0]) / NAME
    before, _ = _read(path)
    try:
        os.kill(int(pid), signal.SIGHUP)
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            number, problems = _read(path)
            if number > before:
                if problems:
                    raise ReloadFailed("\n".join([*problems, "the configuration before stays in use"]))
                return
            os.kill(int(pid), 0)
            time.sleep(0.05)
    except ProcessLookupError:
        raise ReloadFailed("the daemon has ended") from None
    raise ReloadFailed(f"the daemon has not answered for {seconds:.0f} s")


def _read(path: Path) -> tuple[int, list[str]]:
    """Return the number of the last reload and what was wrong, 0 where there was none."""
    try:
        answer = json.loads(path.read_bytes())
        return int(answer["number"]), [str(problem) for problem in answer["problems"]]
    except (OSError, ValueError, KeyError, TypeError):
        return 0, []

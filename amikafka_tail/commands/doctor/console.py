"""Reads Asterisk's console (`asterisk -rx`): the running state, which may differ from the files."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass

SECONDS = 10.0
Console = Callable[[str], "str | None"]
"""Runs a console command; returns its output, `None` if there is no answer."""


def asterisk(command: str) -> str | None:
    """Run a command on this machine's Asterisk. Blocks for at most ten seconds."""
    try:
        asked = subprocess.run(
            ["asterisk", "-rx", command],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return asked.stdout.decode("utf-8", "replace") if asked.returncode == 0 else None


@dataclass(frozen=True, kw_only=True)
class ManagerState:
    """The output of `manager show settings`."""

    enabled: bool
    timestamps: bool
    debug: bool
    channel_variables: tuple[str, ...]
    disabled_events: tuple[str, ...]
    multiple_login: bool


def manager_state(output: str) -> ManagerState | None:
    """Parse the output of `manager show settings`; return `None` if it is something else."""
    values = _table(output)
    if "Manager (AMI)" not in values:
        return None
    return ManagerState(
        enabled=values["Manager (AMI)"] == "Yes",
        timestamps=values.get("Timestamp events") == "Yes",
        debug=values.get("Debug") == "Yes",
        channel_variables=_names(values.get("Channel vars", "")),
        disabled_events=_names(values.get("Disabled events", "")),
        multiple_login=values.get("Allow multiple login", "Yes") == "Yes",
    )


def read_rights(output: str) -> set[str] | None:
    """Parse the event classes in the output of `manager show user`; `None` if there is no such user."""
    granted = _table(output).get("read perm")
    return None if granted is None else set(_names(granted)) - {"<none>"}


def module_is_loaded(output: str, name: str) -> bool:
    """Return whether a module is running, from the output of `module show like`."""
    return bool(re.search(rf"^{re.escape(name)}\.so\s.*\s\d+\s+Running\s", output, re.MULTILINE))


def _table(output: str) -> Mapping[str, str]:
    rows = (line.partition(":") for line in output.splitlines())
    return {name.strip(): value.strip() for name, colon, value in rows if colon}


def _names(value: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in re.split(r",(?![^()]*\))", value) if part.strip())

"""Reads a snapshot from the daemon's status socket."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Mapping
from pathlib import Path

from amikafka_tail.daemon.status.server import ANSWER_SECONDS, NAME, runtime_directory, short_path
from amikafka_tail.daemon.status.snapshot import Snapshot
from amikafka_tail.model.advice import instance_of
from amikafka_tail.model.errors import NobodyListens, NotRunning

RUN = Path("/run")


def socket_path(configuration: Path, environment: Mapping[str, str]) -> Path:
    """Return the path of the status socket of a configuration's daemon."""
    if (directory := runtime_directory(environment)) is not None:
        return directory / NAME
    instance = instance_of(configuration)
    return RUN / (f"amikafka-{instance}" if instance else "amikafka") / NAME


def ask(path: Path) -> Snapshot:
    """Return the daemon's snapshot. Blocks for some seconds at most.

    Raises `NotRunning`; `NobodyListens` if there is no daemon at all.
    """
    data = b""
    try:
        with short_path(path) as name, socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(ANSWER_SECONDS + 2)
            connection.connect(name)
            while received := connection.recv(1 << 16):
                data += received
    except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError):
        raise NobodyListens(f"the daemon is not running (nothing listens on {path})") from None
    except PermissionError:
        raise NotRunning(
            f"{path}: permission denied: use sudo, or join the group amikafka",
            exit_code=os.EX_NOPERM,
        ) from None
    except OSError as error:
        raise NotRunning(f"{path}: {error.strerror or error}: the daemon does not answer") from None
    try:
        values = json.loads(data)
        if "problem" in values:
            raise NotRunning(str(values["problem"]))
        return Snapshot.from_json(values)
    except (ValueError, KeyError, TypeError) as error:
        raise NotRunning(f"{path}: the answer is not from an amikafka of this version") from error

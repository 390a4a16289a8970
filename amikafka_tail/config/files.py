"""Reads configuration files from disk, and says in words why one cannot be read."""

from __future__ import annotations

import glob
import grp
import os
import pwd
import stat
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from amikafka_tail.config import dialect
from amikafka_tail.config.dialect import Document
from amikafka_tail.model.errors import Problem

MAX_BYTES = 16 * 1024 * 1024


def load(path: Path) -> Document:
    """Parse a file with all it includes. A file that cannot be read is a problem of the document."""

    def find(pattern: str) -> Iterable[Path]:
        directory = Path(glob.escape(str(path.parent)))
        names = glob.glob(str(directory / pattern))  # noqa: PTH207, the pattern may be absolute
        return [Path(name) for name in sorted(names)]

    try:
        return dialect.parse(path, read, find)
    except OSError as error:
        problem = Problem(message=why_unreadable(path, error), file=path)
        is_there = not isinstance(error, FileNotFoundError)
        return Document([], [problem], [path] if is_there else [], is_taken_up=not is_there)


def why_unreadable(path: Path, error: OSError) -> str:
    """Say why a file cannot be read, and for a matter of permissions how to mend it."""
    if isinstance(error, FileNotFoundError):
        return "there is no such file"
    if not isinstance(error, PermissionError):
        return f"cannot be read: {error.strerror}"
    return closed_to(_name(pwd.getpwuid, os.geteuid()), path)


def closed_to(user: str, path: Path) -> str:
    """Say that a user may not read a file or a directory, who may, and what mends it."""
    try:
        status = path.stat()
    except OSError:
        return f"cannot be read by the user {user}: a directory on the way is closed to it"
    owner, group = _name(pwd.getpwuid, status.st_uid), _name(grp.getgrgid, status.st_gid)
    mode = stat.S_IMODE(status.st_mode)
    return (
        f"cannot be read by the user {user}: owned by {owner}:{group}, mode {mode:04o};"
        f" chgrp it to a group that {user} is in, and chmod g+r{'x' if path.is_dir() else ''}"
    )


def read(path: Path) -> str:
    """Return a file's text. Raises `OSError`, also for one that is too large to be a configuration."""
    with path.open("rb") as file:
        data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise OSError(27, f"larger than {MAX_BYTES} bytes, so not a configuration")
    # Asterisk passes bytes through: what is not UTF-8 comes out again as the bytes that it was.
    return data.decode("utf-8", "surrogateescape")


def _name(look_up: Callable[[int], Sequence[object]], number: int) -> str:
    try:
        return str(look_up(number)[0])
    except KeyError:
        return str(number)

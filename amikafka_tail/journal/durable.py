"""Writing to files so that a full disk or a crash leaves the old state or the new one, and others out."""

from __future__ import annotations

import os
from pathlib import Path


def write_at(fd: int, data: bytes, offset: int) -> None:
    """Write all of `data` at the end of a file, which is at `offset`, or nothing. Raises `OSError`."""
    written = 0
    try:
        while written < len(data):
            written += os.pwrite(fd, data[written:], offset + written)
    except OSError:
        os.ftruncate(fd, offset)
        raise


def replace_file(path: Path, content: bytes) -> None:
    """Write to a temporary file beside it, sync, rename. Raises `OSError`. Blocks for the disk."""
    temporary = path.with_name(path.name + ".new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o640)
    try:
        write_at(descriptor, content, 0)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    temporary.replace(path)


def sync(path: Path) -> None:
    """Wait until a file, or the names in a directory, are on the disk. Raises `OSError`."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_directory(path: Path) -> None:
    """Make a directory, and those above it, for its user and group alone. Raises `OSError`."""
    # mkdir's own `parents` would let everybody into those above.
    for missing in reversed([each for each in (path, *path.parents) if not each.exists()]):
        missing.mkdir(mode=0o750, exist_ok=True)

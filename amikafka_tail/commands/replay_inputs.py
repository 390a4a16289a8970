"""Opens the inputs of `amikafka replay` that are streams of the manager interface, and repairs line ends."""

from __future__ import annotations

import logging
import os
import tempfile
from typing import BinaryIO

from amikafka_tail.ami.debuglog import LogFramer
from amikafka_tail.intake.recording import Recording, copied
from amikafka_tail.model.errors import InputError

HEAD = 64 * 1024
"""Bytes at the beginning of a file from which its format is detected."""

log = logging.getLogger("amikafka.replay")


def stream(file: BinaryIO, name: str) -> Recording:
    """Return a captured stream. Raises `InputError` if the file is a log instead.

    If something removed the CR from its lines, or a terminal added one, the line ends are repaired in a copy;
    offsets are then those of the copy. Blocks while the copy is written.
    """
    if not file.seekable():
        file = copied(file)
    framer = LogFramer()
    framer.feed(os.pread(file.fileno(), HEAD, 0))
    form = framer.form or "ami"
    if form in ("ami", "no-dump"):
        return Recording(file, name)
    with file:
        if form not in ("ami-lf", "terminal:ami"):
            raise InputError(f"{name}: is a log, not a stream of the manager interface: use --from eventlog")
        log.warning("%s: its lines do not end with CRLF: they are read as if they did", name)
        return Recording(_mended(file), name)


def _mended(file: BinaryIO) -> BinaryIO:
    """Return a copy in which every line ends with CRLF, with the file's modification time."""
    copy = tempfile.TemporaryFile()  # noqa: SIM115, the caller closes it
    file.seek(0)
    for line in file:
        copy.write(line.rstrip(b"\r\n") + b"\r\n" if line.endswith(b"\n") else line)
    copy.flush()
    modified_ns = os.fstat(file.fileno()).st_mtime_ns
    os.utime(copy.fileno(), ns=(modified_ns, modified_ns))
    return copy

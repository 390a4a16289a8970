"""The checkpoint: up to which offset of the journal everything has been delivered.

It stands in a file and, where events are published exactly once, in a topic too.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from amikafka_tail.journal.durable import replace_file
from amikafka_tail.model.errors import JournalError

VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """`epoch` names one life of the journal: offsets of two epochs have nothing to do with each other.

    `bookmark` is where the reader of a source of files stands, in its own words.
    """

    epoch: str
    offset: int
    bookmark: dict[str, Any] | None = None


class DamagedCheckpoint(JournalError):
    """The file is there and holds no checkpoint."""


def load(path: Path) -> Checkpoint | None:
    """Return the stored checkpoint, `None` where there is none yet. Raises `JournalError`."""
    try:
        return unpack(path.read_bytes(), str(path))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise JournalError(f"{path}: cannot be read: {error.strerror} ([journal] directory)") from error


def store(path: Path, checkpoint: Checkpoint) -> None:
    """Replace the file as one step: a crash leaves the old one or the new one. Blocks for one fsync."""
    replace_file(path, pack(checkpoint) + b"\n")


def pack(checkpoint: Checkpoint, **more: str) -> bytes:
    """Return a checkpoint as a line of JSON; `more` is for those who read it."""
    return json.dumps({"version": VERSION, **asdict(checkpoint), **more}).encode()


def unpack(packed: bytes, where: str) -> Checkpoint:
    """Return the checkpoint that `pack` made a line of. Raises `JournalError`, which says `where` that is."""
    try:
        fields = json.loads(packed)
        version = fields["version"]
        if version != VERSION:
            raise JournalError(f"{where}: is of format {version}; this amikafka reads {VERSION}")
        offset, bookmark = int(fields["offset"]), fields.get("bookmark")
        if offset < 0 or not isinstance(bookmark, (dict, type(None))):
            raise ValueError("no offset, or no bookmark")
        return Checkpoint(epoch=str(fields["epoch"]), offset=offset, bookmark=bookmark)
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise DamagedCheckpoint(f"{where}: is damaged ({type(error).__name__}: {error})") from error

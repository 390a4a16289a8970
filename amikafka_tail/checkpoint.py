"""The checkpoint file: up to which offset of the journal everything has been delivered."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from amikafka_tail.durable import replace_file
from amikafka_tail.errors import JournalError

VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """`epoch` names one life of the journal: offsets of two epochs have nothing to do with each other.

    `bookmark` is where the reader of a source of files stands, in its own words.
    """

    epoch: str
    offset: int
    bookmark: dict[str, Any] | None = None


def load(path: Path) -> Checkpoint | None:
    """Return the stored checkpoint, `None` where there is none yet. Raises `JournalError`."""
    try:
        stored = json.loads(path.read_bytes())
        if stored["version"] != VERSION:
            raise JournalError(f"{path}: is of format {stored['version']}; this amikafka reads {VERSION}")
        return Checkpoint(
            epoch=str(stored["epoch"]), offset=int(stored["offset"]), bookmark=stored.get("bookmark")
        )
    except FileNotFoundError:
        return None
    except OSError as error:
        raise JournalError(f"{path}: cannot be read: {error.strerror} ([journal] directory)") from error
    except (ValueError, KeyError, TypeError) as error:
        raise JournalError(
            f"{path}: is damaged ({error}); move it away to send everything that the journal still has again"
        ) from error


def store(path: Path, checkpoint: Checkpoint) -> None:
    """Replace the file as one step: a crash leaves the old one or the new one. Blocks for one fsync."""
    replace_file(path, json.dumps({"version": VERSION, **asdict(checkpoint)}).encode() + b"\n")

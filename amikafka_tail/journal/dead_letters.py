"""Events that cannot be published, kept with the reason: one JSON object a line."""

from __future__ import annotations

import calendar
import contextlib
import json
import logging
import os
import time
from base64 import b64decode, b64encode
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal, NamedTuple

from amikafka_tail.journal.durable import sync, write_at
from amikafka_tail.model.errors import InputError

TIME = "%Y-%m-%dT%H:%M:%SZ"
Kind = Literal["refused", "torn", "malformed"]
MAX_BYTES = 64 * 1024 * 1024

log = logging.getLogger("amikafka.dead_letters")


class DeadLetters:
    """The dead-letter file. It is opened for each event: writing one is rare.

    What was kept is on the disk after the next `sync`. A file that has grown over `max_bytes` is renamed to
    `<name>.1`, which replaces the one before.
    """

    def __init__(self, path: Path, *, max_bytes: int = MAX_BYTES) -> None:
        self.path = path
        self._max_bytes = max_bytes
        self._is_synced = True
        self._forgotten = 0
        """How many had to go since one was kept."""

    def keep(
        self,
        raw: bytes,
        *,
        position: int,
        reason: str,
        plugin: str | None = None,
        captured_ms: int = 0,
        kind: Kind = "refused",
    ) -> int:
        """Append one event with the reason why it is not on the topic. Raises `OSError`.

        Return how many of the oldest had to go for it.

        `captured_ms` is when it was read from Asterisk, 0 where that is not known; `kind` says whether it is
        an event that was refused, or none at all.
        """
        entry: dict[str, object] = {
            "time": time.strftime(TIME, time.gmtime()),
            "kind": kind,
            "reason": reason,
            "position": position,
        }
        if captured_ms:
            entry["captured_ms"] = captured_ms
        if plugin is not None:
            entry["plugin"] = plugin
        try:
            entry["event"] = raw.decode()
        except UnicodeDecodeError:
            entry["event_base64"] = b64encode(raw).decode()
        self._forgotten += self._rotate()
        self._is_synced = False
        descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o640)
        try:
            write_at(descriptor, json.dumps(entry).encode() + b"\n", os.fstat(descriptor).st_size)
        finally:
            os.close(descriptor)
        forgotten, self._forgotten = self._forgotten, 0
        return forgotten

    def sync(self) -> None:
        """Wait until all that was kept is on the disk. Raises `OSError`."""
        if not self._is_synced:
            # Who mends the cause of dead letters takes the file away; and /dev/null is no file.
            with contextlib.suppress(FileNotFoundError):
                if self.path.is_file():
                    sync(self.path)
                    sync(self.path.parent)
            self._is_synced = True

    def _rotate(self) -> int:
        """Rename the file where it has grown; return how many entries were in the one that this replaces."""
        if not self.path.exists() or self.path.stat().st_size <= self._max_bytes:
            return 0
        self.sync()
        previous = self.path.with_name(self.path.name + ".1")
        forgotten = 0
        if previous.exists():
            with previous.open("rb") as file:
                forgotten = sum(1 for _ in file)
            log.error("%s is replaced: forgotten_letters=%d", previous, forgotten)
        self.path.replace(previous)
        return forgotten


class Letter(NamedTuple):
    """One event of a dead-letter file."""

    raw: bytes
    captured_ms: int
    """When it was read from Asterisk, or as far as that is not known when it was set aside."""
    kind: str


def read(lines: Iterable[bytes], name: str) -> Iterator[Letter]:
    """Yield the events of a dead-letter file. Raises `InputError` with the line that is none of one."""
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
            raw = entry["event"].encode() if "event" in entry else b64decode(entry["event_base64"])
            set_aside = calendar.timegm(time.strptime(entry["time"], TIME)) * 1000
            yield Letter(raw, int(entry.get("captured_ms", set_aside)), entry.get("kind", "refused"))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(f"{name}:{number}: is no line of a dead-letter file: {error}") from error

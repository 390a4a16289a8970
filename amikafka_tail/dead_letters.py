"""Events that cannot be published, kept with the reason: one JSON object a line."""

from __future__ import annotations

import json
import os
import time
from base64 import b64encode
from pathlib import Path

from amikafka_tail.durable import write_at

MAX_BYTES = 64 * 1024 * 1024


class DeadLetters:
    """The dead-letter file. It is opened for each event: writing one is rare.

    A file that has grown over `max_bytes` is renamed to `<name>.1`, which replaces the one before.
    """

    def __init__(self, path: Path, *, max_bytes: int = MAX_BYTES) -> None:
        self.path = path
        self._max_bytes = max_bytes

    def keep(self, raw: bytes, *, position: int, reason: str, plugin: str | None = None) -> None:
        """Append one event with the reason why it is not on the topic. Raises `OSError`."""
        entry: dict[str, object] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "reason": reason,
            "position": position,
        }
        if plugin is not None:
            entry["plugin"] = plugin
        try:
            entry["event"] = raw.decode()
        except UnicodeDecodeError:
            entry["event_base64"] = b64encode(raw).decode()
        if self.path.exists() and self.path.stat().st_size > self._max_bytes:
            self.path.replace(self.path.with_name(self.path.name + ".1"))
        descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o640)
        try:
            write_at(descriptor, json.dumps(entry).encode() + b"\n", os.fstat(descriptor).st_size)
        finally:
            os.close(descriptor)

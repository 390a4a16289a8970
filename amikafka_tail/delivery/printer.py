"""Prints the messages, in the place of the producer that sends them."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Callable
from typing import Any, NamedTuple, TextIO

from amikafka_tail.delivery.sender import Sender

TURNING = (0x2028, 0x2029, *range(0x202A, 0x202F), *range(0x2066, 0x206A))
"""Characters of Unicode that end a line or turn the direction of what follows them."""
# DEL and the C1 controls of ECMA-48, too, which JSON lets stand and some terminals obey.
_CONTROLS = {code: f"\\u{code:04x}" for code in (*range(127, 160), *TURNING)}


class Message(NamedTuple):
    """One message as a consumer would get it."""

    topic: str
    key: bytes | None
    value: bytes
    headers: list[tuple[str, bytes]]
    timestamp_ms: int

    def header(self, name: str) -> bytes | None:
        """Return the first value of a header."""
        return next((value for key, value in self.headers if key == name), None)


def as_json(message: Message) -> str:
    """Return a message as a line of JSON that does nothing to a terminal but stand there."""
    fields: dict[str, object] = {
        "topic": message.topic,
        "key": None if message.key is None else message.key.decode(errors="replace"),
        "headers": [[name, content.decode(errors="replace")] for name, content in message.headers],
    }
    try:
        fields["value"] = message.value.decode()
    except UnicodeDecodeError:
        fields["value_base64"] = b64encode(message.value).decode()
    return json.dumps(fields, ensure_ascii=False, separators=(",", ":")).translate(_CONTROLS)


class Printer:
    """Prints each message as the text that `show` makes of it, and `most` of them at most.

    It is a `Sender`, whose messages are delivered when they are printed.
    """

    has_room = True
    fatal: str | None = None

    def __init__(
        self, out: TextIO, show: Callable[[Message], str] = as_json, *, most: int | None = None
    ) -> None:
        self.printed = 0
        self._out = out
        self._show = show
        self._most = most

    @property
    def is_done(self) -> bool:
        """Whether as many are printed as should be."""
        return self.printed == self._most

    def __len__(self) -> int:
        return 0

    def connect(self, batch_size: int | None = None) -> Sender:  # noqa: ARG002, there are no batches
        """Return itself."""
        return self

    def produce(self, *message: Any) -> None:
        """Print the message; it is delivered with that. Raises `BufferError` for one more than `most`."""
        if self.is_done:
            raise BufferError
        topic, value, key, _partition, _callback, _on_delivery, timestamp_ms, headers = message
        self.printed += 1
        self._out.write(self._show(Message(topic, key, value, headers, timestamp_ms)) + "\n")

    def poll(self, _seconds: float = 0) -> int:
        """Do nothing: all is reported."""
        return 0

    def has_leaders(self, _topic: str, _seconds: float) -> bool:
        """Say yes."""
        return True

    def purge(self) -> None:
        """Do nothing: all is printed."""

    def discard(self) -> None:
        """Do nothing: nothing is held."""

"""The input of a format, and what it may return besides plain bytes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from amikafka_tail.model.identity import Identity

Headers = list[tuple[str, "str | bytes | None"]]


@dataclass(frozen=True, kw_only=True)
class FormatContext:
    """What a format knows about the messages of one Asterisk."""

    identity: Identity
    """The identity of the Asterisk: the true values, which no line of an event can override."""
    topic: str
    """The topic that the messages are published to."""


class Payload(NamedTuple):
    """A message's value and extra headers, which follow the host's headers."""

    value: bytes
    headers: tuple[tuple[str, bytes], ...] = ()


def unpack(made: Any, headers: Headers) -> tuple[bytes, Headers]:
    """Return the value and headers of what a format returned instead of bytes.

    Raises `TypeError` if it is not a valid payload.
    """
    if not isinstance(made, Payload):
        raise TypeError(f"the format returned {type(made).__name__}, not bytes or a Payload")
    if type(made.value) is not bytes:
        raise TypeError(f"the format returned a value of the type {type(made.value).__name__}, not bytes")
    for name, value in made.headers:
        if type(name) is not str or type(value) is not bytes:
            raise TypeError(f"the format returned the header {name!r}: {value!r}, not str and bytes")
        name.encode()
    return made.value, [*headers, *made.headers]

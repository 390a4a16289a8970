"""What a format is told, and what it may return beside plain bytes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from amikafka_tail.model.identity import Identity

Headers = list[tuple[str, "str | bytes | None"]]


@dataclass(frozen=True, kw_only=True)
class FormatContext:
    """What the messages of one Asterisk are made for."""

    identity: Identity
    """Who the Asterisk is: the true values, which no line of an event can override."""
    topic: str
    """The topic that the messages are published to."""


class Payload(NamedTuple):
    """A message's value, and headers of its own, which come after the host's."""

    value: bytes
    headers: tuple[tuple[str, bytes], ...] = ()


def unpack(made: Any, headers: Headers) -> tuple[bytes, Headers]:
    """Return value and headers of what a format returned instead of bytes.

    Raises `TypeError` for what no message can be made of.
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

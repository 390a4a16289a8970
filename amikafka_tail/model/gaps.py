"""Events of our own that mark where something is missing, so that consumers can rebuild their state."""

from __future__ import annotations

from typing import Literal, final

from amikafka_tail.model.event import Event

NAME = "AmikafkaGap"
Reason = Literal["Disconnected", "JournalFull", "Torn", "TooLong", "SequenceGap", "SetAside"]


@final
class Gap(Event):
    """Marks where something is missing. It bypasses the filters, and has a place in the order but no bytes.

    `Disconnected`: there was no connection to Asterisk. `JournalFull`: bytes of the journal were dropped.
    `Torn`: a lost connection cut an event off. `TooLong`: an event was longer than amikafka reads.
    `SequenceGap`: numbers of Asterisk's own are missing. `SetAside`: an event is in the dead letters.
    """

    __slots__ = ()


def gap(reason: Reason, position: int, captured_ms: int, **fields: object) -> Gap:
    """Make the event: `gap("Disconnected", 0, now, Seconds=1.5)`. Its fields are one line each."""
    lines = [f"Event: {NAME}", "Privilege: system,all", f"Reason: {reason}"]
    lines += [f"{name}: {_printable(str(value))}" for name, value in fields.items()]
    return Gap("\r\n".join(lines).encode(), position, captured_ms)


def _printable(text: str) -> str:
    first = text.strip().partition("\n")[0].strip()
    return "".join(char if char.isprintable() else " " for char in first)[:500]

"""Events of our own that say where something is missing, so that whoever counts can look again."""

from __future__ import annotations

from typing import Literal, final

from amikafka_tail.model.event import Event

NAME = "AmikafkaGap"
Reason = Literal["Disconnected", "JournalFull", "Torn", "TooLong", "SequenceGap", "SetAside"]


@final
class Gap(Event):
    """Stands where something is missing. No filter is asked, and no offset but its place in the order is its.

    `Disconnected`: nobody was connected to Asterisk. `JournalFull`: bytes of the journal are gone. `Torn`: a
    lost connection cut an event off. `TooLong`: an event was longer than amikafka reads. `SequenceGap`:
    Asterisk's own numbers are not whole. `SetAside`: an event is in the dead letters.
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

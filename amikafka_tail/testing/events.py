"""Test events: recorded from a real Asterisk, unusual but valid, and with random bytes."""

from __future__ import annotations

import gzip
import random
from importlib import resources

from amikafka_tail.ami.framing import END
from amikafka_tail.model.event import Event
from amikafka_tail.model.identity import Identity
from amikafka_tail.model.payload import FormatContext

ASTERISK = Identity(
    entity_id="00:11:22:33:44:55", system_name="pbx-01", asterisk_version="22.10.1", hostname="vm"
)
"""The identity of the events, unless a test sets another one."""
ANY_BYTES = bytes(set(range(256)) - {0, 10, 13})
"""Asterisk's strings are C strings, so they contain no NUL."""
CAPTURED_MS = 1_795_426_158_000
_NAMES = (
    b"Event",
    b"Privilege",
    b"Channel",
    b"CallerIDNum",
    b"EntityID",
    b"SystemName",
    b"ChanVariable",
    b"A",
)


def context(identity: Identity = ASTERISK, topic: str = "asterisk_ami") -> FormatContext:
    """Return the context that a format's factory gets."""
    return FormatContext(identity=identity, topic=topic)


def event(name: str, *headers: tuple[str, str], position: int = 0, captured_ms: int = CAPTURED_MS) -> Event:
    """Return an event: `event("Hangup", ("Privilege", "call,all"), ("Cause", "16"))`."""
    lines = [("Event", name), *headers]
    text = "\r\n".join(f"{key}: {value}" for key, value in lines)
    return Event(text.encode(), position, captured_ms)


def recorded_events(count: int = 300) -> list[Event]:
    """Return events that a real Asterisk 22 sent: calls, queues, conferences, variables."""
    data = resources.files("amikafka_tail").joinpath("data/demo.ami.gz").read_bytes()
    return _placed([block for block in gzip.decompress(data).split(END) if block.startswith(b"Event: ")])[
        :count
    ]


def odd_events() -> list[Event]:
    """Return unusual events that a dialplan can make Asterisk send. The host accepts all of them."""
    head = b"Event: UserEvent\r\nPrivilege: user,all\r\n"
    return _placed(
        [
            b"Event: ",
            b"Event: A",
            b"Event: \xff\xfe",
            b"Event: " + b"x" * 300,
            b"Event: A\r\nPrivilege: ",
            b"Event: A\r\nPrivilege: call,all\r\nTimestamp: soon",
            b"Event: A\r\nPrivilege: call,all\r\nTimestamp: 1795426158.123456\r\nSystemName: pbx-01",
            head + b"Empty:",
            head + b"NoSpace:value",
            head + b"no colon at all",
            head + b": no name",
            head + b"Spaced  :  value ",
            head + b"ChanVariable: a=1\r\nChanVariable: b=2\r\nChanVariable: a=1",
            head + b"Event: Forged\r\nPrivilege: forged\r\nEntityID: forged\r\nSystemName: forged",
            head + b"Latin: M\xfcller\r\nUtf: M\xc3\xbcller",
            head + ANY_BYTES + b": " + ANY_BYTES,
            head + b'Quotes: "\\"\r\nPercent: %s%d%(a)s\r\nBraces: {}{0}',
            head + b"BareCR: a\rb\r\nBareLF: a\nb",
            head + b"Long: " + b"x" * 100_000,
            head + b"\r\n".join(b"N%d: %d" % (number, number) for number in range(500)),
            head + "Wide: \u2028\u0085\U0001f600\ufeff".encode(),
        ]
    )


def random_events(count: int, seed: int = 0) -> list[Event]:
    """Return events with random lines: known names and any bytes except NUL. A seed gives the same events."""
    dice = random.Random(seed)

    def text(most: int) -> bytes:
        return dice.randbytes(dice.randrange(most)).replace(b"\0", b"")

    def line() -> bytes:
        name = dice.choice(_NAMES) if dice.random() < 0.5 else text(12)
        return name + dice.choice((b": ", b":", b"")) + text(dice.choice((3, 40)))

    def block() -> bytes:
        lines = [
            b"Event: " + (dice.choice((b"Hangup", b"Newchannel", b"A")) if dice.random() < 0.5 else text(9))
        ]
        if dice.random() < 0.7:
            lines.append(b"Privilege: call,all")
        lines += [line() for _ in range(dice.randrange(8))]
        raw = b"\r\n".join(lines)
        while END in raw:
            raw = raw.replace(END, b"\r\n")
        return raw.rstrip(b"\r\n")

    return _placed([block() for _ in range(count)])


def _placed(blocks: list[bytes]) -> list[Event]:
    """Return events at the positions that a journal would give them."""
    events = []
    position = 0
    for number, block in enumerate(blocks):
        events.append(Event(block, position, CAPTURED_MS + number))
        position += len(block) + len(END)
    return events

"""What stands around a payload: the message's key, its eight headers and its timestamp."""

from __future__ import annotations

from collections.abc import Callable

from amikafka_tail.ami.event import CRLF, Event, split_line
from amikafka_tail.config.identity import Identity
from amikafka_tail.metrics import Count, KindCounts
from amikafka_tail.payload import Headers

Envelope = Callable[[Event], tuple[bytes | None, Headers, int]]
MAX_KINDS = 2048
"""Kinds of events remembered before starting afresh: a dialplan can make up event names without end."""
# Channel events write Linkedid, CEL writes LinkedID.
_KEY_HEADERS = {
    "linkedid": (b"Linkedid", b"LinkedID", b"Uniqueid", b"UniqueID"),
    "uniqueid": (b"Uniqueid", b"UniqueID"),
}


class _Kind:
    """What the messages of one (Event, Privilege) pair share; the headers change once a second."""

    __slots__ = ("category", "count", "headers", "name", "second")

    def __init__(self, name: bytes, category: bytes, count: Count) -> None:
        self.name = name
        self.category = category
        self.count = count
        self.second = -1
        self.headers: Headers = []


def envelopes(
    identity: Identity, format_name: str, key: str = "event", counts: KindCounts | None = None
) -> Envelope:
    """Make the function that returns an event's key, headers and timestamp in ms since the epoch.

    The headers are app_ami_kafka's, in its order. The moment is the event's own `Timestamp` where Asterisk
    put one (`timestampevents`, the line right after Privilege), else the time of capture. The returned list
    of headers is shared between calls and must not be changed.

    `key` is `event`, `linkedid`, `uniqueid`, `none` or a header's name; where an event has no such header its
    name is the key. In `counts` each call is counted.
    """
    counts = KindCounts() if counts is None else counts
    before: Headers = [("entity_id", identity.entity_id.encode())]
    if identity.system_name:
        before.append(("system_name", identity.system_name.encode()))
    before.append(("asterisk_version", identity.asterisk_version.encode()))
    format_header = ("format", format_name.encode())
    hostname = ("hostname", identity.hostname.encode())
    choose_key = _key_chooser(key)
    kinds: dict[bytes, _Kind] = {}
    unprivileged: dict[bytes, _Kind] = {}

    def headers_of(kind: _Kind, second: int) -> Headers:
        kind.second = second
        kind.headers = [
            *before,
            ("event_type", kind.name),
            ("event_category", kind.category),
            format_header,
            ("timestamp", b"%d" % second),
            hostname,
        ]
        return kind.headers

    def look(event: Event) -> tuple[_Kind, int]:
        lines = event.raw.split(CRLF, 3)
        head = CRLF.join(lines[:2])
        has_privilege = len(lines) > 1 and lines[1].startswith(b"Privilege: ")
        known = kinds if has_privilege else unprivileged
        kind = known.get(head)
        if kind is None:
            if len(known) >= MAX_KINDS:
                known.clear()
            name, category = event.name_bytes, _category(lines)
            kind = known[head] = _Kind(name, category, counts.of(name, category))
        return kind, event.happened_ms

    def envelope(event: Event) -> tuple[bytes | None, Headers, int]:
        head, _, rest = event.raw.partition(b"\r\nTimestamp: ")
        kind = kinds.get(head)
        digits = rest[:10] + rest[11:17]
        if (
            kind is not None
            and len(digits) == 16
            and digits.isdigit()
            and rest[10:11] == b"."
            and rest[17:18] in b"\r"
        ):
            moment = int(digits) // 1000
        else:
            kind, moment = look(event)
        kind.count[0] += 1
        second = moment // 1000
        headers = kind.headers if kind.second == second else headers_of(kind, second)
        return (kind.name if choose_key is None else choose_key(event, kind.name)), headers, moment

    return envelope


def _category(lines: list[bytes]) -> bytes:
    """Return the Privilege classes without the `all` that Asterisk puts behind them."""
    name, value = split_line(lines[1]) if len(lines) > 1 else (b"", b"")
    if name != b"Privilege":
        return b""
    return b",".join([part for part in value.split(b",") if part != b"all"])


def _key_chooser(key: str) -> Callable[[Event, bytes], bytes | None] | None:
    """Return what picks the key, `None` where it is simply the event's name."""
    if key == "event":
        return None
    if key == "none":
        return lambda _event, _name: None
    names = _KEY_HEADERS.get(key, (key.encode(),))

    def choose(event: Event, name: bytes) -> bytes:
        for header in names:
            if value := event.get_bytes(header):
                return value
        return name

    return choose

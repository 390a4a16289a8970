"""What stands around a payload: the message's key, its eight headers and its timestamp."""

from __future__ import annotations

from collections.abc import Callable

from amikafka_tail.model import speedups
from amikafka_tail.model.counters import Count, KindCounts
from amikafka_tail.model.event import CRLF, Event, milliseconds, split_line
from amikafka_tail.model.identity import Identity
from amikafka_tail.model.payload import Headers

Envelope = Callable[[Event], tuple[bytes | None, Headers, int]]
KeyChooser = Callable[[Event, bytes], bytes | None]
TIMESTAMP = b"\r\nTimestamp: "
DOT = ord(".")
MAX_KINDS = 2048
"""Kinds of events remembered before starting afresh: a dialplan can make up event names without end."""
SMALLEST, LARGEST = -(2**63), 2**63 - 1
"""What Kafka's timestamp, in ms, has room for."""
# Channel events write Linkedid, CEL writes LinkedID. The prefixes are those that Asterisk 16 to 23 give to
# ast_manager_build_channel_state_string_prefix, and Parker, which only its event documentation has.
_PREFIXES = (
    *("Dest", "LocalOne", "LocalTwo", "Source"),
    *("Transferer", "OrigTransferer", "SecondTransferer", "Transferee", "TransferTarget"),
    *("Parkee", "Parker", "Retriever", "Target", "Spyee", "Spyer"),
)
LINKEDIDS = (b"Linkedid", b"LinkedID", *(f"{prefix}Linkedid".encode() for prefix in _PREFIXES))
"""The headers that name the call of an event, in the order in which they are asked (docs/consuming.md)."""
UNIQUEIDS = (b"Uniqueid", b"UniqueID")
_KEY_HEADERS = {"linkedid": LINKEDIDS + UNIQUEIDS, "uniqueid": UNIQUEIDS}
NO_IDS = frozenset((b"", b"<unknown>", b"<null>"))
"""What Asterisk writes where it has no id (OriginateResponse)."""


class _Kind:
    """What the messages of one (Event, Privilege) pair share; the headers change once a second."""

    __slots__ = ("category", "count", "headers", "is_privileged", "name", "second")

    def __init__(self, name: bytes, category: bytes, count: Count, *, is_privileged: bool) -> None:
        self.name = name
        self.category = category
        self.count = count
        self.is_privileged = is_privileged
        self.second: int | None = None
        self.headers: Headers = []


def envelopes(
    identity: Identity, format_name: str, key: str = "event", counts: KindCounts | None = None
) -> Envelope:
    """Make the function that returns an event's key, headers and timestamp in ms since the epoch.

    The headers are app_ami_kafka's, in its order. The timestamp is the event's own `Timestamp` where Asterisk
    put one (`timestampevents`, the line right after Privilege), else the time of capture: one that is no
    integer of 64 bits raises `TypeError` or `OverflowError`. The returned list of headers is shared between
    calls and must not be changed.

    `key` is `event`, `linkedid`, `uniqueid`, `none` or a header's name; where an event has no such header, or
    no id in it, its name is the key. In `counts` each call is counted.
    """
    counts = KindCounts() if counts is None else counts
    before: Headers = [("entity_id", identity.entity_id.encode())]
    if identity.system_name:
        before.append(("system_name", identity.system_name.encode()))
    before.append(("asterisk_version", identity.asterisk_version.encode()))
    format_header = ("format", format_name.encode())
    hostname = ("hostname", identity.hostname.encode())

    def headers_of(kind: _Kind, second: int) -> Headers:
        return [
            *before,
            ("event_type", kind.name),
            ("event_category", kind.category),
            format_header,
            ("timestamp", b"%d" % second),
            hostname,
        ]

    def learn(event: Event, head: bytes) -> _Kind:
        name, category = event.name_bytes, _category(head)
        is_privileged = head.find(b"\r\nPrivilege: ") >= 0
        return _Kind(name, category, counts.of(name, category), is_privileged=is_privileged)

    choose_key = _key_chooser(key)
    if (native := speedups.native()) is not None:
        made: Envelope = native.Envelope(learn, headers_of, choose_key)
        return made
    return _envelope(learn, headers_of, choose_key)


def _envelope(
    learn: Callable[[Event, bytes], _Kind],
    headers_of: Callable[[_Kind, int], Headers],
    choose_key: KeyChooser | None,
) -> Envelope:
    kinds: dict[bytes, _Kind] = {}

    def envelope(event: Event) -> tuple[bytes | None, Headers, int]:
        raw = event.raw
        end = raw.find(CRLF, raw.find(CRLF) + 1)
        head = raw if end < 0 else raw[:end]
        kind = kinds.get(head)
        if kind is None:
            if len(kinds) >= MAX_KINDS:
                kinds.clear()
            kind = kinds[head] = learn(event, head)
        time_ms = event.captured_ms
        if kind.is_privileged and raw.startswith(TIMESTAMP, end):
            stamp = raw[end + len(TIMESTAMP) :].partition(CRLF)[0]
            digits = stamp[:10] + stamp[11:]
            if len(digits) == 16 and digits.isdigit() and stamp[10] == DOT:
                time_ms = int(digits) // 1000
            else:
                time_ms = milliseconds(stamp, time_ms)
        if type(time_ms) is not int or not SMALLEST <= time_ms <= LARGEST:
            _check(time_ms)
        kind.count[0] += 1
        second = time_ms // 1000
        if kind.second != second:
            kind.headers = headers_of(kind, second)
            kind.second = second
        return (kind.name if choose_key is None else choose_key(event, kind.name)), kind.headers, time_ms

    return envelope


def _check(time_ms: object) -> None:
    """Refuse a time that the producer has no answer to: a plugin may have made the event."""
    if not isinstance(time_ms, int):
        raise TypeError(f"the time of an event is of the type {type(time_ms).__name__}, not int")
    if not SMALLEST <= time_ms <= LARGEST:
        raise OverflowError("the time of an event has more than 64 bits")


def _category(head: bytes) -> bytes:
    """Return the Privilege classes, without the `all` that Asterisk puts behind them, from two lines."""
    name, value = split_line(head.partition(CRLF)[2])
    if name != b"Privilege":
        return b""
    return b",".join([part for part in value.split(b",") if part != b"all"])


def _key_chooser(key: str) -> KeyChooser | None:
    """Return what picks the key, `None` where it is simply the event's name."""
    if key == "event":
        return None
    if key == "none":
        return lambda _event, _name: None
    if key not in _KEY_HEADERS:
        header = key.encode()
        return lambda event, name: event.get_bytes(header) or name
    names = _KEY_HEADERS[key]
    first = names[0]

    def choose(event: Event, name: bytes) -> bytes:
        value = event.get_bytes(first)
        if value is not None and value not in NO_IDS:
            return value
        ids: dict[bytes, bytes] = {}
        for line in event.lines():
            header, value = split_line(line)
            if header in names and value not in NO_IDS:
                ids.setdefault(header, value)
        return next((ids[header] for header in names if header in ids), name)

    return choose

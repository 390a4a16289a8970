"""The header `event_id`: what a consumer can drop by what was sent twice."""

from __future__ import annotations

from hashlib import blake2b

from amikafka_tail.delivery.envelope import Envelope
from amikafka_tail.model.event import Event
from amikafka_tail.model.gaps import Gap
from amikafka_tail.model.payload import Headers


def with_event_id(envelope: Envelope, entity_id: str, epoch: str, *, with_digest: bool) -> Envelope:
    """Return an envelope that has one more header: `<entity id>/<epoch>/<offset>`.

    It is the same whenever this process sends the event again. `with_digest` adds eight digits of the event
    itself: for sources of files, where another process may find files in another order and give the offset to
    another event, so that an id is never another's. A gap's has them always.
    """
    before = f"{entity_id}/{epoch}/".encode()

    def identified(event: Event) -> tuple[bytes | None, Headers, int]:
        key, headers, moment_ms = envelope(event)
        name = b"%s%d" % (before, event.position)
        is_gap = type(event) is Gap
        if is_gap:
            name += b"-gap"  # the offset may be an event's, and that of another gap
        if with_digest or is_gap:
            name += b"-" + blake2b(event.raw, digest_size=4).hexdigest().encode()
        return key, [*headers, ("event_id", name)], moment_ms

    return identified

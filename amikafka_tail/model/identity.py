"""The identity of an Asterisk: the four values in the headers of every message."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Identity:
    """Resolved once per connection; no line of an event can override it.

    `system_name` is empty if Asterisk has none; the header and the field are then left out.
    """

    entity_id: str
    system_name: str
    asterisk_version: str
    hostname: str

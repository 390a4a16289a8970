"""Who an Asterisk is: the four values that every message carries."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Identity:
    """Resolved once per connection; no line of an event can override it.

    `system_name` is empty where Asterisk has none: then the header and the field are left out.
    """

    entity_id: str
    system_name: str
    asterisk_version: str
    hostname: str

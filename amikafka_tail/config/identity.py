"""Who this Asterisk is: what it says, what the machine says, what the configuration says."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from amikafka_tail.model.identity import Identity

UNKNOWN_VERSION = "unknown"


@dataclass(frozen=True, kw_only=True)
class Overrides:
    """What the configuration says instead, `None` where it says nothing."""

    entity_id: str | None = None
    system_name: str | None = None
    asterisk_version: str | None = None
    hostname: str | None = None

    def apply(self, identity: Identity) -> Identity:
        """Return the identity with what is overridden replaced."""
        said = {name: value for name, value in dataclasses.asdict(self).items() if value is not None}
        return dataclasses.replace(identity, **said)


@dataclass(frozen=True, kw_only=True)
class LocalFacts:
    """What this machine says: asterisk.conf's `entityid` and `systemname`, and its own addresses."""

    entity_id: str = ""
    system_name: str = ""
    hostname: str = ""
    mac_address: str = ""


def resolve(facts: LocalFacts, *, asterisk_version: str = "", system_name: str = "") -> Identity:
    """Return who the Asterisk is: what the connection said, else asterisk.conf, else the machine.

    Its entity id is in no action that an ordinary manager user may call, so it is found the way Asterisk
    finds it: `entityid` of asterisk.conf, else the MAC address (ast_set_default_eid of main/utils.c).
    """
    return Identity(
        entity_id=facts.entity_id or facts.mac_address or "00:00:00:00:00:00",
        system_name=system_name or facts.system_name,
        asterisk_version=asterisk_version or UNKNOWN_VERSION,
        hostname=facts.hostname,
    )

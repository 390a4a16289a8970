"""Who this Asterisk is: what it says, what the machine says, what the configuration says."""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass

from amikafka_tail.config.dialect import Document
from amikafka_tail.config.options import TRUE, problem
from amikafka_tail.model.errors import Problem
from amikafka_tail.model.identity import Identity

UNKNOWN_VERSION = "unknown"
# What sscanf reads as %2x: blanks, then at most two characters, a sign or a 0x without digits among them.
_TWO_DIGITS = r"[ \t\n\v\f\r]*([0-9A-Fa-f]{1,2}|[+-][0-9A-Fa-f]|0[xX])"
_ENTITY_ID = re.compile(":".join([_TWO_DIGITS] * 6), re.ASCII)


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
    remarks: tuple[Problem, ...] = ()
    """Why something of asterisk.conf does not count."""


def normalized_entity_id(text: str) -> str | None:
    """Return an entity id as Asterisk writes it, `None` where it takes it for none (ast_str_to_eid of
    main/utils.c): `0:50:56:A:B:C` is `00:50:56:0a:0b:0c`, and what follows the sixth number is ignored.
    """
    found = _ENTITY_ID.match(text)
    return found and ":".join(f"{int(each.rstrip('xX'), 16) & 0xFF:02x}" for each in found.groups())


def of_asterisk_conf(document: Document, hostname: str) -> LocalFacts:
    """Return what asterisk.conf says, as load_asterisk_conf of main/options.c reads it: the first [options]
    counts, of an option that comes twice the last value, and of a file with an error nothing.
    """
    entity_id = system_name = ""
    remarks: list[Problem] = []
    if not document.is_taken_up:
        return LocalFacts(hostname=hostname, remarks=tuple(document.errors or document.warnings))
    for line in document.first("options"):
        if line.is_named("entityid") and (found := normalized_entity_id(line.value)):
            entity_id = found
        elif line.is_named("entityid"):
            text = (
                f'"{line.value}" is no entity id such as 00:50:56:0a:0b:0c: as in Asterisk,'
                f" {entity_id or 'the MAC address'} counts"
            )
            remarks.append(problem(line, "options", text))
        elif line.is_named("systemname"):
            system_name = line.value
        elif line.is_named("autosystemname") and line.value.lower() in TRUE:
            system_name = hostname
    return LocalFacts(entity_id=entity_id, system_name=system_name, hostname=hostname, remarks=tuple(remarks))


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

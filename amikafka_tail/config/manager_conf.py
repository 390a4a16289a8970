"""manager.conf: where Asterisk's manager listens, and the secret of the user that amikafka logs in as."""

from __future__ import annotations

from dataclasses import dataclass, field

from amikafka_tail.ami.eventfilter import parse
from amikafka_tail.config.dialect import Document
from amikafka_tail.config.options import TRUE

USER = "amikafka"
SEVERAL_LOGINS = "allowmultiplelogin"
EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1", "[::]": "::1", "": "127.0.0.1"}


@dataclass(frozen=True, kw_only=True)
class ManagerUser:
    """How to log in, as far as manager.conf says; `None` where it does not.

    `has_includes` says whether Asterisk sends the user only what its own eventfilter lines include.
    """

    host: str | None = None
    port: int | None = None
    secret: str | None = field(default=None, repr=False)
    several_logins: bool = True
    """Whether the user may be logged in more than once at a time (allowmultiplelogin)."""
    has_includes: bool = False


def find_user(document: Document, username: str) -> ManagerUser:
    """Return what manager.conf, with all it includes, says about logging in as `username`."""
    host = port = secret = None
    several_logins = "yes"
    has_includes = False
    for section in document.named("general"):
        if (bindaddr := section.get("bindaddr")) is not None:
            host = EVERYWHERE.get(bindaddr, bindaddr)
        if (value := section.get("port")) is not None and value.isdigit():
            port = int(value)
        several_logins = section.get(SEVERAL_LOGINS) or several_logins
    for section in document.named(username):
        secret = section.get("secret") or secret
        several_logins = section.get(SEVERAL_LOGINS) or several_logins
        filters = [line for line in section.lines if line.name.startswith("eventfilter")]
        has_includes |= any(_includes(line.name, line.value) for line in filters)
    return ManagerUser(
        host=host,
        port=port,
        secret=secret,
        several_logins=several_logins.lower() in TRUE,
        has_includes=has_includes,
    )


def _includes(criteria: str, pattern: str) -> bool:
    try:
        return not parse(criteria, pattern).exclude
    except ValueError:
        return False  # Asterisk does not take it either

"""manager.conf: where Asterisk's manager listens, and the secret of the user that amikafka logs in as.

Read as __init_manager of main/manager.c does: the first `[general]` counts, all sections of a user add up.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from amikafka_tail.ami.eventfilter import parse
from amikafka_tail.config.dialect import Document, Line, fold
from amikafka_tail.config.options import TRUE, problem
from amikafka_tail.model.errors import Problem

USER = "amikafka"
GENERAL = "general"
SEVERAL_LOGINS = "allowmultiplelogin"
EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}
LOWEST_PORT, HIGHEST_PORT = 1024, 65535
"""Asterisk refuses another one."""
RELOAD = "then: asterisk -rx 'manager reload'"


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
    several_logins = True
    for line in document.first(GENERAL):
        if line.is_named("bindaddr"):
            host = _host(line.value) or host
        elif line.is_named("port"):
            port = _port(line.value)
        elif line.is_named(SEVERAL_LOGINS):
            several_logins = line.value.lower() in TRUE
    has_includes = False
    for line in _lines_of(document, username):
        if line.is_named("secret"):
            secret = line.value
        elif line.is_named(SEVERAL_LOGINS):
            several_logins = line.value.lower() in TRUE
        elif fold(line.name).startswith("eventfilter"):
            has_includes |= _includes(line.name, line.value)
    return ManagerUser(
        host=host, port=port, secret=secret or None, several_logins=several_logins, has_includes=has_includes
    )


def obstacles(document: Document, path: Path) -> Iterator[Problem]:
    """Yield why nobody can log in as the file is now. `path` is the file's.

    An Asterisk that runs may still have an earlier file, and the daemon logs in with that.
    """
    if not document.sections and all(each.line is None for each in document.problems):
        return  # not there, or nothing that this user may read
    cost = "Asterisk reads no further in this file"
    if not document.is_taken_up:
        cost = f"Asterisk does not take {path.name} up"
    # A pattern without a file is among the warnings, as amikafka itself works all the same.
    missing = [each for each in document.warnings if each.message.endswith("there is no such file")]
    for each in (*document.errors, *missing):
        yield replace(each, message=f"{each.message}: {cost}", is_warning=False)
    lines = document.first(GENERAL)
    enabled = next((line for line in reversed(lines) if line.is_named("enabled")), None)
    advice = f"nobody can log in. Set enabled = yes in the first [{GENERAL}], {RELOAD}"
    if enabled is not None and enabled.value.lower() not in TRUE:
        yield problem(enabled, GENERAL, f'"{enabled.value}" is not yes: {advice}')
    elif enabled is None and document.sections:
        yield Problem(message=f"enabled is not set: {advice}", file=path, section=GENERAL)
    for line in lines:
        if line.is_named("port") and _port(line.value) is None:
            text = f'"{line.value}" is no port from {LOWEST_PORT} to {HIGHEST_PORT}: Asterisk does not use it'
            yield problem(line, GENERAL, text)
        elif line.is_named("bindaddr") and _host(line.value) is None:
            text = f'"{line.value}" is no address: Asterisk listens on every one instead'
            yield problem(line, GENERAL, text)


def _lines_of(document: Document, username: str) -> list[Line]:
    if fold(username) == GENERAL:
        return []
    return [line for section in document.named(username) for line in section.lines]


def _host(bindaddr: str) -> str | None:
    """Return the address to connect to, `None` where Asterisk finds none. A port in it is ignored
    (ast_sockaddr_split_hostport with PARSE_PORT_IGNORE)."""
    if bindaddr.startswith("["):
        address = bindaddr[1:].partition("]")[0]
    else:
        address = bindaddr.partition(":")[0] if bindaddr.count(":") == 1 else bindaddr
    try:
        ipaddress.ip_address(address)
    except ValueError:
        return None
    return EVERYWHERE.get(address, address)


def _port(value: str) -> int | None:
    """Return a port, `None` where Asterisk does not take it. 0x and 0 in front mean what they do in C."""
    digits = value.removeprefix("+")
    base = 16 if digits[:2].lower() == "0x" else 8 if digits.startswith("0") else 10
    try:
        port = int(digits, base) if digits.isascii() and digits.isalnum() else 0
    except ValueError:
        return None
    return port if LOWEST_PORT <= port <= HIGHEST_PORT else None


def _includes(criteria: str, pattern: str) -> bool:
    try:
        return not parse(criteria, pattern).exclude
    except ValueError:
        return False  # Asterisk does not take it either

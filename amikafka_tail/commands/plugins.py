"""The output of `amikafka plugins`: what is installed, and the options of one plugin."""

from __future__ import annotations

import dataclasses
import inspect
import sys
import textwrap
from collections.abc import Iterable

from amikafka_tail.config.declared import declared
from amikafka_tail.config.settings import FILTER
from amikafka_tail.plugins.registry import DISTRIBUTION, Registration, Registry

WIDTH = 80
INDENT = "    "


def table(registry: Registry) -> str:
    """Return a line for each source, filter and format: kind, name, version, origin, options."""
    rows = [("KIND", "NAME", "VERSION", "FROM", "OPTIONS")]
    for each in registry:
        names = " ".join(field.name for field in dataclasses.fields(each.options))
        rows.append((each.kind, each.name, each.origin.version, origin(each), names or "-"))
    return _aligned(rows)


def origin(registration: Registration) -> str:
    """Return the distribution of a plugin, and its name for AMIKAFKA_LOAD_PLUGINS."""
    if registration.origin.distribution == DISTRIBUTION:
        return "built in"
    return f"{registration.origin.distribution} ({registration.origin.entry_point})"


def details(registration: Registration) -> str:
    """Return what a plugin does, where its code is, and each option with type, default and meaning."""
    options = declared(registration.options)
    module = sys.modules.get(registration.options.__module__)
    lines = [
        f"{registration.kind} {registration.name}",
        f"from {origin(registration)}, version {registration.origin.version}"
        + (f", in {module.__file__}" if module is not None else ""),
        "",
    ]
    if text := inspect.getdoc(registration.factory):
        lines += [text.splitlines()[0], ""]
    if registration.name == FILTER:
        lines.append("It is set by the eventfilter lines of [general], as in Asterisk's manager.conf.")
    elif not options:
        lines.append("It has no options.")
    else:
        rows = [(each.name, each.kind, "(must be set)" if each.is_required else each.default or "-")
                for each in options]  # fmt: skip
        heading, *shown = _aligned([("OPTION", "TYPE", "DEFAULT"), *rows]).splitlines()
        lines.append(heading)
        for row, each in zip(shown, options, strict=True):
            said = " ".join(
                part for part in (each.text, each.bounds and f"{each.bounds.capitalize()}.") if part
            )
            lines += [row, *textwrap.wrap(said, WIDTH, initial_indent=INDENT, subsequent_indent=INDENT)]
        only = ", tables only there" if any(each.table for each in options) else ""
        name = registration.name
        lines += ["", f"set in the section [{name}] of ami_kafka.conf, or in ami_kafka.d/{name}.toml{only}"]
    return "\n".join(lines)


def _aligned(rows: Iterable[tuple[str, ...]]) -> str:
    rows = list(rows)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )

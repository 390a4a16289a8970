"""What `amikafka plugins` shows: what is installed, and the options of one of them."""

from __future__ import annotations

import dataclasses
import inspect
import sys
import typing
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from amikafka_tail.config.options import without_none
from amikafka_tail.config.settings import FILTER
from amikafka_tail.plugins import DISTRIBUTION, Registration, Registry


def table(registry: Registry) -> str:
    """Return a line for each source, filter and format: kind, name, version, where it is from, options."""
    rows = [("KIND", "NAME", "VERSION", "FROM", "OPTIONS")]
    for each in registry:
        names = " ".join(field.name for field in dataclasses.fields(each.options))
        rows.append((each.kind, each.name, each.origin.version, origin(each), names or "-"))
    return _aligned(rows)


def origin(registration: Registration) -> str:
    """Say which distribution something is from, and as which plugin AMIKAFKA_LOAD_PLUGINS knows it."""
    if registration.origin.distribution == DISTRIBUTION:
        return "built in"
    return f"{registration.origin.distribution} ({registration.origin.entry_point})"


def details(registration: Registration) -> str:
    """Return all about one: what it does, where its code is, and each option with its type and default."""
    options = registration.options
    hints = typing.get_type_hints(options)
    module = sys.modules.get(options.__module__)
    lines = [
        f"{registration.kind} {registration.name}",
        f"from {origin(registration)}, version {registration.origin.version}"
        + (f", in {module.__file__}" if module is not None else ""),
        "",
    ]
    if text := inspect.getdoc(registration.factory):
        lines += [text.splitlines()[0], ""]
    rows = [("OPTION", "TYPE", "DEFAULT")]
    nested = False
    for field in dataclasses.fields(options):
        type_ = _type_name(hints[field.name], field.metadata)
        nested = nested or "table" in type_
        rows.append((field.name, type_, _default(field)))
    lines.append(_aligned(rows) if len(rows) > 1 else "It has no options.")
    if registration.name == FILTER:
        lines[-1] = "It is set by the eventfilter lines of [general], as in Asterisk's manager.conf."
    elif len(rows) > 1:
        lines += ["", f"set in the section [{registration.name}] of ami_kafka.conf"]
        lines[-1] += f", or in ami_kafka.d/{registration.name}.toml" + (", tables only there" * nested)
    return "\n".join(lines)


def _aligned(rows: Iterable[tuple[str, ...]]) -> str:
    rows = list(rows)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def _default(field: dataclasses.Field[Any]) -> str:
    if field.default_factory is not dataclasses.MISSING:
        return "-"
    if field.default is dataclasses.MISSING:
        return "(must be set)"
    value = field.default
    if value is None or value in ("", ()):
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(value) if isinstance(value, tuple) else str(value)


def _type_name(hint: Any, metadata: typing.Mapping[str, Any]) -> str:
    hint = without_none(hint)
    if typing.get_origin(hint) is Literal:
        return " | ".join(typing.get_args(hint))
    if typing.get_origin(hint) is tuple:
        inner = typing.get_args(hint)[0]
        return "tables" if dataclasses.is_dataclass(inner) else "list"
    if dataclasses.is_dataclass(hint):
        return "table"
    if unit := metadata.get("unit"):
        return str(unit)
    names = {str: "text", int: "whole number", float: "number", bool: "yes | no", Path: "path"}
    return names.get(hint, str(hint))

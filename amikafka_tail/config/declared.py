"""What a class of options declares, in words: for `amikafka plugins show` and the configuration reference."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import itertools
import textwrap
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

from amikafka_tail.plugins.option_types import without_none

_NAMES = {str: "text", int: "whole number", float: "number", bool: "yes | no", Path: "path"}


class Declared(NamedTuple):
    """One option."""

    name: str
    kind: str
    """`text`, `bytes`, `yes | no`, `one | two`, ...: what may be written."""
    default: str
    """As one would write it; empty where there is none."""
    is_required: bool
    bounds: str
    """`at least 1, at most 9`; empty where there are none."""
    text: str
    """The docstring below the field, on one line; empty where there is none."""
    table: type | None
    """The options of a table in a plugin's TOML file, where it is one."""


def declared(options: type) -> list[Declared]:
    """Return the options of a class, in their order, inherited ones first."""
    hints = typing.get_type_hints(options)
    texts = _texts(options)
    return [
        Declared(
            name=field.name,
            kind=_kind(hints[field.name], field.metadata),
            default=written(_default(field), field.metadata),
            is_required=_default(field) is dataclasses.MISSING,
            bounds=_bounds(field.metadata),
            text=texts.get(field.name, ""),
            table=_table(hints[field.name]),
        )
        for field in dataclasses.fields(options)
    ]


def written(value: Any, metadata: Mapping[str, Any]) -> str:
    """Return a value as it would stand in ami_kafka.conf, empty where there is none."""
    if value is dataclasses.MISSING or value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return ", ".join(map(str, value))
    unit = metadata.get("unit")
    if unit == "bytes":
        return _size(value)
    if unit == "seconds":
        return _time(value)
    return str(value)


def _size(value: int) -> str:
    for suffix, factor in (("g", 1 << 30), ("m", 1 << 20), ("k", 1 << 10)):
        if value and value % factor == 0:
            return f"{value // factor}{suffix}"
    return str(value)


def _time(value: float) -> str:
    if 0 < value < 1:
        return f"{value * 1000:g}ms"
    for suffix, factor in (("h", 3600), ("m", 60)):
        if value and value % factor == 0:
            return f"{value // factor:g}{suffix}"
    return f"{value:g}"


def _default(field: dataclasses.Field[Any]) -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default


def _bounds(metadata: Mapping[str, Any]) -> str:
    said = [
        f"{words} {written(metadata[name], metadata)}"
        for name, words in (("minimum", "at least"), ("maximum", "at most"))
        if name in metadata
    ]
    return ", ".join(said)


def _kind(hint: Any, metadata: Mapping[str, Any]) -> str:
    hint = without_none(hint)
    if typing.get_origin(hint) is Literal:
        return " | ".join(typing.get_args(hint))
    if _table(hint) is not None:
        return "tables" if typing.get_origin(hint) is tuple else "table"
    if typing.get_origin(hint) is tuple:
        return "list"
    if unit := metadata.get("unit"):
        return str(unit)
    return _NAMES.get(hint, str(hint))


def _table(hint: Any) -> type | None:
    hint = without_none(hint)
    inner = typing.get_args(hint)[0] if typing.get_origin(hint) is tuple else hint
    return inner if isinstance(inner, type) and dataclasses.is_dataclass(inner) else None


def _texts(options: type) -> dict[str, str]:
    """Return the docstrings below the fields. One that a subclass does not repeat is inherited."""
    found: dict[str, str] = {}
    for each in reversed(options.__mro__):
        try:
            (tree,) = ast.parse(textwrap.dedent(inspect.getsource(each))).body
        except (OSError, TypeError, ValueError, SyntaxError):
            continue  # of a class without source there are no texts
        body = tree.body if isinstance(tree, ast.ClassDef) else []
        for before, after in itertools.pairwise(body):
            if (
                isinstance(before, ast.AnnAssign)
                and isinstance(before.target, ast.Name)
                and isinstance(after, ast.Expr)
                and isinstance(after.value, ast.Constant)
                and isinstance(after.value.value, str)
            ):
                found[before.target.id] = " ".join(after.value.value.split())
    return found

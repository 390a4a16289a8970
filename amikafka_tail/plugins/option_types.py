"""The types that a plugin's options may have: the fields of a frozen dataclass."""

from __future__ import annotations

import dataclasses
import types
import typing
from pathlib import Path
from typing import Any, Literal


def check_types(options: type) -> None:
    """Check that a class can hold options. Raises `TypeError` naming the field."""
    if not dataclasses.is_dataclass(options):
        raise TypeError("are not a dataclass")
    if not options.__dataclass_params__.frozen:  # type: ignore[attr-defined]
        raise TypeError("are not frozen: @dataclass(frozen=True, kw_only=True)")
    try:
        hints = typing.get_type_hints(options)
    except NameError as error:
        raise TypeError(f"have a type that is not defined: {error}") from error
    for field in dataclasses.fields(options):
        if (unit := field.metadata.get("unit")) not in (None, "bytes", "seconds"):
            raise TypeError(f'have {field.name} with the unit "{unit}": allowed are bytes and seconds')
        _check_type(field.name, hints[field.name])


def _check_type(name: str, hint: Any) -> None:
    hint = without_none(hint)
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal and all(isinstance(each, str) for each in arguments):
        return
    if origin is tuple and len(arguments) == 2 and arguments[1] is ...:
        hint = arguments[0]
        if hint is str:
            return
    elif hint in (str, int, float, bool, Path):
        return
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        check_types(hint)
        return
    raise TypeError(
        f"have {name} of the type {hint}: allowed are str, int, float, bool, Path, Literal of strings,"
        " tuple[str, ...], a frozen dataclass D, tuple[D, ...], and each of them or None"
    )


def without_none(hint: Any) -> Any:
    """Return the type without `None`; any other type unchanged."""
    if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union:
        others = [each for each in typing.get_args(hint) if each is not types.NoneType]
        return others[0] if len(others) == 1 else hint
    return hint


def nested_dataclass(hint: Any) -> type | None:
    """Return the dataclass of a table or an array of tables."""
    inner = typing.get_args(hint)[0] if typing.get_origin(hint) is tuple else hint
    return inner if isinstance(inner, type) and dataclasses.is_dataclass(inner) else None

"""Binds the lines of a section to a frozen dataclass: one field per option, checked by its type."""

from __future__ import annotations

import dataclasses
import difflib
import math
import types
import typing
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

from amikafka_tail.config.dialect import Line
from amikafka_tail.errors import Problem

Options = TypeVar("Options")

# ast_true and ast_false of main/utils.c.
TRUE = ("yes", "true", "y", "t", "1", "on")
FALSE = ("no", "false", "n", "f", "0", "off")
_BYTES: dict[str, float] = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
_SECONDS = {"": 1.0, "s": 1.0, "ms": 0.001, "m": 60.0, "h": 3600.0}


def bind(
    options: type[Options],
    lines: Sequence[Line],
    section: str,
    problems: list[Problem],
    *,
    also_known: Iterable[str] = (),
) -> Options | None:
    """Return an instance made from the lines; `None` where something is wrong, which is then in `problems`.

    A field's metadata may say `unit` ("bytes" takes 64m, "seconds" takes 500ms), `minimum` and `maximum`, or
    `any_bytes`: text that need not be UTF-8, with surrogates for what is not. An
    option that comes several times counts with its last value. `also_known` names options of the section
    that are bound elsewhere.
    """
    assert dataclasses.is_dataclass(options)
    fields = {field.name: field for field in dataclasses.fields(options)}
    hints = typing.get_type_hints(options)
    values: dict[str, Any] = {}
    places: dict[str, Line] = {}
    before = len(problems)
    for line in lines:
        field = fields.get(line.name)
        if field is None:
            if line.name not in also_known:
                message = unknown("option", line.name, [*fields, *also_known])
                problems.append(problem(line, section, message))
            continue
        try:
            if not field.metadata.get("any_bytes"):
                require_utf_8(line.value)
            values[line.name] = _convert(line.value, hints[line.name], field.metadata)
            places[line.name] = line
        except ValueError as error:
            problems.append(problem(line, section, str(error)))
    if len(problems) > before:
        return None
    try:
        return options(**values)
    except ValueError as error:
        # What __post_init__ refuses concerns several options: name the last line of the section.
        last = next((line for line in reversed(lines) if line.name in places), None)
        problems.append(
            Problem(
                message=str(error),
                file=last.file if last else None,
                line=last.line if last else None,
                section=section,
            )
        )
        return None


def problem(line: Line, section: str, message: str) -> Problem:
    """Make the problem of one line."""
    return Problem(message=message, file=line.file, line=line.line, section=section, key=line.name)


def unknown(what: str, name: str, known: Iterable[str]) -> str:
    """Say that a name is not known, with the nearest one that is."""
    names = list(known)
    near = difflib.get_close_matches(name.lower(), names, n=1, cutoff=0.6)
    return f'unknown {what} (did you mean "{near[0]}"?)' if near else f"unknown {what}"


def boolean(value: str) -> bool:
    """Read one of Asterisk's words for yes and no. Raises `ValueError`."""
    if value.lower() in TRUE:
        return True
    if value.lower() in FALSE:
        return False
    raise ValueError(f'"{value}" is neither yes nor no')


def require_utf_8(value: str) -> None:
    """Raise `ValueError` where a value has bytes that are not UTF-8."""
    if any("\udc80" <= char <= "\udcff" for char in value):
        raise ValueError("the value is not UTF-8")


def _convert(value: str, hint: Any, metadata: typing.Mapping[str, Any]) -> Any:
    if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union:
        (hint,) = (each for each in typing.get_args(hint) if each is not types.NoneType)
    if typing.get_origin(hint) is Literal:
        return _choice(value, typing.get_args(hint))
    if typing.get_origin(hint) is tuple:
        return tuple(part.strip() for part in value.split(",") if part.strip())
    if hint is bool:
        return boolean(value)
    if hint is Path:
        if not value.startswith("/"):
            raise ValueError(f'"{value}" is not an absolute path')
        return Path(value)
    if hint in (int, float):
        return _number(value, hint, metadata)
    return value


def _choice(value: str, choices: tuple[str, ...]) -> str:
    for choice in choices:
        if value.lower() == choice.lower():
            return choice
    raise ValueError(f'"{value}" is not one of {", ".join(choices)}')


def _number(value: str, kind: Callable[[Any], Any], metadata: typing.Mapping[str, Any]) -> Any:
    unit = metadata.get("unit")
    factors: dict[str, float] = {"": 1}
    if unit is not None:
        factors = {"bytes": _BYTES, "seconds": _SECONDS}[unit]
    digits = value.rstrip("kmgtshKMGTSH") if unit else value
    suffix = value[len(digits) :].strip().lower()
    try:
        number = kind(kind(digits.strip()) * factors[suffix])
        if not math.isfinite(number):
            raise ValueError
    except (ValueError, KeyError, OverflowError):
        expected = {"bytes": "a size such as 64m or 10g", "seconds": "a time such as 5, 500ms or 2m"}
        name = "a whole number" if kind is int else "a number"
        raise ValueError(f'"{value}" is not {expected.get(unit or "", name)}') from None
    minimum, maximum = metadata.get("minimum"), metadata.get("maximum")
    if minimum is not None and number < minimum:
        raise ValueError(f"{value} is too small: at least {minimum}")
    if maximum is not None and number > maximum:
        raise ValueError(f"{value} is too large: at most {maximum}")
    return number

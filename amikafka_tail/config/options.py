"""Binds the lines of a section to a frozen dataclass: one field per option, checked by its type."""

from __future__ import annotations

import dataclasses
import math
import typing
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

from amikafka_tail.config.dialect import Line, fold
from amikafka_tail.config.toml import TomlFile
from amikafka_tail.model.errors import Problem
from amikafka_tail.model.suggestions import unknown
from amikafka_tail.plugins.option_types import nested_dataclass, without_none

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
    toml: TomlFile | None = None,
    file: Path | None = None,
) -> Options | None:
    """Return an instance made from the lines; `None` where something is wrong, which is then in `problems`.

    A field's metadata may say `unit` ("bytes" takes 64m, "seconds" takes 500ms), `minimum` and `maximum`, or
    `any_bytes`: text that need not be UTF-8, with surrogates for what is not. Names compare without regard to
    case. An option that comes several times counts with its last value. `also_known` names options of the
    section that are bound elsewhere. `toml` has options of the same section, nested ones too; one that stands
    in both is an error. `file` is where an option is missed that has no default.
    """
    assert dataclasses.is_dataclass(options)
    fields = {fold(field.name): field for field in dataclasses.fields(options)}
    hints = typing.get_type_hints(options)
    values: dict[str, Any] = {}
    places: dict[str, Line] = {}
    before = len(problems)
    for line in lines:
        field = fields.get(fold(line.name))
        if field is None:
            if not any(line.is_named(name) for name in also_known):
                known = [*(field.name for field in fields.values()), *also_known]
                problems.append(problem(line, section, unknown("option", line.name, known)))
            continue
        try:
            if not field.metadata.get("any_bytes"):
                require_utf_8(line.value)
            values[field.name] = _convert(line.value, hints[field.name], field.metadata)
            places[field.name] = line
        except ValueError as error:
            problems.append(problem(line, section, str(error)))
    if toml is not None:
        values.update(_from_toml(options, toml, (), toml.values, problems))
        for name in places.keys() & toml.values.keys():
            problems.append(problem(places[name], section, f"is set in {toml.path} too"))
    if len(problems) > before:
        return None
    last = next((line for line in reversed(lines) if line in places.values()), None)
    where = Problem(
        message="", file=last.file if last else file, line=last.line if last else None, section=section
    )
    if toml is not None and toml.values:
        where = Problem(message="", file=toml.path)
    return _made(options, values, where, problems)


def _made(
    options: type[Options], values: dict[str, Any], where: Problem, problems: list[Problem]
) -> Options | None:
    """Return an instance; where that is not possible `None`, and the reason among the problems."""
    assert dataclasses.is_dataclass(options)
    missing = [
        field.name
        for field in dataclasses.fields(options)
        if field.default is dataclasses.MISSING
        and field.default_factory is dataclasses.MISSING
        and field.name not in values
    ]
    for name in missing:
        problems.append(dataclasses.replace(where, message="is not set and has no default", key=name))
    if missing:
        return None
    try:
        return options(**values)
    except ValueError as error:
        # What __post_init__ refuses concerns several options: the last line of the section is named.
        problems.append(dataclasses.replace(where, message=str(error)))
        return None


def problem(line: Line, section: str, message: str) -> Problem:
    """Make the problem of one line."""
    return Problem(message=message, file=line.file, line=line.line, section=section, key=line.name)


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


def _from_toml(
    options: type,
    toml: TomlFile,
    place: tuple[str | int, ...],
    table: typing.Mapping[str, Any],
    problems: list[Problem],
) -> dict[str, Any]:
    """Return the values of a table's options as far as they are right."""
    fields = {field.name: field for field in dataclasses.fields(options)}
    hints = typing.get_type_hints(options)
    section = next((part for part in reversed(place) if isinstance(part, str)), None)
    values: dict[str, Any] = {}

    def say(name: str, message: str) -> None:
        line = toml.line_of((*place, name))
        problems.append(Problem(message=message, file=toml.path, line=line, section=section, key=name))

    for name, value in table.items():
        if name not in fields:
            say(name, unknown("option", name, fields))
            continue
        hint = without_none(hints[name])
        try:
            if (nested := nested_dataclass(hint)) is not None:
                many = typing.get_origin(hint) is tuple
                values[name] = _tables(nested, toml, (*place, name), value, problems, many=many)
            else:
                values[name] = _toml_value(value, hint, fields[name].metadata)
        except ValueError as error:
            say(name, str(error))
    return values


def _tables(
    nested: type,
    toml: TomlFile,
    place: tuple[str | int, ...],
    value: Any,
    problems: list[Problem],
    *,
    many: bool,
) -> Any:
    """Return the instances of an array of tables, or the one of a table."""
    name = place[-1]
    tables = value if many else [value]
    if not isinstance(tables, list) or not all(isinstance(each, dict) for each in tables):
        raise ValueError(f"is not {f'an array of tables: [[{name}]]' if many else f'a table: [{name}]'}")
    made: list[Any] = []
    for index, table in enumerate(tables):
        at = (*place, index) if many else place
        before = len(problems)
        values = _from_toml(nested, toml, at, table, problems)
        if len(problems) == before:
            where = Problem(message="", file=toml.path, line=toml.line_of(at), section=str(name))
            made.append(_made(nested, values, where, problems))
    return tuple(made) if many else next(iter(made), None)


def _toml_value(value: Any, hint: Any, metadata: typing.Mapping[str, Any]) -> Any:
    if hint is bool:
        if not isinstance(value, bool):
            raise ValueError(f"{value!r} is neither true nor false")
        return value
    if typing.get_origin(hint) is tuple:
        if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
            raise ValueError(f"{value!r} is not a list of strings")
        return tuple(value)
    if hint in (int, float):
        if isinstance(value, bool) or not isinstance(value, (int, float, str)):
            raise ValueError(f"{value!r} is not a number")
        return _number(str(value), hint, metadata)
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is not a string")
    return _convert(value, hint, metadata)


def _convert(value: str, hint: Any, metadata: typing.Mapping[str, Any]) -> Any:
    hint = without_none(hint)
    if nested_dataclass(hint) is not None:
        raise ValueError("is nested: it stands in the plugin's TOML file, in the directory ami_kafka.d")
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

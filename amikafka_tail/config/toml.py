"""A TOML file of a plugin's options, and on which line each of them stands."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from amikafka_tail.model.errors import ConfigError, Problem

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_LINE = re.compile(r"\(at line (\d+), column \d+\)")


@dataclass(frozen=True)
class TomlFile:
    """What one file says. A key is named by its path: `("rule", 0, "events")`."""

    path: Path
    text: str
    values: dict[str, Any]

    def line_of(self, key: tuple[str | int, ...]) -> int | None:
        """Return the line on which a key or a table begins, `None` where it is not in the file.

        Parsers do not tell. But the part of a file before a key is a file without it: the key begins after
        the longest such part.
        """
        lines = self.text.split("\n")
        before = 0
        for number in range(1, len(lines) + 1):
            try:
                values = tomllib.loads("\n".join(lines[:number]) + "\n")
            except tomllib.TOMLDecodeError:
                continue  # in the middle of a value
            if _has(values, key):
                return before + 1
            before = number
        return None


def parse(path: Path, text: str) -> TomlFile:
    """Parse a file. Raises `ConfigError`."""
    try:
        return TomlFile(path, text, tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        said = str(error)
        place = _LINE.search(said)
        message = f"is not TOML: {_LINE.sub('', said).strip()}"
        line = int(place[1]) if place else len(text.split("\n"))
        raise ConfigError([Problem(message=message, file=path, line=line)]) from error


def _has(values: Any, key: tuple[str | int, ...]) -> bool:
    for part in key:
        if isinstance(part, int):
            if not isinstance(values, list) or len(values) <= part:
                return False
        elif not isinstance(values, dict) or part not in values:
            return False
        values = values[part]
    return True

"""The directory ami_kafka.d: one TOML file for each plugin whose options are more than lines."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from amikafka_tail.config import toml
from amikafka_tail.config.files import read, why_unreadable
from amikafka_tail.config.options import require_utf_8
from amikafka_tail.config.toml import TomlFile
from amikafka_tail.model.errors import ConfigError, Problem
from amikafka_tail.model.suggestions import unknown

DIRECTORY = "ami_kafka.d"
SUFFIX = ".toml"


def load(directory: Path, plugins: Collection[str], problems: list[Problem]) -> dict[str, TomlFile]:
    """Return the files of the directory by the names of their plugins; what is wrong is in `problems`."""
    found: dict[str, TomlFile] = {}
    try:
        paths = sorted(directory.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return found
    except OSError as error:
        problems.append(Problem(message=why_unreadable(directory, error), file=directory))
        return found
    for path in paths:
        if path.suffix != SUFFIX or path.name.startswith("."):
            continue  # what editors and dpkg leave behind
        if path.stem not in plugins:
            message = f"{unknown('plugin', path.stem, plugins)}: the name of the file is that of a plugin"
            problems.append(Problem(message=message, file=path))
            continue
        try:
            text = read(path)
            require_utf_8(text)
            found[path.stem] = toml.parse(path, text)
        except OSError as error:
            problems.append(Problem(message=why_unreadable(path, error), file=path))
        except ValueError:
            problems.append(Problem(message="is not UTF-8", file=path))
        except ConfigError as error:
            problems += error.problems
    return found

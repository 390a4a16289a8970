"""Writes the skeleton of a plugin: the files of `data/template`, with the given names filled in."""

from __future__ import annotations

import re
from importlib import resources
from pathlib import Path

from amikafka_tail.model.errors import UsageError
from amikafka_tail.plugins import hookspecs
from amikafka_tail.plugins.loader import discover
from amikafka_tail.plugins.registry import RESERVED, Registry

_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", re.ASCII)
PREFIX = "amikafka-"


def write(name: str, kind: str, directory: Path) -> Path:
    """Write the plugin `name` of a kind into a new directory; return the directory.

    Raises `UsageError`, `OSError`.
    """
    name = name.removeprefix(PREFIX)
    _check(name, discover("")[0])
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise UsageError(f"{directory}: exists and is not empty")
    words = {
        "@NAME@": name,
        "@DISTRIBUTION@": PREFIX + name,
        "@MODULE@": (PREFIX + name).replace("-", "_"),
        "@CLASS@": "".join(word.capitalize() for word in name.split("-")),
        "@API@": hookspecs.API_VERSION,
    }
    data = resources.files("amikafka_tail").joinpath("data/template")
    for source, target in {
        "pyproject.toml.txt": "pyproject.toml",
        f"README-{kind}.md": "README.md",
        f"{kind}.py.txt": f"src/{words['@MODULE@']}/__init__.py",
        "py.typed": f"src/{words['@MODULE@']}/py.typed",
        f"test_{kind}.py.txt": f"tests/test_{name.replace('-', '_')}.py",
    }.items():
        text = data.joinpath(source).read_text(encoding="utf-8")
        for word, meant in words.items():
            text = text.replace(word, meant)
        path = directory / target
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return directory


def _check(name: str, registry: Registry) -> None:
    if not _NAME.fullmatch(name):
        raise UsageError(
            f'"{name}" is not a valid plugin name: lower-case letters, digits and -, starting with a letter'
        )
    if name in RESERVED or any(each.name == name for each in registry):
        raise UsageError(f'"{name}" is taken')

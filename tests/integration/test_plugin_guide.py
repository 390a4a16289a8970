"""docs/plugins.md, done as it is written."""

from __future__ import annotations

import doctest
import os
import re
import site
import subprocess
import sys
import venv
from collections.abc import Iterator
from pathlib import Path

import pytest

GUIDE = Path(__file__).parents[2] / "docs" / "plugins.md"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
CHECKER = doctest.OutputChecker()
ALIKE = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
SECTION = "## From nothing to a published message"


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A virtual environment of its own, in which what is installed here is installed."""
    directory = tmp_path_factory.mktemp("venv")
    venv.create(directory, with_pip=True)
    (packages,) = directory.glob("lib/python*/site-packages")
    seen = [*site.getsitepackages(), str(GUIDE.parents[1])]
    (packages / "outer.pth").write_text(
        "\n".join(f"import site; site.addsitedir({path!r})" for path in seen) + "\n"
    )
    outer = str(Path(sys.executable).parent)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AMIKAFKA", "PYTEST"))}
    # Scripts that pip did not install here, amikafka and pytest, are run with the new interpreter.
    for name, module in {"amikafka": "amikafka_tail", "pytest": "pytest", "mypy": "mypy"}.items():
        script = directory / "bin" / name
        script.write_text(f'#!/bin/sh\nexec {directory}/bin/python -m {module} "$@"\n')
        script.chmod(0o755)
    return {
        **kept,
        "PATH": f"{directory / 'bin'}:{outer}:{os.environ['PATH']}",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    }


def commands(text: str) -> Iterator[tuple[str, str]]:
    """Yield each command of a console block with what it is said to print."""
    for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        command, _, output = part.partition("\n")
        yield command, output


@pytest.mark.timeout(600)
def test_the_worked_example_works_as_it_is_written(tmp_path: Path, environment: dict[str, str]) -> None:
    text = GUIDE.read_text(encoding="utf-8")
    begin = text.index(SECTION, text.index(SECTION) + 1) if text.count(SECTION) > 1 else text.index(SECTION)
    example = text[begin : text.index("\n## ", begin + 1)]
    directory = tmp_path
    blocks = BLOCK.findall(example)
    assert [kind for kind, _ in blocks].count("console") >= 4
    for kind, block in blocks:
        if kind == "python":
            first, _, code = block.partition("\n")
            path = directory / first.removeprefix("# ")
            assert path.exists(), f"{path} is what the template writes"
            path.write_text(code, encoding="utf-8")
            continue
        assert kind == "console"
        for command, output in commands(block):
            if command.startswith("cd "):
                directory = directory / command.removeprefix("cd ")
                continue
            done = subprocess.run(
                command,
                shell=True,
                cwd=directory,
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=300,
            )
            assert done.returncode == 0, f"{command}\n{done.stdout}"
            assert CHECKER.check_output(output, done.stdout, ALIKE), (
                f"{command}\n{done.stdout}\nnot\n{output}"
            )


def test_every_name_of_the_api_is_explained() -> None:
    from amikafka_tail import api, testing  # noqa: PLC0415

    text = GUIDE.read_text(encoding="utf-8")
    own_words = {"AmikafkaError", "Chunk", "Counters", "Identity", "PluginError", "Reader", "Register"}
    own_words |= {"Unpublishable", "decode", "split_line", "API_VERSION"}
    missing = [name for name in api.__all__ if name not in own_words and not re.search(rf"\b{name}\b", text)]
    types = {"ASTERISK", "Message", "Published", "Read", "context"}
    missing += [name for name in testing.__all__ if name not in types and not re.search(rf"\b{name}\b", text)]
    assert missing == []

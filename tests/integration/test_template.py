"""What `amikafka plugins new` writes is installed as it is, and passes its own tests and mypy --strict."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from amikafka_tail.cli import main
from amikafka_tail.plugins import loader

ROOT = Path(__file__).parents[2]


def run(directory: Path, *command: str) -> str:
    environment = {**os.environ, "PYTHONPATH": f"{directory / 'site'}:{ROOT}", "PYTHONDONTWRITEBYTECODE": "1"}
    environment.pop("AMIKAFKA_LOAD_PLUGINS", None)
    done = subprocess.run(
        [sys.executable, *command],
        cwd=directory,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", loader.KINDS)
def test_a_new_plugin_passes_its_own_tests_unchanged(
    tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    directory = tmp_path / "new"
    assert main(["plugins", "new", "night-shift", kind, str(directory)]) == 0
    assert "pip install" in capsys.readouterr().out
    pip = ("-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-input")
    run(directory, *pip, "--disable-pip-version-check", "--target", "site", ".")
    run(directory, "-m", "pytest", "-q")
    run(directory, "-m", "mypy")
    shown = run(directory, "-m", "amikafka_tail", "plugins", "show", "night-shift")
    assert shown.startswith(f"{kind} night-shift\nfrom amikafka-night-shift (night-shift), version 0.1.0")
    left = [path.name for path in directory.rglob("*") if path.is_file() and b"@" in path.read_bytes()]
    assert not [name for name in left if name.endswith((".md", ".toml"))]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["json", "format"], '"json" is taken'),
        (["kafka", "format"], '"kafka" is taken'),
        (["Night", "format"], '"Night" is not a valid plugin name'),
        (["a--b", "filter"], '"a--b" is not a valid plugin name'),
        (["amikafka-ami", "format"], '"ami" is taken'),
    ],
)
def test_a_name_that_cannot_be_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    assert main(["plugins", "new", *arguments, str(tmp_path / "new")]) == os.EX_USAGE
    assert said in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_nothing_is_ever_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("mine")
    assert main(["plugins", "new", "night", "format", str(tmp_path)]) == os.EX_USAGE
    assert "exists and is not empty" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["file"]

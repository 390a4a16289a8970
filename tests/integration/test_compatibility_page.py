"""docs/compatibility.md is what the end-to-end tests of the versions found."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

PROJECT = Path(__file__).parents[2]
GENERATOR = PROJECT / "docs" / "generate_compatibility.py"


def module_at(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def generator() -> ModuleType:
    return module_at(GENERATOR)


def test_the_page_is_as_the_results_are(generator: ModuleType) -> None:
    results = json.loads(generator.RESULTS.read_text())
    assert generator.PAGE.read_text() == generator.page(results), "make compatibility writes it anew"


def test_the_results_have_the_features_of_the_tests_on_each_version(generator: ModuleType) -> None:
    features = module_at(PROJECT / "tests/e2e/compatibility.py").FEATURES
    results = json.loads(generator.RESULTS.read_text())
    assert results["features"] == features
    assert [version.split(".")[0] for version in results["versions"]] == ["16", "18", "20", "22"]
    for column in results["versions"].values():
        assert list(column["cells"]) == list(features)
    assert set(generator.NOTES) <= set(features)


def test_a_page_that_is_stale_is_an_error(tmp_path: Path, generator: ModuleType) -> None:
    for path in (GENERATOR, generator.RESULTS, generator.PAGE):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    command = [sys.executable, str(tmp_path / GENERATOR.name), "--check"]
    assert subprocess.run(command, capture_output=True, timeout=30).returncode == 0
    stale = (tmp_path / generator.PAGE.name).read_text().replace("| yes |", "| no |", 1)
    (tmp_path / generator.PAGE.name).write_text(stale)
    refused = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert refused.returncode == 1
    assert "compatibility.md is not what compatibility.json says" in refused.stderr
    assert (tmp_path / generator.PAGE.name).read_text() == stale

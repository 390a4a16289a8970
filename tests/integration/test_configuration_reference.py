"""docs/configuration.md is what the code declares."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from types import ModuleType

import pytest

GENERATOR = Path(__file__).parents[2] / "docs" / "generate_reference.py"


@pytest.fixture
def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate_reference", GENERATOR)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_reference_is_as_the_code_is(generator: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AMIKAFKA_LOAD_PLUGINS", raising=False)
    monkeypatch.setenv("STATE_DIRECTORY", "/var/lib/elsewhere")
    assert generator.PAGE.read_text() == generator.page(), "make docs writes it anew"
    assert os.environ["STATE_DIRECTORY"] == "/var/lib/elsewhere"

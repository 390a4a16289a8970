"""What may import what: logic takes values and returns values."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "amikafka_tail"
MODULES = sorted(PACKAGE.rglob("*.py"))
LOGIC_OF_COMPARE = ("copies", "follow", "judge", "pairing", "report", "verdict")
LOGIC = [
    *PACKAGE.glob("ami/*.py"),
    *PACKAGE.glob("formats/*.py"),
    *PACKAGE.glob("filters/*.py"),
    *(PACKAGE / f"commands/compare/{name}.py" for name in LOGIC_OF_COMPARE),
    *(PACKAGE / name for name in ("config/dialect.py", "config/options.py")),
    *(PACKAGE / name for name in ("delivery/ledger.py", "delivery/envelope.py")),
]
NOT_FOR_LOGIC = {"socket", "os", "time", "threading", "subprocess", "confluent_kafka", "select", "signal"}
USES_KAFKA = {
    f"kafka/{name}.py" for name in ("producer", "checkpoint_topic", "cluster", "mock", "topic_reader")
}
MOST_LINES = 450


def imported(path: Path) -> Iterator[str]:
    """Return the top-level packages that a module imports, wherever in it that is."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0]


def names(paths: list[Path]) -> list[str]:
    return [str(path.relative_to(PACKAGE)) for path in paths]


@pytest.mark.parametrize("path", LOGIC, ids=names(LOGIC))
def test_logic_does_no_input_and_output(path: Path) -> None:
    assert not NOT_FOR_LOGIC & set(imported(path))


def test_only_these_modules_know_confluent_kafka() -> None:
    users = {str(path.relative_to(PACKAGE)) for path in MODULES if "confluent_kafka" in set(imported(path))}
    assert users == USES_KAFKA


def test_no_file_should_be_two() -> None:
    lengths = {str(path.relative_to(PACKAGE)): len(path.read_text().splitlines()) for path in MODULES}
    assert {name: length for name, length in lengths.items() if length > MOST_LINES} == {}


@pytest.mark.parametrize("path", MODULES, ids=names(MODULES))
def test_importing_a_module_does_nothing(path: Path) -> None:
    """Functions, classes and constants; no call for its effect."""
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            raise AssertionError(f"{path}:{node.lineno} is a call")

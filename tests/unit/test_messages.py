"""docs/messages.md explains every message that the daemon can log, and no other.

Messages are taken from the source: what is logged above DEBUG, and the texts of errors that reach the log.
A directive or a replacement field is "...", in the guide as well.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
GUIDE = (PROJECT / "docs" / "messages.md").read_text()
SOURCES = [
    path
    for path in (
        *sorted((PROJECT / "amikafka_tail").rglob("*.py")),
        *sorted((PROJECT / "plugins").glob("*/src/*/*.py")),
    )
    if path.parent.name != "tap"  # no daemon: whoever types it reads what it says
]
LEVELS = {
    "info": "INFO",
    "warning": "WARNING",
    "error": "ERROR",
    "exception": "ERROR",
    "critical": "ERROR",
    "log": "",
}
# Errors that are logged with their text, or that end the command.
ERRORS = {
    "SourceDisconnected",
    "ConnectionClosed",
    "LoginRefused",
    "AlreadyLoggedIn",
    "DeliveryFailed",
    "EverythingRefused",
    "Fenced",
    "JournalError",
    "DamagedCheckpoint",
    "TryLater",
}
DIRECTIVE = re.compile(r"%(?:[-#0 +]*\d*(?:\.\d+)?[a-zA-Z])")


def texts(node: ast.expr) -> Iterator[str]:
    """Yield the texts that an expression may give, as the guide writes them; none where it is a value."""
    if isinstance(node, ast.BoolOp):
        for each in node.values:
            yield from texts(each)
    elif isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.JoinedStr):
        parts = [each.value if isinstance(each, ast.Constant) else "..." for each in node.values]
        yield "".join(map(str, parts))


def shortened(text: str) -> str | None:
    """Return a message with one "..." for each value, `None` where it is values alone."""
    found = re.sub(r"(\.\.\.){2,}", "...", DIRECTIVE.sub("...", text)).replace("%%", "%")
    return found if re.search("[a-z]", found) else None


def in_the_source(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """Yield every message of a module with its level, empty where that depends."""
    for node in ast.walk(tree):
        found: list[tuple[ast.expr, str]] = []
        if isinstance(node, ast.FunctionDef) and node.name == "describe":
            returned = [each.value for each in ast.walk(node) if isinstance(each, ast.Return)]
            found = [(each, "") for each in returned if each is not None]
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ERRORS:
            found = [(node.args[0], "")]
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            called = f"{ast.unparse(node.func.value)}.{node.func.attr}"
            if re.fullmatch(r"(self\._?)?log(ger)?\.\w+", called) and node.func.attr in LEVELS:
                message = node.args[1 if node.func.attr == "log" else 0]
                assert isinstance(message, ast.Constant), f"line {node.lineno}: a message is a constant"
                assert "%*" not in message.value, f"line {node.lineno}: fields are made by simple directives"
                found = [(message, LEVELS[node.func.attr])]
            elif called == "self.warnings.append":
                found = [(node.args[0], "WARNING")]
        for expression, level in found:
            for text in texts(expression):
                if (message := shortened(text)) is not None:
                    yield message, level


def in_the_guide() -> Iterator[tuple[str, list[str]]]:
    """Yield what stands in the first column of each table that explains messages, and the rest of the row."""
    explained = GUIDE.partition("\n## The daemon\n")[2]
    for line in explained.splitlines():
        if (row := re.match(r"\| (`+)(.+?)\1 \|", line)) is not None:
            yield row[2], [cell.strip() for cell in line[row.end() :].rstrip(" |").split("|")]


def known() -> dict[str, list[str]]:
    return dict(in_the_guide())


@pytest.mark.parametrize("path", SOURCES, ids=[str(path.relative_to(PROJECT)) for path in SOURCES])
def test_every_message_of_a_module_is_in_the_guide(path: Path) -> None:
    explained = known()
    for message, level in in_the_source(ast.parse(path.read_text())):
        assert message in explained, f"{path.name}: docs/messages.md does not explain it"
        if level:
            assert explained[message][0] == level, message


def test_the_guide_explains_nothing_that_is_never_said() -> None:
    said = {message for path in SOURCES for message, _ in in_the_source(ast.parse(path.read_text()))}
    assert [message for message in known() if message not in said] == []
    rows = [message for message, _ in in_the_guide()]
    assert len(rows) == len(set(rows))


def test_every_message_that_is_logged_has_a_meaning() -> None:
    for message, cells in in_the_guide():
        if cells[0] in ("INFO", "WARNING", "ERROR", "WARNING, ERROR"):
            assert len(cells) >= 2, message
            assert len(cells[1]) > 10, message


def test_what_the_source_is_searched_for_is_found() -> None:
    """The search itself: each form that a message has in the source."""
    tree = ast.parse(
        """
log.info("one: offset=%d", 1)
log.warning("two " "parts %s%s of 5%%", 1, 2)
log.log(level, "three: %.1f s", 3)
logger.error("%s", error)
log.debug("not this")
self._log.error("four %r", 4)
raise DeliveryFailed(f"five {x}{y:.0f} s") from error
raise TryLater(problem or f"six {x}")
math.log(5)
raise LoginRefused(text)
self.warnings.append(f"seven {x!r}")
def describe(error):
    if error:
        return f"eight {error}"
    return str(error)
"""
    )
    assert set(in_the_source(tree)) == {
        ("one: offset=...", "INFO"),
        ("two parts ... of 5%", "WARNING"),
        ("three: ... s", ""),
        ("four ...", "ERROR"),
        ("five ... s", ""),
        ("six ...", ""),
        ("seven ...", "WARNING"),
        ("eight ...", ""),
    }
    with pytest.raises(AssertionError, match="a message is a constant"):
        list(in_the_source(ast.parse('log.info(f"made of {pieces}")')))

"""Do the tests of a module notice when it is wrong? `make mutants MODULE=amikafka_tail/ami/framing.py`

Makes every mutant of a module (one comparison, constant, condition, operator or statement changed), runs the
module's own tests on each, and says which survive. The exit code is 1 where less than 95 % are noticed.

`tests/mutants.toml` names the tests of each module, and the survivors that are accepted, with the reason.
Mutants run in copies of the project, never in it. A mutant that takes much longer than the module as it is
counts as noticed.
"""

from __future__ import annotations

import argparse
import ast
import copy
import os
import queue
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PROJECT = Path(__file__).resolve().parents[1]
TABLE = PROJECT / "tests" / "mutants.toml"
ENOUGH = 0.95
"""Which part of the mutants has to be noticed."""
COPIED = (
    "amikafka_tail",
    "tests",
    "benchmarks",
    "etc",
    "docs",
    "examples",
    "plugins",
    "pyproject.toml",
    "README.md",
)
NOT_COPIED = shutil.ignore_patterns("__pycache__", "*.egg-info", "build", ".hypothesis")

UNCHANGED = (ast.Import, ast.ImportFrom, ast.Assert)
COMPARISONS: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
OPERATORS: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.FloorDiv,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult,
    ast.Pow: ast.Mult,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.BitXor: ast.BitOr,
}


@dataclass(frozen=True, kw_only=True)
class Mutant:
    """A module with one change. `line` is the number in the module as it is, `text` what stands there."""

    line: int
    text: str
    change: str
    source: str


def mutants(source: str) -> list[Mutant]:
    """Return every mutant of a module. No two have the same source, and none has that of the module."""
    lines = source.splitlines()
    found: dict[str, Mutant] = {}
    tree = ast.parse(source)
    unchanged = ast.unparse(tree)
    for path, node in _places(tree):
        for changed in _changes(node):
            before, after = ast.unparse(node), ast.unparse(changed) if changed is not None else ""
            text = ast.unparse(_with(tree, path, changed))
            if text != unchanged:
                change = f"{_short(before)} -> {_short(after) or 'nothing'}"
                line = getattr(node, "lineno", 0)
                made = Mutant(line=line, text=lines[line - 1].strip(), change=change, source=text)
                found.setdefault(text, made)
    return list(found.values())


Path_ = tuple[tuple[str, int | None], ...]
"""The way from the module to a node: names of fields, with an index where the field is a list."""


def _places(node: ast.AST, path: Path_ = ()) -> Iterator[tuple[Path_, ast.expr | ast.stmt]]:
    """Yield what is worth a change: no type, no docstring, no import, no assertion, which is for mypy."""
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "decorator_list", "type_params", "bases", "ctx"):
            continue
        for index, child in enumerate(value) if isinstance(value, list) else [(None, value)]:
            if not isinstance(child, ast.AST) or isinstance(child, UNCHANGED) or _is_docstring(child):
                continue
            here = (*path, (name, index))
            # The text of an f-string is no constant of its own.
            if isinstance(child, ast.expr | ast.stmt) and not isinstance(node, ast.JoinedStr):
                yield here, child
            yield from _places(child, here)


def _is_docstring(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def _with(tree: ast.Module, path: Path_, new: ast.AST | None) -> ast.Module:
    """Return a copy of a module with another node at the end of a path; `None` stands for `pass`."""
    made = copy.deepcopy(tree)
    parent: Any = made
    for name, index in path[:-1]:
        parent = getattr(parent, name) if index is None else getattr(parent, name)[index]
    (name, index) = path[-1]
    node = ast.Pass() if new is None else new
    if index is None:
        setattr(parent, name, node)
    else:
        getattr(parent, name)[index] = node
    return made


def _changes(node: ast.AST) -> Iterator[ast.AST | None]:
    """Yield what a node is changed to, one change at a time; `None` for a statement that is removed."""
    for kind, changes in _CHANGES.items():
        if isinstance(node, kind):
            yield from changes(node)


def _copy(node: ast.AST, **fields: Any) -> Any:
    """Return a copy of a node with some fields changed."""
    made = copy.copy(node)
    for name, value in fields.items():
        setattr(made, name, value)
    return made


def _of_comparison(node: ast.Compare) -> Iterator[ast.AST]:
    for index, operator in enumerate(node.ops):
        for other in COMPARISONS[type(operator)]:
            yield _copy(node, ops=[*node.ops[:index], other(), *node.ops[index + 1 :]])


def _of_operation(node: ast.BinOp | ast.AugAssign) -> Iterator[ast.AST]:
    if type(node.op) in OPERATORS:
        yield _copy(node, op=OPERATORS[type(node.op)]())
    if isinstance(node, ast.AugAssign):
        yield ast.Assign(targets=[node.target], value=node.value, lineno=node.lineno)


def _of_and_or(node: ast.BoolOp) -> Iterator[ast.AST]:
    yield _copy(node, op=ast.Or() if isinstance(node.op, ast.And) else ast.And())
    for index in range(len(node.values)):
        left = node.values[:index] + node.values[index + 1 :]
        yield left[0] if len(left) == 1 else _copy(node, values=left)


def _of_sign(node: ast.UnaryOp) -> Iterator[ast.AST]:
    yield node.operand


def _of_constant(node: ast.Constant) -> Iterator[ast.AST]:
    value = node.value
    others: list[Any] = []
    if isinstance(value, bool):
        others = [not value]
    elif isinstance(value, int | float):
        others = [value + 1, value - 1]
    elif isinstance(value, str):
        others = [f"{value}?", ""]
    elif isinstance(value, bytes):
        others = [value + b"?", b""]
    yield from (ast.Constant(other) for other in others if other != value)


def _of_condition(node: ast.If | ast.IfExp | ast.While) -> Iterator[ast.AST]:
    if not isinstance(node, ast.While):
        yield _copy(node, test=ast.Constant(True))
    yield _copy(node, test=ast.Constant(False))


def _of_loop(node: ast.For | ast.While) -> Iterator[None]:
    yield None


def _of_comprehension(
    node: ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp,
) -> Iterator[ast.AST]:
    for index, each in enumerate(node.generators):
        for which in range(len(each.ifs)):
            less = _copy(each, ifs=each.ifs[:which] + each.ifs[which + 1 :])
            yield _copy(node, generators=[*node.generators[:index], less, *node.generators[index + 1 :]])


def _of_return(node: ast.Return) -> Iterator[ast.AST | None]:
    if node.value is not None and not (isinstance(node.value, ast.Constant) and node.value.value is None):
        yield _copy(node, value=None)
    yield None


def _of_slice(node: ast.Slice) -> Iterator[ast.AST]:
    for bound in ("lower", "upper"):
        if getattr(node, bound) is not None:
            yield _copy(node, **{bound: None})


def _of_statement(_node: ast.stmt) -> Iterator[None]:
    yield None


_CHANGES: dict[Any, Callable[[Any], Iterator[ast.AST | None]]] = {
    ast.Compare: _of_comparison,
    (ast.BinOp, ast.AugAssign): _of_operation,
    ast.BoolOp: _of_and_or,
    ast.UnaryOp: _of_sign,
    ast.Constant: _of_constant,
    (ast.If, ast.IfExp, ast.While): _of_condition,
    (ast.For, ast.While): _of_loop,
    (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp): _of_comprehension,
    ast.Return: _of_return,
    ast.Slice: _of_slice,
    (ast.Expr, ast.Assign, ast.AugAssign, ast.Delete, ast.Raise, ast.Break, ast.Continue): _of_statement,
}


def _short(text: str) -> str:
    first, _, more = text.partition("\n")
    return f"{first} ..." if more else first


@dataclass(frozen=True, kw_only=True)
class Accepted:
    """A survivor that is none of the tests' faults, known by the text of its line."""

    line: str
    change: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Module:
    """What the table says of a module."""

    tests: tuple[str, ...]
    accepted: tuple[Accepted, ...] = ()


def look_up(table: Mapping[str, Any], module: str) -> Module:
    """Return what the table says of a module; where it says nothing, its tests are what mirrors it.

    Raises `LookupError` where there is no test, and `TypeError` where an accepted survivor has no reason.
    """
    entry = table.get(module, {})
    tests = tuple(entry.get("tests", ()))
    if not tests:
        path = Path(module)
        mirror = Path("tests", "unit", *path.parent.parts[1:], f"test_{path.name}")
        if not (PROJECT / mirror).exists():
            raise LookupError(
                f'{TABLE.name} names no tests for {module}: add ["{module}"] with tests = [...]'
            )
        tests = (str(mirror),)
    return Module(tests=tests, accepted=tuple(Accepted(**each) for each in entry.get("accepted", ())))


class Workshop:
    """A copy of the project in which one mutant at a time is tried."""

    def __init__(self, directory: Path, module: str, tests: Sequence[str]) -> None:
        self._tree = directory
        self._module = directory / module
        self._tests = tests
        directory.mkdir()
        for name in COPIED:
            source = PROJECT / name
            if source.is_dir():
                shutil.copytree(source, directory / name, ignore=NOT_COPIED, symlinks=True)
            elif source.exists():
                shutil.copy2(source, directory / name)

    def passes(self, source: str, seconds: float) -> bool:
        """Tell whether the tests pass with another source of the module. Blocks for at most `seconds`."""
        self._module.write_text(source, encoding="utf-8")
        for compiled in self._module.parent.glob(f"__pycache__/{self._module.stem}.*"):
            compiled.unlink()  # it is told from another by the second and the size alone
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-x",
            "-q",
            "-p",
            "no:cacheprovider",
            "-p",
            "no:xdist",
            *self._tests,
        ]
        process = subprocess.Popen(
            command,
            cwd=self._tree,
            env={**os.environ, "AMIKAFKA_LOAD_PLUGINS": ""},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            return process.wait(seconds) == 0
        except subprocess.TimeoutExpired:
            return False
        finally:
            if process.poll() is None:
                os.killpg(process.pid, 9)
                process.wait()


def survivors(
    found: Sequence[Mutant],
    shops: Sequence[Workshop],
    seconds: float,
    show: Callable[[int, Mutant, bool], None],
) -> list[Mutant]:
    """Try mutants, one in each workshop at a time; return those that no test noticed, in their order.

    `show` is told the number of each, beginning with 1, the mutant, and whether it is alive.
    """
    free: queue.SimpleQueue[Workshop] = queue.SimpleQueue()
    for shop in shops:
        free.put(shop)

    def survives(mutant: Mutant) -> bool:
        shop = free.get()
        try:
            return shop.passes(mutant.source, seconds)
        finally:
            free.put(shop)

    left = []
    with ThreadPoolExecutor(len(shops)) as pool:
        for number, (mutant, alive) in enumerate(zip(found, pool.map(survives, found), strict=True), 1):
            show(number, mutant, alive)
            if alive:
                left.append(mutant)
    return left


def verdict(
    found: Sequence[Mutant], alive: Sequence[Mutant], accepted: Sequence[Accepted]
) -> tuple[bool, str]:
    """Return whether enough mutants were noticed and no acceptance is out of date, and the report."""
    known = {(each.line, each.change): each for each in accepted}
    unknown = [mutant for mutant in alive if (mutant.text, mutant.change) not in known]
    stale = known.keys() - {(mutant.text, mutant.change) for mutant in alive}
    counted = len(found) - (len(alive) - len(unknown))
    noticed = counted - len(unknown)
    lines = [f"accepted, but noticed or not there: {line}\n    {change}" for line, change in sorted(stale)]
    share = noticed / counted if counted else 1.0
    lines.append(
        f"{noticed} of {counted} mutants are noticed ({share:.1%}), {len(found) - counted} more are accepted"
    )
    return share >= ENOUGH and not stale, "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Try the mutants of one module; return 0 where enough are noticed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("module", help="its file, as amikafka_tail/ami/framing.py")
    parser.add_argument(
        "--jobs", type=int, default=os.cpu_count() or 1, help="how many at once (default: one a processor)"
    )
    options = parser.parse_args(arguments)
    path = (PROJECT / options.module).resolve()
    if not path.is_file():
        parser.error(f"there is no {options.module}")
    name = str(path.relative_to(PROJECT))
    try:
        module = look_up(tomllib.loads(TABLE.read_text(encoding="utf-8")), name)
    except (LookupError, TypeError) as error:
        parser.error(str(error))
    source = path.read_text(encoding="utf-8")
    found = mutants(source)
    with tempfile.TemporaryDirectory(prefix="amikafka-mutants-") as directory:
        shops = [Workshop(Path(directory, str(number)), name, module.tests) for number in range(options.jobs)]
        began = time.monotonic()
        if not shops[0].passes(ast.unparse(ast.parse(source)), 600):
            print(
                f"the tests fail with the module as it is: pytest {' '.join(module.tests)}", file=sys.stderr
            )
            return 1
        usual = time.monotonic() - began
        print(f"{len(found)} mutants of {name}, {usual:.1f} s each: {' '.join(module.tests)}", flush=True)

        known = {(each.line, each.change) for each in module.accepted}

        def show(number: int, mutant: Mutant, is_alive: bool) -> None:
            if is_alive and (mutant.text, mutant.change) not in known:
                print(f"survived, line {mutant.line}: {mutant.text}\n    {mutant.change}", flush=True)
            if sys.stdout.isatty():
                print(f"{number} of {len(found)}", end="\r", flush=True)

        alive = survivors(found, shops, 10 + 5 * usual, show)
    good, report = verdict(found, alive, module.accepted)
    print(report)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())

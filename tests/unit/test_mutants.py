"""The tool that asks whether tests notice: what it changes, and what it says."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests import mutants
from tests.mutants import Accepted, Mutant, Workshop, look_up, verdict

PACKAGE = Path(__file__).parents[2] / "amikafka_tail"


def changes(source: str) -> list[str]:
    return [mutant.change for mutant in mutants.mutants(source)]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("a < b", ["a < b -> nothing", "a < b -> a <= b", "a < b -> a >= b"]),
        ("a <= b", ["a <= b -> nothing", "a <= b -> a < b", "a <= b -> a > b"]),
        ("a == b", ["a == b -> nothing", "a == b -> a != b"]),
        ("a not in b", ["a not in b -> nothing", "a not in b -> a in b"]),
        ("a is None", ["a is None -> nothing", "a is None -> a is not None"]),
        ("a + b", ["a + b -> nothing", "a + b -> a - b"]),
        ("a % b", ["a % b -> nothing", "a % b -> a * b"]),
        ("f()", ["f() -> nothing"]),
        ("a += b", ["a += b -> a -= b", "a += b -> a = b", "a += b -> nothing"]),
        (
            "a and b",
            ["a and b -> nothing", "a and b -> a or b", "a and b -> b", "a and b -> a"],
        ),
        ("not a", ["not a -> nothing", "not a -> a"]),
        ("a = 7", ["a = 7 -> nothing", "7 -> 8", "7 -> 6"]),
        ("a = True", ["a = True -> nothing", "True -> False"]),
        ("a = b'x'", ["a = b'x' -> nothing", "b'x' -> b'x?'", "b'x' -> b''"]),
        ("a = ''", ["a = '' -> nothing", "'' -> '?'"]),
        ("a = b[c:]", ["a = b[c:] -> nothing", "c: -> :"]),
        ("a = f'x{b + c}'", ["a = f'x{b + c}' -> nothing", "b + c -> b - c"]),
        (
            "f(b for b in c if d)",
            ["f((b for b in c if d)) -> nothing", "(b for b in c if d) -> (b for b in c)"],
        ),
        ("if a:\n    f()", ["if a: ... -> if True: ...", "if a: ... -> if False: ...", "f() -> nothing"]),
        (
            "while a:\n    f()",
            ["while a: ... -> while False: ...", "while a: ... -> nothing", "f() -> nothing"],
        ),
        ("for a in b:\n    break", ["for a in b: ... -> nothing", "break -> nothing"]),
        ("raise a", ["raise a -> nothing"]),
        ("def f():\n    return a", ["return a -> return", "return a -> nothing"]),
        ("def f(a=1):\n    pass", ["1 -> 2", "1 -> 0"]),
        ("for a in b:\n    pass", ["for a in b: ... -> nothing"]),
        ("import a\nfrom b import c", []),
        ("assert a > 1", []),
        ("a: dict[str, 1]", []),
        ("@d(1)\ndef f(a: 1) -> 2:\n    '''Text.'''", []),
        ("'''Text.'''", []),
    ],
)
def test_each_change_is_made_once(source: str, expected: list[str]) -> None:
    assert changes(source) == expected


def test_mutants_are_modules_that_differ_from_each_other_and_from_theirs() -> None:
    path = PACKAGE / "ami" / "sequence.py"
    source = path.read_text()
    found = mutants.mutants(source)
    sources = {mutant.source for mutant in found}
    assert len(sources) == len(found)
    assert ast.unparse(ast.parse(source)) not in sources
    for mutant in found:
        compile(mutant.source, str(path), "exec")
        assert mutant.text == source.splitlines()[mutant.line - 1].strip()


def test_a_change_names_its_line() -> None:
    (mutant,) = [each for each in mutants.mutants("a = b\n\nif a:\n    f(a + b)\n") if "a - b" in each.change]
    assert (mutant.line, mutant.text, mutant.change) == (4, "f(a + b)", "a + b -> a - b")
    assert mutant.source == "a = b\nif a:\n    f(a - b)"


def test_the_table_says_which_tests_are_a_module_s_and_what_mirrors_it_otherwise() -> None:
    table = {"amikafka_tail/ami/framing.py": {"tests": ["a", "b"]}}
    assert look_up(table, "amikafka_tail/ami/framing.py").tests == ("a", "b")
    assert look_up({}, "amikafka_tail/ami/framing.py").tests == ("tests/unit/ami/test_framing.py",)
    with pytest.raises(LookupError, match="names no tests for amikafka_tail/ami/nothing"):
        look_up({}, "amikafka_tail/ami/nothing.py")


def test_what_is_accepted_has_a_reason() -> None:
    entry = {"tests": ["a"], "accepted": [{"line": "a = 1", "change": "1 -> 2"}]}
    with pytest.raises(TypeError, match="reason"):
        look_up({"m.py": entry}, "m.py")


def test_the_project_s_own_table_can_be_read() -> None:
    table = mutants.tomllib.loads(mutants.TABLE.read_text())
    for module in table:
        assert (mutants.PROJECT / module).is_file()
        found = look_up(table, module)
        assert all((mutants.PROJECT / path).exists() for path in found.tests)
        lines = {line.strip() for line in (mutants.PROJECT / module).read_text().splitlines()}
        for each in found.accepted:
            assert each.line in lines
            assert each.reason.endswith(".")


def mutant(number: int) -> Mutant:
    return Mutant(line=number, text=f"line {number}", change=f"{number} -> 0", source=str(number))


def accepted(number: int) -> Accepted:
    return Accepted(line=f"line {number}", change=f"{number} -> 0", reason="It is equivalent.")


def test_five_of_a_hundred_may_survive_and_six_may_not() -> None:
    found = [mutant(number) for number in range(100)]
    good, report = verdict(found, found[:5], ())
    assert good
    assert report == "95 of 100 mutants are noticed (95.0%), 0 more are accepted"
    good, report = verdict(found, found[:6], ())
    assert not good
    assert "94 of 100" in report


def test_what_is_accepted_does_not_count_and_is_not_shown() -> None:
    found = [mutant(number) for number in range(10)]
    good, report = verdict(found, found[:3], [accepted(number) for number in range(3)])
    assert good
    assert report == "7 of 7 mutants are noticed (100.0%), 3 more are accepted"
    good, report = verdict(found, found[:3], [accepted(0), accepted(1)])
    assert not good
    assert "7 of 8 mutants are noticed" in report


def test_what_is_accepted_and_does_not_survive_has_to_go() -> None:
    found = [mutant(number) for number in range(10)]
    good, report = verdict(found, found[:1], [accepted(0), accepted(5)])
    assert not good
    assert "accepted, but noticed or not there: line 5\n    5 -> 0" in report


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project of one module and one test, which does not look at everything."""
    made = tmp_path / "project"
    for name, text in {
        "amikafka_tail/__init__.py": "",
        "amikafka_tail/half.py": "SPARE = 5\n\n\ndef half(n):\n    return n // 2\n",
        "tests/test_half.py": "from amikafka_tail import half\n\ndef test():\n    assert half.half(8) == 4\n",
        "tests/mutants.toml": '["amikafka_tail/half.py"]\ntests = ["tests/test_half.py"]\n',
        "pyproject.toml": '[tool.pytest.ini_options]\npythonpath = ["."]\naddopts = "-p no:timeout"\n',
    }.items():
        (made / name).parent.mkdir(parents=True, exist_ok=True)
        (made / name).write_text(text)
    monkeypatch.setattr(mutants, "PROJECT", made)
    monkeypatch.setattr(mutants, "TABLE", made / "tests" / "mutants.toml")
    return made


def test_survivors_are_those_that_no_test_notices(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = (project / "amikafka_tail" / "half.py").read_text()
    assert mutants.main(["amikafka_tail/half.py", "--jobs", "2"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("8 mutants of amikafka_tail/half.py, ")
    assert lines[1:] == [
        "survived, line 1: SPARE = 5",
        "    SPARE = 5 -> nothing",
        "survived, line 1: SPARE = 5",
        "    5 -> 6",
        "survived, line 1: SPARE = 5",
        "    5 -> 4",
        "5 of 8 mutants are noticed (62.5%), 0 more are accepted",
    ]
    assert (project / "amikafka_tail" / "half.py").read_text() == source, "only copies are changed"


def test_tests_that_fail_anyway_say_nothing_of_mutants(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (project / "tests" / "test_half.py").write_text("def test_half():\n    assert False\n")
    assert mutants.main(["amikafka_tail/half.py", "--jobs", "1"]) == 1
    assert "the tests fail with the module as it is" in capsys.readouterr().err


def test_a_mutant_that_never_ends_is_noticed(project: Path, tmp_path: Path) -> None:
    shop = Workshop(tmp_path / "copy", "amikafka_tail/half.py", ["tests/test_half.py"])
    assert not shop.passes("while True:\n    pass\n", 2)

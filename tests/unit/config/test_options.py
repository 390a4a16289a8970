from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest

from amikafka_tail.config.dialect import Line
from amikafka_tail.config.options import bind
from amikafka_tail.model.errors import Problem


@dataclass(frozen=True, kw_only=True)
class Options:
    flag: bool = False
    count: int = field(default=1, metadata={"minimum": 1, "maximum": 9})
    size: int = field(default=1, metadata={"unit": "bytes"})
    pause: float = field(default=1.0, metadata={"unit": "seconds"})
    place: Path | None = None
    kind: Literal["one", "two"] = "one"
    names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.flag and self.count == 9:
            raise ValueError("flag does not go with count 9")


def bound(**values: str) -> tuple[Options | None, list[str]]:
    problems: list[Problem] = []
    lines = [
        Line(name, value, Path("a.conf"), number) for number, (name, value) in enumerate(values.items(), 1)
    ]
    return bind(Options, lines, "section", problems), [str(problem) for problem in problems]


def test_values_are_converted_by_the_type_of_their_field() -> None:
    options, problems = bound(
        flag="On", count="7", size="64M", pause="500ms", place="/tmp/x", kind="TWO", names="a, b,,c"
    )
    assert problems == []
    assert options == Options(
        flag=True, count=7, size=64 << 20, pause=0.5, place=Path("/tmp/x"), kind="two", names=("a", "b", "c")
    )


@pytest.mark.parametrize(
    ("value", "seconds"), [("2", 2.0), ("1.5", 1.5), ("10s", 10.0), ("2m", 120.0), ("1h", 3600.0)]
)
def test_times_have_units(value: str, seconds: float) -> None:
    options, _ = bound(pause=value)
    assert options is not None
    assert options.pause == seconds


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("flag", "maybe", '"maybe" is neither yes nor no'),
        ("count", "x", '"x" is not a whole number'),
        ("count", "0", "0 is too small: at least 1"),
        ("count", "10", "10 is too large: at most 9"),
        ("size", "10q", '"10q" is not a size such as 64m or 10g'),
        ("pause", "soon", '"soon" is not a time such as 5, 500ms or 2m'),
        ("pause", "nan", '"nan" is not a time such as 5, 500ms or 2m'),
        ("pause", "inf", '"inf" is not a time such as 5, 500ms or 2m'),
        ("place", "x/y", '"x/y" is not an absolute path'),
        ("kind", "three", '"three" is not one of one, two'),
        ("cuont", "1", 'unknown option (did you mean "count"?)'),
        ("zzz", "1", "unknown option"),
    ],
)
def test_a_wrong_value_is_told_with_its_place(name: str, value: str, message: str) -> None:
    options, problems = bound(**{name: value})
    assert options is None
    assert problems == [f"a.conf:1: [section] {name}: {message}"]


def test_what_does_not_go_together_is_told() -> None:
    options, problems = bound(count="9", flag="yes")
    assert options is None
    assert problems == ["a.conf:2: [section]: flag does not go with count 9"]

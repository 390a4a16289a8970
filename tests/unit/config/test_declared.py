from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest

from amikafka_tail.config.declared import declared, written


@dataclass(frozen=True, kw_only=True)
class Part:
    what: str
    """It has no default."""


@dataclass(frozen=True, kw_only=True)
class Base:
    names: tuple[str, ...] = ()
    """Names of things, told on
    two lines."""
    kind: Literal["one", "two"] = "one"
    silent: bool = False


@dataclass(frozen=True, kw_only=True)
class Options(Base):
    names: tuple[str, ...] = ("a", "b")
    size: int = field(default=3 << 20, metadata={"unit": "bytes", "minimum": 65536})
    """How large."""
    pause: float = field(default=0.25, metadata={"unit": "seconds", "minimum": 0.01, "maximum": 3600})
    place: Path | None = None
    part: tuple[Part, ...] = ()
    directory: Path = field(default_factory=lambda: Path("/var/lib/x"))


def test_an_option_is_told_with_kind_default_bounds_and_text() -> None:
    found = {each.name: each for each in declared(Options)}
    assert list(found) == ["names", "kind", "silent", "size", "pause", "place", "part", "directory"]
    size = found["size"]
    assert (size.kind, size.default, size.bounds, size.text) == ("bytes", "3m", "at least 64k", "How large.")
    assert found["pause"].bounds == "at least 10ms, at most 1h"
    assert found["pause"].default == "250ms"
    assert (found["kind"].kind, found["kind"].default) == ("one | two", "one")
    assert (found["silent"].kind, found["silent"].default, found["silent"].text) == ("yes | no", "no", "")
    assert (found["place"].kind, found["place"].default) == ("path", "")
    assert found["directory"].default == "/var/lib/x"


def test_a_text_is_inherited_where_the_subclass_does_not_repeat_it() -> None:
    names = declared(Options)[0]
    assert names.text == "Names of things, told on two lines."
    assert names.default == "a, b"


def test_a_table_is_told_with_its_own_options() -> None:
    part = next(each for each in declared(Options) if each.name == "part")
    assert (part.kind, part.table) == ("tables", Part)
    (what,) = declared(Part)
    assert what.is_required
    assert what.text == "It has no default."


def test_a_class_without_source_has_options_without_texts() -> None:
    made = type("Made", (), {"__annotations__": {"count": int}, "count": 1})
    (count,) = declared(dataclass(frozen=True, kw_only=True)(made))
    assert (count.kind, count.default, count.text) == ("whole number", "1", "")


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (10 << 30, "bytes", "10g"),
        (1000, "bytes", "1000"),
        (0, "bytes", "0"),
        (0.1, "seconds", "100ms"),
        (15.0, "seconds", "15"),
        (300.0, "seconds", "5m"),
        (1.5, "seconds", "1.5"),
        (True, None, "yes"),
        (None, None, ""),
        ("", None, ""),
        (-1, None, "-1"),
    ],
)
def test_a_value_is_written_as_it_would_stand_in_the_file(value: object, unit: str | None, text: str) -> None:
    assert written(value, {"unit": unit} if unit else {}) == text

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from textwrap import dedent
from typing import Any, Literal

import pytest

from amikafka_tail.config import toml
from amikafka_tail.config.dialect import Line
from amikafka_tail.config.options import bind
from amikafka_tail.model.errors import ConfigError, Problem

FILE = Path("/etc/asterisk/ami_kafka.d/redact.toml")
CONF = Path("/etc/asterisk/ami_kafka.conf")


@dataclass(frozen=True, kw_only=True)
class Rule:
    headers: tuple[str, ...]
    action: Literal["remove", "mask"] = "remove"
    keep: int = field(default=0, metadata={"minimum": 0})

    def __post_init__(self) -> None:
        if self.keep and self.action != "mask":
            raise ValueError("keep goes with mask")


@dataclass(frozen=True, kw_only=True)
class Options:
    key_file: Path | None = None
    enabled: bool = True
    timeout: float = field(default=1.0, metadata={"unit": "seconds"})
    limit: int = field(default=1, metadata={"unit": "bytes"})
    name: str = "x"
    rule: tuple[Rule, ...] = ()
    fallback: Rule | None = None


def bound(text: str, *lines: Line, options: type = Options) -> tuple[Any, list[str]]:
    """Bind a TOML file; return the options and the problems as they are read."""
    problems: list[Problem] = []
    made = bind(options, lines, "redact", problems, toml=toml.parse(FILE, dedent(text)), file=CONF)
    return made, [str(each).removeprefix(f"{FILE}:") for each in problems]


def test_values_and_tables_become_the_dataclass() -> None:
    made, problems = bound("""
        key_file = "/etc/key"
        enabled = false
        timeout = "500ms"
        limit = 2
        [[rule]]
        headers = ["CallerIDNum", "ConnectedLineNum"]
        action = "mask"
        keep = 3
        [[rule]]
        headers = ["Digit"]
        [fallback]
        headers = []
    """)
    assert problems == []
    assert made == Options(
        key_file=Path("/etc/key"),
        enabled=False,
        timeout=0.5,
        limit=2,
        rule=(
            Rule(headers=("CallerIDNum", "ConnectedLineNum"), action="mask", keep=3),
            Rule(headers=("Digit",)),
        ),
        fallback=Rule(headers=()),
    )


def test_lines_and_file_together_make_the_options() -> None:
    made, problems = bound('name = "a"', Line("enabled", "no", CONF, 3))
    assert (made.name, made.enabled, problems) == ("a", False, [])


def test_an_option_in_both_places_is_an_error() -> None:
    _, problems = bound('name = "a"', Line("name", "b", CONF, 3))
    assert problems == [f"{CONF}:3: [redact] name: is set in {FILE} too"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("nmae = 1", '1: nmae: unknown option (did you mean "name"?)'),
        ("\n\nname = 1", "3: name: 1 is not a string"),
        ("enabled = 'yes'", "1: enabled: 'yes' is neither true nor false"),
        ("timeout = true", "1: timeout: True is not a number"),
        ("timeout = 'soon'", '1: timeout: "soon" is not a time such as 5, 500ms or 2m'),
        ("limit = 1.5", '1: limit: "1.5" is not a size such as 64m or 10g'),
        ("key_file = 'etc/key'", '1: key_file: "etc/key" is not an absolute path'),
        ("rule = 1", "1: rule: is not an array of tables: [[rule]]"),
        ("[rule]\nheaders = []", "1: rule: is not an array of tables: [[rule]]"),
        ("fallback = []", "1: fallback: is not a table: [fallback]"),
        ("[[rule]]\nheaders = 'a'", "2: [rule] headers: 'a' is not a list of strings"),
        ("[[rule]]\nheaders = [1]", "2: [rule] headers: [1] is not a list of strings"),
        ("[[rule]]\nheaders = []\naction = 'hide'", '3: [rule] action: "hide" is not one of remove, mask'),
        ("[[rule]]\nheaders = []\n# so\nkeep = -1", "4: [rule] keep: -1 is too small: at least 0"),
        ("[[rule]]\nheaders = []\n\n[[rule]]\nkeep = 1", "4: [rule] headers: is not set and has no default"),
        ("x = '''\nname = 1\n'''\nname = 2", "1: x: unknown option"),
        ("[[rule]]\nheaders = []\n[[rule]]\nheaders = []\nkeep = 1", "3: [rule]: keep goes with mask"),
        ("name = [\n 1,\n 2,\n]", "1: name: [1, 2] is not a string"),
        ("name = 'a'\n\n[[rule]]\nheaders = []\n[rule.more]\nx = 1", "5: [rule] more: unknown option"),
    ],
)
def test_each_wrong_option_is_named_with_its_line(text: str, problem: str) -> None:
    made, problems = bound(text)
    assert made is None
    assert problem in problems


def test_the_line_is_that_of_the_key_and_not_of_its_like_in_a_text() -> None:
    _, problems = bound('name = """\nlimit = "x"\n"""\nlimit = "y"')
    assert problems == ['4: limit: "y" is not a size such as 64m or 10g']


def test_a_file_that_is_no_toml_says_where() -> None:
    with pytest.raises(ConfigError) as caught:
        toml.parse(FILE, "a = 1\nb = \n")
    assert str(caught.value).startswith(f"{FILE}:2: is not TOML: ")


def test_an_unclosed_text_says_where_it_ends() -> None:
    with pytest.raises(ConfigError) as caught:
        toml.parse(FILE, 'a = 1\nb = """\n')
    assert str(caught.value).startswith(f"{FILE}:")


def test_a_nested_option_has_no_place_among_lines() -> None:
    problems: list[Problem] = []
    bind(Options, [Line("rule", "x", CONF, 7)], "redact", problems)
    assert [str(each) for each in problems] == [
        f"{CONF}:7: [redact] rule: is nested: it stands in the plugin's TOML file, in the directory"
        " ami_kafka.d"
    ]


def test_what_has_no_default_and_is_not_set_is_missed() -> None:
    problems: list[Problem] = []
    assert bind(Rule, [], "redact", problems, file=CONF) is None
    assert [str(each) for each in problems] == [f"{CONF}: [redact] headers: is not set and has no default"]

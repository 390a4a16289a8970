"""What a running Asterisk 22.10.1 made of files is what the parser makes of them."""

import itertools
import json
from pathlib import Path
from typing import Any

import pytest

from amikafka_tail.config import files
from amikafka_tail.config.dialect import Document, strip_comments
from amikafka_tail.model.errors import Problem

GENERATED: list[dict[str, Any]] = json.loads(
    (Path(__file__).parents[2] / "data" / "config-oracle" / "generated.json").read_text()
)
"""Files made at random, and what the manager action GetConfig answered; `null`: not taken up."""


def load(directory: Path, **texts: str) -> Document:
    for name, text in texts.items():
        (directory / f"{name}.conf").write_bytes(text.encode("latin-1"))
    return files.load(directory / "main.conf")


def values(document: Document) -> list[list[Any]]:
    return [
        [section.name, [[line.name, line.value] for line in section.lines]] for section in document.sections
    ]


def messages(problems: list[Problem], directory: Path) -> list[str]:
    return [str(problem).replace(f"{directory}/", "") for problem in problems]


@pytest.mark.parametrize("case", GENERATED, ids=range(len(GENERATED)))
def test_generated_files_are_read_as_the_real_asterisk_read_them(
    case: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "d").mkdir()
    for name, text in case["files"].items():
        (tmp_path / name).write_bytes(text.encode("latin-1"))
    document = files.load(tmp_path / "t.conf")
    assert document.is_taken_up == (case["sections"] is not None)
    if case["sections"] is not None:
        as_bytes = json.loads(json.dumps(case["sections"]), object_hook=None)
        found = [
            [_latin_1(name), [[_latin_1(each) for each in line] for line in lines]]
            for name, lines in values(document)
        ]
        assert found == as_bytes


def _latin_1(text: str) -> str:
    return text.encode("utf-8", "surrogateescape").decode("latin-1")


def test_the_outer_file_goes_on_in_its_own_section(tmp_path: Path) -> None:
    document = load(tmp_path, main='[a]\n#include "other.conf"\ny = 2\n', other="x = 1\n[b]\nz = 3\n")
    assert values(document) == [["a", [["x", "1"], ["y", "2"]]], ["b", [["z", "3"]]]]


def test_a_second_include_begins_in_the_section_that_the_first_one_ended_in(tmp_path: Path) -> None:
    document = load(tmp_path, main="[a]\n#include one.conf\n#include two.conf\n", one="[b]\n", two="x = 1\n")
    assert values(document) == [["a", []], ["b", [["x", "1"]]]]


def test_an_error_in_an_include_costs_the_rest_of_that_file_alone(tmp_path: Path) -> None:
    document = load(
        tmp_path,
        main="[a]\nx = 1\n#include other.conf\ny = 2\n",
        other="[b]\nz = 3\n[c](gone)\nv = 1\n[b](+)\nw = 4\n",
    )
    assert document.is_taken_up
    assert values(document) == [["a", [["x", "1"], ["y", "2"]]], ["b", [["z", "3"]]]]
    assert messages(document.errors, tmp_path) == [
        "other.conf:3: [c]: there is no section [gone] to inherit from"
    ]


def test_what_follows_an_error_is_read_for_what_else_is_wrong(tmp_path: Path) -> None:
    document = load(tmp_path, main="[a](gone)\nno equals\n#include nothere.conf\n[b\n")
    assert not document.is_taken_up
    assert messages(document.errors, tmp_path) == [
        "main.conf:1: [a]: there is no section [gone] to inherit from",
        'main.conf:3: [a]: #include "nothere.conf": there is no such file',
        'main.conf:4: [b]: no closing "]"',
    ]
    assert messages(document.warnings, tmp_path) == ['main.conf:2: [a]: no "=" in this line']


@pytest.mark.parametrize(
    "line", ["no equals", "= no name", "#exec /bin/true", "#what x", "#include", "x" * 8200]
)
def test_a_line_that_asterisk_skips_is_a_warning(tmp_path: Path, line: str) -> None:
    document = load(tmp_path, main=f"[a]\n{line}\nx = 1\n")
    assert document.is_taken_up
    assert values(document) == [["a", [["x", "1"]]]]
    assert document.errors == []
    assert [problem.line for problem in document.warnings] == [2]


@pytest.mark.parametrize("line", ["[open", "[b](open", "[b](gone)", "[b](+)", "\\", "\\\xff = 1"])
def test_a_line_at_which_asterisk_gives_the_file_up_is_an_error(tmp_path: Path, line: str) -> None:
    document = load(tmp_path, main=f"[a]\n{line}\n")
    assert not document.is_taken_up
    assert [problem.line for problem in document.errors] == [2]


def test_a_line_before_the_first_section_is_an_error(tmp_path: Path) -> None:
    assert not load(tmp_path, main="x = 1\n[a]\n").is_taken_up


def test_a_pattern_that_no_file_matches_makes_asterisk_give_the_file_up(tmp_path: Path) -> None:
    document = load(tmp_path, main='[a]\n#include "gone*.conf"\n')
    assert not document.is_taken_up
    assert document.errors == []
    assert load(tmp_path, main='[a]\n#tryinclude "gone*.conf"\n').is_taken_up


@pytest.mark.parametrize(("deep", "is_taken_up"), [(10, True), (11, True), (0, True)])
def test_includes_may_nest_ten_deep(tmp_path: Path, deep: int, is_taken_up: bool) -> None:
    names = ["main", *(f"n{number}" for number in range(deep))]
    texts = {name: f"[{name}]\n#include {after}.conf\n" for name, after in itertools.pairwise(names)}
    document = load(tmp_path, **texts, **{names[-1]: f"[{names[-1]}]\n"})
    assert document.is_taken_up == is_taken_up
    assert (len(document.errors) == 1) == (deep > 10)
    assert [section.name for section in document.sections] == names[:11]


def test_names_of_sections_and_options_compare_without_regard_to_case(tmp_path: Path) -> None:
    document = load(
        tmp_path, main="[Base](!)\nx = 1\n[A](bASE)\nName = 2\n[a](+)\nNAME = 3\n[\xc4]\n[\xe4](\xc4)\n"
    )
    (section,) = document.named("a")
    assert [(line.name, line.value) for line in section.lines] == [("x", "1"), ("Name", "2"), ("NAME", "3")]
    assert (section.get("nAmE"), section.get("X"), section.get("y")) == ("3", "1", None)
    assert document.first("A") == section.lines
    assert document.first("b") == []
    assert len(document.named("\udcc4")) == 1  # letters beyond ASCII are letters of their own


def test_an_addition_looks_for_its_section_by_name_and_by_lines(tmp_path: Path) -> None:
    text = "[a]\nx = 10\n[a]\nx = 2\ny = 3\n[a](+x=2&Y=.)\n[a](+x=2&y=.)\nz = 1\n"
    assert not load(tmp_path, main=text).is_taken_up  # within a condition, case counts
    document = load(tmp_path, main=text.replace("[a](+x=2&Y=.)\n", ""))
    assert [len(section.lines) for section in document.named("a")] == [1, 3]


@pytest.mark.parametrize(
    ("options", "is_found"),
    [
        ("+", False),
        ("+TEMPLATES=include", True),
        ("+TEMPLATES=restrict", True),
        ("+TEMPLATES=other", False),
        ("+TEMPLATES", False),
        ("+x", False),
        ("+x=1", False),
        ("+TEMPLATES=include&x=1", True),
        ("+TEMPLATES=include&x=2", False),
        ("+TEMPLATES=include&x=(", False),
    ],
)
def test_a_template_is_added_to_only_if_that_is_said(tmp_path: Path, options: str, is_found: bool) -> None:
    assert load(tmp_path, main=f"[t](!)\nx = 1\n[t]({options})\n").is_taken_up == is_found


def test_a_section_that_is_none_of_a_template_is_not_found_as_one(tmp_path: Path) -> None:
    assert not load(tmp_path, main="[a]\n[a](+TEMPLATES=restrict)\n").is_taken_up
    assert load(tmp_path, main="[a]\n[a](+TEMPLATES=include)\n").is_taken_up


def test_plus_equals_looks_for_its_name_with_regard_to_case_and_replaces_without(tmp_path: Path) -> None:
    document = load(tmp_path, main="[a]\nX = 1\nx = 1\nx += 2\ny +=> 3\nempty =\nempty += 4\n")
    assert values(document) == [["a", [["x", "1 2"], ["x", "1"], ["y", "> 3"], ["empty", "4"]]]]


@pytest.mark.parametrize(
    ("lines", "kept"),
    [
        (["a --; b", "c", ";--", "d"], ["a --; b", "", "", "d"]),
        (["x ;-- y", "z --; a --; b", "c"], ["x ", " a --; b", ""]),
        (["a;--b;--c--;d--;e;f"], ["ae"]),
        ([";--", "\\; --;x"], ["", "x"]),
        ([";--a", ";b", "c--;d"], ["", "", "d"]),
        (["a;b;--c", "d"], ["a", "d"]),
    ],
)
def test_comments_are_taken_away_as_the_real_asterisk_does(lines: list[str], kept: list[str]) -> None:
    depth = 0
    found = []
    for line in lines:
        content, depth = strip_comments(line, depth)
        found.append(content)
    assert found == kept


def test_an_end_of_a_comment_too_many_is_told_at_its_line(tmp_path: Path) -> None:
    document = load(tmp_path, main="[a]\nx = 1 --; y\nz = 2\n;--\nw = 3\n")
    assert values(document) == [["a", [["x", "1 --; y"], ["w", "3"]]]]
    assert messages(document.problems, tmp_path) == [
        'main.conf:2: [a]: "--;" closes no comment: Asterisk skips what is below this line'
    ]


def test_a_comment_may_go_on_in_the_next_file_of_a_pattern(tmp_path: Path) -> None:
    document = load(
        tmp_path, main="[a]\n#include p*.conf\nz = 3\n", p1="x = 1\n;-- \n", p2="y = 2\n--; v = 4\n"
    )
    assert values(document) == [["a", [["x", "1"], ["v", "4"], ["z", "3"]]]]


def test_the_length_of_a_line_is_counted_in_bytes(tmp_path: Path) -> None:
    file = tmp_path / "main.conf"
    fits = "x = " + "\xe9" * ((8190 - 4) // 2)
    file.write_text(f"[a]\n{fits}\n{fits}\xe9\ny = 1\n", "utf-8")
    document = files.load(file)
    assert [line.name for line in document.sections[0].lines] == ["x", "y"]


def test_a_line_ends_at_a_nul(tmp_path: Path) -> None:
    assert values(load(tmp_path, main="[a]\nx = 1\0; z\ny = 2\0\n")) == [["a", [["x", "1"], ["y", "2"]]]]


def test_control_characters_around_a_name_or_a_value_are_blanks(tmp_path: Path) -> None:
    assert values(load(tmp_path, main="[a]\n\x01x\x1f = \x02v\x7f\x1e\n")) == [["a", [["x", "v\x7f"]]]]


def test_a_directory_whose_name_looks_like_a_pattern_is_no_pattern(tmp_path: Path) -> None:
    directory = tmp_path / "[ab]*"
    directory.mkdir()
    assert values(load(directory, main="#include other.conf\n", other="[x]\n")) == [["x", []]]


def test_a_line_knows_its_comment_and_whether_it_repeats_what_it_inherits(tmp_path: Path) -> None:
    document = load(
        tmp_path,
        main="[t](!)\nx = 1\n[a](t)\nx = 2;c\ny = 3 ; d\nz = 4 ;-- e --; ;f\nw = \\;5\n[a](+)\nx = 6\n",
    )
    assert [
        (line.value, line.comment, line.has_close_comment, line.is_override)
        for line in document.sections[0].lines
    ] == [
        ("1", "", False, True),
        ("2", "c", True, False),
        ("3", "d", False, False),
        ("4", "f", False, False),
        (";5", "", False, False),
        ("6", "", False, True),
    ]


def test_all_files_that_took_part_are_known(tmp_path: Path) -> None:
    document = load(tmp_path, main="#include one.conf\n#tryinclude gone.conf\n[a]\n", one="[b]\n")
    assert document.files == [tmp_path / "main.conf", tmp_path / "one.conf"]
    assert files.load(tmp_path / "gone.conf").files == []

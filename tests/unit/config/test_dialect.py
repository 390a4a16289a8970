import json
from pathlib import Path

import pytest

from amikafka_tail.config import files
from amikafka_tail.config.dialect import MAX_LINE, Document, parse, strip_comments

ORACLE = Path(__file__).parents[2] / "data" / "config-oracle"


def parse_text(text: str, **included: str) -> Document:
    texts = {Path("main.conf"): text} | {
        Path(name.replace("_", ".")): value for name, value in included.items()
    }

    def read(path: Path) -> str:
        if path not in texts:
            raise FileNotFoundError(2, "No such file or directory", str(path))
        return texts[path]

    return parse(Path("main.conf"), read, lambda pattern: [path for path in texts if path.match(pattern)])


def values(document: Document) -> list[tuple[str, list[tuple[str, str]]]]:
    return [
        (section.name, [(line.name, line.value) for line in section.lines]) for section in document.sections
    ]


def messages(document: Document) -> list[str]:
    return [str(problem) for problem in document.problems]


@pytest.mark.parametrize("name", ["v1", "v2"])
def test_files_are_read_as_the_real_asterisk_read_them(name: str) -> None:
    document = files.load(ORACLE / f"{name}.conf")
    expected = json.loads((ORACLE / f"{name}.json").read_text())
    assert [[name, [list(pair) for pair in pairs]] for name, pairs in values(document)] == expected
    assert document.problems == []


@pytest.mark.parametrize(
    ("line", "kept"),
    [
        ("a = b ; comment", "a = b "),
        ("a = b \\; c", "a = b ; c"),
        ("; all of it", ""),
        ("a = ;-- inside --; b", "a =  b"),
        ("a = b ;--- a plain comment", "a = b "),
        ("a;--b;--c--;d--;e", "ae"),
        ("a = 1 \\; 2 ; 3", "a = 1 ; 2 "),
    ],
)
def test_comments_are_taken_away(line: str, kept: str) -> None:
    assert strip_comments(line) == (kept, 0)


def test_a_block_comment_spans_lines() -> None:
    document = parse_text("[a]\nx = 1 ;-- hidden\ny = 2\n--; z = 3\n")
    assert values(document) == [("a", [("x", "1"), ("z", "3")])]


def test_a_block_comment_that_is_not_closed_is_a_problem() -> None:
    assert messages(parse_text("[a]\n;-- hidden\nx = 1\n")) == [
        'main.conf: [a]: a comment that began with ";--" is not closed with "--;"'
    ]


def test_an_option_is_split_at_its_first_equals_sign() -> None:
    assert values(parse_text("[a]\nx = 1 = 2\ny => z\nw=\n")) == [
        ("a", [("x", "1 = 2"), ("y", "z"), ("w", "")])
    ]


def test_plus_equals_appends_to_the_last_value_of_that_name() -> None:
    document = parse_text("[a]\nx = 1\nx = 2\nx += 3\ny += 4\n")
    assert values(document) == [("a", [("x", "1"), ("x", "2 3"), ("y", "4")])]


def test_names_keep_their_case_and_values_their_quotes() -> None:
    assert values(parse_text('[A]\nName = "quoted"\n')) == [("A", [("Name", '"quoted"')])]


def test_a_template_is_inherited_and_not_a_section_itself() -> None:
    document = parse_text("[t](!)\nx = 1\n[u](!,t)\ny = 2\n[a](u)\nz = 3\n")
    assert values(document) == [("a", [("x", "1"), ("y", "2"), ("z", "3")])]


def test_a_plus_section_adds_to_the_first_of_its_name() -> None:
    assert values(parse_text("[a]\nx = 1\n[b]\n[a](+)\ny = 2\n")) == [
        ("a", [("x", "1"), ("y", "2")]),
        ("b", []),
    ]


def test_a_repeated_section_is_another_one() -> None:
    assert values(parse_text("[a]\nx = 1\n[a]\ny = 2\n")) == [("a", [("x", "1")]), ("a", [("y", "2")])]


def test_an_include_continues_the_section_it_stands_in() -> None:
    document = parse_text('[a]\n#include "b.conf"\ny = 2\n', b_conf="x = 1\n")
    assert values(document) == [("a", [("x", "1"), ("y", "2")])]


@pytest.mark.parametrize("form", ['"b.conf"', "<b.conf>", "b.conf"])
def test_an_include_may_be_quoted_in_three_ways(form: str) -> None:
    assert values(parse_text(f"#include {form}\n", b_conf="[b]\nx = 1\n")) == [("b", [("x", "1")])]


def test_a_line_of_an_included_file_knows_where_it_stands() -> None:
    (section,) = parse_text("#include b.conf\n", b_conf="[b]\n\nx = 1\n").sections
    assert (section.lines[0].file, section.lines[0].line) == (Path("b.conf"), 3)


def test_a_missing_include_is_a_problem_and_a_missing_tryinclude_is_none() -> None:
    document = parse_text('[a]\n#include "gone.conf"\n#tryinclude "gone.conf"\n#include "gone*.conf"\n')
    assert messages(document) == [
        'main.conf:2: [a]: #include "gone.conf": there is no such file',
        'main.conf:4: [a]: #include "gone*.conf": there is no such file',
    ]
    assert [problem.is_warning for problem in document.problems] == [False, True]


def test_an_include_of_itself_is_a_problem() -> None:
    assert messages(parse_text("#include main.conf\n")) == [
        'main.conf:1: #include "main.conf": includes itself'
    ]


def test_exec_is_refused() -> None:
    assert messages(parse_text("[a]\n#exec /bin/true\n")) == [
        "main.conf:2: [a]: #exec is not supported: put the text there, or #include a file"
    ]


def test_everything_wrong_is_said_at_once() -> None:
    text = "early = 1\n[a](gone)\n[b](+)\nno equals\n= no name\n#what x\n[open\n[c](open\n#include\n"
    assert messages(parse_text(text)) == [
        "main.conf:1: stands before the first [section]",
        "main.conf:2: [a]: there is no section [gone] to inherit from",
        "main.conf:3: [b]: there is no section [b] to add to",
        'main.conf:4: [b]: no "=" in this line',
        'main.conf:5: [b]: no name before the "="',
        "main.conf:6: [b]: unknown directive #what; there are #include and #tryinclude",
        'main.conf:7: [open]: no closing "]"',
        'main.conf:8: [c]: no closing ")"',
        "main.conf:9: [c]: #include needs the name of a file",
    ]


def test_a_line_that_asterisk_would_skip_is_a_problem() -> None:
    document = parse_text(f"[a]\nx = {'y' * MAX_LINE}\nz = 1\n")
    assert values(document) == [("a", [("z", "1")])]
    assert "line too long" in messages(document)[0]


def test_a_byte_order_mark_and_windows_line_ends_are_no_matter() -> None:
    assert values(parse_text("\ufeff[a]\r\nx = 1\r\n")) == [("a", [("x", "1")])]


def test_bytes_that_are_not_utf_8_are_kept(tmp_path: Path) -> None:
    file = tmp_path / "a.conf"
    file.write_bytes(b"[a]\nx = M\xfcller\ny = M\xc3\xbcller\n")
    ((_, lines),) = values(files.load(file))
    assert [value.encode("utf-8", "surrogateescape") for _, value in lines] == [
        b"M\xfcller",
        b"M\xc3\xbcller",
    ]


def test_a_directory_and_a_missing_file_are_problems(tmp_path: Path) -> None:
    assert messages(files.load(tmp_path)) == [f"{tmp_path}: cannot be read: Is a directory"]
    gone = tmp_path / "gone.conf"
    assert messages(files.load(gone)) == [f"{gone}: there is no such file"]

"""The dialect: nothing makes it crash, and what is written by its rules is read back."""

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from amikafka_tail.config.dialect import Document, parse, strip_comments
from tests.support.fuzzing import many

MANY = many(100)

PATH = Path("a.conf")
NAMES = st.text(st.sampled_from("abcXYZ-_.() "), min_size=1, max_size=12).map(str.strip).filter(bool)
VALUES = st.text(st.characters(exclude_categories=("C", "Z"), include_characters=" ="), max_size=30).map(
    lambda text: text.strip().removeprefix(">").strip()
)


def parse_text(text: str) -> Document:
    return parse(PATH, lambda _path: text, lambda _pattern: [])


@MANY
@given(st.text(st.sampled_from('[](),!+=>;-\\#"<> \t\r\nabinclude'), max_size=200))
def test_nothing_makes_it_crash(text: str) -> None:
    parse_text(text)


@MANY
@given(st.binary(max_size=200))
def test_no_bytes_make_it_crash(data: bytes) -> None:
    parse_text(data.decode("latin-1"))


@MANY
@given(st.lists(st.tuples(NAMES, st.lists(st.tuples(NAMES, VALUES), max_size=5)), max_size=5))
def test_what_is_written_by_the_rules_is_read_back(sections: list[tuple[str, list[tuple[str, str]]]]) -> None:
    text = ""
    for name, lines in sections:
        text += f"[{name}]\n"
        for key, value in lines:
            escaped = value.replace(";", "\\;")
            text += f"{key} = {escaped}\n"
    document = parse_text(text)
    assert document.problems == []
    assert [
        (section.name, [(line.name, line.value) for line in section.lines]) for section in document.sections
    ] == sections


@MANY
@given(st.text(st.sampled_from("ab;-\\ "), max_size=40), st.integers(0, 3))
def test_a_comment_never_leaves_more_than_there_was(line: str, depth: int) -> None:
    kept, behind = strip_comments(line, depth)
    assert len(kept) <= len(line)
    # One that ends too often makes the depth negative, as in Asterisk.
    assert depth - line.count("--;") <= behind <= depth + line.count(";--")

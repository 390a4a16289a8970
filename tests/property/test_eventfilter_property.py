"""What a filter decides, against a plain description of main/manager.c that looks for no short cut."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amikafka_tail.ami.eventfilter import EventFilterOptions
from amikafka_tail.filters.eventfilter import eventfilter
from amikafka_tail.model.event import Event, split_line
from amikafka_tail.model.pushed_filters import FilterLine
from tests.support.fuzzing import many

pytestmark = pytest.mark.usefixtures("twin")
MANY = many(200)
BLANKS = bytes(range(1, 33))
PATTERNS = st.sampled_from(["9", "99", "a", "ab", "b\r", "\r\n", "a\r\n\r\n", "A: a", "Event: A", "\n"])
METHODS = {
    "exact": lambda text, pattern: text == pattern,
    "starts_with": bytes.startswith,
    "ends_with": bytes.endswith,
    "contains": lambda text, pattern: pattern in text,
}
EXPRESSIONS = {
    "^Event: A": rb"\AEvent: A",
    "^A": rb"\AA",
    "A: a*b": rb"A: a*b",
    "^9?a": rb"\A9?a",
    "ab|99": rb"ab|99",
    "a.$": rb"(?s:a.\Z)",
    "9+": rb"9+",
}
LINES = st.one_of(
    st.sampled_from(
        [b"A: a", b"A: 99", b"A:\tab\t", b"A:", b"A: ", b"B: A: a", b"AA: ab", b"A: a\r", b"9", b""]
    ),
    st.text("Aa9: \t\r", max_size=6).map(str.encode),
)
RAWS = st.builds(
    lambda name, lines, ending: ending.join([b"Event: " + name, *lines]),
    st.sampled_from([b"A", b"AB", b"", b"A: a"]),
    st.lists(LINES, max_size=5),
    st.sampled_from([b"\r\n", b"\r\n", b"\n", b"\r"]),
)


def keeps(raw: bytes, options: str, pattern: str) -> bool:
    lines = (FilterLine(f"eventfilter({options})" if options else "eventfilter", pattern),)
    return eventfilter(EventFilterOptions(lines=lines))(Event(raw))


def values(raw: bytes, header: bytes) -> list[bytes]:
    """What app_ami_kafka's filter makes of the lines that begin with a header: strtok_r, ast_skip_blanks."""
    lines = re.split(rb"[\r\n]+", raw)
    found = [line[len(header) :].lstrip(BLANKS) for line in lines if line.startswith(header)]
    return [value for value in found if value]


@MANY
@given(raw=RAWS, method=st.sampled_from(sorted(METHODS)), pattern=PATTERNS)
def test_the_lines_of_a_header_are_compared_one_by_one(raw: bytes, method: str, pattern: str) -> None:
    expected = any(METHODS[method](value, pattern.encode()) for value in values(raw, b"A:"))
    assert keeps(raw, f"header(A),method({method})", pattern) is expected


@MANY
@given(raw=RAWS, method=st.sampled_from(sorted(METHODS)), pattern=PATTERNS)
def test_without_a_header_the_whole_event_is_compared_with_its_empty_line(
    raw: bytes, method: str, pattern: str
) -> None:
    assert keeps(raw, f"method({method})", pattern) is METHODS[method](raw + b"\r\n\r\n", pattern.encode())


@MANY
@given(raw=RAWS, expression=st.sampled_from(sorted(EXPRESSIONS)))
def test_a_legacy_filter_looks_at_the_whole_event(raw: bytes, expression: str) -> None:
    assert keeps(raw, "", expression) is bool(re.search(EXPRESSIONS[expression], raw + b"\r\n\r\n"))


@MANY
@given(raw=st.one_of(RAWS, LINES))
def test_an_event_has_the_name_of_its_first_line(raw: bytes) -> None:
    assert Event(raw).name_bytes == split_line(re.split(rb"[\r\n]+", raw, maxsplit=1)[0])[1]

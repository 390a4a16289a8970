"""Which filters Asterisk is asked to take, in what order, and what it means if it refuses some."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from amikafka_tail.ami.pushing import (
    EVERYTHING,
    NOT_ALLOWED,
    NOT_ALONE,
    NOT_KNOWN,
    PROBE,
    UNFIT,
    Fields,
    push,
)
from amikafka_tail.model.errors import SourceDisconnected
from amikafka_tail.model.pushed_filters import FilterLine, Pushed

A, B, C = (FilterLine("eventfilter", f"Event: {name}", f"conf:{number}") for number, name in enumerate("ABC"))
NOT_X, NOT_Y = FilterLine("eventfilter", "!X"), FilterLine("eventfilter", "!Y")
NAME = FilterLine("eventfilter(name(Hangup))", "")
NOT_NAME = FilterLine("eventfilter(action(exclude),name(Hangup))", "")
LONG = FilterLine("eventfilter", "x" * 1015)
LONG_EXCLUDE = FilterLine("eventfilter", "!" + "x" * 1014)
WONT = "Internal Error. Failed adding filter."
Verdict = Callable[[Fields], "str | None"]


def takes_all(_fields: Fields) -> None:
    return None


def refuses(*refused: Fields) -> Verdict:
    return lambda fields: WONT if fields in refused else None


def pushed(lines: list[FilterLine], verdict: Verdict = takes_all) -> tuple[list[Fields], Pushed]:
    """Return what Asterisk was asked, and what came of it."""
    asked, outcome = [], Pushed()
    asking = push(lines, outcome)
    answer = None
    while True:
        try:
            fields = asking.send(answer)
        except StopIteration:
            return asked, outcome
        asked.append(fields)
        answer = verdict(fields)


def plain(*lines: FilterLine) -> list[Fields]:
    return [[("Filter", line.pattern)] for line in lines]


def reasons(outcome: Pushed) -> dict[FilterLine, str]:
    return dict(outcome.refused)


def test_without_lines_nothing_is_asked() -> None:
    assert pushed([]) == ([], Pushed())


def test_excludes_come_before_includes_and_the_lines_are_as_they_stand() -> None:
    asked, outcome = pushed([A, NOT_X, B, NOT_Y])
    assert asked == plain(NOT_X, NOT_Y, A, B)
    assert (outcome.wanted, outcome.taken, outcome.refused) == (4, 4, [])
    assert outcome.warnings() == []


@pytest.mark.parametrize(
    ("criteria", "sent"),
    [
        ("eventfilter(name(Hangup),method(contains))", "name(Hangup),method(contains)"),
        ("eventfilter(name(Hangup) , method(contains)) ", "name(Hangup) , method(contains)"),
        ("eventfilter(name(Hangup,method(contains)", "name(Hangup,method(contains"),
        ("eventfilter-1(name(Hangup),method(contains))", "name(Hangup),method(contains)"),
    ],
)
def test_the_criteria_are_what_asterisk_puts_into_parentheses(criteria: str, sent: str) -> None:
    asked, outcome = pushed([FilterLine(criteria, "x")])
    assert asked == [PROBE, [("MatchCriteria", sent), ("Filter", "x")]]
    assert outcome.taken == 1


def test_an_exclude_that_is_refused_is_no_matter_of_the_others() -> None:
    asked, outcome = pushed([NOT_X, NOT_Y, A], refuses(*plain(NOT_X)))
    assert asked == plain(NOT_X, NOT_Y, A)
    assert (outcome.taken, reasons(outcome)) == (2, {NOT_X: WONT})


def test_an_include_that_cannot_be_handed_over_keeps_the_others_here() -> None:
    asked, outcome = pushed([A, LONG, NOT_X, LONG_EXCLUDE])
    assert asked == plain(NOT_X)
    assert (outcome.taken, reasons(outcome)) == (1, {A: NOT_ALONE, LONG: UNFIT, LONG_EXCLUDE: UNFIT})


def test_the_longest_line_that_asterisk_takes() -> None:
    # "Filter: ", and 1,014 bytes of UTF-8.
    assert pushed([FilterLine("eventfilter", "é" * 507)])[1].taken == 1
    assert pushed([FilterLine("eventfilter", "é" * 507 + "x")])[1].taken == 0
    assert pushed([FilterLine(f"eventfilter(name({'x' * 1003}))", "")])[1].taken == 0


@pytest.mark.parametrize("end", ["\n", "\r", "\0"])
def test_what_would_end_a_line_is_not_sent(end: str) -> None:
    asked, outcome = pushed([FilterLine("eventfilter", f"!a{end}Action: Logoff")])
    assert (asked, outcome.taken) == ([], 0)


def test_the_first_include_that_is_refused_keeps_all_here() -> None:
    asked, outcome = pushed([A, B, NOT_X], refuses(*plain(A)))
    assert asked == plain(NOT_X, A)
    assert (outcome.taken, reasons(outcome)) == (1, {A: WONT, B: NOT_ALONE})


def test_a_later_include_that_is_refused_undoes_those_before_by_one_of_everything() -> None:
    asked, outcome = pushed([A, B, C, NOT_X], refuses(*plain(B)))
    assert asked == [*plain(NOT_X, A, B), EVERYTHING]
    assert (outcome.taken, reasons(outcome)) == (1, {A: NOT_ALONE, B: WONT, C: NOT_ALONE})


def test_a_session_with_half_of_the_includes_is_not_used() -> None:
    with pytest.raises(SourceDisconnected, match=f"some of the includes, and then nothing more: {WONT}"):
        pushed([A, B], refuses(*plain(B), EVERYTHING))


def test_who_may_not_filter_is_asked_once() -> None:
    for lines in ([A, B, NOT_X], [NOT_X, A], [NAME, NOT_X, A]):
        asked, outcome = pushed(lines, lambda _fields: NOT_ALLOWED)
        assert len(asked) == 1
        assert (outcome.taken, set(reasons(outcome).values())) == (0, {NOT_ALLOWED})
        (warning,) = outcome.warnings()
        assert "add system to write" in warning


def test_an_asterisk_without_advanced_filters_gets_none() -> None:
    asked, outcome = pushed([NOT_NAME, NOT_X, A], refuses(PROBE))
    assert asked == [PROBE, *plain(NOT_X, A)]
    assert (outcome.taken, reasons(outcome)) == (2, {NOT_NAME: NOT_KNOWN})
    asked, outcome = pushed([NAME, NOT_NAME, NOT_X, A], refuses(PROBE))
    assert asked == [PROBE, *plain(NOT_X)]
    assert reasons(outcome) == {NAME: NOT_KNOWN, NOT_NAME: NOT_KNOWN, A: NOT_ALONE}


def test_a_line_that_comes_twice_is_handed_over_twice() -> None:
    asked, outcome = pushed([A, A, NOT_X, NOT_X])
    assert (len(asked), outcome.taken) == (4, 4)


def test_a_warning_names_the_lines_and_has_its_way_out_behind_the_first_colon() -> None:
    unknown = "Invalid/unknown command: Filter. Use Action: ListCommands"
    _, outcome = pushed([A, B, FilterLine("eventfilter", "!Z")], lambda _fields: unknown)
    first, second = outcome.warnings()
    assert (
        first.partition(": ")[2] == "amikafka applies them itself, nothing is lost; conf:0, eventfilter = !Z"
    )
    assert second.endswith("; conf:1")


def test_a_warning_does_not_name_lines_without_end() -> None:
    lines = [FilterLine("eventfilter", "!x", f"conf:{number}") for number in range(100)]
    _, outcome = pushed(lines, lambda _fields: NOT_ALLOWED)
    (warning,) = outcome.warnings()
    assert warning.endswith("; conf:0, conf:1, conf:2, conf:3, conf:4 and 95 more")

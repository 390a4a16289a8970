import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amikafka_tail.ami.eventfilter import EventFilterOptions, Filter, parse
from amikafka_tail.filters.eventfilter import eventfilter
from amikafka_tail.model.event import Event
from amikafka_tail.model.pushed_filters import FilterLine
from tests.support.module import module_value

pytestmark = pytest.mark.usefixtures("twin")
HANGUP = Event(
    b"Event: Hangup\r\nPrivilege: call,all\r\nChannel: PJSIP/100-0001\r\nCallerIDName: M\xc3\xbcller\r\n"
    b"Exten:\r\nChanVariable: A=1\r\nChanVariable: B=2\r\nContext:  \t inside \r\nCause: 16"
)
NEWCHANNEL = Event(b"Event: Newchannel\r\nPrivilege: call,all\r\nChannel: Local/200@in-0001;2\r\nState: Up")
RENAMED = Event(b"Event: UserEvent\r\nPrivilege: user,all\r\nUserEvent: x\r\nEvent: Hangup")


def passes(event: Event, *lines: tuple[str, str]) -> bool:
    return eventfilter(EventFilterOptions(lines=tuple(FilterLine(*line) for line in lines)))(event)


def advanced(options: str, pattern: str = "") -> tuple[str, str]:
    return f"eventfilter({options})", pattern


def test_without_filters_everything_passes() -> None:
    assert passes(HANGUP)


def test_includes_alone_pass_what_one_of_them_matches() -> None:
    lines = ("eventfilter", "Event: Hangup"), ("eventfilter", "State: Up")
    assert passes(HANGUP, *lines)
    assert passes(NEWCHANNEL, *lines)
    assert not passes(RENAMED, lines[1])


def test_excludes_alone_pass_what_none_of_them_matches() -> None:
    lines = ("eventfilter", "!Channel: Local/"), ("eventfilter", "!UserEvent")
    assert passes(HANGUP, *lines)
    assert not passes(NEWCHANNEL, *lines)
    assert not passes(RENAMED, *lines)


def test_an_exclude_counts_more_than_an_include_in_any_order() -> None:
    include, exclude = ("eventfilter", "Privilege: call"), ("eventfilter", "!Local/")
    for lines in ((include, exclude), (exclude, include)):
        assert passes(HANGUP, *lines)
        assert not passes(NEWCHANNEL, *lines)
        assert not passes(RENAMED, *lines)


def test_an_include_for_one_name_keeps_out_the_events_of_others() -> None:
    lines = advanced("name(Hangup)"), advanced("name(Newchannel),header(State),method(exact)", "Down")
    assert passes(HANGUP, *lines)
    assert not passes(NEWCHANNEL, *lines)
    assert not passes(RENAMED, *lines)


def test_an_exclude_for_one_name_lets_pass_the_events_of_others() -> None:
    lines = advanced("name(Hangup)", "!"), advanced("action(exclude),name(Newchannel),header(Nope)")
    assert not passes(HANGUP, *lines)
    assert passes(NEWCHANNEL, *lines)
    assert passes(RENAMED, *lines)


def test_several_filters_for_one_name_and_for_all_names_count_together() -> None:
    lines = (
        advanced("name(Hangup),header(Cause),method(exact)", "17"),
        advanced("name(Hangup),header(Cause),method(exact)", "18"),
        advanced("header(CallerIDName),method(exact)", "Müller"),
    )
    assert passes(HANGUP, *lines)
    assert not passes(HANGUP, *lines[:2])
    assert passes(HANGUP, *lines[:2], advanced("header(Cause)"))


def test_the_name_is_the_whole_name_and_never_that_of_a_later_line() -> None:
    assert not passes(HANGUP, advanced("name(Hang)"))
    assert not passes(HANGUP, advanced("name(hangup)"))
    assert not passes(RENAMED, advanced("name(Hangup)"))
    assert passes(RENAMED, advanced("name(UserEvent)"))
    assert passes(RENAMED, advanced("header(Event),method(exact)", "Hangup"))


@pytest.mark.parametrize(
    ("method", "pattern", "expected"),
    [
        ("exact", "PJSIP/100-0001", True),
        ("exact", "PJSIP/100", False),
        ("starts_with", "PJSIP/", True),
        ("starts_with", "JSIP/", False),
        ("ends_with", "-0001", True),
        ("ends_with", "-000", False),
        ("contains", "/100-", True),
        ("contains", "/200-", False),
        ("contains", "PJSIP/100-0001\r\n", False),
        ("regex", "^PJSIP/[0-9]+-[0-9]+$", True),
        ("regex", "^JSIP", False),
    ],
)
def test_a_method_compares_the_value_of_a_header(method: str, pattern: str, expected: bool) -> None:
    assert passes(HANGUP, advanced(f"header(Channel),method({method})", pattern)) is expected
    assert passes(HANGUP, advanced(f"header(Channel),method({method})", f"!{pattern}")) is not expected


@pytest.mark.parametrize(
    ("method", "pattern", "expected"),
    [
        ("exact", HANGUP.text.decode(), True),
        ("exact", HANGUP.raw.decode(), False),
        ("starts_with", "Event: Hang", True),
        ("starts_with", "Hang", False),
        ("ends_with", "16\r\n\r\n", True),
        ("ends_with", "16", False),
        ("contains", "A=1\r\nChanVariable: B", True),
        ("contains", "A=2", False),
        ("regex", "Hangup.*A=1..Chan", True),
        ("regex", "Cause: 16$", False),
        ("regex", "M.ller", True),
    ],
)
def test_without_a_header_the_method_compares_the_whole_event(
    method: str, pattern: str, expected: bool
) -> None:
    assert passes(HANGUP, advanced(f"method({method})", pattern)) is expected


def test_every_line_of_a_repeated_header_is_tried() -> None:
    assert passes(HANGUP, advanced("header(ChanVariable),method(exact)", "A=1"))
    assert passes(HANGUP, advanced("header(ChanVariable),method(exact)", "B=2"))
    assert not passes(HANGUP, advanced("header(ChanVariable),method(exact)", "C=3"))


def test_a_header_alone_asks_for_a_value_that_is_not_empty() -> None:
    assert passes(HANGUP, advanced("header(Cause)"))
    assert not passes(HANGUP, advanced("header(Exten)"))
    assert not passes(HANGUP, advanced("header(cause)"))
    assert not passes(Event(b"Event: A\r\nExten:  \t \r\nX: y"), advanced("header(Exten)"))


def test_blanks_before_a_value_are_passed_over_and_blanks_behind_it_are_not() -> None:
    assert passes(HANGUP, advanced("header(Context),method(exact)", "inside "))
    assert not passes(HANGUP, advanced("header(Context),method(exact)", "inside"))


def test_an_empty_value_does_not_reach_into_the_next_line() -> None:
    assert not passes(HANGUP, advanced("header(Exten),method(starts_with)", "ChanVariable"))


def test_a_header_is_looked_for_at_the_start_of_lines_alone() -> None:
    assert not passes(HANGUP, advanced("header(annel)"))
    assert not passes(Event(b"Event: A\r\nX: Cause: 16"), advanced("header(Cause)"))


def test_a_colon_is_added_to_a_header_that_has_none() -> None:
    assert not passes(HANGUP, advanced("header(Chan)"))
    assert passes(HANGUP, advanced("header(Cause:)"))
    assert parse("eventfilter(header(Cause:))", "").header == b"Cause:"


def test_a_bare_line_feed_or_carriage_return_ends_a_line_as_it_does_in_json_and_the_module() -> None:
    event = Event(b"Event: UserEvent\r\nA: 1\nB: 2\rC: 3\r\r\nD: 4\r")
    for name, value in event.headers()[1:]:
        assert passes(event, advanced(f"header({name}),method(exact)", value))
    assert not passes(event, advanced("header(B),method(contains)", "C"))
    assert json.loads(module_value(event.raw)) | {"A": "1", "B": "2", "C": "3", "D": "4"} == json.loads(
        module_value(event.raw)
    )


def test_values_that_are_not_utf_8_are_compared_as_bytes() -> None:
    event = Event(b"Event: A\r\nCallerIDName: M\xfcller")
    assert not passes(event, advanced("header(CallerIDName),method(exact)", "Müller"))
    assert passes(event, advanced("header(CallerIDName),method(ends_with)", "ller"))
    assert passes(
        event, advanced("header(CallerIDName),method(exact)", b"M\xfcller".decode(errors="surrogateescape"))
    )


@pytest.mark.parametrize(
    ("criteria", "pattern", "expected"),
    [
        ("eventfilter", "XXX", Filter(exclude=False, name=None, header=None, method="regex", pattern=b"XXX")),
        ("eventfilter", "!!X", Filter(exclude=True, name=None, header=None, method="regex", pattern=b"!X")),
        ("eventfilter7", "X", Filter(exclude=False, name=None, header=None, method="regex", pattern=b"X")),
        (
            "eventfilter(name(A),header(B),method(exact))",
            "!C",
            Filter(exclude=True, name=b"A", header=b"B:", method="exact", pattern=b"C"),
        ),
        (
            "eventfilter(method(contains) header(B) , ,name(A),)",
            "C",
            Filter(exclude=False, name=b"A", header=b"B:", method="contains", pattern=b"C"),
        ),
        (
            "eventfilter( action(include),name(A) ) ",
            "!",
            Filter(exclude=False, name=b"A", header=None, method="none", pattern=b""),
        ),
        (
            "eventfilter(name(A),action(exclude))",
            "",
            Filter(exclude=True, name=b"A", header=None, method="none", pattern=b""),
        ),
        (
            "eventfilter(name(A),name(B),method(regex),method(none))",
            "",
            Filter(exclude=False, name=b"B", header=None, method="none", pattern=b""),
        ),
        # An option is known by how it begins, and its value is what stands behind its first parenthesis.
        (
            "eventfilter(namely((A))",
            "",
            Filter(exclude=False, name=b"(A", header=None, method="none", pattern=b""),
        ),
        (
            "eventfilter(name(A\t))",
            "",
            Filter(exclude=False, name=b"A", header=None, method="none", pattern=b""),
        ),
    ],
)
def test_a_line_is_understood(criteria: str, pattern: str, expected: Filter) -> None:
    assert parse(criteria, pattern) == expected


@pytest.mark.parametrize(
    ("criteria", "pattern", "words"),
    [
        ("", "X", "has to begin with eventfilter"),
        ("eventfilter", "", "needs a pattern"),
        ("eventfilter", "!", "needs a pattern"),
        ("eventfilter", "X[", "does not compile"),
        ("eventfilter(", "X", 'do not end with "\\)"'),
        ("eventfilter(name(A", "", 'do not end with "\\)"'),
        ("eventfilter(name(A),", "", 'do not end with "\\)"'),
        ("eventfilter(  ", "X", 'do not end with "\\)"'),
        ("eventfilter()", "X", "has no options"),
        ("eventfilter( ,)", "X", "has no options"),
        ("eventfilter(method(regex))", "X[", "does not compile"),
        ("eventfilter(method(regex))", "", r"method\(regex\) needs a pattern"),
        ("eventfilter(name(A),method(contains))", "!", r"method\(contains\) needs a pattern"),
        ("eventfilter(name(A))", "X", "needs a method"),
        ("eventfilter(name(A),method(none))", "X", "needs a method"),
        ("eventfilter(action(include))", "", "neither"),
        ("eventfilter(method(none))", "", "neither"),
        ("eventfilter(action(inlude))", "X", r"action\(inlude\) is unknown: there are include, exclude"),
        ("eventfilter(action(Include),name(A))", "", r"action\(Include\) is unknown"),
        ("eventfilter(action(x),action(include),name(A))", "", r"action\(x\) is unknown"),
        ("eventfilter(method(coains))", "X", r"method\(coains\) is unknown: there are regex, exact"),
        ("eventfilter(heder(A))", "", r'unknown option "heder\(A": there are action\(\), name'),
        ("eventfilter(name(A,B))", "", 'unknown option "B"'),
        ("eventfilter(\tname(A))", "", "unknown option"),
        ("eventfilter(name( A))", "", r"name\(\) is empty"),
        ("eventfilter(name())", "", r"name\(\) is empty"),
        ("eventfilter(header)", "", r"header\(\) is empty"),
        ("eventfilter(action,name(A))", "", r"action\(\) is empty"),
        ("eventfilter(method(\t))", "X", r"method\(\) is empty"),
    ],
)
def test_a_line_that_asterisk_refuses_is_refused_with_the_reason(
    criteria: str, pattern: str, words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        parse(criteria, pattern)


def test_the_error_of_a_whole_set_names_the_line() -> None:
    lines = (FilterLine("eventfilter", "A", "x.conf:3"), FilterLine("eventfilter()", "A", "x.conf:4"))
    with pytest.raises(ValueError, match=r"^x\.conf:4: eventfilter\(\): the filter has no options"):
        eventfilter(EventFilterOptions(lines=lines))


@given(st.text(st.sampled_from("actionmehdr()!, xAB:\t"), max_size=30), st.sampled_from(["", "!", "A", "!A"]))
def test_whatever_a_line_says_it_is_understood_or_refused_in_words(options: str, pattern: str) -> None:
    try:
        keep = eventfilter(EventFilterOptions(lines=(FilterLine(f"eventfilter({options}", pattern),)))
    except ValueError as error:
        assert str(error)
    else:
        assert keep(HANGUP) in (True, False)


def test_filters_for_other_names_cost_an_event_nothing() -> None:
    many = tuple(
        FilterLine(f"eventfilter(name(Other{n}),header(Channel),method(regex))", "[^x]*y") for n in range(500)
    )
    keep = eventfilter(EventFilterOptions(lines=many))
    assert cost(lambda: keep(HANGUP)) < 20 * cost(lambda: HANGUP.name_bytes)


def cost(action: object) -> float:
    assert callable(action)
    best = float("inf")
    for _ in range(20):
        start = time.perf_counter()
        for _ in range(100):
            action()
        best = min(best, time.perf_counter() - start)
    return best

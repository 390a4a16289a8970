"""The filters of the command line."""

from __future__ import annotations

import pytest

from amikafka_tail.commands.tap import selection
from amikafka_tail.delivery.messages import chain
from amikafka_tail.model.errors import UsageError
from amikafka_tail.model.event import Event

EVENTS = {
    "hangup": Event(b"Event: Hangup\r\nPrivilege: call,all\r\nChannel: PJSIP/a-1\r\nCause: 16"),
    "local hangup": Event(b"Event: Hangup\r\nPrivilege: call,all\r\nChannel: Local/1@lab-1;1\r\nCause: 0"),
    "newchannel": Event(b"Event: Newchannel\r\nPrivilege: call,all\r\nChannel: PJSIP/a-1"),
    "user": Event(b"Event: UserEvent\r\nPrivilege: user,all\r\nUserEvent: Hangup=x"),
}


def passing(*texts: str, names: tuple[str, ...] = ()) -> list[str]:
    choose = chain(selection.filters(texts, names))
    return [name for name, event in EVENTS.items() if choose is None or choose(event) is not None]


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        ([], ["hangup", "local hangup", "newchannel", "user"]),
        (["eventfilter(name(Hangup))="], ["hangup", "local hangup"]),
        (["eventfilter(name(Hangup))"], ["hangup", "local hangup"]),
        (["eventfilter(name(Hangup)) =>"], ["hangup", "local hangup"]),
        (["eventfilter(name(Hangup))=", "!Channel: Local/"], ["hangup"]),
        (["!Channel: Local/"], ["hangup", "newchannel", "user"]),
        (["eventfilter = !Channel: Local/"], ["hangup", "newchannel", "user"]),
        (["eventfilter(action(exclude),name(Hangup)) ="], ["newchannel", "user"]),
        (["eventfilter(header(Channel),method(starts_with)) = PJSIP/"], ["hangup", "newchannel"]),
        (["eventfilter(header(UserEvent),method(exact)) = Hangup=x"], ["user"]),
        (["eventfilter=Hangup=x"], ["user"]),
        (["Cause: [0-9]+"], ["hangup", "local hangup"]),
    ],
)
def test_a_filter_is_a_line_of_manager_conf_or_its_pattern(texts: list[str], expected: list[str]) -> None:
    assert passing(*texts) == expected


def test_one_of_the_names_is_enough_whatever_its_capitals() -> None:
    assert passing(names=("hangup", "USEREVENT")) == ["hangup", "local hangup", "user"]


def test_names_and_filters_have_to_agree() -> None:
    assert passing("PJSIP/", names=("Hangup",)) == ["hangup"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("(", "Unmatched ( or"),
        ("", "needs a pattern"),
        ("!", "needs a pattern"),
        ("eventfilter", "needs a pattern"),
        ("eventfilter =", "needs a pattern"),
        ("eventfilter(nam(Hangup))=", 'unknown option "nam(Hangup"'),
        ("eventfilter(name(Hangup)) = x", "a pattern needs a method"),
        ("eventfilter(header(Channel),method(regex)) = (", "Unmatched ( or"),
        ("name(Hangup)", "write options as in manager.conf"),
        ("!(name(Hangup))", "write options as in manager.conf"),
    ],
)
def test_a_wrong_filter_is_named_with_the_reason(text: str, reason: str) -> None:
    with pytest.raises(UsageError) as caught:
        selection.filters(["!fine", text], [])
    assert f'the filter "{text}"' in str(caught.value)
    assert reason in str(caught.value)

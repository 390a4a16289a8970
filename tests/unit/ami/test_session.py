from __future__ import annotations

import hashlib

import pytest

from amikafka_tail.ami.session import MAX_ANSWER, MAX_EVENTS, PING, Session, State
from amikafka_tail.model.errors import AlreadyLoggedIn, LoginRefused, SourceDisconnected
from amikafka_tail.model.pushed_filters import FilterLine

BANNER = b"Asterisk Call Manager/11.0.0\r\n"
CHALLENGE = b"Response: Success\r\nActionID: amikafka-challenge\r\nChallenge: 164293187\r\n\r\n"
ACCEPTED = b"Response: Success\r\nActionID: amikafka-login\r\nMessage: Authentication accepted\r\n\r\n"
GREETING = b"Event: FullyBooted\r\nPrivilege: system,all\r\nUptime: 4\r\nStatus: Fully Booted\r\n\r\n"
SETTINGS = (
    b"Response: Success\r\nActionID: amikafka-settings\r\nAMIversion: 11.0.0\r\nAsteriskVersion: 22.10.1\r\n"
    b"SystemName: pbx-\xc3\xbc\r\nCoreMaxCalls: 0\r\n\r\n"
)
EVENTS_ON = b"Response: Success\r\nActionID: amikafka-on\r\nEvents: On\r\n\r\n"
PONG = b"Response: Success\r\nActionID: amikafka-events\r\nPing: Pong\r\n\r\n"
ASK_FOR_EVENTS = (
    b"Action: Events\r\nEventMask: on\r\nActionID: amikafka-on\r\n\r\n"
    b"Action: Ping\r\nActionID: amikafka-events\r\n\r\n"
)
HANGUP = b"Event: Hangup\r\nPrivilege: call,all\r\n\r\n"
RELOAD = b"Event: Reload\r\nPrivilege: system,all\r\nModule: x\r\n\r\n"
SECRET = "s3cr\u00e9t"


def refusal(action: str, message: str) -> bytes:
    return f"Response: Error\r\nActionID: amikafka-{action}\r\nMessage: {message}\r\n\r\n".encode()


def logged_in(
    after_login: bytes = GREETING, settings: bytes = SETTINGS, events: bytes = EVENTS_ON + PONG
) -> Session:
    session = Session("amikafka", SECRET, "plain")
    session.receive(BANNER + ACCEPTED + after_login + settings + events)
    return session


def test_a_plain_login_asks_for_one_thing_after_the_other_and_for_events_last() -> None:
    session = Session("amikafka", SECRET, "plain")
    assert session.receive(b"") == b""
    assert session.receive(BANNER) == (
        b"Action: Login\r\nUsername: amikafka\r\nSecret: s3cr\xc3\xa9t\r\nEvents: system\r\n"
        b"ActionID: amikafka-login\r\n\r\n"
    )
    assert session.state is State.LOGIN
    assert session.receive(ACCEPTED) == b"Action: CoreSettings\r\nActionID: amikafka-settings\r\n\r\n"
    assert session.receive(GREETING) == b""
    assert not session.ready
    assert session.receive(SETTINGS) == ASK_FOR_EVENTS
    assert session.receive(EVENTS_ON) == b""
    assert not session.ready
    assert session.receive(PONG) == b""
    assert session.ready
    assert session.asterisk_version == "22.10.1"
    assert session.system_name == "pbx-ü"
    assert session.warnings == []
    assert session.leftover == b""


def test_an_md5_login_never_sends_the_secret() -> None:
    session = Session("amikafka", SECRET)
    assert session.receive(BANNER) == (
        b"Action: Challenge\r\nAuthType: MD5\r\nActionID: amikafka-challenge\r\n\r\n"
    )
    key = hashlib.md5(b"164293187" + SECRET.encode()).hexdigest().encode()
    assert session.receive(CHALLENGE) == (
        b"Action: Login\r\nUsername: amikafka\r\nAuthType: MD5\r\nKey: " + key + b"\r\nEvents: system\r\n"
        b"ActionID: amikafka-login\r\n\r\n"
    )


def test_what_came_behind_the_last_answer_is_left_over() -> None:
    assert logged_in(events=EVENTS_ON + PONG + HANGUP[:20]).leftover == HANGUP[:20]


def test_whatever_comes_before_it_is_sure_that_events_are_on_is_left_over() -> None:
    odd = b"No: event\r\n\r\n"
    session = logged_in(events=HANGUP + EVENTS_ON + odd + b"\r\n" + RELOAD + PONG + HANGUP)
    assert session.ready
    assert session.leftover == HANGUP + odd + b"\r\n" + RELOAD + HANGUP


def test_an_asterisk_that_does_not_answer_events_answers_the_ping() -> None:
    assert logged_in(events=PONG).ready


@pytest.mark.parametrize("flood", [HANGUP * (MAX_EVENTS // len(HANGUP)), b"Event: " + b"x" * MAX_EVENTS])
def test_a_flood_in_front_of_the_answer_shows_as_well_that_events_are_on(flood: bytes) -> None:
    session = logged_in(events=flood)
    session.receive(HANGUP)
    session.receive(HANGUP[:7])
    assert session.ready
    assert session.leftover == flood + HANGUP + HANGUP[:7]


def test_events_that_come_during_the_login_are_left_over_and_the_greeting_is_not() -> None:
    assert logged_in(GREETING + RELOAD + GREETING).leftover == RELOAD + GREETING


def test_an_event_may_end_with_an_empty_line_too_many() -> None:
    session = logged_in(GREETING + RELOAD + b"\r\n" + RELOAD + b"\r\n\r\n\r\n")
    assert session.ready
    assert session.leftover == RELOAD + b"\r\n" + RELOAD


def test_the_greeting_is_the_first_thing_after_the_login_or_it_is_an_event() -> None:
    session = logged_in(RELOAD + GREETING)
    assert session.leftover == RELOAD + GREETING
    assert len(session.warnings) == 1


def test_an_answer_to_something_else_is_passed_over() -> None:
    other = b"Response: Error\r\nActionID: other\r\nMessage: Permission denied\r\n\r\n"
    session = logged_in(GREETING + other)
    assert session.ready
    assert session.leftover == b""


def test_an_answer_without_an_id_answers_what_was_asked() -> None:
    session = Session("amikafka", SECRET, "plain")
    with pytest.raises(LoginRefused, match="Failed to parse message"):
        session.receive(BANNER + b"Response: Error\r\nMessage: Failed to parse message\r\n\r\n")


def test_the_old_line_end_of_a_banner_will_do() -> None:
    assert (
        Session("amikafka", SECRET).receive(b"Asterisk Call Manager/1.1\n").startswith(b"Action: Challenge")
    )


@pytest.mark.parametrize(
    ("banner", "words"),
    [
        (b"SSH-2.0-OpenSSH_9.2\r\n", "it begins with b'SSH-2.0-OpenSSH_9.2"),
        (b"HTTP", "it begins with b'HTTP'"),
        (b"\x00\xff\x1b[2J\n", r"b'\\x00\\xff\\x1b\[2J\\n'"),
        (b"\x15\x03\x03\x00\x02\x02\x46", "it speaks TLS: set tls = yes"),
        (b"x" * 500, f"begins with b'{'x' * 80}'"),
        (b"Asterisk Call Mangler\r\n", "not Asterisk's manager interface"),
    ],
)
def test_something_else_than_a_manager_interface_is_recognised_at_once(banner: bytes, words: str) -> None:
    with pytest.raises(SourceDisconnected, match=words) as caught:
        Session("amikafka", SECRET).receive(banner)
    assert not isinstance(caught.value, LoginRefused)
    assert len(str(caught.value)) < 400


def test_a_failed_login_names_all_that_asterisk_gives_this_answer_for() -> None:
    session = Session("amikafka", SECRET, "plain")
    with pytest.raises(LoginRefused, match="Authentication failed") as caught:
        session.receive(BANNER + refusal("login", "Authentication failed"))
    for word in ("'amikafka'", "section", "secret", "permit", "deny", "acl", "manager reload", "log"):
        assert word in str(caught.value)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("message", "words"),
    [("Login Already In Use", "allowmultiplelogin"), ("Whatever else", "'amikafka': Whatever else")],
)
def test_another_refusal_of_the_login_is_passed_on(message: str, words: str) -> None:
    session = Session("amikafka", SECRET, "plain")
    with pytest.raises(LoginRefused, match=words):
        session.receive(BANNER + refusal("login", message))


def test_a_user_who_is_logged_in_elsewhere_is_an_error_of_its_own() -> None:
    session = Session("amikafka", SECRET, "plain")
    with pytest.raises(AlreadyLoggedIn):
        session.receive(BANNER + refusal("login", "Login Already In Use"))


@pytest.mark.parametrize("answers", [b"", CHALLENGE, CHALLENGE + ACCEPTED])
def test_an_asterisk_that_is_shutting_down_is_worth_another_attempt(answers: bytes) -> None:
    session = Session("amikafka", SECRET)
    session.receive(BANNER + answers)
    action = session.state.name.lower()
    with pytest.raises(SourceDisconnected, match="shutting down") as caught:
        session.receive(refusal(action, "Asterisk is shutting down"))
    assert not isinstance(caught.value, LoginRefused)


@pytest.mark.parametrize(
    "answer",
    [
        refusal("challenge", "Must specify AuthType"),
        b"Response: Success\r\nActionID: amikafka-challenge\r\n\r\n",
    ],
)
def test_without_a_challenge_a_plain_login_is_proposed(answer: bytes) -> None:
    with pytest.raises(LoginRefused, match="auth = plain"):
        Session("amikafka", SECRET).receive(BANNER + answer)


def test_a_user_who_may_not_ask_for_the_settings_is_told_what_to_add() -> None:
    session = logged_in(settings=refusal("settings", "Permission denied"))
    assert session.ready
    assert session.asterisk_version == ""
    (warning,) = session.warnings
    assert "'amikafka'" in warning
    assert "Permission denied" in warning
    assert "write = reporting" in warning


def test_a_user_who_is_not_greeted_may_have_no_right_to_read() -> None:
    session = logged_in(after_login=b"")
    assert session.ready
    (warning,) = session.warnings
    assert "read = all" in warning


@pytest.mark.parametrize("answers", [BANNER, BANNER + CHALLENGE, BANNER + CHALLENGE + ACCEPTED])
def test_a_server_that_sends_without_end_is_cut_off(answers: bytes) -> None:
    session = Session("amikafka", SECRET)
    session.receive(answers)
    with pytest.raises(SourceDisconnected, match="no end of answer"):
        for _ in range(MAX_ANSWER // 1024 + 1):
            session.receive(b"Response: " + b"x" * 1014)


def test_a_banner_without_end_is_cut_off() -> None:
    session = Session("amikafka", SECRET)
    session.receive(b"Asterisk Call Manager/")
    with pytest.raises(SourceDisconnected, match="not Asterisk's manager interface"):
        session.receive(b"1" * MAX_ANSWER)


def test_blocks_that_are_neither_answers_nor_events_are_not_taken() -> None:
    with pytest.raises(SourceDisconnected, match="b'Foo: 1' came instead of answer to Challenge"):
        Session("amikafka", SECRET).receive(BANNER + b"Foo: 1\r\n\r\n")


def test_events_without_end_and_no_answer_are_cut_off() -> None:
    session = Session("amikafka", SECRET, "plain")
    session.receive(BANNER + ACCEPTED)
    flood = RELOAD * (MAX_EVENTS // len(RELOAD) // 8)
    with pytest.raises(SourceDisconnected, match="bytes of events came and no answer to CoreSettings"):
        for _ in range(9):
            session.receive(flood)


@pytest.mark.parametrize("value", ["", "two\r\nAction: Logoff", "line\n"])
def test_what_would_not_fit_into_a_line_is_never_sent(value: str) -> None:
    with pytest.raises(LoginRefused, match="secret"):
        Session("amikafka", value)
    with pytest.raises(LoginRefused, match="username"):
        Session(value, SECRET)


def test_a_closed_or_silent_server_is_explained_by_how_far_the_login_was() -> None:
    session = Session("amikafka", SECRET)
    assert "authlimit" in str(session.closed())
    assert "no greeting of a manager interface within 10 s" in str(session.silent(10))
    assert "tls = yes" in str(session.silent(10))
    session.receive(BANNER + CHALLENGE)
    assert "closed instead of answer to Login" in str(session.closed())
    assert "no answer to Login within 0.5 s" in str(session.silent(0.5))


# Filters.

NAME = FilterLine("eventfilter(action(exclude),name(RTCPSent))", "")
LEGACY = FilterLine("eventfilter", "!Channel: Local/")
TAKEN = b"Response: Success\r\nActionID: amikafka-filters\r\nMessage: Success\r\n\r\n"


def asked_to_filter(*filters: FilterLine) -> tuple[Session, bytes]:
    session = Session("amikafka", SECRET, "plain", filters)
    session.receive(BANNER + ACCEPTED + GREETING)
    return session, session.receive(SETTINGS)


def test_filters_are_handed_over_one_by_one_before_events_are_on() -> None:
    session, sent = asked_to_filter(LEGACY, NAME)
    assert sent == (
        b"Action: Filter\r\nOperation: Add\r\n"
        b"MatchCriteria: action(exclude),name(amikafka-probe),method(exact)\r\nFilter: [\r\n"
        b"ActionID: amikafka-filters\r\n\r\n"
    )
    assert session.receive(TAKEN) == (
        b"Action: Filter\r\nOperation: Add\r\nFilter: !Channel: Local/\r\nActionID: amikafka-filters\r\n\r\n"
    )
    assert session.receive(RELOAD) == b""
    assert session.receive(TAKEN) == (
        b"Action: Filter\r\nOperation: Add\r\nMatchCriteria: action(exclude),name(RTCPSent)\r\n"
        b"ActionID: amikafka-filters\r\n\r\n"
    )
    assert session.receive(TAKEN) == ASK_FOR_EVENTS
    session.receive(EVENTS_ON + PONG)
    assert session.ready
    assert session.leftover == RELOAD
    assert (session.pushed.taken, session.pushed.wanted, session.warnings) == (2, 2, [])


def test_bytes_of_a_filter_that_are_not_utf_8_are_sent_as_they_are() -> None:
    _, sent = asked_to_filter(FilterLine("eventfilter", "M\udcfcller"))
    assert b"Filter: M\xfcller\r\n" in sent


def test_filters_that_asterisk_refuses_are_warnings() -> None:
    session, _ = asked_to_filter(FilterLine("eventfilter", "x", "ami_kafka.conf:3"))
    session.receive(refusal("filters", "Permission denied") + EVENTS_ON + PONG)
    assert session.ready
    (warning,) = session.warnings
    assert "1 of 1 eventfilter lines (Permission denied): add system to write of the manager user" in warning
    assert warning.endswith("; ami_kafka.conf:3")


def test_an_asterisk_that_says_nothing_to_a_filter_is_said_so() -> None:
    session, _ = asked_to_filter(LEGACY)
    assert "no answer to Filter within 10 s" in str(session.silent(10))


def test_a_ping_is_one_whole_action() -> None:
    assert PING == b"Action: Ping\r\nActionID: amikafka-ping\r\n\r\n"

"""However the network cuts what Asterisk sends, the login goes the same way."""

from __future__ import annotations

import itertools

from hypothesis import example, given
from hypothesis import strategies as st

from amikafka_tail.ami.session import Session
from amikafka_tail.model.errors import SourceDisconnected
from amikafka_tail.model.pushed_filters import FilterLine
from tests.support.fuzzing import many

MANY = many(100)

BANNER = b"Asterisk Call Manager/11.0.0\r\n"
CHALLENGE = b"Response: Success\r\nActionID: amikafka-challenge\r\nChallenge: 164293187\r\n\r\n"
ACCEPTED = b"Response: Success\r\nActionID: amikafka-login\r\nMessage: Authentication accepted\r\n\r\n"
GREETING = b"Event: FullyBooted\r\nPrivilege: system,all\r\nStatus: Fully Booted\r\n\r\n"
RELOAD = b"Event: Reload\r\nPrivilege: system,all\r\nModule: x\r\n\r\n"
SETTINGS = (
    b"Response: Success\r\nActionID: amikafka-settings\r\nAsteriskVersion: 22.10.1\r\nSystemName: p\r\n\r\n"
)
TAKEN = b"Response: Success\r\nActionID: amikafka-filters\r\nMessage: Success\r\n\r\n"
REFUSED = b"Response: Error\r\nActionID: amikafka-filters\r\nMessage: Permission denied\r\n\r\n"
EVENTS_ON = b"Response: Success\r\nActionID: amikafka-on\r\nEvents: On\r\n\r\n"
PONG = b"Response: Success\r\nActionID: amikafka-events\r\nPing: Pong\r\n\r\n"
HANGUP = b"Event: Hangup\r\nPrivilege: call,all\r\nCause: 16\r\n\r\n"
LOGIN = BANNER + CHALLENGE + ACCEPTED + GREETING + RELOAD + SETTINGS
TRANSCRIPT = LOGIN + TAKEN * 2 + RELOAD + TAKEN + HANGUP + EVENTS_ON + HANGUP + PONG + HANGUP * 3
FILTERS = (
    FilterLine("eventfilter", "Event: [HR]"),
    FilterLine("eventfilter(action(exclude),name(DTMFEnd))", ""),
)


def play(transcript: bytes, cuts: list[int]) -> tuple[object, ...]:
    session = Session("amikafka", "secret", filters=FILTERS)
    sent = b""
    places = sorted({0, len(transcript), *(cut % (len(transcript) + 1) for cut in cuts)})
    try:
        for start, end in itertools.pairwise(places):
            sent += session.receive(transcript[start:end])
    except SourceDisconnected as error:
        return type(error), session.state
    return (
        sent,
        session.state,
        session.leftover,
        session.warnings,
        session.asterisk_version,
        session.system_name,
        session.pushed,
    )


@MANY
@given(st.lists(st.integers(0, len(TRANSCRIPT)), max_size=12))
@example(list(range(len(TRANSCRIPT))))
def test_a_transcript_cut_anywhere_gives_the_same_login(cuts: list[int]) -> None:
    whole = play(TRANSCRIPT, [])
    assert play(TRANSCRIPT, cuts) == whole
    assert whole[2] == RELOAD * 2 + HANGUP * 5


NOISE = (b"\r\n", b"\n", b"x", b"\0")
PIECES = st.sampled_from(
    [BANNER, CHALLENGE, ACCEPTED, GREETING, RELOAD, SETTINGS, TAKEN, REFUSED, EVENTS_ON, PONG, HANGUP, *NOISE]
)


@MANY
@given(st.lists(PIECES, max_size=10).map(b"".join), st.lists(st.integers(0, 2000), max_size=8))
def test_any_sequence_cut_anywhere_gives_the_same_end(transcript: bytes, cuts: list[int]) -> None:
    assert play(BANNER + transcript, cuts) == play(BANNER + transcript, [])


@MANY
@given(st.binary(max_size=200), st.booleans())
def test_whatever_comes_the_only_errors_are_those_of_a_lost_connection(noise: bytes, greeted: bool) -> None:
    play(BANNER + noise if greeted else noise, [])

from __future__ import annotations

import pytest

from amikafka_tail.ami.framing import END, MAX_BLOCK, Framer

HANGUP = b"Event: Hangup\r\nPrivilege: call,all\r\nCause: 16"
BYE = b"Event: Bye\r\nPrivilege: call,all"
BANNER = b"Asterisk Call Manager/11.0.0\r\n"
LOGIN = b"Response: Success\r\nMessage: Authentication accepted"
GREETING = b"Event: FullyBooted\r\nPrivilege: system,all\r\nStatus: Fully Booted"


def one_by_one(framer: Framer, stream: bytes) -> list[bytes]:
    return [block for index in range(len(stream)) for block in framer.feed(stream[index : index + 1])]


def test_blocks_are_what_stands_between_empty_lines() -> None:
    assert Framer().feed(HANGUP + END + BYE + END) == [HANGUP, BYE]


def test_nothing_comes_before_the_empty_line_does() -> None:
    framer = Framer()
    assert framer.feed(HANGUP) == []
    assert framer.held_back == HANGUP
    assert framer.feed(END) == [HANGUP]
    assert framer.held_back == b""


@pytest.mark.parametrize("cut", range(1, len(END)))
def test_an_empty_line_may_be_cut_anywhere(cut: int) -> None:
    framer = Framer()
    assert framer.feed(HANGUP + END[:cut]) == []
    assert framer.feed(END[cut:] + BYE + END) == [HANGUP, BYE]


def test_one_byte_at_a_time_gives_the_same_blocks() -> None:
    assert one_by_one(Framer(), HANGUP + END + BYE + END) == [HANGUP, BYE]


def test_feeding_nothing_changes_nothing() -> None:
    framer = Framer(position=7)
    assert framer.feed(b"") == []
    assert framer.feed(HANGUP) == []
    assert framer.feed(b"") == []
    assert (framer.position, framer.held_back) == (7, HANGUP)


@pytest.mark.parametrize(
    "text",
    [
        b"Event: A\r\nX: \xc2\x85\xe2\x80\xa8\x0c\x1c",
        b"Event: A\r\nX: bare\rreturn",
        b"Event: A\r\nX: bare\nfeed\n\nY: two\r\r",
        b"Event: A\r\nX: \0\xff\xfe",
    ],
)
def test_only_an_empty_line_with_its_returns_and_feeds_ends_a_block(text: bytes) -> None:
    assert Framer().feed(text + END) == [text]


def test_an_empty_line_too_many_begins_the_next_block() -> None:
    assert Framer().feed(HANGUP + END + b"\r\n" + BYE + END) == [HANGUP, b"\r\n" + BYE]


def test_positions_are_offsets_in_the_stream() -> None:
    framer = Framer(position=1000)
    framer.feed(HANGUP + END + BYE)
    assert (framer.first, framer.position) == (1000, 1000 + len(HANGUP + END))
    framer.feed(END)
    assert framer.first == 1000 + len(HANGUP + END)
    assert framer.position == 1000 + len(HANGUP + END + BYE + END)


def test_a_stream_that_starts_inside_a_block_starts_with_the_next() -> None:
    framer = Framer(position=50, in_block=True)
    rest = b"lerIDNum: 100"
    assert framer.feed(rest + END + HANGUP + END) == [HANGUP]
    assert framer.first == 50 + len(rest + END)
    assert framer.position == 50 + len(rest + END + HANGUP + END)
    assert framer.overlong == 0


def test_the_rest_of_a_block_may_itself_come_in_pieces() -> None:
    framer = Framer(position=50, in_block=True)
    rest = b"lerIDNum: 100"
    assert one_by_one(framer, rest + END + HANGUP) == []
    assert framer.position == 50 + len(rest + END)
    assert framer.feed(END) == [HANGUP]
    assert framer.first == 50 + len(rest + END)


def test_only_one_block_is_passed_over() -> None:
    framer = Framer(in_block=True)
    assert framer.feed(b"rest" + END + HANGUP + END + BYE + END) == [HANGUP, BYE]
    assert framer.feed(HANGUP + END) == [HANGUP]


@pytest.mark.parametrize("cut", range(1, len(END)))
def test_what_stood_before_may_have_half_of_the_empty_line(cut: int) -> None:
    framer = Framer(position=50, in_block=True, before=b"CallerIDNum: 100" + END[:cut])
    assert framer.is_passing_over
    assert framer.feed(END[cut:] + HANGUP + END) == [HANGUP]
    assert not framer.is_passing_over
    assert framer.first == 50 + len(END[cut:])
    assert framer.position == 50 + len(END[cut:] + HANGUP + END)


def test_what_stood_before_is_of_no_use_between_two_blocks() -> None:
    framer = Framer(before=b"CallerIDNum: 100" + END[:3])
    assert not framer.is_passing_over
    assert framer.feed(END[3:] + HANGUP + END) == [END[3:] + HANGUP]


def test_what_is_forgotten_is_not_held_back_and_positions_go_on() -> None:
    framer = Framer(position=50)
    assert framer.first == 50
    framer.feed(HANGUP + END + b"\0\0\0" + BYE)
    assert framer.held == framer.held_back == b"\0\0\0" + BYE
    framer.forget(3)
    assert framer.held_back == BYE
    assert framer.position == 50 + len(HANGUP + END) + 3
    assert framer.feed(b"") == []
    assert framer.first == framer.position
    assert framer.feed(END) == [BYE]
    assert framer.first == 50 + len(HANGUP + END) + 3


def test_an_overlong_block_is_passed_over_and_counted_once() -> None:
    framer = Framer(max_block=64)
    long = b"Event: A\r\nX: " + b"x" * 1000
    assert one_by_one(framer, long + END + HANGUP + END) == [HANGUP]
    assert framer.overlong == 1
    assert framer.first == len(long + END)
    assert framer.position == len(long + END + HANGUP + END)


def test_a_block_as_long_as_the_limit_is_not_overlong() -> None:
    text = b"Event: A\r\nX: " + b"x" * 51
    framer = Framer(max_block=len(text))
    framer.feed(text)
    assert framer.feed(END) == [text]
    assert framer.overlong == 0


def test_memory_is_bounded_while_an_overlong_block_comes() -> None:
    framer = Framer(max_block=64)
    for _ in range(100):
        assert framer.feed(b"x" * 10) == []
        assert len(framer.held_back) <= 64
    assert framer.overlong == 1


def test_two_overlong_blocks_are_counted_as_two() -> None:
    framer = Framer(max_block=64)
    framer.feed(b"x" * 100)
    assert framer.feed(END + HANGUP + END + b"y" * 100) == [HANGUP]
    assert framer.first == len(b"x" * 100 + END)
    framer.feed(END + BYE + END)
    assert framer.overlong == 2
    assert framer.first == len(b"x" * 100 + END + HANGUP + END + b"y" * 100 + END)
    assert framer.position == framer.first + len(BYE + END)


def test_the_longest_block_is_longer_than_any_message_kafka_takes_by_default() -> None:
    assert MAX_BLOCK >= 4 * 1_000_000
    assert MAX_BLOCK == 4 << 20, "README.md says 4 MiB"


def test_the_greeting_after_a_login_is_blanked_in_place() -> None:
    stream = BANNER + LOGIN + END + GREETING + END + HANGUP + END
    framer = Framer()
    assert framer.feed(stream) == [BANNER + LOGIN, b" " * len(GREETING), HANGUP]
    assert framer.position == len(stream)


def test_the_greeting_is_blanked_however_it_is_cut() -> None:
    stream = BANNER + LOGIN + END + GREETING + END + HANGUP + END
    assert one_by_one(Framer(), stream) == [BANNER + LOGIN, b" " * len(GREETING), HANGUP]


def test_a_fully_booted_that_happened_is_kept() -> None:
    stream = LOGIN + END + HANGUP + END + GREETING + END
    assert Framer().feed(stream) == [LOGIN, HANGUP, GREETING]
    assert Framer().feed(GREETING + END) == [GREETING]


def test_only_the_answer_to_a_login_makes_a_greeting() -> None:
    pong = b"Response: Success\r\nPing: Pong"
    assert Framer().feed(pong + END + GREETING + END) == [pong, GREETING]
    later = LOGIN + END + pong + END + GREETING + END
    assert Framer().feed(later) == [LOGIN, pong, GREETING]


def test_a_second_fully_booted_is_not_a_greeting() -> None:
    stream = LOGIN + END + GREETING + END + GREETING + END
    assert Framer().feed(stream)[1:] == [b" " * len(GREETING), GREETING]


def test_an_event_that_quotes_a_login_does_not_make_a_greeting() -> None:
    quote = b"Event: UserEvent\r\nPrivilege: user,all\r\nMessage: Authentication accepted"
    assert Framer().feed(quote + END + GREETING + END) == [quote, GREETING]


def test_the_login_of_a_second_connection_has_its_own_greeting() -> None:
    once = LOGIN + END + GREETING + END
    assert Framer().feed(once + HANGUP + END + once).count(b" " * len(GREETING)) == 2

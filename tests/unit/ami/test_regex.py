import ctypes
import gc
import locale
import re
from collections.abc import Iterator

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from amikafka_tail.ami import regex
from amikafka_tail.ami.regex import Regex

TEXT = b"Event: Hangup\r\nPrivilege: call,all\r\nChannel: PJSIP/100-0001\r\n\r\n"


@pytest.fixture(params=["C", "C.UTF-8"])
def locale_of_the_process(request: pytest.FixtureRequest) -> Iterator[str]:
    before = locale.setlocale(locale.LC_CTYPE)
    locale.setlocale(locale.LC_CTYPE, request.param)
    yield request.param
    locale.setlocale(locale.LC_CTYPE, before)


@pytest.mark.parametrize(
    ("pattern", "matches"),
    [
        (b"Event: Hangup", True),
        (b"event: hangup", False),
        (b"Hangup.*PJSIP", True),
        (b"^Event", True),
        (b"^Privilege", False),
        (b"0001$", False),
        (b"0001[\r\n]+$", True),
        (b"Hangup[^x]Priv", False),
        (b"Hangup[^x]{2}Priv", True),
        (b"PJSIP/[[:digit:]]+-", True),
        (b"(Newchannel|Hangup)", True),
        (b"Newchannel|Hangup", True),
        (rb"PJSIP/\d", False),
        (b"(a)\\1|Hangup", True),
        (b"Chan*el", True),
        (b"Chanx*nel", True),
        (b"Hangupx+*", True),
        (b"Hangupx{0}", True),
        (b"Hangupx", False),
    ],
)
def test_an_expression_is_a_posix_extended_one(pattern: bytes, matches: bool) -> None:
    assert Regex(pattern).matches(TEXT) is matches


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        (b"XX[X", "Unmatched [, [^, [:, [., or [="),
        (b"a(b", r"Unmatched ( or \("),
        (b"a{2,1}", r"Invalid content of \{\}"),
        (b"[[:nope:]]", "Invalid character class name"),
        (b"a\\", "Trailing backslash"),
    ],
)
def test_what_does_not_compile_is_refused_in_the_words_of_glibc(pattern: bytes, words: str) -> None:
    with pytest.raises(ValueError, match=f"does not compile: {re.escape(words)}"):
        Regex(pattern)


def test_a_dot_is_a_character_of_utf_8_whatever_the_locale_of_the_process(locale_of_the_process: str) -> None:
    assert Regex(b"^a.b$").matches("aüb".encode())
    assert not Regex(b"^a..b$").matches("aüb".encode())


def test_a_byte_that_is_no_utf_8_is_no_character(locale_of_the_process: str) -> None:
    assert not Regex(b"^a.b$").matches(b"a\xfcb")
    assert not Regex(b"^a[^x]b$").matches(b"a\xfcb")
    assert Regex(b"^a.*b$|xfc").matches(b"a\xfcb xfc")
    assert Regex(b"Channel: PJSIP/.*").matches(b"CallerIDName: M\xfcller\r\nChannel: PJSIP/1\r\n")


def test_a_set_and_a_class_know_characters_beyond_ascii(locale_of_the_process: str) -> None:
    assert Regex("M[üu]ller".encode()).matches("CallerIDName: Müller".encode())
    assert Regex(b"M[[:alpha:]]ller").matches("CallerIDName: Müller".encode())
    assert not Regex("M[üu]ller".encode()).matches("CallerIDName: Möller".encode())


def test_the_locale_of_the_thread_is_as_before(locale_of_the_process: str) -> None:
    query = ctypes.CDLL(None).uselocale
    query.restype = ctypes.c_void_p
    before = query(None)
    with pytest.raises(ValueError, match="does not compile"):
        Regex(b"[")
    assert Regex(b"a.c").matches("aüc".encode())
    assert query(None) == before


def test_the_memory_of_an_expression_is_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    freed: list[object] = []
    monkeypatch.setattr(regex._libc, "regfree", freed.append)
    kept = Regex(b"a.c").matches
    gc.collect()
    assert freed == []
    assert kept(b"abc")
    del kept
    gc.collect()
    assert len(freed) == 2  # one for C.UTF-8, one for C


PIECES = st.sampled_from(
    [*"abü.()|*+?^$\n", "[^b]", "[a-z]", "[[:alpha:]]", "\\w", "\\b", "\\1", "{1}", "{0,2}"]
)
TEXTS = st.lists(st.sampled_from([b"a", b"b", b"\n", b"_", "ü".encode(), b"\xfc", b"\x80"])).map(b"".join)


@given(st.lists(PIECES, max_size=8).map("".join), TEXTS)
@example("a+*", b"")
@example("b{0,2}", b"")
@example("\\bb", "üb".encode())
def test_the_short_cuts_say_what_glibc_says(pattern: str, text: bytes) -> None:
    try:
        short = Regex(pattern.encode())
    except ValueError:
        return
    straight = Regex(pattern.encode())
    straight._needed, straight._is_literal, straight._in_c = b"", False, None
    assert short.matches(text) == straight.matches(text)

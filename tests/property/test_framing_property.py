from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from amikafka_tail.ami.framing import END, GREETING, LOGIN_ACCEPTED, Framer
from tests.support.fuzzing import many

MANY = many(300)
PIECES = st.sampled_from(
    [
        b"Event: Hangup\r\nPrivilege: call,all",
        b"Event: FullyBooted\r\nPrivilege: system,all",
        b"Response: Success\r\nMessage: Authentication accepted",
        b"Message: Authentication accepted",
        b"\r",
        b"\n",
        b"\r\n",
        END,
        END,
        END,
        b"\0",
        b"x",
        b"X: \xff\xe4",
    ]
)
STREAMS = st.one_of(
    st.lists(PIECES, max_size=30).map(b"".join),
    st.lists(st.one_of(PIECES, st.binary(max_size=20)), max_size=20).map(b"".join),
    st.binary(max_size=200),
)


@st.composite
def cut_streams(draw: st.DrawFn) -> tuple[bytes, list[bytes]]:
    """A stream, and the same stream in pieces, some of which may be empty."""
    stream = draw(STREAMS)
    cuts = sorted(draw(st.lists(st.integers(0, len(stream)), max_size=12)))
    ends = [*cuts, len(stream)]
    return stream, [stream[start:end] for start, end in zip([0, *cuts], ends, strict=True)]


def single_bytes(stream: bytes) -> list[bytes]:
    return [bytes([byte]) for byte in stream]


def feed_all(framer: Framer, pieces: list[bytes]) -> tuple[list[tuple[int, bytes]], int]:
    """Feed the pieces; return the blocks with the positions that the framer gave them, and its last one."""
    placed = []
    for piece in pieces:
        blocks = framer.feed(piece)
        at = framer.first
        for block in blocks:
            placed.append((at, block))
            at += len(block) + len(END)
        if blocks:
            assert at == framer.position
    return placed, framer.position


def plain(stream: bytes) -> list[bytes]:
    """What the blocks are, said in the plainest way."""
    blocks = stream.split(END)[:-1]
    greeting_due = False
    for index, block in enumerate(blocks):
        blank = greeting_due and block.startswith(GREETING)
        greeting_due = LOGIN_ACCEPTED in block and not block.startswith(b"Event: ")
        if blank:
            blocks[index] = b" " * len(block)
    return blocks


@MANY
@given(cut_streams())
def test_cuts_do_not_matter(case: tuple[bytes, list[bytes]]) -> None:
    stream, pieces = case
    whole = feed_all(Framer(), [stream])
    assert feed_all(Framer(), pieces) == whole
    assert feed_all(Framer(), single_bytes(stream)) == whole
    assert [block for _, block in whole[0]] == plain(stream)


@MANY
@given(cut_streams(), st.integers(0, 10_000))
def test_every_block_stands_at_its_position(case: tuple[bytes, list[bytes]], start: int) -> None:
    stream, pieces = case
    framer = Framer(start)
    placed, position = feed_all(framer, pieces)
    for at, block in placed:
        found = stream[at - start : at - start + len(block) + len(END)]
        assert found == block + END or (block == b" " * len(block) and found.startswith(GREETING))
    assert stream[position - start :] == framer.held_back


@MANY
@given(cut_streams())
def test_in_block_is_the_stream_from_its_first_empty_line_on(case: tuple[bytes, list[bytes]]) -> None:
    stream, pieces = case
    framer = Framer(in_block=True)
    placed, position = feed_all(framer, pieces)
    assert framer.overlong == 0
    assert feed_all(Framer(in_block=True), single_bytes(stream)) == (placed, position)
    first_end = stream.find(END)
    if first_end < 0:
        assert placed == []
        assert len(framer.held_back) <= 3
    else:
        begin = first_end + len(END)
        assert (placed, position) == feed_all(Framer(begin), [stream[begin:]])


@MANY
@given(cut_streams(), st.one_of(PIECES, st.binary(max_size=6)), st.integers(0, 100))
def test_of_what_stood_before_three_bytes_may_belong_to_the_empty_line(
    case: tuple[bytes, list[bytes]], before: bytes, start: int
) -> None:
    stream, pieces = case
    placed, position = feed_all(Framer(start, in_block=True, before=before), pieces)
    known = before[-3:]
    end = (known + stream).find(END) + len(END) - len(known)
    if END not in known + stream:
        assert placed == []
        assert start <= position + 3 <= start + len(stream) + 3
    else:
        assert (placed, position) == feed_all(Framer(start + end), [stream[end:]])


@MANY
@given(cut_streams(), st.integers(1, 60), st.booleans())
def test_memory_is_bounded_and_only_what_is_overlong_is_missing(
    case: tuple[bytes, list[bytes]], max_block: int, in_block: bool
) -> None:
    stream, pieces = case
    framer = Framer(max_block=max_block, in_block=in_block)
    placed = []
    for piece in pieces:
        placed += feed_all(framer, [piece])[0]
        assert len(framer.held_back) <= max(max_block, 3)
    every, _ = feed_all(Framer(in_block=in_block), [stream])
    # Whether a login response was passed over decides about a greeting: compare what is certain.
    kept = dict(placed)
    missing = [block for at, block in every if at not in kept]
    assert all(len(block) + 3 > max_block for block in missing)
    assert len(missing) <= framer.overlong <= len(missing) + 1
    assert kept.keys() <= {at for at, _ in every}

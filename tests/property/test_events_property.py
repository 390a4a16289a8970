"""Events with empty lines inside values are whole however the stream was cut."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from amikafka_tail.ami.framing import END
from amikafka_tail.intake import stream_reader
from amikafka_tail.intake.stream_reader import IN_PIECES_MS, StreamReader
from amikafka_tail.journal.journal import Journal
from amikafka_tail.model.counters import Counters
from amikafka_tail.model.event import Event
from amikafka_tail.model.gaps import Gap
from amikafka_tail.model.identity import Identity
from amikafka_tail.model.replayable_source import Chunk, Unpublishable
from tests.support.fuzzing import many

MANY = many(60)
NOW = 1_795_426_158_000
PBX = Identity(entity_id="a", system_name="pbx", asterisk_version="22", hostname="vm")
OUR_ANSWERS = [
    b"Response: Success\r\nActionID: amikafka-ping\r\nPing: Pong\r\nTimestamp: 1.2",
    b"Response: Success\r\nPing: Pong\r\nTimestamp: 1.2",
    b"Response: Error\r\nActionID: amikafka-events\r\nMessage: Permission denied",
]
# What a value may go on with behind its empty line.
RESTS = [
    b"Tail: cut",
    b"Tail: cut\r\nOther: x",
    b"no colon",
    b"Event: Forged3",
    b"Event: Forged\r\nX: y\r\nPrivilege: call,all",
    b"Event: Forged\r\nPrivilege:call,all",
    b"event: Forged\r\nPrivilege: call,all",
    b"Event:Forged\r\nPrivilege: call,all",
    b"Privilege: call,all",
    b"Response: Success\r\nMessage: hi",
    b"Response: Success\r\nActionID: other\r\nMessage: hi",
    b"Response: Follows\r\nPrivilege: Command",
    b"Response",
    b"Asterisk Call Manager/9.0.0",
    b"Asterisk Call Manager/9.0.0\r\nResponse: Success\r\nMessage: Authentication accepted",
    b"\r\nTail: behind two empty lines",
    b"\r",
    b"\n",
    b"\nTail: x",
    b": ",
    b"E",
    b"x" * 200,
]
values = st.one_of(
    st.sampled_from([b"", b"plain", b"a: b", b"x" * 90, b"M\xfcller", b"one\rtwo", b"one\ntwo"]),
    st.lists(st.sampled_from(RESTS), min_size=1, max_size=3).map(lambda rests: END.join([b"one", *rests])),
)
lines = st.tuples(st.sampled_from([b"T", b"AppData", b"CallerIDName", b"After"]), values).map(b": ".join)
events = st.builds(
    lambda name, rows, ends: (
        b"\r\n".join([b"Event: " + name, b"Privilege: user,all", *rows]).rstrip(b"\r\n") + ends
    ),
    st.sampled_from([b"UserEvent", b"Newexten", b"Cdr"]),
    st.lists(lines, max_size=4),
    st.sampled_from([b"", b"", b"", b"\r\n", b"\r\n\r\n", b"\r\n\r\n\r\n"]),
)
blocks = st.lists(st.one_of(events, events, st.sampled_from(OUR_ANSWERS)), min_size=1, max_size=8)
Found = list[Event | Unpublishable]


class Clock:
    """The time of day, which goes on when the test says so."""

    def __init__(self) -> None:
        self.now_ms = NOW

    def __call__(self) -> int:
        return self.now_ms


@contextmanager
def journal(segment_bytes: int) -> Iterator[Journal]:
    with tempfile.TemporaryDirectory() as directory:
        made = Journal(Path(directory) / "journal", segment_bytes=segment_bytes, max_bytes=1 << 30)
        try:
            yield made
        finally:
            made.close()


def everything(reader: StreamReader) -> tuple[list[Chunk], Found]:
    chunks, found = [], []
    while (chunk := reader.read()) is not None:
        chunks.append(chunk)
        found += list(chunk.events)
    return chunks, found


def raws(found: Found) -> list[bytes]:
    assert not [each for each in found if isinstance(each, Unpublishable)]
    return [each.raw for each in found if type(each) is Event]


def expected(stream: list[bytes]) -> list[bytes]:
    return [block for block in stream if block.startswith(b"Event: ")]


def places(stream: list[bytes]) -> dict[int, bytes]:
    found, position = {}, 0
    for block in stream:
        if block.startswith(b"Event: "):
            found[position] = block
        position += len(block) + len(END)
    return found


@MANY
@given(stream=blocks, segment_bytes=st.sampled_from([60, 1 << 20]), data=st.data())
def test_events_with_empty_lines_are_whole_wherever_the_stream_is_cut(
    stream: list[bytes], segment_bytes: int, data: st.DataObject
) -> None:
    written = b"".join(block + END for block in stream)
    cuts = data.draw(st.lists(st.integers(2, len(written)), max_size=12))
    pieces = data.draw(st.sampled_from(["whole", "cut", "bytes"]))
    ends = sorted({1, *cuts}) if pieces == "cut" else [len(written)]
    if pieces == "bytes":
        ends = list(range(1, len(written) + 1))
    size = data.draw(st.sampled_from([7, 40, 32 * 1024]))
    clock = Clock()
    counters = Counters()
    whole = expected(stream)
    with journal(segment_bytes) as made:
        before = stream_reader.CHUNK
        stream_reader.CHUNK = size
        try:
            reader = StreamReader(made, 0, counters=counters, now_ms=clock)
            chunks: list[Chunk] = []
            found: Found = []
            position = 0
            for end in [*ends, len(written)]:
                made.append(written[position:end], clock.now_ms)
                position = end
                clock.now_ms += 1
                more = everything(reader)
                chunks += more[0]
                found += more[1]
            clock.now_ms += IN_PIECES_MS
            more = everything(reader)
            chunks += more[0]
            found += more[1]
            assert raws(found) == whole
            assert {each.position: each.raw for each in found if type(each) is Event} == places(stream)
            assert reader.position == reader.end
            assert reader.partial == b""
            assert counters.joined == sum(END in raw.rstrip(b"\r\n") for raw in whole)
            assert (counters.malformed, counters.torn) == (0, 0)
            # From every place that a checkpoint can name the rest is the same.
            every = sorted({chunk.end for chunk in chunks})
            for place in every[:: len(every) // 5 + 1]:
                rest = [raw for at, raw in places(stream).items() if at >= place]
                again = StreamReader(made, place, counters=Counters(), now_ms=clock)
                assert raws(everything(again)[1]) == rest
                reader.seek(place)
                assert raws(everything(reader)[1]) == rest
            assert counters.joined == sum(END in raw.rstrip(b"\r\n") for raw in whole)
        finally:
            stream_reader.CHUNK = before


@MANY
@given(stream=st.lists(events.map(bytes.rstrip), min_size=1, max_size=5), data=st.data())
def test_an_event_that_the_connection_cuts_off_is_never_published_in_part(
    stream: list[bytes], data: st.DataObject
) -> None:
    written = b"".join(block + END for block in stream)
    cut = data.draw(st.integers(1, len(written)))
    clock = Clock()
    after = b"Event: Last\r\nPrivilege: call,all"
    with journal(1 << 20) as made:
        made.begin_connection(PBX, NOW)
        reader = StreamReader(made, 0, counters=Counters(), now_ms=clock)
        made.append(written[:1], NOW)
        found = everything(reader)[1]
        made.append(written[1:cut], NOW)
        found += everything(reader)[1]
        made.begin_connection(PBX, NOW, lost_ms=NOW - 10)
        made.append(after + END, NOW)
        clock.now_ms += IN_PIECES_MS
        found += everything(reader)[1]
    *published, last = [each.raw for each in found if type(each) is Event]
    aside = [each.raw for each in found if isinstance(each, Unpublishable)]
    assert last == after
    assert [type(each) is Gap for each in found].count(True) == 1
    ends, position = [], 0
    for block in stream:
        position += len(block) + len(END)
        ends.append(position)
    done = [block for block, end in zip(stream, ends, strict=True) if end <= cut]
    begun = written[ends[len(done) - 1] if done else 0 : cut]
    assert published[: len(done)] == done
    if len(published) > len(done):
        # That it was cut at an empty line inside a value cannot be seen there.
        (more,) = published[len(done) :]
        assert begun.startswith(more)
        assert begun[len(more) :].startswith(END[:3])
        assert all(begun.endswith(each) for each in aside)
    else:
        assert aside == ([begun] if begun else [])


@MANY
@given(first=events, rest=st.sampled_from(RESTS), last=events)
def test_a_rest_that_comes_too_late_is_kept_and_is_no_event(first: bytes, rest: bytes, last: bytes) -> None:
    clock = Clock()
    with journal(1 << 20) as made:
        reader = StreamReader(made, 0, counters=Counters(), now_ms=clock)
        made.append(first + END, NOW)
        assert raws(everything(reader)[1]) == [first], "it comes at once: nothing was cut on this connection"
        made.append(rest + END + last + END, NOW)
        found = everything(reader)[1]
    published = [each.raw for each in found if type(each) is Event]
    assert published == [last]
    aside = [each for each in found if isinstance(each, Unpublishable)]
    assert [each.raw.strip(b"\r\n") for each in aside] == ([rest.strip(b"\r\n")] if rest.strip() else [])

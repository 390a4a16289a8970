"""Whatever is written to the journal, however it is cut, rolled, released and reopened: it is read back."""

from __future__ import annotations

import os
import shutil
import tempfile
from bisect import bisect_right
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from amikafka_tail.ami.framing import END
from amikafka_tail.journal.checkpoint import Checkpoint
from amikafka_tail.journal.journal import BOUNDARY, Journal
from amikafka_tail.model.identity import Identity
from tests.support.fuzzing import many

MANY = many(150)
DATA = st.one_of(
    st.binary(min_size=1, max_size=40),
    st.lists(
        st.sampled_from([b"Event: A\r\nX: 1", END, END, b"\r\n", b"\n", b"\0"]), min_size=1, max_size=8
    ).map(b"".join),
)
SEGMENTS = st.integers(1, 60)
NO_BOUND = 1 << 62


@contextmanager
def scratch() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as directory:
        yield Path(directory)


class JournalAgainstAList(RuleBasedStateMachine):
    """Holds the journal against the plainest thing that could do its job."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = Path(tempfile.mkdtemp())
        self.pipe_out, self.pipe_in = os.pipe2(os.O_NONBLOCK)
        self.journal: Journal | None = None
        self.written = b""
        self.released = 0
        self.now_ms = 1_795_426_158_000
        self.moments: list[tuple[int, int]] = []
        self.connections: list[tuple[int, Identity]] = []

    def teardown(self) -> None:
        if self.journal is not None:
            self.journal.close()
        os.close(self.pipe_out)
        os.close(self.pipe_in)
        shutil.rmtree(self.directory)

    def note(self, data: bytes) -> None:
        self.moments.append((len(self.written), self.now_ms))
        self.written += data

    @initialize(segment_bytes=SEGMENTS)
    def open(self, segment_bytes: int) -> None:
        self.journal = Journal(self.directory, segment_bytes=segment_bytes, max_bytes=NO_BOUND)

    @rule(data=DATA)
    def append(self, data: bytes) -> None:
        self.journal.append(data, self.now_ms)
        self.note(data)

    @rule(data=DATA, at_once=st.integers(1, 50))
    def splice(self, data: bytes, at_once: int) -> None:
        os.write(self.pipe_in, data)
        rest = data
        while rest:
            moved = self.journal.splice_from(self.pipe_out, min(at_once, len(rest)), self.now_ms)
            self.note(rest[:moved])
            rest = rest[moved:]

    @rule(version=st.text(max_size=5))
    def begin_connection(self, version: str) -> None:
        identity = Identity(entity_id="a", system_name="pbx", asterisk_version=version, hostname="vm")
        self.journal.begin_connection(identity, self.now_ms)
        self.connections.append((len(self.written), identity))
        self.note(BOUNDARY)

    @rule(ms=st.integers(1, 10_000))
    def let_time_pass(self, ms: int) -> None:
        self.now_ms += ms

    @rule()
    def roll(self) -> None:
        self.journal.roll()

    @rule(share=st.floats(0, 1))
    def release(self, share: float) -> None:
        self.released += int((len(self.written) - self.released) * share)
        self.journal.release(self.released)

    @rule(segment_bytes=SEGMENTS, half_a_moment=st.binary(max_size=15), half_a_note=st.booleans())
    def crash_and_reopen(self, segment_bytes: int, half_a_moment: bytes, half_a_note: bool) -> None:
        self.journal.close()
        with max(self.directory.glob("*.times")).open("r+b") as times:
            # Where the next moment would have stood.
            times.seek(times.seek(0, os.SEEK_END) // 16 * 16)
            times.write(half_a_moment)
        if half_a_note:
            with (self.directory / "connections.jsonl").open("ab") as notes:
                notes.write(b'{"offset": 0, "entity_id": "b", "system')
        self.journal = Journal(
            self.directory,
            segment_bytes=segment_bytes,
            max_bytes=NO_BOUND,
            checkpoint=Checkpoint(epoch=self.journal.epoch, offset=self.released),
        )

    @invariant()
    def it_ends_where_the_writing_ended(self) -> None:
        if self.journal is not None:
            assert self.journal.end == len(self.written)
            assert self.journal.start <= self.released
            assert self.journal.dropped == []

    @rule(size=st.integers(1, 100))
    def read_everything(self, size: int) -> None:
        position = self.journal.start
        while data := self.journal.read(position, size):
            assert data == self.written[position : position + len(data)]
            index = bisect_right(self.moments, (position, NO_BOUND)) - 1
            assert (
                self.journal.capture_times(position, position + len(data))[0].captured_ms
                == self.moments[index][1]
            )
            position += len(data)
            assert self.journal.next_readable(position) == position
        assert position == len(self.written)

    @rule(share=st.floats(0, 1))
    def look_who_it_was(self, share: float) -> None:
        start = self.released  # nobody asks about what is delivered
        position = start + int((len(self.written) - start) * share)
        known = [identity for offset, identity in self.connections if offset <= position]
        assert self.journal.identity_at(position) == (known[-1] if known else None)
        begins = [offset for offset, _ in self.connections]
        assert (self.journal.connection_in(position, position + 1) == position) == (position in begins)


def test_what_is_written_is_read_back_with_its_moments_and_connections() -> None:
    run_state_machine_as_test(JournalAgainstAList, settings=settings(MANY, stateful_step_count=30))


@MANY
@given(st.lists(DATA, max_size=60), SEGMENTS, st.integers(2, 6))
def test_a_full_journal_keeps_its_bound_and_its_newest_bytes(
    pieces: list[bytes], segment_bytes: int, segments: int
) -> None:
    written = b"".join(pieces)
    with scratch() as directory:
        journal = Journal(directory, segment_bytes=segment_bytes, max_bytes=segments * segment_bytes)
        try:
            for piece in pieces:
                journal.append(piece, 1)
                # A segment that is nearly full takes one more write whole.
                longest = max(map(len, pieces))
                assert journal.size < segments * segment_bytes + 2 * longest
            position = journal.start
            while data := journal.read(position, 1000):
                assert data == written[position : position + len(data)]
                position += len(data)
            assert position == len(written)
            ends = [dropped.end for dropped in journal.dropped]
            assert [dropped.start for dropped in journal.dropped] == [0, *ends][: len(ends)]
            assert [0, *ends][-1] == journal.start
        finally:
            journal.close()


@MANY
@given(st.lists(st.integers(1, 30), max_size=60), st.integers(1, 20), st.integers(4, 60))
def test_what_a_full_journal_loses_is_counted_exactly(
    lengths: list[int], move: int, segment_bytes: int
) -> None:
    written = b"".join(b"x" * length + END for length in lengths)
    with scratch() as directory:
        journal = Journal(directory, segment_bytes=segment_bytes, max_bytes=2 * segment_bytes)
        try:
            for start in range(0, len(written), move):
                journal.append(written[start : start + move], 1)
            # Those that ended there: one that has only begun there is found missing by the pipeline.
            assert sum(dropped.events for dropped in journal.dropped) == written[: journal.start].count(END)
        finally:
            journal.close()

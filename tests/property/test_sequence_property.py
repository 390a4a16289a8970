from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from amikafka_tail.ami.sequence import Sequence
from tests.support.fuzzing import many

# Mostly a counter that goes on, with copies, numbers out of order, jumps, and starts anew.
STEPS = st.lists(
    st.one_of(st.integers(-3, 3), st.integers(-12, 12), st.sampled_from(["restart", "flush"])), max_size=60
)


class Remembering:
    """The same said in the plainest way: it forgets no number until the window has left it."""

    def __init__(self, window: int) -> None:
        self.window = window
        self.seen: dict[int, bytes] = {}
        self.lowest = 0
        self.highest: int | None = None
        self.duplicates = self.gaps = self.restarts = 0

    def is_new(self, number: int, raw: bytes) -> bool:
        if self.highest is not None:
            is_old = number <= self.highest - self.window
            if is_old or self.seen.get(number, raw) != raw:
                self.flush()
                self.restarts += 1
                self.highest = None
            elif number in self.seen:
                self.duplicates += 1
                return False
        if self.highest is None:
            self.seen = {}
            self.lowest = self.highest = number
        self.end_at(max(self.highest, number))
        self.lowest = min(self.lowest, number)
        self.seen[number] = raw
        return True

    def flush(self) -> None:
        if self.highest is not None:
            self.end_at(self.highest + self.window)

    def end_at(self, highest: int) -> None:
        assert self.highest is not None
        for left in range(self.highest - self.window + 1, highest - self.window + 1):
            self.gaps += left > self.lowest and left not in self.seen
            self.seen.pop(left, None)
        self.highest = highest


@many(300)
@given(STEPS, st.integers(1, 7), st.integers(0, 100))
def test_a_ring_of_numbers_says_what_one_that_remembers_all_says(
    steps: list[int | str], window: int, number: int
) -> None:
    sequence, plain = Sequence(window), Remembering(window)
    run = 0
    for step in steps:
        if step == "flush":
            sequence.flush()
            plain.flush()
        elif step == "restart":
            run, number = run + 1, 0
        else:
            number = max(0, number + int(step))
            raw = b"%d of %d" % (number, run)
            assert sequence.is_new(number, raw) == plain.is_new(number, raw)
        assert (sequence.duplicates, sequence.gaps, sequence.restarts, sequence.highest) == (
            plain.duplicates,
            plain.gaps,
            plain.restarts,
            plain.highest,
        )


@many(300)
@given(st.sets(st.integers(1, 60), max_size=40), st.integers(1, 5))
def test_every_missing_number_is_told_once(missing: set[int], window: int) -> None:
    sequence = Sequence(window)
    told = []
    # What follows is long enough for every row to end, and to leave the window.
    for number in sorted(set(range(62 + 2 * window)) - missing):
        before = sequence.gaps
        sequence.is_new(number, b"%d" % number)
        told.append(sequence.ended_gap())
        assert told[-1] == 0 or sequence.gaps == before, "the row goes on"
    assert sum(told) == sequence.gaps == len(missing)

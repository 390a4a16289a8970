from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from amikafka_tail.ami.sequence import LATE_MS, LATE_NUMBERS, Sequence
from tests.support.fuzzing import many


@dataclass(frozen=True)
class Later:
    """Time passes; less than none where the clock is set back."""

    ms: int


# Mostly a counter that goes on, with copies, numbers out of order, jumps, starts anew, and time that passes.
STEPS = st.lists(
    st.one_of(
        st.integers(-3, 3),
        st.integers(-12, 12),
        st.sampled_from(["restart", "flush", "forget", "close", "clock"]),
        st.sampled_from([-LATE_MS, 1, LATE_MS - 1, LATE_MS]).map(Later),
    ),
    max_size=60,
)


class Remembering:
    """The same said in the plainest way: no ring, and nothing that is kept in order to be fast."""

    def __init__(self, window: int) -> None:
        self.window = window
        self.seen: dict[int, bytes] = {}
        self.floor = 0
        self.highest: int | None = None
        self.duplicates = self.gaps = self.restarts = self.told = self.counted = 0
        self.jumps: dict[int, int | None] = {}

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
            self.floor = self.highest = number
        if number > self.highest + 1:
            self.jumps[number] = None
        self.end_at(max(self.highest, number))
        self.seen[number] = raw
        return True

    def flush(self) -> None:
        if self.highest is not None:
            self.end_at(self.highest + self.window)
        self.jumps = {}

    def end_at(self, highest: int) -> None:
        assert self.highest is not None
        self.give_up(highest - self.window + 1)
        self.seen = {number: raw for number, raw in self.seen.items() if number > highest - self.window}
        self.jumps = {number: since for number, since in self.jumps.items() if number > highest - self.window}
        self.highest = highest

    def give_up(self, end: int) -> None:
        """Count what is missing before a number."""
        self.gaps += sum(number not in self.seen for number in range(self.floor + 1, end))
        self.floor = max(self.floor, end - 1)

    def ended_gap(self, now_ms: int | None) -> int:
        if now_ms is not None:
            self.jumps = {
                number: now_ms if since is None or since > now_ms else since
                for number, since in self.jumps.items()
            }
            for number, since in sorted(self.jumps.items()):
                if since is not None and since + LATE_MS <= now_ms:
                    self.give_up(number)
                    del self.jumps[number]
        if self.gaps != self.counted:
            self.counted = self.gaps
            return 0
        return self.tell()

    def close(self) -> int:
        for number in sorted(self.jumps):
            if number + LATE_NUMBERS <= (self.highest or 0):
                self.give_up(number)
                del self.jumps[number]
        self.counted = self.gaps
        return self.tell()

    def tell(self) -> int:
        missing, self.told = self.gaps - self.told, self.gaps
        return missing

    def forget_counts(self) -> None:
        self.duplicates = self.gaps = self.restarts = self.counted = self.told = 0


def compare(steps: list[int | str | Later], window: int, number: int, is_timed: bool) -> None:
    sequence, plain = Sequence(window), Remembering(window)
    run, now_ms = 0, 1_795_426_158_000
    for step in steps:
        if isinstance(step, Later):
            now_ms += step.ms
        elif step == "clock":
            is_timed = not is_timed  # as where some events have no time
        elif step == "flush":
            sequence.flush()
            plain.flush()
        elif step == "forget":
            sequence.forget_counts()
            plain.forget_counts()
        elif step == "close":
            assert sequence.close() == plain.close()
        elif step == "restart":
            run, number = run + 1, 0
        else:
            number = max(0, number + int(step))
            raw = b"%d of %d" % (number, run)
            assert sequence.is_new(number, raw) == plain.is_new(number, raw)
            assert sequence.has_holes == (bool(plain.jumps) or plain.gaps != plain.told)
            assert sequence.ended_gap(*[now_ms] * is_timed) == plain.ended_gap(now_ms if is_timed else None)
        assert (sequence.duplicates, sequence.gaps, sequence.restarts, sequence.highest) == (
            plain.duplicates,
            plain.gaps,
            plain.restarts,
            plain.highest,
        )


@many(400)
@given(STEPS, st.integers(1, 12), st.integers(0, 100), st.booleans())
def test_a_ring_of_numbers_says_what_one_that_remembers_all_says(
    steps: list[int | str | Later], window: int, number: int, is_timed: bool
) -> None:
    compare(steps, window, number, is_timed)


@many(100)
@given(STEPS, st.integers(LATE_NUMBERS, 2 * LATE_NUMBERS), st.data())
def test_what_is_late_at_the_end_is_told_apart_from_what_is_lost(
    steps: list[int | str | Later], window: int, data: st.DataObject
) -> None:
    jump = data.draw(st.integers(LATE_NUMBERS - 15, LATE_NUMBERS + 15))
    compare([*steps, jump, "close", *steps, "close"], window, 0, True)


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

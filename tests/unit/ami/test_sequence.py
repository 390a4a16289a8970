from __future__ import annotations

from amikafka_tail.ami.sequence import LATE_MS, LATE_NUMBERS, WINDOW, Sequence


def raw(number: int, run: int = 1) -> bytes:
    return b"Event: A\r\nRun: %d\r\nSequenceNumber: %d" % (run, number)


def new(sequence: Sequence, *numbers: int, run: int = 1) -> list[int]:
    return [number for number in numbers if sequence.is_new(number, raw(number, run))]


def test_copies_are_told_apart_in_whatever_order_sessions_print() -> None:
    sequence = Sequence()
    assert new(sequence, 5, 5, 6, 7, 6, 8, 7, 8) == [5, 6, 7, 8]
    assert (sequence.duplicates, sequence.gaps, sequence.restarts) == (4, 0, 0)


def test_numbers_out_of_order_are_no_copies() -> None:
    sequence = Sequence()
    assert new(sequence, 1, 3, 2, 3, 2) == [1, 3, 2]
    sequence.flush()
    assert sequence.gaps == 0


def test_a_session_that_lags_fills_the_gap_of_one_that_came_later() -> None:
    sequence = Sequence()
    assert new(sequence, 1, 9, 10, 2, 3, 4, 5, 6, 7, 8, 9, 10) == [1, 9, 10, 2, 3, 4, 5, 6, 7, 8]


def test_what_never_comes_is_a_gap_once_it_is_too_late() -> None:
    sequence = Sequence(window=4)
    new(sequence, 1, 2, 5)
    assert sequence.gaps == 0
    new(sequence, 6, 7, 8)
    assert sequence.gaps == 2


def test_a_jump_over_more_than_the_window_is_counted_whole() -> None:
    sequence = Sequence(window=4)
    assert new(sequence, 1, 100) == [1, 100]
    sequence.flush()
    assert sequence.gaps == 98


def test_what_came_before_the_first_number_is_no_gap() -> None:
    sequence = Sequence(window=4)
    new(sequence, *range(1000, 1010))
    sequence.flush()
    assert sequence.gaps == 0


def test_an_event_that_comes_1306_numbers_late_is_no_loss() -> None:
    sequence = Sequence()
    order = [number for number in range(60_000) if number % 1000]
    for late in range(0, 60_000, 1000):
        order.insert(min(late + 1306, len(order)), late)
    lost = 0
    for place, number in enumerate(order):
        assert sequence.is_new(number, raw(number))
        lost += sequence.ended_gap(place // 30)
    assert (lost, sequence.close(), sequence.duplicates, sequence.restarts) == (0, 0, 0, 0)


def test_a_hole_is_told_after_seconds_however_few_numbers_follow() -> None:
    sequence = Sequence()
    told = []
    for number in (1, 2, 5, 6, 9, 10, 11, 12, 13):
        sequence.is_new(number, raw(number))
        told.append(sequence.ended_gap(number * 1000))
    assert told == [0, 0, 0, 0, 0, 0, 2, 0, 0]
    for number in (14, 15, 16):
        sequence.is_new(number, raw(number))
        told.append(sequence.ended_gap(number * 1000))
    assert sum(told) == 4
    assert not sequence.has_holes


def test_a_clock_that_is_set_back_puts_the_end_of_a_hole_off() -> None:
    sequence = Sequence()
    told = []
    for number, now_ms in ((1, 90_000), (3, 91_000), (4, 1_000), (5, 5_000), (6, 6_000), (7, 6_100)):
        sequence.is_new(number, raw(number))
        told.append(sequence.ended_gap(now_ms))
    assert told == [0, 0, 0, 0, 0, 1]


def test_what_comes_after_it_was_given_up_is_published_and_counted_once() -> None:
    sequence = Sequence()
    new(sequence, 1, 3)
    sequence.ended_gap(0)
    new(sequence, 4)
    sequence.ended_gap(LATE_MS)
    assert new(sequence, 2) == [2]
    sequence.flush()
    assert sequence.gaps == 1


def test_at_the_end_of_a_file_only_what_may_still_come_late_is_not_counted() -> None:
    sequence = Sequence()
    new(sequence, 1, *range(5, 5 + LATE_NUMBERS + 1))
    assert sequence.close() == 3
    new(sequence, 9000)
    assert sequence.close() == 0


def test_an_asterisk_that_starts_again_counts_from_the_beginning() -> None:
    sequence = Sequence()
    new(sequence, 5, 6, 7)
    assert new(sequence, 0, 1, 2, run=2) == [0, 1, 2]
    assert new(sequence, 5, 6, 7, run=2) == [5, 6, 7]
    assert sequence.restarts == 1
    assert sequence.duplicates == 0


def test_a_start_far_behind_is_known_without_comparing() -> None:
    sequence = Sequence(window=4)
    new(sequence, 100, 101)
    assert new(sequence, 0, 1, 2) == [0, 1, 2]
    assert sequence.restarts == 1


def test_a_first_number_that_is_lower_in_the_window_is_new() -> None:
    sequence = Sequence()
    assert new(sequence, 3, 1, 2, 3) == [3, 1, 2]


def test_the_window_is_as_long_as_it_says() -> None:
    for window in (2, 4, WINDOW):
        sequence = Sequence(window)
        assert new(sequence, window, 1) == [window, 1]
        assert (sequence.restarts, sequence.duplicates) == (0, 0)
        assert new(sequence, 0) == [0]
        assert sequence.restarts == 1


def test_a_session_may_lag_by_eight_thousand_events() -> None:
    assert WINDOW >= 8192


def test_a_row_of_missing_numbers_is_told_once_it_has_ended() -> None:
    sequence = Sequence(window=4)
    told = []
    for number in (1, 2, 6, 7, 8, 9, 10, 11, 13, 14, 15, 16, 17, 18):
        sequence.is_new(number, raw(number))
        told.append((number, sequence.ended_gap()))
    assert [each for each in told if each[1] != 0] == [(10, 3), (17, 1)]

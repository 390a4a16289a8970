from __future__ import annotations

from amikafka_tail.delivery.ledger import UNKNOWN, DeliveryToken, Ledger


class InFlight:
    """The messages of one chunk, as a producer has them: each holds on to the chunk's callback."""

    def __init__(self, ledger: Ledger, start: int, end: int, messages: int) -> None:
        self.receipt = ledger.open(start, end)
        self._callbacks = [DeliveryToken(self.receipt)] * messages

    def deliver(self, times: int = 1) -> None:
        del self._callbacks[:times]

    def fail(self) -> None:
        self._callbacks.pop()("error", "message")


def sent(ledger: Ledger, start: int, end: int, messages: int) -> InFlight:
    """Open a chunk's receipt, and give up the sender's hold as when all its messages are sent."""
    chunk = InFlight(ledger, start, end, messages)
    chunk.receipt.settle_one()
    return chunk


def test_a_ledger_begins_where_it_is_told() -> None:
    ledger = Ledger(4711)
    assert (ledger.position, ledger.settle(), ledger.open_receipts) == (4711, 0, 0)


def test_a_chunk_is_released_when_its_last_message_is_delivered() -> None:
    ledger = Ledger(0)
    chunk = sent(ledger, 0, 100, messages=3)
    chunk.deliver(2)
    assert (ledger.settle(), ledger.position) == (0, 0)
    chunk.deliver()
    assert (ledger.settle(), ledger.position, ledger.open_receipts) == (1, 100, 0)


def test_a_chunk_is_held_until_its_last_message_is_sent() -> None:
    ledger = Ledger(0)
    chunk = InFlight(ledger, 0, 100, messages=1)
    chunk.deliver()
    assert ledger.settle() == 0
    chunk.receipt.settle_one()
    assert (ledger.settle(), ledger.position) == (1, 100)


def test_a_chunk_without_messages_is_released_once_it_is_through() -> None:
    ledger = Ledger(0)
    sent(ledger, 0, 100, messages=0)
    assert (ledger.settle(), ledger.position) == (1, 100)


def test_a_late_delivery_holds_back_later_offsets() -> None:
    ledger = Ledger(0)
    late = sent(ledger, 0, 100, messages=1)
    sent(ledger, 100, 200, messages=1).deliver()
    sent(ledger, 200, 300, messages=1).deliver()
    assert (ledger.settle(), ledger.position, ledger.open_receipts) == (0, 0, 3)
    late.deliver()
    assert (ledger.settle(), ledger.position, ledger.open_receipts) == (3, 300, 0)


def test_only_the_leading_chunks_are_released() -> None:
    ledger = Ledger(0)
    sent(ledger, 0, 100, messages=1).deliver()
    missing = sent(ledger, 100, 200, messages=1)
    sent(ledger, 200, 300, messages=1).deliver()
    assert (ledger.settle(), ledger.position) == (1, 100)
    missing.deliver()
    assert (ledger.settle(), ledger.position) == (2, 300)


def test_what_lies_between_two_chunks_is_released_with_the_later_one() -> None:
    ledger = Ledger(0)
    sent(ledger, 50, 100, messages=1).deliver()
    sent(ledger, 700, 800, messages=1).deliver()
    ledger.settle()
    assert ledger.position == 800


def test_a_failed_delivery_is_noted_and_holds_its_chunk() -> None:
    ledger = Ledger(0)
    chunk = sent(ledger, 0, 100, messages=1)
    chunk.fail()
    assert [tuple(failure) for failure in ledger.failures] == [
        (chunk.receipt, "error", "message", None, UNKNOWN)
    ]
    assert (ledger.settle(), ledger.position) == (0, 0)


def test_a_message_that_is_given_up_holds_its_chunk_no_more() -> None:
    ledger = Ledger(0)
    chunk = sent(ledger, 0, 100, messages=2)
    chunk.deliver()
    chunk.fail()
    assert ledger.settle() == 0
    ledger.failures.pop().receipt.settle_one()
    assert (ledger.settle(), ledger.position) == (1, 100)


def test_abandoning_goes_back_to_what_is_delivered() -> None:
    ledger = Ledger(0)
    sent(ledger, 0, 100, messages=1).deliver()
    _in_flight = sent(ledger, 100, 200, messages=1)
    sent(ledger, 200, 300, messages=1).deliver()
    ledger.settle()
    assert ledger.abandon() == 100
    assert (ledger.open_receipts, ledger.failures, ledger.position) == (0, [], 100)


def test_what_is_delivered_but_not_settled_is_abandoned_too() -> None:
    ledger = Ledger(0)
    sent(ledger, 0, 100, messages=1).deliver()
    assert ledger.finished
    assert ledger.end == 100
    assert ledger.abandon() == 0
    assert not ledger.finished


def test_reports_for_abandoned_chunks_change_nothing() -> None:
    ledger = Ledger(0)
    delivered, failed = (sent(ledger, start, start + 100, messages=1) for start in (0, 100))
    ledger.abandon()
    again = sent(ledger, 0, 100, messages=1)
    delivered.deliver()
    failed.fail()
    assert (ledger.settle(), ledger.position, ledger.failures) == (0, 0, [])
    again.deliver()
    assert (ledger.settle(), ledger.position) == (1, 100)

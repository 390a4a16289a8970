from __future__ import annotations

from amikafka_tail.ledger import Ledger, Receipt


def deliver(receipt: Receipt, times: int = 1) -> None:
    for _ in range(times):
        receipt.report(None, None)


def sent(ledger: Ledger, start: int, end: int, messages: int) -> Receipt:
    """Open a chunk's receipt, and give up its own hold as when all its messages are sent."""
    receipt = ledger.open(start, end)
    receipt.pending += messages
    receipt.settle_one()
    return receipt


def test_a_ledger_begins_where_it_is_told() -> None:
    ledger = Ledger(4711)
    assert (ledger.position, ledger.settle(), ledger.open_receipts) == (4711, 0, 0)


def test_a_chunk_is_released_when_its_last_message_is_delivered() -> None:
    ledger = Ledger(0)
    receipt = sent(ledger, 0, 100, messages=3)
    deliver(receipt, 2)
    assert (ledger.settle(), ledger.position) == (0, 0)
    deliver(receipt)
    assert (ledger.settle(), ledger.position, ledger.open_receipts) == (1, 100, 0)


def test_a_chunk_is_held_until_its_last_message_is_sent() -> None:
    ledger = Ledger(0)
    receipt = ledger.open(0, 100)
    receipt.pending += 1
    deliver(receipt)
    assert ledger.settle() == 0
    receipt.settle_one()
    assert (ledger.settle(), ledger.position) == (1, 100)


def test_a_chunk_without_messages_is_released_once_it_is_through() -> None:
    ledger = Ledger(0)
    sent(ledger, 0, 100, messages=0)
    assert (ledger.settle(), ledger.position) == (1, 100)


def test_a_late_delivery_holds_back_later_offsets() -> None:
    ledger = Ledger(0)
    late = sent(ledger, 0, 100, messages=1)
    deliver(sent(ledger, 100, 200, messages=1))
    deliver(sent(ledger, 200, 300, messages=1))
    assert (ledger.settle(), ledger.position, ledger.open_receipts) == (0, 0, 3)
    deliver(late)
    assert (ledger.settle(), ledger.position, ledger.open_receipts) == (3, 300, 0)


def test_only_the_leading_chunks_are_released() -> None:
    ledger = Ledger(0)
    deliver(sent(ledger, 0, 100, messages=1))
    missing = sent(ledger, 100, 200, messages=1)
    deliver(sent(ledger, 200, 300, messages=1))
    assert (ledger.settle(), ledger.position) == (1, 100)
    deliver(missing)
    assert (ledger.settle(), ledger.position) == (2, 300)


def test_what_lies_between_two_chunks_is_released_with_the_later_one() -> None:
    ledger = Ledger(0)
    deliver(sent(ledger, 50, 100, messages=1))
    deliver(sent(ledger, 700, 800, messages=1))
    ledger.settle()
    assert ledger.position == 800


def test_a_failed_delivery_is_noted_and_holds_its_chunk() -> None:
    ledger = Ledger(0)
    receipt = sent(ledger, 0, 100, messages=1)
    receipt.report("error", "message")
    assert [tuple(failure) for failure in ledger.failures] == [(receipt, "error", "message")]
    assert (ledger.settle(), ledger.position) == (0, 0)


def test_a_message_that_is_given_up_holds_its_chunk_no_more() -> None:
    ledger = Ledger(0)
    receipt = sent(ledger, 0, 100, messages=2)
    deliver(receipt)
    receipt.report("error", "message")
    ledger.failures.pop().receipt.settle_one()
    assert (ledger.settle(), ledger.position) == (1, 100)


def test_abandoning_goes_back_to_what_is_delivered() -> None:
    ledger = Ledger(0)
    deliver(sent(ledger, 0, 100, messages=1))
    sent(ledger, 100, 200, messages=1)
    deliver(sent(ledger, 200, 300, messages=1))
    ledger.settle()
    assert ledger.abandon() == 100
    assert (ledger.open_receipts, ledger.failures, ledger.position) == (0, [], 100)


def test_what_is_delivered_but_not_settled_is_abandoned_too() -> None:
    ledger = Ledger(0)
    deliver(sent(ledger, 0, 100, messages=1))
    assert ledger.finished
    assert ledger.end == 100
    assert ledger.abandon() == 0
    assert not ledger.finished


def test_reports_for_abandoned_chunks_change_nothing() -> None:
    ledger = Ledger(0)
    delivered, failed = (sent(ledger, start, start + 100, messages=1) for start in (0, 100))
    ledger.abandon()
    again = sent(ledger, 0, 100, messages=1)
    deliver(delivered)
    failed.report("error", "message")
    assert (ledger.settle(), ledger.position, ledger.failures) == (0, 0, [])
    deliver(again)
    assert (ledger.settle(), ledger.position) == (1, 100)

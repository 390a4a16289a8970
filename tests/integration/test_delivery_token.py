"""What `DeliveryToken` relies on, asked of confluent-kafka and librdkafka themselves."""

from __future__ import annotations

import gc
import logging
import time
from collections.abc import Callable

import pytest

from amikafka_tail.delivery.ledger import DeliveryToken, Ledger
from amikafka_tail.kafka.mock import MockKafka
from amikafka_tail.kafka.producer import KafkaError, KafkaException, Producer

BOUND = 30.0
NOWHERE = "127.0.0.1:1"
NOW = 1_795_426_158_000


def producer(address: str, **properties: str) -> Producer:
    named = {name.replace("_", "."): value for name, value in properties.items()}
    return Producer(
        {"bootstrap.servers": address, **named},
        logger=logging.getLogger("test.librdkafka"),
        on_error=lambda _text: None,
    )


def send(through: Producer, ledger: Ledger, messages: int, *, value: bytes = b"x") -> None:
    """Send a chunk as the pipeline does: the token is of all its messages."""
    receipt = ledger.open(ledger.end, ledger.end + 100)
    token = DeliveryToken(receipt)
    for _ in range(messages):
        through.produce("tokens", value, None, -1, token, token, NOW, [("a", b"b")])
    del token
    receipt.settle_one()


def wait_until(is_so: Callable[[], object]) -> None:
    until = time.monotonic() + BOUND
    while not is_so():
        assert time.monotonic() < until
        time.sleep(0.005)


def test_a_chunk_is_finished_when_and_only_when_all_of_its_messages_are_reported(kafka: MockKafka) -> None:
    ledger = Ledger(0)
    through = producer(kafka.address)
    send(through, ledger, 100)
    assert not ledger.finished
    while len(through):
        assert not ledger.finished, "messages are under way"
        through.poll(0.05)
    assert ledger.finished
    assert (ledger.settle(), ledger.position, ledger.failures) == (1, 100, [])


def test_a_failed_message_leaves_its_chunk_unfinished_for_good() -> None:
    ledger = Ledger(0)
    through = producer(NOWHERE, message_timeout_ms="100")
    send(through, ledger, 3)
    wait_until(lambda: through.poll(0.05) == 0 and not len(through))
    assert [failure.error.code() for failure in ledger.failures] == [KafkaError._MSG_TIMED_OUT] * 3
    assert not ledger.finished
    for failure in ledger.failures:
        failure.receipt.settle_one()
    assert ledger.finished


def test_a_message_that_is_refused_at_once_leaves_no_reference_behind() -> None:
    ledger = Ledger(0)
    through = producer(NOWHERE, message_max_bytes="1000")
    receipt = ledger.open(0, 100)
    token = DeliveryToken(receipt)
    with pytest.raises(KafkaException):
        through.produce("tokens", b"x" * 5_000, None, -1, token, token, NOW, [])
    assert receipt.pending == 2, "the sender, and its own token"
    del token
    assert receipt.pending == 1


def test_a_message_for_which_there_is_no_room_leaves_no_reference_behind() -> None:
    ledger = Ledger(0)
    through = producer(NOWHERE, queue_buffering_max_messages="1")
    receipt = ledger.open(0, 100)
    token = DeliveryToken(receipt)
    through.produce("tokens", b"x", None, -1, DeliveryToken(receipt), None, NOW, [])
    with pytest.raises(BufferError):
        through.produce("tokens", b"x", None, -1, token, token, NOW, [])
    del token
    assert receipt.pending == 2, "the sender, and the message that is under way"


@pytest.mark.parametrize("messages", [1, 50])
def test_what_a_discarded_producer_had_is_not_delivered(messages: int) -> None:
    ledger = Ledger(0)
    through = producer(NOWHERE)
    send(through, ledger, messages)
    failures = ledger.failures
    through.discard()
    wait_until(lambda: len(failures) == messages)
    assert not ledger.finished
    assert {failure.error.code() for failure in failures} == {KafkaError._PURGE_QUEUE}


def test_what_a_destroyed_producer_had_is_not_delivered() -> None:
    ledger = Ledger(0)
    through = producer(NOWHERE)
    send(through, ledger, 5)
    del through
    gc.collect()
    assert not ledger.finished

"""What stands in the producer's place and prints."""

from __future__ import annotations

import io
import json
from base64 import b64decode

import pytest

from amikafka_tail.delivery.ledger import DeliveryToken, Ledger
from amikafka_tail.delivery.printer import Message, Printer, as_json

HEADERS = [("event_type", b"Hangup"), ("format", b"json")]


def message(value: bytes, key: bytes | None = b"Hangup") -> Message:
    return Message("events", key, value, HEADERS, 1_795_426_158_220)


def test_a_message_is_a_line_of_json() -> None:
    assert as_json(message(b'{"Cause":"16"}')) == (
        '{"topic":"events","key":"Hangup","headers":[["event_type","Hangup"],["format","json"]],'
        '"value":"{\\"Cause\\":\\"16\\"}"}'
    )
    assert json.loads(as_json(message(b"", key=None)))["key"] is None


def test_a_value_that_is_no_text_is_base64() -> None:
    fields = json.loads(as_json(message(b"\x00\xff")))
    assert b64decode(fields["value_base64"]) == b"\x00\xff"
    assert "value" not in fields


def test_the_line_has_no_control_character_and_says_the_same() -> None:
    controls = "".join(map(chr, [*range(32), *range(127, 160), 0x2028, 0x202E, 0x2066]))
    line = as_json(message(controls.encode(), key=controls.encode()))
    assert not set(controls) & set(line)
    assert json.loads(line)["value"] == json.loads(line)["key"] == controls


def test_what_is_printed_is_delivered_and_no_more_than_wanted_is_taken() -> None:
    out = io.StringIO()
    printer = Printer(out, lambda shown: shown.value.decode(), most=2)
    ledger = Ledger(0)
    receipt = ledger.open(0, 10)

    def produce(value: bytes) -> None:
        report = DeliveryToken(receipt)
        printer.produce("events", value, None, -1, report, report, 0, HEADERS)

    produce(b"a")
    assert not printer.is_done
    produce(b"b")
    assert printer.is_done
    with pytest.raises(BufferError):
        produce(b"c")
    assert out.getvalue() == "a\nb\n"
    receipt.settle_one()
    assert (ledger.settle(), ledger.position) == (1, 10)
    assert printer.printed == 2

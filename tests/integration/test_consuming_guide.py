"""docs/consuming.md: its Python examples, run as they are written."""

from __future__ import annotations

import io
import json
from contextlib import redirect_stdout

import confluent_kafka
import pytest

from amikafka_tail.kafka.mock import MockKafka
from tests.support.markdown import PROJECT, blocks

GUIDE = PROJECT / "docs" / "consuming.md"
HANGUPS, DURATIONS = blocks(GUIDE, "python")
CALL = "pbx-01-1.0"


def publish(kafka: MockKafka, *events: tuple[int, dict[str, str]]) -> None:
    producer = confluent_kafka.Producer({"bootstrap.servers": kafka.address})
    for second, event in events:
        producer.produce(
            "asterisk_ami",
            json.dumps(event).encode(),
            event.get("Linkedid", event["Event"]).encode(),
            headers=[("event_type", event["Event"].encode()), ("hostname", b"pbx-01")],
            timestamp=1_700_000_000_000 + second * 1000,
        )
    assert producer.flush(20) == 0


def channel(name: str, number: str, **more: str) -> dict[str, str]:
    return {"Event": name, "Uniqueid": number, "Linkedid": CALL, "Channel": f"PJSIP/{number}", **more}


def printed(example: str, kafka: MockKafka) -> list[str]:
    text = example.replace("localhost:9092", kafka.address).replace("poll(10)", "poll(6)")
    out = io.StringIO()
    with redirect_stdout(out):
        exec(text, {})
    return out.getvalue().splitlines()


def test_the_hangups_are_printed() -> None:
    kafka = MockKafka()
    publish(
        kafka,
        (0, channel("Newchannel", "1.0")),
        (5, channel("Hangup", "1.0", Cause="16")),
        (6, {"Event": "PeerStatus"}),
    )
    # Somebody else's message, without headers, ends nothing.
    producer = confluent_kafka.Producer({"bootstrap.servers": kafka.address})
    producer.produce("asterisk_ami", b"not json")
    assert producer.flush(20) == 0
    assert printed(HANGUPS.text, kafka) == ["PJSIP/1.0 16 pbx-01"]


@pytest.mark.parametrize(
    ("gap", "lines"), [(False, [f"{CALL} 42.0 s"]), (True, [])], ids=["a whole call", "a gap within"]
)
def test_a_call_lasts_from_its_first_channel_to_its_last_hangup(gap: bool, lines: list[str]) -> None:
    kafka = MockKafka()
    publish(
        kafka,
        (0, channel("Newchannel", "1.0")),
        (1, channel("Newchannel", "1.1")),
        (40, channel("Hangup", "1.1")),
        *[(41, {"Event": "AmikafkaGap", "Linkedid": CALL, "Reason": "Disconnected"})] * gap,
        (42, channel("Hangup", "1.0")),
    )
    assert printed(DURATIONS.text, kafka) == lines

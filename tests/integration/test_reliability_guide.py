"""docs/reliability.md says nothing that is not so."""

from __future__ import annotations

import io
import re
from contextlib import redirect_stdout
from pathlib import Path

import confluent_kafka
import pytest

from amikafka_tail.kafka.mock import MockKafka
from amikafka_tail.model.counters import Counters
from amikafka_tail.model.gaps import Reason

PROJECT = Path(__file__).parents[2]
GUIDE = (PROJECT / "docs" / "reliability.md").read_text()


def test_the_consumer_prints_each_event_once() -> None:
    (example,) = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)
    kafka = MockKafka()
    producer = confluent_kafka.Producer({"bootstrap.servers": kafka.address})
    for number in (1, 2, 2, 3, 1, 4):
        headers = [("event_type", b"A"), ("event_id", b"a/e/%d" % number)]
        producer.produce("asterisk_ami", b"%d" % number, b"A", headers=headers)
    assert producer.flush(20) == 0
    example = example.replace("localhost:9092", kafka.address).replace("poll(10)", "poll(6)")
    assert len(example.strip().splitlines()) < 15
    out = io.StringIO()
    with redirect_stdout(out):
        exec(example, {})
    assert out.getvalue().split() == ["1", "2", "3", "4"]


@pytest.mark.parametrize("reason", Reason.__args__)  # type: ignore[attr-defined]
def test_every_reason_of_a_gap_is_in_the_guide_and_in_the_manual(reason: str) -> None:
    assert f"`{reason}`" in GUIDE
    assert reason in (PROJECT / "docs" / "man" / "ami_kafka.conf.5").read_text()


def test_every_counter_that_it_names_is_one() -> None:
    table = GUIDE.partition("## Loss is never silent")[2].partition("\n## ")[0]
    named = {
        name
        for row in table.splitlines()
        if row.count("|") == 5
        for name in re.findall(r"`(\w+)`", row.split("|")[3])
    }
    assert named
    assert named <= set(Counters.__dataclass_fields__)


def test_every_fault_of_the_campaign_is_listed() -> None:
    source = (PROJECT / "tests" / "e2e" / "faults" / "inflict.py").read_text()
    faults = re.findall(r"^@(?:cluster_)?fault\ndef (\w+)", source, re.MULTILINE)
    assert len(faults) > 20
    assert [name for name in faults if f"`{name.replace('_', '-')}`" not in GUIDE] == []

"""The yardstick of the benchmarks does the module's work: what it publishes is what the module published."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from amikafka_tail.kafka.mock import MockKafka, read_topic
from benchmarks import native
from benchmarks.harness import CAPTURE, WARM_UP, player, recorded_events
from tests.support.waiting import BOUND

OF_THE_MACHINE = {"asterisk_version", "timestamp", "hostname"}


def test_the_reference_publishes_what_the_module_published(tmp_path: Path, kafka: MockKafka) -> None:
    program = native.build("reference", tmp_path)
    if program is None:
        pytest.skip("no C compiler, no librdkafka-dev or no libjansson-dev")
    with player(recorded_events(), 0) as asterisk:
        command = [str(program), str(asterisk.port), kafka.address, "reference", str(WARM_UP)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, timeout=BOUND)
    published = list(read_topic(kafka.address, "reference", idle=1))
    assert len(published) == WARM_UP

    lines = CAPTURE.with_suffix(".app_ami_kafka-json.jsonl").read_text(encoding="utf-8").split("\n")
    by_module = {each["v"]: each for each in map(json.loads, filter(None, lines))}
    found = [each for each in published if each.value.decode(errors="replace") in by_module]
    assert len(found) > 0.98 * WARM_UP  # the module was there for all but the first and the last
    for message in found:
        module = by_module[message.value.decode()]
        assert message.key == module["k"].encode()
        headers = [(name, value.decode()) for name, value in message.headers]
        assert [name for name, _ in headers] == [name for name, _ in module["h"]]
        of_event = [pair for pair in headers if pair[0] not in OF_THE_MACHINE]
        assert of_event == [tuple(pair) for pair in module["h"] if pair[0] not in OF_THE_MACHINE]

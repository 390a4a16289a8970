"""`amikafka demo`: the main job with nothing installed."""

from __future__ import annotations

import json

import pytest

from amikafka_tail.cli import main


@pytest.mark.parametrize("format_name", ["json", "ami"])
def test_the_demo_shows_every_message_and_a_summary(
    capsys: pytest.CaptureFixture[str], format_name: str
) -> None:
    assert main(["demo", "--events", "30", "--rate", "0", "--format", format_name]) == 0
    out = capsys.readouterr().out
    assert out.count("entity_id") == 30
    assert "30 events read, 30 sent, 30 received" in out
    if format_name == "json":
        payloads = [line.strip() for line in out.splitlines() if line.strip().startswith('{"Event"')]
        assert len([json.loads(payload) for payload in payloads]) == 30
    else:
        assert out.count("EntityID: ") == 30

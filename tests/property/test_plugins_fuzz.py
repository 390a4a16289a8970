"""Events of any bytes through every format and filter that is installed, first-party plugins included."""

from __future__ import annotations

from pathlib import Path

import pytest

from amikafka_tail import testing
from amikafka_tail.api import Event
from amikafka_tail.plugins import loader
from amikafka_tail.plugins.registry import Registry

REGISTRY = loader.load()
FORMATS = REGISTRY.names("format")
REDACT = '[[rule]]\nheaders = ["*"]\nvariables = ["*"]\naction = "mask"\nmatch = "[0-9a]+"\n'
FILTERS = {
    "": "",
    "eventfilter": "eventfilter = .*[A-Z]\neventfilter(action(exclude),name(Hangup)) =\n",
    "redact": "filters = redact\n",
    "both": "filters = redact, eventfilter\neventfilter = !a\n",
}
FAILING = "night"
EVENTS = testing.odd_events() + testing.random_events(200, seed=11) + testing.recorded_events(50)


@pytest.mark.parametrize("filters", FILTERS)
@pytest.mark.parametrize("format_name", FORMATS)
def test_every_event_is_published_filtered_or_a_dead_letter(
    tmp_path: Path, format_name: str, filters: str
) -> None:
    if "redact" in FILTERS[filters]:
        if "redact" not in REGISTRY.names("filter"):
            pytest.skip("amikafka-redact is not installed")
        (tmp_path / "ami_kafka.d").mkdir()
        (tmp_path / "ami_kafka.d" / "redact.toml").write_text(REDACT)
    configuration = f"[general]\nformat = {format_name}\n{FILTERS[filters]}"
    published = testing.publish(configuration, EVENTS, tmp_path)
    counters = published.counters
    assert counters.events == len(EVENTS)
    assert len(published.messages) + len(published.dead_letters) + counters.filtered == len(EVENTS)
    assert published.dead_letters == []  # the first-party ones handle whatever comes
    if filters in ("", "redact"):
        assert counters.filtered == 0


class Odd(Exception):
    """An exception that cannot even be shown."""

    def __str__(self) -> str:
        raise RuntimeError("no words")


RAISED = [
    ValueError("x"),
    Odd(),
    RecursionError(),
    MemoryError(),
    AssertionError(),
    StopIteration(),
    OSError(5),
]


@pytest.mark.parametrize("kind", ["filter", "format"])
@pytest.mark.parametrize("raised", RAISED, ids=lambda error: type(error).__name__)
def test_whatever_a_plugin_raises_takes_no_event_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, raised: Exception
) -> None:
    def fail_sometimes(event: Event) -> object:
        if len(event.raw) % 3 == 0:
            raise raised
        return True if kind == "filter" else event.raw

    made = loader.Registration(
        kind=kind,
        name=FAILING,
        options=type(REGISTRY.get("format", "ami").options()),
        factory=lambda *_arguments: fail_sometimes,
        origin=loader.Origin(distribution="amikafka-night", version="1"),
    )
    registry = Registry({each.name: each for each in [*loader.load(""), made]})
    monkeypatch.setattr(loader, "load", lambda: registry)
    setting = f"filters = {FAILING}" if kind == "filter" else f"format = {FAILING}"
    published = testing.publish(f"[general]\n{setting}\n", EVENTS, tmp_path)
    dead = [each for each in EVENTS if len(each.raw) % 3 == 0]
    assert len(published.messages) == len(EVENTS) - len(dead)
    assert len(published.dead_letters) == len(dead)
    assert {letter["plugin"] for letter in published.dead_letters} == {FAILING}
    assert published.counters.plugin_failures == {FAILING: len(dead)}

"""The contract suites find what is wrong: each of these plugins breaks one promise."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from amikafka_tail import testing
from amikafka_tail.model.errors import ConfigError, TryLater
from amikafka_tail.model.event import Event
from amikafka_tail.model.payload import Payload
from amikafka_tail.plugins import loader
from amikafka_tail.plugins.registry import Origin, Registration, Registry
from amikafka_tail.sources.lines import LineEvent, LineLog, LineLogOptions


@dataclass(frozen=True, kw_only=True)
class NoOptions:
    pass


@pytest.fixture
def register(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    def register(kind: str, factory: Any, options: type = NoOptions) -> None:
        origin = Origin(distribution="amikafka-bad", version="1")
        registration = Registration(kind=kind, name="bad", options=options, factory=factory, origin=origin)
        registry = Registry(MappingProxyType({each.name: each for each in [*loader.load(""), registration]}))
        monkeypatch.setattr(loader, "load", lambda: registry)

    return register


def run(suite: type, *arguments: Any) -> set[str]:
    """Run a suite; return the tests that failed."""
    failed = set()
    for name in vars(suite):
        if name.startswith("test_"):
            try:
                getattr(suite(), name)(*arguments)
            except Exception:
                failed.add(name)
    return failed


COUNT = itertools.count()


def numbered(event: Event) -> bytes:
    return event.raw + b"%d" % next(COUNT)


def meddling(event: Event) -> bytes:
    event.captured_ms += 1
    return event.raw


def of_the_last(_options: Any, context: Any) -> Callable[[Event], bytes]:
    LAST.append(context.identity.hostname)
    return lambda event: LAST[-1].encode() + event.raw


LAST: list[str] = []


def poisoned(_options: Any, _context: Any) -> Callable[[Event], bytes]:
    hurt = []

    def render(event: Event) -> bytes:
        if event.get("Empty") == "":
            hurt.append(event)
            raise ValueError("no value")
        return event.raw + b"!" * len(hurt)

    return render


@pytest.mark.parametrize(
    ("factory", "failing"),
    [
        (lambda options, context: lambda event: event.raw, set()),
        (lambda options, context: lambda event: Payload(event.raw, (("a", b"b"),)), set()),
        (lambda options, context: lambda event: event.name, {"every_recorded"}),
        (lambda options, context: lambda event: Payload(event.raw, (("a", "b"),)), {"every_recorded"}),  # type: ignore[arg-type]
        (lambda options, context: None, {"every_recorded"}),
        (lambda options, context: lambda event: event.get("Cause").encode(), {"every_recorded"}),
        (lambda options, context: numbered, {"same_message", "no_harm"}),
        (lambda options, context: meddling, {"same_message", "no_harm"}),
        (of_the_last, {"each_asterisk"}),
        (poisoned, {"same_message", "no_harm"}),
    ],
)
def test_formats_that_break_a_promise_are_found(
    register: Callable[..., None], factory: Any, failing: set[str]
) -> None:
    register("format", factory)
    failed = run(testing.format_contract("bad"))
    assert all(any(part in name for name in failed) for part in failing)
    assert bool(failed) == bool(failing)


def test_a_format_that_waits_a_while_keeps_its_promises(register: Callable[..., None]) -> None:
    asked: set[bytes] = set()

    def render(event: Event) -> bytes:
        if event.name_bytes not in asked:
            asked.add(event.name_bytes)
            raise TryLater("soon")
        return event.raw

    register("format", lambda options, context: render)
    assert run(testing.format_contract("bad")) == set()


def moved(event: Event) -> Event:
    return Event(event.raw)


@pytest.mark.parametrize(
    ("keep", "failing"),
    [
        (lambda event: True, set()),
        (lambda event: None if event.name == "Hangup" else event, set()),
        (lambda event: 1, {"a_verdict"}),
        (lambda event: event.raw, {"a_verdict"}),
        (lambda event: event.get("Channel").startswith("Local"), {"every_recorded"}),
        (moved, {"stands_where"}),
        (lambda event: next(COUNT) % 2 == 0, {"same_verdict"}),
        (lambda event: Event(b"", event.position, event.captured_ms), {"a_verdict"}),
        (lambda event: Event(event.raw + b"\r\n\r\n", event.position, event.captured_ms), {"a_verdict"}),
    ],
)
def test_filters_that_break_a_promise_are_found(
    register: Callable[..., None], keep: Any, failing: set[str]
) -> None:
    register("filter", lambda options: keep)
    failed = run(testing.filter_contract("bad"))
    assert all(any(part in name for name in failed) for part in failing)
    assert bool(failed) == bool(failing)


def log_of_lines(directory: Path) -> tuple[dict[str, Any], list[bytes]]:
    (directory / "log.1").write_bytes(b"a\nb\nc\n")
    (directory / "log").write_bytes(b"d\ne\n")
    return {"path": (f"{directory}/log",), "start": "beginning"}, [b"Event: %c" % each for each in b"abcde"]


def read_line(line: bytes) -> LineEvent:
    return LineEvent(b"Event: " + line, 0)


class Forgetful(LineLog):
    """Begins again at its beginning whatever the bookmark says."""

    def open(self, *, bookmark: Any, **more: Any) -> Any:
        return super().open(bookmark=None, **more)


@pytest.mark.parametrize(
    ("factory", "failing"),
    [
        (lambda options: LineLog(options, read_line), set()),
        (lambda options: LineLog(options, lambda line: None), {"once_and_in_order"}),
        (lambda options: LineLog(options, lambda line: LineEvent(b"Event: x", 0)), {"once_and_in_order"}),
        (lambda options: Forgetful(options, read_line), {"another_process"}),
        (lambda options: "no source", {"once_and_in_order"}),
    ],
)
def test_sources_that_break_a_promise_are_found(
    register: Callable[..., None], tmp_path: Path, factory: Any, failing: set[str]
) -> None:
    register("source", factory, LineLogOptions)
    suite = testing.source_contract("bad", log_of_lines)
    failed = set()
    for number, name in enumerate(name for name in vars(suite) if name.startswith("test_")):
        directory = tmp_path / str(number)
        directory.mkdir()
        try:
            getattr(suite(), name)(directory)
        except Exception:
            failed.add(name)
    assert all(any(part in name for name in failed) for part in failing)
    assert bool(failed) == bool(failing)


# The pipeline in memory.

CONFIGURATION = (
    "[general]\nformat = json\nentity_id = aa\nhostname = vm\n[kafka]\ntopic = t\nkey = linkedid\n"
)


def test_events_come_out_as_messages(tmp_path: Path) -> None:
    events = [testing.event("Hangup", ("Privilege", "call,all"), ("Linkedid", "7")), b"Event: A"]
    published = testing.publish(CONFIGURATION, events, tmp_path)
    assert [(each.topic, each.key) for each in published.messages] == [("t", b"7"), ("t", b"A")]
    assert json.loads(published.messages[0].value)["Linkedid"] == "7"
    assert published.messages[0].header("event_category") == b"call"
    assert published.messages[0].header("nothing") is None
    assert (published.dead_letters, published.counters.events) == ([], 2)


def test_what_a_plugin_fails_on_is_among_the_dead_letters(
    register: Callable[..., None], tmp_path: Path
) -> None:
    register("format", lambda options, context: lambda event: event.get("Linkedid").encode())
    events = [testing.event("A"), testing.event("B", ("Linkedid", "7"))]
    published = testing.publish(CONFIGURATION.replace("json", "bad"), events, tmp_path)
    assert [each.value for each in published.messages] == [b"7"]
    (letter,) = published.dead_letters
    assert (letter["plugin"], letter["event"]) == ("bad", "Event: A")
    assert "AttributeError: 'NoneType'" in letter["reason"]


def test_a_plugin_that_waits_for_ever_is_an_error(register: Callable[..., None], tmp_path: Path) -> None:
    def render(_event: Event) -> bytes:
        raise TryLater("never")

    register("format", lambda options, context: render)
    with pytest.raises(TimeoutError, match="is still waiting"):
        testing.publish(CONFIGURATION.replace("json", "bad"), [testing.event("A")], tmp_path, seconds=0.2)


def test_what_is_wrong_with_the_configuration_is_raised(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="unknown option"):
        testing.publish("[kafka]\ntpoic = x\n", [], tmp_path)


def test_random_events_are_the_same_for_a_seed_and_none_has_an_empty_line() -> None:
    events = testing.random_events(300, seed=3)
    assert [each.raw for each in events] == [each.raw for each in testing.random_events(300, seed=3)]
    assert all(each.raw.startswith(b"Event: ") and b"\r\n\r\n" not in each.raw for each in events)
    assert len({each.position for each in events}) == 300

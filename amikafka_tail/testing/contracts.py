"""Contract suites: classes of tests for what the host relies on in a filter or a format."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeVar

from amikafka_tail.model.errors import TryLater
from amikafka_tail.model.event import Event
from amikafka_tail.model.identity import Identity
from amikafka_tail.model.payload import unpack
from amikafka_tail.plugins import loader
from amikafka_tail.plugins.registry import Registration
from amikafka_tail.testing.events import ASTERISK, context, odd_events, random_events, recorded_events

WAIT_SECONDS = 20.0
"""How long a plugin may raise `TryLater`."""
OTHER = Identity(entity_id="66:77:88:99:aa:bb", system_name="", asterisk_version="unknown", hostname="other")
HOSTS: tuple[str, str | bytes | None] = ("host", b"header")
Answer = TypeVar("Answer")


def registered(kind: str, name: str) -> Registration:
    """Return the registration of a name. Raises `PluginError` if there is none."""
    return loader.load().get(kind, name)


def _patiently(call: Callable[[Event], Answer], event: Event) -> Answer:
    """Call like the host does: repeat the call while the plugin raises `TryLater`."""
    until = time.monotonic() + WAIT_SECONDS
    while True:
        try:
            return call(event)
        except TryLater:
            if time.monotonic() > until:
                raise
            time.sleep(0.002)


def _state(event: Event) -> tuple[bytes, int, int]:
    return event.raw, event.position, event.captured_ms


def _outcome(call: Callable[[Event], Any], event: Event) -> tuple[str, Any]:
    """Return the result of a plugin for an event, or that it refuses the event."""
    before = _state(event)
    try:
        made = _patiently(call, event)
    except Exception as error:
        assert not isinstance(error, TryLater), f"it waits forever: {error}"
        made = None
        outcome: tuple[str, Any] = ("refused", type(error).__name__)
    else:
        outcome = ("made", _state(made) if isinstance(made, Event) else made)
    assert _state(event) == before, f"it changed the event passed to it: {before[0]!r}"
    return outcome


def format_contract(name: str, **options: Any) -> type:
    """Return the contract suite of a registered format with these options.

    A test module needs only one line: `TestContract = format_contract("shout", loud=True)`.
    """

    def renderer(identity: Identity = ASTERISK) -> Callable[[Event], Any]:
        registration = registered("format", name)
        made = registration.make(registration.options(**options), context(identity))
        assert callable(made), f"the factory returned {made!r}, which cannot be called"

        def render(event: Event) -> Any:
            value = made(event)
            return (value, [HOSTS]) if type(value) is bytes else unpack(value, [HOSTS])

        return render

    class Contract:
        def test_every_recorded_event_becomes_a_message(self) -> None:
            render = renderer()
            for event in recorded_events():
                _, headers = _patiently(render, event)
                assert headers[0] == HOSTS, "the host's headers come first, unchanged"

        def test_an_event_gives_the_same_message_again_whatever_came_before_it(self) -> None:
            events = recorded_events() + odd_events() + random_events(200)
            render = renderer()
            first = [_outcome(render, event) for event in events]
            again = [_outcome(render, event) for event in reversed(events)]
            assert first == again[::-1]
            fresh = renderer()
            assert [_outcome(fresh, event) for event in events] == first

        def test_what_cannot_be_rendered_does_no_harm_to_the_rest(self) -> None:
            render = renderer()
            good = recorded_events(20)
            wanted = [_outcome(render, event) for event in good]
            for event in odd_events() + random_events(500, seed=1):
                _outcome(render, event)
            assert [_outcome(render, event) for event in good] == wanted

        def test_each_asterisk_has_messages_of_its_own(self) -> None:
            events = recorded_events(50)
            wanted = {}
            for identity in (ASTERISK, OTHER):
                alone = renderer(identity)
                wanted[identity] = [_outcome(alone, event) for event in events]
            one, other = renderer(ASTERISK), renderer(OTHER)
            mixed = [(_outcome(one, event), _outcome(other, event)) for event in events]
            assert [first for first, _ in mixed] == wanted[ASTERISK]
            assert [second for _, second in mixed] == wanted[OTHER]

    return Contract


def filter_contract(name: str, **options: Any) -> type:
    """Return the contract suite of a registered filter with these options."""

    def made() -> Callable[[Event], Any]:
        registration = registered("filter", name)
        keep = registration.make(registration.options(**options))
        assert callable(keep), f"the factory returned {keep!r}, which cannot be called"
        return keep  # type: ignore[no-any-return]

    class Contract:
        def test_a_verdict_is_true_false_none_or_an_event(self) -> None:
            keep = made()
            for event in recorded_events() + odd_events() + random_events(300):
                try:
                    verdict = _patiently(keep, event)
                except TryLater:
                    raise
                except Exception:
                    continue  # the host sends the event to the dead letters
                assert verdict is None or isinstance(verdict, (bool, Event)), f"{verdict!r}: {event.raw!r}"
                if isinstance(verdict, Event):
                    assert type(verdict.raw) is bytes, f"{verdict.raw!r} is not bytes"
                    assert verdict.raw.startswith(b"Event: "), f"{verdict.raw!r} is not an event any more"
                    assert b"\r\n\r\n" not in verdict.raw, f"{verdict.raw!r} has an empty line"

        def test_every_recorded_event_is_judged(self) -> None:
            keep = made()
            for event in recorded_events():
                _patiently(keep, event)

        def test_another_event_stands_where_the_first_one_stood(self) -> None:
            keep = made()
            for event in recorded_events() + random_events(300):
                outcome, verdict = _outcome(keep, event)
                if outcome == "made" and isinstance(verdict, tuple):
                    assert verdict[1:] == (event.position, event.captured_ms), "position and time must stay"

        def test_an_event_has_the_same_verdict_whenever_it_is_asked_for(self) -> None:
            events = recorded_events() + odd_events() + random_events(300)
            keep = made()
            first = [_outcome(keep, event) for event in events]
            again = [_outcome(keep, event) for event in reversed(events)]
            assert first == again[::-1], "after a failure the host calls the filter again for the same events"

    return Contract

"""The two ways of doing what is done for every event: in Python, and in C by amikafka_speedups."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from amikafka_tail.ami.eventfilter import Check, EventFilterOptions
from amikafka_tail.delivery.envelope import Envelope, envelopes
from amikafka_tail.filters.eventfilter import eventfilter
from amikafka_tail.formats.json import JsonOptions, json_format
from amikafka_tail.model import speedups
from amikafka_tail.model.counters import KindCounts
from amikafka_tail.model.event import Event
from amikafka_tail.model.identity import Identity
from amikafka_tail.model.pushed_filters import FilterLine
from tests.support.formats import context

Renderer = Callable[[Event], bytes]


def native_package() -> Any:
    """Return amikafka_speedups; where it is not installed skip, saying why, but fail in CI."""
    found = speedups.find({})
    if found.package is None:
        if os.environ.get("CI") == "true":
            pytest.fail(f"CI must run this test: {found.reason}")
        pytest.skip(found.reason)
    return found.package


@contextmanager
def using(package: Any) -> Iterator[None]:
    """Let what is made meanwhile use amikafka_speedups, or Python alone with `None`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(speedups, "native", lambda: package)
        yield


def renderers(native: Any, options: JsonOptions, identity: Identity) -> tuple[Renderer, Renderer]:
    """Return the renderer in C, and the one in Python."""
    with using(native):
        fast = json_format(options, context(identity))
    with using(None):
        plain = json_format(options, context(identity))
    assert isinstance(fast, native.JsonRenderer)
    assert not isinstance(plain, native.JsonRenderer)
    return fast, plain


def event_filters(native: Any, lines: Iterable[FilterLine]) -> tuple[Check, Check]:
    """Return the filter in C, and the one in Python."""
    options = EventFilterOptions(lines=tuple(lines))
    with using(native):
        fast = eventfilter(options)
    with using(None):
        plain = eventfilter(options)
    assert isinstance(fast, native.EventFilter)
    assert not isinstance(plain, native.EventFilter)
    return fast, plain


class CountedEnvelope:
    """An envelope, and what it has counted."""

    def __init__(self, package: Any, identity: Identity, key: str) -> None:
        self._counts = KindCounts()
        with using(package):
            self.envelope: Envelope = envelopes(identity, "json", key, self._counts)
        assert package is None or isinstance(self.envelope, package.Envelope)

    def __call__(self, event: Event) -> tuple[object, ...]:
        key, headers, moment_ms = self.envelope(event)
        return key, list(headers), moment_ms, self._counts.most()

"""The hooks that a plugin implements. docs/plugins.md explains them with examples.

A plugin is a distribution with an entry point in the group `amikafka`. It names a module or an object with

    AMIKAFKA_API = "1.0"      the API that it was written for

and with some of these hooks, each marked with `amikafka_tail.api.hookimpl`. They are called once, at
start-up. A plugin for another major version, or for a newer minor version, is refused.
"""

from __future__ import annotations

from typing import Any, Protocol

import pluggy

PROJECT = "amikafka"
API_VERSION = "1.0"
"""Major: something that plugins rely on has changed. Minor: something was added."""
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


class Register(Protocol):
    """What each hook receives: `register(name, Options, factory)`.

    `name` is the name in the configuration. `Options` is a frozen dataclass; its fields are the options in
    the section `[name]` of ami_kafka.conf and in `ami_kafka.d/<name>.toml`. `factory` takes an instance of it
    and makes the working object. It is called from the main thread; it may read files, but should not wait
    for a network. If it raises, the start or the reload fails: it raises `ValueError` for unusable options.
    """

    def __call__(self, name: str, options: type, factory: Any) -> None:
        """Register one source, filter or format. Raises `PluginError` if the name is taken."""


@hookspec
def register_sources(register: Register) -> None:
    """Register sources: `factory(options)` returns a `LiveSource` or a `ReplayableSource`.

    The host records what a live source sends, and reads a replayable source in place.
    """


@hookspec
def register_filters(register: Register) -> None:
    """Register filters: `factory(options)` returns `Event -> bool` or `Event -> Event | None`.

    `True` or an event lets it pass, `False` or `None` drops it. It is called for each event, from the thread
    that does all the work, so it must not block. An exception sends the event to the dead letters; `TryLater`
    makes the host wait and call again with the same event.
    """


@hookspec
def register_formats(register: Register) -> None:
    """Register formats: `factory(options, context)` returns `Event -> bytes` or `Event -> Payload`.

    The factory is called for each Asterisk, with the `FormatContext` of its events. The function that it
    returns is called like a filter, and may raise like one.
    """

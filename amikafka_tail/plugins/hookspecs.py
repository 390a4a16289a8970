"""The hooks that a plugin implements, all on one page. docs/plugins.md explains them with examples.

A plugin is a distribution with an entry point in the group `amikafka` that names a module or an object with

    AMIKAFKA_API = "1.0"      the API that it was written for

and some of these hooks, each marked with `amikafka_tail.api.hookimpl`. They are called once, at start-up. A
plugin whose major version is another is refused, as is one that needs a newer minor version.
"""

from __future__ import annotations

from typing import Any, Protocol

import pluggy

PROJECT = "amikafka"
API_VERSION = "1.0"
"""Major: something a plugin relied on has changed. Minor: something was added."""
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


class Register(Protocol):
    """What each hook receives: `register(name, Options, factory)`.

    `name` is what the configuration calls it, `Options` a frozen dataclass whose fields are the options of
    the section `[name]` of ami_kafka.conf and of `ami_kafka.d/<name>.toml`, `factory` makes the working
    object from an instance of it. A factory is called from the main thread; it may read files, but should
    not wait for a network. What it raises is an error of the start or of the reload: `ValueError` for
    options that cannot be used.
    """

    def __call__(self, name: str, options: type, factory: Any) -> None:
        """Register one source, filter or format. Raises `PluginError` for a name that is taken."""


@hookspec
def register_sources(register: Register) -> None:
    """Register sources: `factory(options)` returns a `LiveSource` or a `ReplayableSource`.

    The host records what a live source sends, and reads a replayable one where it is.
    """


@hookspec
def register_filters(register: Register) -> None:
    """Register filters: `factory(options)` returns `Event -> bool` or `Event -> Event | None`.

    `True` and an event go on, `False` and `None` hold the event back. It is called for each event, from the
    thread that does all the work: it must not wait. An exception sends the event to the dead letters;
    `TryLater` makes the host wait and call again with the same event.
    """


@hookspec
def register_formats(register: Register) -> None:
    """Register formats: `factory(options, context)` returns `Event -> bytes` or `Event -> Payload`.

    The factory is called again for each Asterisk, with the `FormatContext` of its events. What it returns is
    called like a filter, and may raise like one.
    """

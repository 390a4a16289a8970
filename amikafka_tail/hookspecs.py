"""The hooks that a plugin implements, all on one page.

A plugin is a distribution with an entry point in the group `amikafka` that names a module or an object with
some of these hooks, each marked with `amikafka_tail.api.hookimpl`. pluggy calls them once, at start-up.
"""

from __future__ import annotations

from typing import Any, Protocol

import pluggy

PROJECT = "amikafka"
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


class Register(Protocol):
    """What each hook receives: `register(name, Options, factory)`.

    `name` is what the configuration calls it, `Options` a frozen dataclass whose fields are the options of
    the section `[name]`, `factory` makes the working object from an instance of it.
    """

    def __call__(self, name: str, options: type, factory: Any) -> None:
        """Register one source, filter or format. Raises `PluginError` for a name that is taken."""


@hookspec
def register_sources(register: Register) -> None:
    """Register sources: `factory(options, identity_overrides)` returns an `amikafka_tail.api.LiveSource`."""


@hookspec
def register_filters(register: Register) -> None:
    """Register filters: `factory(options)` returns `Event -> bool` or `Event -> Event | None`."""


@hookspec
def register_formats(register: Register) -> None:
    """Register formats: `factory(options, identity)` returns `Event -> bytes`.

    It is called again with the new identity for each connection to Asterisk.
    """

"""Finds sources, filters and formats at start-up: the built-ins first, then the installed plugins."""

from __future__ import annotations

import importlib.metadata
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, is_dataclass
from types import MappingProxyType
from typing import Any

import pluggy

from amikafka_tail import __version__, hookspecs
from amikafka_tail.errors import PluginError

DISTRIBUTION = "amikafka-tail"
LOAD_VARIABLE = "AMIKAFKA_LOAD_PLUGINS"
BUILT_INS = (
    "amikafka_tail.sources.manager",
    "amikafka_tail.sources.eventlog",
    "amikafka_tail.sources.spool",
    "amikafka_tail.filters.eventfilter",
    "amikafka_tail.formats.json",
    "amikafka_tail.formats.ami",
)
KINDS = ("source", "filter", "format")


@dataclass(frozen=True, kw_only=True)
class Registration:
    """One source, filter or format, and the distribution it came from."""

    kind: str
    name: str
    options: type
    factory: Callable[..., Any]
    distribution: str
    version: str


class Registry:
    """All that is registered, in the order of registration. A name is given once per kind."""

    def __init__(self, registrations: Mapping[tuple[str, str], Registration]) -> None:
        self._registrations = MappingProxyType(dict(registrations))

    def __iter__(self) -> Iterator[Registration]:
        return iter(self._registrations.values())

    def names(self, kind: str) -> list[str]:
        """Return the names of one kind."""
        return [registration.name for registration in self if registration.kind == kind]

    def get(self, kind: str, name: str) -> Registration:
        """Return a registration. Raises `PluginError` when there is none of that kind and name."""
        try:
            return self._registrations[kind, name]
        except KeyError:
            known = ", ".join(self.names(kind))
            raise PluginError(f'no {kind} is called "{name}" (there are: {known})') from None


def load(only: str | None = None) -> Registry:
    """Load the built-ins and the installed plugins; `only` is a comma-separated list of entry points.

    Without `only` the environment's AMIKAFKA_LOAD_PLUGINS is used; empty means the built-ins alone.
    Raises `PluginError`, naming the distribution, for an import that fails, a hook that does not exist, a
    name that is taken, or options that are not a dataclass.
    """
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    registrations: dict[tuple[str, str], Registration] = {}
    for module in BUILT_INS:
        _add(manager, registrations, importlib.import_module(module), DISTRIBUTION, __version__)
    wanted = os.environ.get(LOAD_VARIABLE) if only is None else only
    names = None if wanted is None else {name.strip() for name in wanted.split(",") if name.strip()}
    seen: set[str] = set()
    for distribution in importlib.metadata.distributions():
        # A path that is searched twice, or an older copy further down it: Python imports the first.
        identity = re.sub(r"[-_.]+", "-", distribution.metadata["Name"] or "").lower()
        if identity in seen:
            continue
        seen.add(identity)
        for entry_point in distribution.entry_points:
            if entry_point.group != hookspecs.PROJECT:
                continue
            if names is not None and entry_point.name not in names:
                continue
            origin = distribution.metadata["Name"]
            try:
                plugin = entry_point.load()
            except Exception as error:
                raise PluginError(
                    f"{origin} {distribution.version}: cannot be imported: {type(error).__name__}: {error}"
                ) from error
            _add(manager, registrations, plugin, origin, distribution.version)
    return Registry(registrations)


def _add(
    manager: pluggy.PluginManager,
    registrations: dict[tuple[str, str], Registration],
    plugin: object,
    distribution: str,
    version: str,
) -> None:
    def register_as(kind: str) -> hookspecs.Register:
        def register(name: str, options: type, factory: Callable[..., Any]) -> None:
            if (taken := registrations.get((kind, name))) is not None:
                raise PluginError(
                    f'{distribution} {version}: the {kind} name "{name}" is taken by {taken.distribution}'
                )
            if not is_dataclass(options):
                raise PluginError(f'{distribution} {version}: options of {kind} "{name}" are not a dataclass')
            registrations[kind, name] = Registration(
                kind=kind,
                name=name,
                options=options,
                factory=factory,
                distribution=distribution,
                version=version,
            )

        return register

    try:
        manager.register(plugin)
        manager.check_pending()
    except ValueError as error:  # registered twice, or pluggy.PluginValidationError's parent
        raise PluginError(f"{distribution} {version}: {error}") from error
    except pluggy.PluginValidationError as error:
        raise PluginError(f"{distribution} {version}: {error}") from error
    for kind in KINDS:
        hook = manager.subset_hook_caller(
            f"register_{kind}s", [other for other in manager.get_plugins() if other is not plugin]
        )
        try:
            hook(register=register_as(kind))
        except PluginError:
            raise
        except Exception as error:
            raise PluginError(f"{distribution} {version}: {type(error).__name__}: {error}") from error

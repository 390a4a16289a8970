"""Finds sources, filters and formats at start-up: the built-ins first, then the installed plugins."""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import re
from collections.abc import Callable, Iterator
from typing import Any

import pluggy

from amikafka_tail import __version__
from amikafka_tail.model.errors import PluginError
from amikafka_tail.model.suggestions import unknown
from amikafka_tail.plugins import hookspecs
from amikafka_tail.plugins.option_types import check_types
from amikafka_tail.plugins.registry import DISTRIBUTION, KINDS, RESERVED, Origin, Registration, Registry

LOAD_VARIABLE = "AMIKAFKA_LOAD_PLUGINS"
BUILT_INS = (
    "amikafka_tail.sources.manager",
    "amikafka_tail.sources.eventlog",
    "amikafka_tail.sources.spool",
    "amikafka_tail.filters.eventfilter",
    "amikafka_tail.formats.json",
    "amikafka_tail.formats.ami",
)
_NAME = re.compile(r"[a-z][a-z0-9_-]*", re.ASCII)
_API = re.compile(r"(\d+)\.(\d+)", re.ASCII)


def load(only: str | None = None) -> Registry:
    """Load the built-ins and the installed plugins; `only` is a comma-separated list of entry points.

    Without `only`, the environment's AMIKAFKA_LOAD_PLUGINS is used; empty means only the built-ins.
    Raises `PluginError` with every problem, naming the distributions.
    """
    registry, problems = discover(only)
    if problems:
        raise PluginError(
            "\n".join(problems)
            + f"\nfix the plugin, remove it, or leave it out: {LOAD_VARIABLE} lists the plugins to load"
        )
    return registry


def discover(only: str | None = None) -> tuple[Registry, list[str]]:
    """Load what can be loaded; return it with the problems of the rest.

    A problem is: an import that fails, a hook that does not exist, an API that this version does not offer,
    a name that is taken, options that are not a frozen dataclass of known types, a plugin that registers
    nothing.
    """
    loader = _Loader()
    for module in BUILT_INS:
        loader.add(importlib.import_module(module), Origin(distribution=DISTRIBUTION, version=__version__))
    wanted = os.environ.get(LOAD_VARIABLE) if only is None else only
    names = None if wanted is None else {name.strip() for name in wanted.split(",") if name.strip()}
    known: list[str] = []
    for origin, entry_point in _entry_points():
        known.append(entry_point.name)
        if names is None or entry_point.name in names:
            loader.add_entry_point(entry_point, origin)
    for name in sorted((names or set()) - set(known)):
        there = ", ".join(sorted(set(known))) or "none"
        loader.problems.append(
            f'{LOAD_VARIABLE}: "{name}": {unknown("plugin", name, known)}; installed are: {there}'
        )
    return Registry(loader.registrations), loader.problems


def _entry_points() -> Iterator[tuple[Origin, importlib.metadata.EntryPoint]]:
    seen: set[str] = set()
    for distribution in importlib.metadata.distributions():
        # The path may list a distribution twice, or an older copy further down: Python imports the first.
        identity = re.sub(r"[-_.]+", "-", distribution.metadata["Name"] or "").lower()
        if identity in seen:
            continue
        seen.add(identity)
        for entry_point in distribution.entry_points:
            if entry_point.group == hookspecs.PROJECT:
                name, version = distribution.metadata["Name"], distribution.version
                yield Origin(distribution=name, version=version, entry_point=entry_point.name), entry_point


class _Loader:
    def __init__(self) -> None:
        self.registrations: dict[str, Registration] = {}
        self.problems: list[str] = []
        self._manager = pluggy.PluginManager(hookspecs.PROJECT)
        self._manager.add_hookspecs(hookspecs)

    def add_entry_point(self, entry_point: importlib.metadata.EntryPoint, origin: Origin) -> None:
        """Import a plugin and let it register, or note the problem."""
        try:
            plugin = entry_point.load()
        except ModuleNotFoundError as error:
            self.problems.append(f"{origin}: cannot be imported: {error}: are its dependencies installed?")
        except Exception as error:
            self.problems.append(f"{origin}: cannot be imported: {type(error).__name__}: {error}")
        else:
            self.add(plugin, origin)

    def add(self, plugin: object, origin: Origin) -> None:
        """Let a plugin register, or note the problem."""
        before = len(self.registrations)
        try:
            _check_api(plugin)
            self._register(plugin, origin)
            if len(self.registrations) == before:
                raise PluginError(
                    "registers nothing: are its hooks marked with hookimpl, and do they call register?"
                )
        except PluginError as error:
            self.problems.append(f"{origin}: {error}")
            names = [name for name, each in self.registrations.items() if each.origin is origin]
            for name in names:
                del self.registrations[name]

    def _register(self, plugin: object, origin: Origin) -> None:
        try:
            self._manager.register(plugin)
            self._manager.check_pending()
        except (ValueError, pluggy.PluginValidationError) as error:  # registered twice, or misspelt
            if self._manager.is_registered(plugin):
                self._manager.unregister(plugin)
            raise PluginError(str(error).replace("\n", " ")) from error
        others = [other for other in self._manager.get_plugins() if other is not plugin]
        for kind in KINDS:
            hook = self._manager.subset_hook_caller(f"register_{kind}s", others)
            try:
                hook(register=self._register_as(kind, origin))
            except PluginError:
                raise
            except Exception as error:
                raise PluginError(f"register_{kind}s: {type(error).__name__}: {error}") from error

    def _register_as(self, kind: str, origin: Origin) -> hookspecs.Register:
        def register(name: str, options: type, factory: Callable[..., Any]) -> None:
            if not isinstance(name, str) or not _NAME.fullmatch(name):
                raise PluginError(
                    f"the {kind} name {name!r} may contain only lower-case letters, digits, - and _"
                )
            if name in RESERVED:
                raise PluginError(
                    f'the {kind} name "{name}" is reserved: amikafka has a section of that name'
                )
            if (taken := self.registrations.get(name)) is not None:
                whose = "itself" if taken.origin is origin else taken.origin
                raise PluginError(f'the {kind} name "{name}" is taken by a {taken.kind} of {whose}')
            try:
                check_types(options)
            except TypeError as error:
                raise PluginError(f'the options of the {kind} "{name}" {error}') from error
            if not callable(factory):
                raise PluginError(f'the factory of the {kind} "{name}" cannot be called')
            self.registrations[name] = Registration(
                kind=kind, name=name, options=options, factory=factory, origin=origin
            )

        return register


def _check_api(plugin: object) -> None:
    """Raise `PluginError` if a plugin needs another API version."""
    needs = getattr(plugin, "AMIKAFKA_API", None)
    offered = hookspecs.API_VERSION
    if needs is None:
        raise PluginError(f'does not declare the API version it needs, such as AMIKAFKA_API = "{offered}"')
    match = _API.fullmatch(needs) if isinstance(needs, str) else None
    if match is None:
        raise PluginError(f'AMIKAFKA_API = {needs!r} is not a version such as "{offered}"')
    major, minor = map(int, offered.split("."))
    wanted = (int(match[1]), int(match[2]))
    if wanted > (major, minor):
        remedy = "upgrade amikafka"
    elif wanted[0] < major:
        remedy = "upgrade the plugin"
    else:
        return
    raise PluginError(f"needs plugin API {needs}, amikafka {__version__} offers {offered}: {remedy}")

"""The registered sources, filters and formats, each with its options, factory and origin."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from amikafka_tail.model.errors import PluginError

DISTRIBUTION = "amikafka-tail"
KINDS = ("source", "filter", "format")
RESERVED = ("general", "kafka", "journal")
"""Sections of ami_kafka.conf that belong to the host."""


@dataclass(frozen=True, kw_only=True)
class Origin:
    """The distribution that a plugin came from, and the name of its entry point."""

    distribution: str
    version: str
    entry_point: str = ""

    def __str__(self) -> str:
        return f"{self.distribution} {self.version}"


@dataclass(frozen=True, kw_only=True)
class Registration:
    """One source, filter or format."""

    kind: str
    name: str
    options: type
    factory: Callable[..., Any]
    origin: Origin

    def make(self, *arguments: Any) -> Any:
        """Call the factory. Raises `ValueError` for unusable options, else `PluginError`."""
        try:
            return self.factory(*arguments)
        except (PluginError, ValueError):
            raise
        except Exception as error:
            raise PluginError(
                f'{self.origin}: the {self.kind} "{self.name}" cannot be created:'
                f" {type(error).__name__}: {error}"
            ) from error


class Registry:
    """All registrations, in order. A name is unique across all kinds."""

    def __init__(self, registrations: Mapping[str, Registration]) -> None:
        self._registrations = MappingProxyType(dict(registrations))

    def __iter__(self) -> Iterator[Registration]:
        return iter(self._registrations.values())

    def names(self, kind: str) -> list[str]:
        """Return the names of one kind."""
        return [registration.name for registration in self if registration.kind == kind]

    def get(self, kind: str, name: str) -> Registration:
        """Return a registration. Raises `PluginError` if there is none of that kind and name."""
        found = self._registrations.get(name)
        if found is None or found.kind != kind:
            known = ", ".join(self.names(kind))
            raise PluginError(f'there is no {kind} "{name}" (known are: {known})')
        return found

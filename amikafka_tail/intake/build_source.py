"""From settings to the source that they name."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from amikafka_tail.config import identity, local
from amikafka_tail.config.settings import Settings
from amikafka_tail.delivery.build import plugin_object
from amikafka_tail.model.errors import PluginError
from amikafka_tail.model.identity import Identity
from amikafka_tail.model.live_source import Connection, LiveSource
from amikafka_tail.model.pushed_filters import Filterable
from amikafka_tail.model.replayable_source import ReplayableSource
from amikafka_tail.plugins.registry import Registry
from amikafka_tail.sources.spool import SpoolSource


def source(settings: Settings, registry: Registry) -> LiveSource | ReplayableSource:
    """Make the source that `[general] source` names."""
    registration = registry.get("source", settings.source)
    made = plugin_object(settings, registration, settings.source_options)
    if not isinstance(made, (LiveSource, ReplayableSource)):
        raise PluginError(
            f'{registration.origin}: the source "{registration.name}" is neither a LiveSource nor a'
            f" ReplayableSource: {type(made).__name__}"
        )
    if isinstance(made, SpoolSource):
        made = made.reading_logs_as(settings.eventlog_options)
    return made.filtered(settings.pushed) if settings.pushed and isinstance(made, Filterable) else made


def source_key(settings: Settings) -> str:
    """Return a name for what the source is connected to, the same as long as its options and filters are."""
    what = f"{settings.source} {settings.source_options!r}"
    if settings.pushed:
        what += f" {[(line.criteria, line.pattern) for line in settings.pushed]!r}"
    return f"{settings.source}-{hashlib.sha256(what.encode()).hexdigest()[:12]}"


def identify(settings: Settings) -> Callable[[Connection], Identity]:
    """Make what says who the Asterisk of a fresh connection is, before the configuration's overrides."""

    identity_of = identify_log(settings)
    return lambda connection: identity_of(connection.asterisk_version, connection.system_name)


def identify_log(settings: Settings) -> Callable[[str, str], Identity]:
    """Make what says who the Asterisk is whose version and system name a log tells, before the overrides."""

    def identity_of(version: str, system_name: str) -> Identity:
        return identity.resolve(local.facts(settings.etc), asterisk_version=version, system_name=system_name)

    return identity_of

"""From settings to working objects: the one place where the configuration meets the plugins."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable

from amikafka_tail.config import identity, local
from amikafka_tail.config.identity import Identity
from amikafka_tail.config.settings import Settings
from amikafka_tail.envelope import envelopes
from amikafka_tail.pipeline import Messages, Route, chain
from amikafka_tail.plugins import Registry
from amikafka_tail.producer import Producer
from amikafka_tail.sources.live import Connection, LiveSource
from amikafka_tail.sources.replayable import ReplayableSource

log = logging.getLogger("amikafka.kafka")


def source(settings: Settings, registry: Registry) -> LiveSource | ReplayableSource:
    """Make the source that `[general] source` names."""
    made: LiveSource | ReplayableSource = registry.get("source", settings.source).factory(
        settings.source_options
    )
    return made


def source_key(settings: Settings) -> str:
    """Return a name for what the source is connected to, the same as long as its options are."""
    what = f"{settings.source} {settings.source_options!r}"
    return f"{settings.source}-{hashlib.sha256(what.encode()).hexdigest()[:12]}"


def messages(settings: Settings, registry: Registry) -> Messages:
    """Make what turns events into messages: the filters in their order, the format, the envelope."""
    make_format = registry.get("format", settings.format).factory
    filters = [(name, registry.get("filter", name).factory(options)) for name, options in settings.filters]

    def route(found: Identity) -> Route:
        overridden = settings.overrides.apply(found)
        return Route(
            envelopes(overridden, settings.format, settings.key),
            make_format(settings.format_options, overridden),
        )

    return Messages(
        topic=settings.topic,
        format_name=settings.format,
        choose=chain(filters),
        route=route,
        fallback=identity.resolve(local.facts(settings.etc)),
    )


def producer(settings: Settings) -> Producer:
    """Make a producer. Raises `ConfigError` where librdkafka refuses a property."""
    return Producer(
        settings.properties,
        origins=settings.property_origins,
        logger=logging.getLogger("amikafka.librdkafka"),
        on_error=lambda text: log.warning("Kafka: %s", text),
    )


def identify(settings: Settings) -> Callable[[Connection], Identity]:
    """Make what says who the Asterisk of a fresh connection is, before the configuration's overrides."""

    def identity_of(connection: Connection) -> Identity:
        return identity.resolve(
            local.facts(settings.etc),
            asterisk_version=connection.asterisk_version,
            system_name=connection.system_name,
        )

    return identity_of


def identify_log(settings: Settings) -> Callable[[str, str], Identity]:
    """Make what says who the Asterisk is whose version and system name a log tells, before the overrides."""

    def identity_of(version: str, system_name: str) -> Identity:
        return identity.resolve(local.facts(settings.etc), asterisk_version=version, system_name=system_name)

    return identity_of

"""From settings to working objects: the one place where the configuration meets the plugins."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar, cast

from amikafka_tail.config import identity, local
from amikafka_tail.config.settings import CHECKPOINTS, TRANSACTIONAL_ID, Settings
from amikafka_tail.delivery.attempts import BATCH_OF_ONE
from amikafka_tail.delivery.envelope import envelopes
from amikafka_tail.delivery.event_ids import with_event_id
from amikafka_tail.delivery.messages import Filter, Messages, Route, chain
from amikafka_tail.delivery.transactions import Transactions
from amikafka_tail.journal.checkpoint import Checkpoint
from amikafka_tail.kafka.checkpoint_topic import CheckpointTopic
from amikafka_tail.kafka.cluster import without_moment
from amikafka_tail.kafka.producer import Producer, TransactionalProducer
from amikafka_tail.model.counters import KindCounts
from amikafka_tail.model.errors import ConfigError, PluginError, Problem
from amikafka_tail.model.event import Event
from amikafka_tail.model.identity import Identity
from amikafka_tail.model.log_limits import RARELY
from amikafka_tail.model.payload import FormatContext
from amikafka_tail.plugins.registry import Registration, Registry

log = logging.getLogger("amikafka.kafka")
librdkafka_log = logging.getLogger("amikafka.librdkafka")
P = TypeVar("P", bound=Producer)


def plugin_object(settings: Settings, registration: Registration, *arguments: object) -> Any:
    """Call a plugin's factory. Raises `ConfigError` for options it refuses, `PluginError` where it fails."""
    try:
        return registration.make(*arguments)
    except ValueError as error:
        refused = Problem(message=str(error), file=settings.path, section=registration.name)
        raise ConfigError([refused]) from error


def messages(
    settings: Settings,
    registry: Registry,
    *,
    epoch: str = "",
    fixed_offsets: bool = False,
    counts: KindCounts | None = None,
    more_filters: Sequence[tuple[str, Filter]] = (),
) -> Messages:
    """Make what turns events into messages: the filters in their order, the format, the envelope.

    `epoch` names what offsets count in; `fixed_offsets` says that an event never gets another one; `counts`
    is where they are counted by name; `more_filters` come after those of the settings. Raises `ConfigError`
    and `PluginError`.
    """
    format_ = registry.get("format", settings.format)
    filters = [
        (name, _callable(settings, registry.get("filter", name), options))
        for name, options in settings.filters
    ]
    filters += more_filters

    def route(found: Identity) -> Route:
        overridden = settings.overrides.apply(found)
        envelope = envelopes(overridden, settings.format, settings.key, counts)
        if settings.event_id:
            entity_id = overridden.entity_id
            envelope = with_event_id(envelope, entity_id, epoch, with_digest=not fixed_offsets)
        context = FormatContext(identity=overridden, topic=settings.topic)
        return Route(envelope, _callable(settings, format_, settings.format_options, context))

    fallback = identity.resolve(local.facts(settings.etc))
    route(fallback)  # a format that cannot be made is an error now, not at the first event
    return Messages(
        topic=settings.topic,
        format_name=settings.format,
        choose=chain(filters),
        route=route,
        fallback=fallback,
        gap_events=settings.gap_events,
    )


def _callable(settings: Settings, registration: Registration, *arguments: object) -> Callable[[Event], Any]:
    made = plugin_object(settings, registration, *arguments)
    if not callable(made):
        raise PluginError(
            f'{registration.origin}: the factory of the {registration.kind} "{registration.name}" returned'
            f" {type(made).__name__}, which cannot be called with an event"
        )
    return cast("Callable[[Event], Any]", made)


def producer(
    settings: Settings,
    batch_size: int | None = None,
    *,
    on_statistics: Callable[[str], None] | None = None,
) -> Producer:
    """Make a producer, of its own batch size if one is given. Raises `ConfigError`."""
    properties = {name: value for name, value in settings.properties.items() if name != TRANSACTIONAL_ID}
    if properties.get("enable.idempotence") == "true" and batch_size != BATCH_OF_ONE:
        # A batch that is refused ends the producer: what was sent behind it may not come before it.
        properties.setdefault("enable.gapless.guarantee", "true")
    return _producer(Producer, settings, properties, batch_size, on_statistics)


def try_producer(settings: Settings) -> None:
    """See that a producer can be made as the settings say. Raises `ConfigError`."""
    made = transactions(settings, owner="", checkpoint=_no_checkpoint, sync=lambda: None)
    (made.connect() if made else producer(settings)).discard()


def transactions(
    settings: Settings,
    *,
    owner: str,
    checkpoint: Callable[[int], Checkpoint],
    sync: Callable[[], None],
    on_statistics: Callable[[str], None] | None = None,
) -> Transactions | None:
    """Make what publishes exactly once, `None` where at least once will do."""
    if not settings.exactly_once:
        return None
    entity_id = settings.overrides.apply(identity.resolve(local.facts(settings.etc))).entity_id
    publisher = f"{entity_id}/{settings.source}"
    properties = {TRANSACTIONAL_ID: f"amikafka/{settings.topic}/{publisher}", **settings.properties}
    properties["enable.idempotence"] = "true"
    if "message.timeout.ms" not in settings.property_origins:
        del properties["message.timeout.ms"]  # librdkafka's default is then that of a transaction
    topic = CheckpointTopic(
        properties, topic=settings.topic + CHECKPOINTS, key=publisher.encode(), logger=librdkafka_log
    )
    return Transactions(
        lambda batch_size: _producer(TransactionalProducer, settings, properties, batch_size, on_statistics),
        topic,
        owner=owner,
        checkpoint=checkpoint,
        sync=sync,
        interval=settings.transaction_interval,
        clock=time.monotonic,
    )


def _no_checkpoint(position: int) -> Checkpoint:
    return Checkpoint(epoch="", offset=position)


def _producer(
    kind: type[P],
    settings: Settings,
    properties: Mapping[str, str],
    batch_size: int | None,
    on_statistics: Callable[[str], None] | None,
) -> P:
    if batch_size is not None:
        largest = int(properties.get("batch.size", batch_size))
        properties = {**properties, "batch.size": str(min(batch_size, largest))}
    return kind(
        properties,
        origins=settings.property_origins,
        logger=librdkafka_log,
        # librdkafka says each of its attempts to connect, some a second.
        on_error=lambda text: log.warning("Kafka: %s", without_moment(text), extra=RARELY),
        on_statistics=on_statistics,
    )

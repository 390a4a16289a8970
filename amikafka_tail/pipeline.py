"""The pipeline: reads the journal, cuts it into events, filters, renders and sends them.

One loop in one thread. `Pipeline.step` does one round of it and never waits for Kafka; what comes back from
Kafka moves the checkpoint or, where a message was not taken, takes the pipeline back to it.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from traceback import format_exception, format_exception_only
from typing import Any, NamedTuple, Protocol

from amikafka_tail.ami.event import Event
from amikafka_tail.config.identity import Identity
from amikafka_tail.dead_letters import DeadLetters
from amikafka_tail.envelope import Envelope
from amikafka_tail.errors import DeliveryFailed, TryLater
from amikafka_tail.ledger import Failure, Ledger, Receipt
from amikafka_tail.metrics import Counters
from amikafka_tail.payload import Payload, unpack, value_of
from amikafka_tail.producer import KafkaError, KafkaException, describe, is_permanent
from amikafka_tail.sources.replayable import Reader, Unpublishable

MAX_UNDELIVERED = 32 * 1024 * 1024
"""How far reading may run ahead of the checkpoint, in bytes: bounds memory where events are large."""
FIRST_RETRY, LONGEST_RETRY = 1.0, 30.0
"""Seconds to wait before going on after a failure: doubled each time, until something is delivered."""
FIRST_HOLD = 0.05
"""Seconds to wait before a plugin that asked for it is called again: doubled too, up to LONGEST_RETRY."""
QUIET_HOLD = 1.0
"""A plugin that waits no longer than this, in seconds, is not worth a line in the log."""
NOWHERE = -1
"""The position of what was sent from bytes that are gone."""
MAX_REMEMBERED = 10_000
"""Positions of events set aside that are remembered, so that going back does not set them aside again."""

log = logging.getLogger("amikafka.pipeline")
Filter = Callable[[Event], "bool | Event | None"]


class Sender(Protocol):
    """What the pipeline sends through. `Producer` describes each."""

    @property
    def fatal(self) -> str | None:
        """Why nothing can be sent through this any more, `None` while it can."""

    @property
    def produce(self) -> Callable[..., None]:
        """Sends one message."""

    @property
    def poll(self) -> Callable[[float], int]:
        """Calls the delivery callbacks, waiting at most so many seconds for the first."""

    def __len__(self) -> int:
        """How many messages are not yet reported."""

    @property
    def has_room(self) -> bool:
        """Whether another chunk may be sent."""

    def discard(self) -> None:
        """Throw away what is not sent yet and close."""


class Route(NamedTuple):
    """How the events of one Asterisk become messages."""

    envelope: Envelope
    render: Callable[[Event], bytes | Payload]


@dataclass(frozen=True, kw_only=True)
class Messages:
    """What becomes of events, as the configuration says.

    `choose` returns the event to publish or `None`; it is `None` itself where every event is published.
    `route` makes the envelope and the renderer for an identity; `fallback` is who the Asterisk is as long as
    the log does not say.
    """

    topic: str
    format_name: str
    choose: Callable[[Event], Event | None] | None
    route: Callable[[Identity], Route]
    fallback: Identity


class FilterFailed(Exception):
    """A filter raised; its own exception is the cause."""


def chain(filters: Sequence[tuple[str, Filter]]) -> Callable[[Event], Event | None] | None:
    """Make one function of named filters, `None` of none. It raises `FilterFailed` with the filter's name."""
    if not filters:
        return None

    def choose(event: Event) -> Event | None:
        for name, keep in filters:
            try:
                verdict = keep(event)
            except Exception as error:
                raise FilterFailed(name) from error
            if verdict is not True:
                if verdict is None or verdict is False:
                    return None
                if not isinstance(verdict, Event):
                    error = TypeError(
                        f"the filter returned {type(verdict).__name__}, not bool, Event or None"
                    )
                    raise FilterFailed(name) from error
                event = verdict
        return event

    return choose


class Pipeline:
    """Carries a log to Kafka, from where its reader stands.

    `connect` makes a producer, and another when that one has to be replaced. `clock` gives monotonic seconds.
    """

    def __init__(
        self,
        reader: Reader,
        *,
        messages: Messages,
        connect: Callable[[], Sender],
        dead_letters: DeadLetters,
        counters: Counters,
        clock: Callable[[], float],
    ) -> None:
        self.ledger = Ledger(reader.position)
        self._reader = reader
        self._messages = messages
        self._connect = connect
        self._dead_letters = dead_letters
        self._counters = counters
        self._clock = clock
        self._retry_after = FIRST_RETRY
        self._resume_at = 0.0
        self._hold_for = FIRST_HOLD
        self._given_up: set[int] = set()
        self._sending: Iterator[None] | None = None
        self._identity = messages.fallback
        self._route = messages.route(messages.fallback)
        self.producer = connect()

    @property
    def lag(self) -> int:
        """Bytes of the log that are not delivered."""
        return self._reader.end - self.ledger.position

    @property
    def paused_until(self) -> float | None:
        """When to go on after a failure, on the clock; `None` when there is nothing to wait for."""
        return self._resume_at if self._resume_at > self._clock() else None

    @property
    def settled(self) -> bool:
        """Whether all that has been read is delivered."""
        return self._sending is None and not self.ledger.open_receipts

    @property
    def exhausted(self) -> bool:
        """Whether the log is read to its end and delivered."""
        return self.settled and self._reader.position >= self._reader.end

    @property
    def partial(self) -> bytes:
        """The start of an event whose end has not come yet."""
        return self._reader.partial

    def step(self) -> bool:
        """Do one round: take reports, release offsets, send one chunk. Return whether there was one.

        Blocks for nothing but the disk. Raises `OSError` where the log cannot be read.
        """
        self.take_reports()
        if self.paused_until is not None:
            return False
        if self._sending is None:
            ahead = self._reader.position - self.ledger.position if self.ledger.open_receipts else 0
            if ahead > MAX_UNDELIVERED or not self.producer.has_room:
                return False
            if not self._read():
                return False
        return self._sending is None or self.send_rest()

    def take_reports(self, seconds: float = 0) -> None:
        """Take delivery reports, waiting at most `seconds` for one, and act on them."""
        self.producer.poll(seconds)
        if self.ledger.failures or self.producer.fatal:
            try:
                self._recover()
            except DeliveryFailed as error:
                self._go_back(str(error))
        if self.ledger.settle():
            self._retry_after = FIRST_RETRY

    def send_rest(self) -> bool:
        """Send what is left of the chunk that was read; return whether that was all of a chunk."""
        if self._sending is None or self.paused_until is not None:
            return False
        try:
            done = next(self._sending, self) is self
        except DeliveryFailed as error:
            self._go_back(str(error))
            return True
        if done:
            self._sending = None
        return done

    def _read(self) -> bool:
        """Read the next chunk and begin to send it; return whether there was one."""
        chunk = self._reader.read()
        if chunk is None:
            return False
        if chunk.start != chunk.end:
            self._reroute(chunk.identity)
            self._hold_for = FIRST_HOLD
            self._sending = self._send(chunk.events, self.ledger.open(chunk.start, chunk.end))
        return True

    def _reroute(self, identity: Identity | None) -> None:
        """Make messages as the Asterisk of the next events asks for."""
        identity = identity or self._messages.fallback
        if identity != self._identity:
            self._identity = identity
            self._route = self._messages.route(identity)

    def _send(self, events: Iterator[Event | Unpublishable], receipt: Receipt) -> Iterator[None]:
        """Send the events of one chunk.

        Yields when librdkafka's queue is full or a plugin has to wait, to go on with the same event.
        """
        counters = self._counters
        given_up = self._given_up
        envelope, render = self._route
        produce = self.producer.produce
        report = receipt.report
        topic = self._messages.topic
        choose = self._messages.choose
        for event in events:
            if given_up and event.position in given_up:
                continue
            if type(event) is Unpublishable:
                self._set_aside_bytes(event)
                continue
            counters.events += 1
            while True:
                try:
                    chosen = event if choose is None else choose(event)
                    if chosen is None:
                        counters.filtered += 1
                        break
                    key, headers, moment_ms = envelope(chosen)
                    value = render(chosen)
                    if type(value) is not bytes:
                        value, headers = unpack(value, headers)
                except Exception as error:
                    if self._has_to_wait(error):
                        yield
                        continue
                    self._set_aside_failed(event, error)
                    break
                receipt.pending += 1
                try:
                    produce(topic, value, key, -1, report, report, moment_ms, headers)
                    counters.sent += 1
                except BufferError:
                    receipt.pending -= 1
                    yield
                    continue
                except KafkaException as error:
                    self._refused(event, error.args[0])
                    receipt.settle_one()
                break
        receipt.settle_one()

    def _recover(self) -> None:
        """Act on failed deliveries: give up what is refused for ever, go back for the rest.

        Raises `DeliveryFailed` where what is given up cannot be kept.
        """
        failures = list(self.ledger.failures)
        self.ledger.failures.clear()
        reason = self.producer.fatal
        for failure in failures:
            if is_permanent(failure.error):
                self._give_up(self._find(failure), failure.error)
                failure.receipt.settle_one()
            else:
                reason = reason or describe(failure.error, self._messages.topic)
        if reason is not None:
            self._go_back(f"Kafka does not take events: {reason}")

    def _refused(self, event: Event, error: KafkaError) -> None:
        """Act on a message that was refused at once. Raises `DeliveryFailed` where trying again may help."""
        if not is_permanent(error):
            raise DeliveryFailed(f"Kafka does not take events: {describe(error, self._messages.topic)}")
        self._give_up(event, error)

    def _give_up(self, event: Event, error: KafkaError) -> None:
        """Send an event to the dead letters, so that it is not tried again."""
        reason = describe(error, self._messages.topic)
        self._set_aside(event.raw, event.position, reason, captured_ms=event.captured_ms)
        log.error("refused by Kafka: %s: event=%r offset=%d", reason, event.name, event.position)

    def _find(self, failure: Failure) -> Event:
        """Find the event of a failed message by reading its chunk once more: a report does not name it."""
        receipt, _, message = failure
        wanted = message.value()
        known, route = self._identity, self._route
        for event, found in self._reader.again(receipt.start, receipt.end):
            identity = found or self._messages.fallback
            if event.position in self._given_up:
                continue
            if identity != known:
                known, route = identity, self._messages.route(identity)
            with contextlib.suppress(Exception):  # what a plugin cannot handle is not what was sent
                chosen = event if self._messages.choose is None else self._messages.choose(event)
                if chosen is not None and value_of(route.render(chosen)) == wanted:
                    return event
        # The journal had to give the chunk up: what was sent is all there is.
        return Event(wanted, NOWHERE)

    def _go_back(self, reason: str) -> None:
        """Begin again at the checkpoint with a fresh producer, after a while."""
        position = self.ledger.abandon()
        self._counters.rewinds += 1
        log.error(
            "%s; next attempt in %.0f s, from offset=%d; nothing is lost",
            reason,
            self._retry_after,
            position,
        )
        self._resume_at = self._clock() + self._retry_after
        self._retry_after = min(2 * self._retry_after, LONGEST_RETRY)
        self.producer.discard()
        self.producer = self._connect()
        self._sending = None
        self._reader.seek(position)

    def _has_to_wait(self, error: Exception) -> bool:
        """Tell whether a plugin asked to be called again later, and wait if it did."""
        plugin, cause = self._blamed(error)
        if not isinstance(cause, TryLater):
            return False
        self._resume_at = self._clock() + self._hold_for
        if self._hold_for > QUIET_HOLD:
            log.warning(
                'plugin "%s" has to wait: %s; next attempt in %.0f s; nothing is lost',
                plugin,
                cause,
                self._hold_for,
            )
        self._hold_for = min(2 * self._hold_for, LONGEST_RETRY)
        return True

    def _blamed(self, error: Exception) -> tuple[str, Exception]:
        """Return the plugin that an exception came from, and what it raised."""
        if isinstance(error, FilterFailed) and isinstance(error.__cause__, Exception):
            return str(error), error.__cause__
        return self._messages.format_name, error

    def _set_aside_bytes(self, bytes_: Unpublishable) -> None:
        """Send what is no event to the dead letters. Raises `DeliveryFailed`."""
        self._set_aside(bytes_.raw, bytes_.position, bytes_.reason, kind=bytes_.kind)
        if bytes_.kind == "torn":
            self._counters.torn += 1
        else:
            self._counters.malformed += 1
        log.warning("set aside: %s: offset=%d %r", bytes_.reason, bytes_.position, bytes_.raw[:80])

    def _set_aside_failed(self, event: Event, error: Exception) -> None:
        """Send an event that a plugin could not handle to the dead letters. Raises `DeliveryFailed`."""
        plugin, cause = self._blamed(error)
        reason = "".join(format_exception(cause))
        self._set_aside(event.raw, event.position, reason, plugin=plugin, captured_ms=event.captured_ms)
        self._counters.plugin_failures[plugin] = self._counters.plugin_failures.get(plugin, 0) + 1
        said = format_exception_only(cause)[-1].strip()  # whatever its own str() does
        log.error('plugin "%s" failed: %s: event=%r', plugin, said, event.name)

    def _set_aside(self, raw: bytes, position: int, reason: str, **more: Any) -> None:
        """Keep what cannot be published, once. Raises `DeliveryFailed` where that is not possible now."""
        try:
            self._dead_letters.keep(raw, position=position, reason=reason, **more)
        except OSError as error:
            raise DeliveryFailed(f"{self._dead_letters.path} cannot be written: {error.strerror}") from error
        self._counters.dead_letters += 1
        self._given_up.add(position)
        if len(self._given_up) > MAX_REMEMBERED:
            self._given_up -= {each for each in self._given_up if each < self.ledger.position}

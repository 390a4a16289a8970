"""The pipeline: reads the journal, cuts it into events, filters, renders and sends them.

One loop in one thread. `Pipeline.step` does one round of it and never waits for Kafka; what comes back from
Kafka moves the checkpoint or, where a message was not taken, takes the pipeline back to it.
"""

from __future__ import annotations

import contextlib
import logging
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from traceback import format_exception
from typing import NamedTuple, Protocol

from amikafka_tail.ami.event import Event
from amikafka_tail.ami.framing import END, MAX_BLOCK, Framer
from amikafka_tail.config.identity import Identity
from amikafka_tail.dead_letters import DeadLetters
from amikafka_tail.envelope import Envelope
from amikafka_tail.errors import DeliveryFailed
from amikafka_tail.journal import Moment
from amikafka_tail.ledger import Failure, Ledger, Receipt
from amikafka_tail.metrics import Counters
from amikafka_tail.producer import KafkaError, KafkaException, describe, is_permanent

CHUNK = 128 * 1024
MAX_UNDELIVERED = 32 * 1024 * 1024
"""How far reading may run ahead of the checkpoint, in bytes: bounds memory where events are large."""
FIRST_RETRY, LONGEST_RETRY = 1.0, 30.0
"""Seconds to wait before going on after a failure: doubled each time, until something is delivered."""
EVENT = b"Event: "
NOT_EVENTS = (b"Response: ", b"Asterisk Call Manager/")
NOWHERE = -1
"""The position of what was sent from bytes that are gone."""
MAX_REMEMBERED = 10_000
"""Positions of events set aside that are remembered, so that going back does not set them aside again."""

log = logging.getLogger("amikafka.pipeline")
Filter = Callable[[Event], "bool | Event | None"]


class Log(Protocol):
    """What the pipeline reads from: bytes at positions, again whenever asked. `Journal` describes each."""

    @property
    def end(self) -> int:
        """Offset of the next byte to come."""
        ...

    def next_readable(self, position: int) -> int:
        """Return `position`, or the next offset that is still there where its bytes are gone."""

    def read(self, position: int, size: int) -> bytes:
        """Return up to `size` bytes at `position`; none at the end."""

    def moments(self, start: int, end: int) -> list[Moment]:
        """Return when the bytes of one read were captured; the first moment holds for `start`."""

    def identity_at(self, position: int) -> Identity | None:
        """Return who the Asterisk was whose bytes stand at `position`."""

    def connection_in(self, start: int, end: int) -> int | None:
        """Return the offset of the first connection that begins between two offsets: a NUL stands there."""

    def before(self, position: int) -> bytes:
        """Return the four bytes before a position, fewer where they are not known any more."""


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
    render: Callable[[Event], bytes]


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
                if not verdict:
                    return None
                event = verdict
        return event

    return choose


class Pipeline:
    """Carries a log to Kafka from a checkpoint on.

    `connect` makes a producer, and another when that one has to be replaced. `clock` gives monotonic seconds.
    With `in_block` the position may be in the middle of an event, whose rest is passed over.
    """

    def __init__(
        self,
        source: Log,
        position: int,
        *,
        in_block: bool = False,
        messages: Messages,
        connect: Callable[[], Sender],
        dead_letters: DeadLetters,
        counters: Counters,
        clock: Callable[[], float],
    ) -> None:
        self.ledger = Ledger(position)
        self._source = source
        self._messages = messages
        self._connect = connect
        self._dead_letters = dead_letters
        self._counters = counters
        self._clock = clock
        self._retry_after = FIRST_RETRY
        self._resume_at = 0.0
        self._given_up: set[int] = set()
        self._sending: Iterator[None] | None = None
        self._identity = messages.fallback
        self._route = messages.route(messages.fallback)
        self.producer = connect()
        self._read_from(position, in_block=in_block)

    @property
    def lag(self) -> int:
        """Bytes of the log that are not delivered."""
        return self._source.end - self.ledger.position

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
        return self.settled and self._read_at >= self._source.end

    @property
    def partial(self) -> bytes:
        """The start of an event whose end has not come yet."""
        return self._framer.held_back

    def step(self) -> bool:
        """Do one round: take reports, release offsets, send one chunk. Return whether there was one.

        Blocks for nothing but the disk. Raises `OSError` where the log cannot be read.
        """
        self.take_reports()
        if self._sending is None:
            ahead = self._read_at - self.ledger.position if self.ledger.open_receipts else 0
            if ahead > MAX_UNDELIVERED or not self.producer.has_room or self.paused_until is not None:
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
        if self._sending is None:
            return False
        try:
            done = next(self._sending, self) is self
        except DeliveryFailed as error:
            self._go_back(str(error))
            return True
        if done:
            self._sending = None
        return done

    def _read_from(self, position: int, *, in_block: bool = False, before: bytes = b"") -> None:
        self._framer = Framer(position, in_block=in_block, before=before)
        self._read_at = position
        self._captured_ms = 0
        self._moments: deque[Moment] = deque()
        self._sending = None
        self._reroute(position)

    def _reroute(self, position: int) -> None:
        """Make messages as the Asterisk whose bytes stand at `position` asks for."""
        identity = self._source.identity_at(position) or self._messages.fallback
        if identity != self._identity:
            self._identity = identity
            self._route = self._messages.route(identity)

    def _read(self) -> bool:
        """Read the next chunk, and begin to send it if an event is complete; return whether there was one."""
        position = self._source.next_readable(self._read_at)
        data = self._source.read(position, CHUNK)
        if not data:
            return False
        if position != self._read_at:
            # The journal gave up what comes before, and perhaps the beginning of the event that stands here.
            before = self._source.before(position)
            in_block = before != END
            self._counters.lost += in_block
            self._read_from(position, in_block=in_block, before=before)
        self._read_at += len(data)
        framer = self._framer
        overlong = framer.overlong
        blocks = framer.feed(data)
        if framer.overlong != overlong:
            self._counters.overlong += 1
            log.error("passed over: an event longer than %d bytes: offset=%d", MAX_BLOCK, framer.position)
        known_until = self._moments[-1].offset if self._moments else -1
        moments = self._source.moments(position, self._read_at)
        self._moments += [moment for moment in moments if moment.offset > known_until]
        if blocks:
            receipt = self.ledger.open(framer.first, framer.position)
            self._sending = self._send(self._events(blocks, framer.first), receipt)
        return True

    def _send(self, events: Iterator[Event], receipt: Receipt) -> Iterator[None]:
        """Send the events of one chunk. Yields when librdkafka's queue is full, to go on where it was."""
        produce = self.producer.produce
        report = receipt.report
        topic = self._messages.topic
        choose = self._messages.choose
        for event in events:
            try:
                chosen = event if choose is None else choose(event)
                if chosen is None:
                    self._counters.filtered += 1
                    continue
                envelope, render = self._route
                key, headers, moment_ms = envelope(chosen)
                value = render(chosen)
            except Exception as error:
                self._set_aside_failed(event, error)
                continue
            receipt.pending += 1
            while True:
                try:
                    produce(topic, value, key, -1, report, report, moment_ms, headers)
                    self._counters.sent += 1
                    break
                except BufferError:
                    yield
                except KafkaException as error:
                    self._refused(event, error.args[0])
                    receipt.settle_one()
                    break
        receipt.settle_one()

    def _events(self, blocks: list[bytes], position: int) -> Iterator[Event]:
        """Tell the events from whatever else is in the stream, each with its position and capture time."""
        given_up = self._given_up
        counters = self._counters
        moments = self._moments
        self._reroute(position)
        for block in blocks:
            at = position
            position += len(block) + len(END)
            while moments and moments[0].offset <= at:
                self._captured_ms = moments.popleft().captured_ms
            if block.startswith(EVENT) and b"\0" not in block:
                if at not in given_up:
                    counters.events += 1
                    yield Event(block, at, self._captured_ms)
            else:
                yield from self._odd_block(block, at)

    def _odd_block(self, block: bytes, at: int) -> Iterator[Event]:
        """Find the events in a block that does not look like one."""
        while (begin := self._source.connection_in(at, at + len(block))) is not None:
            cut_off, block = block[: begin - at], block[begin - at + 1 :]
            # With only the last byte of its end missing, the event is whole.
            whole = cut_off.endswith(b"\r\n\r")
            yield from self._event_of(cut_off[:-3] if whole else cut_off, at, cut_off=not whole)
            at = begin + 1
            self._reroute(begin)
        yield from self._event_of(block, at, cut_off=False)

    def _event_of(self, block: bytes, at: int, *, cut_off: bool) -> Iterator[Event]:
        # NULs in front are the rest of a page that a full disk was given back.
        text = block.lstrip(b"\r\n\0")
        if text.startswith(NOT_EVENTS) or not text.strip() or at in self._given_up:
            return
        if cut_off:
            self._set_aside(block, at, "cut off by a lost connection")
            self._counters.torn += 1
            log.warning("an event was cut off by a lost connection: offset=%d %r", at, text[:80])
        elif text.startswith(EVENT) and b"\0" not in text:
            self._counters.events += 1
            yield Event(text, at, self._captured_ms)
        else:
            self._set_aside(block, at, "not an AMI event")
            self._counters.malformed += 1
            log.warning("neither an event nor a response: offset=%d %r", at, text[:80])

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
        self._set_aside(event.raw, event.position, reason)
        log.error("refused by Kafka: %s: event=%r offset=%d", reason, event.name, event.position)

    def _find(self, failure: Failure) -> Event:
        """Find the event of a failed message by reading its chunk once more: a report does not name it."""
        receipt, _, message = failure
        wanted = message.value()
        data = b""
        if self._source.next_readable(receipt.start) == receipt.start:
            while missing := receipt.end - receipt.start - len(data):
                more = self._source.read(receipt.start + len(data), missing)
                if not more:
                    break
                data += more
        position = receipt.start
        identity, route = self._identity, self._route
        for block in Framer(position).feed(data):
            event = Event(block, position)
            position += len(block) + len(END)
            if event.position in self._given_up or not block.startswith(EVENT) or b"\0" in block:
                continue
            then = self._source.identity_at(event.position) or self._messages.fallback
            if then != identity:
                identity, route = then, self._messages.route(then)
            with contextlib.suppress(Exception):  # what a plugin cannot handle is not what was sent
                chosen = event if self._messages.choose is None else self._messages.choose(event)
                if chosen is not None and route.render(chosen) == wanted:
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
        self._read_from(position)

    def _set_aside_failed(self, event: Event, error: Exception) -> None:
        """Send an event that a plugin could not handle to the dead letters. Raises `DeliveryFailed`."""
        cause, plugin = error, self._messages.format_name
        if isinstance(error, FilterFailed) and isinstance(error.__cause__, Exception):
            cause, plugin = error.__cause__, str(error)
        self._set_aside(event.raw, event.position, "".join(format_exception(cause)), plugin)
        log.error('plugin "%s" failed: %s: %s: event=%r', plugin, type(cause).__name__, cause, event.name)

    def _set_aside(self, raw: bytes, position: int, reason: str, plugin: str | None = None) -> None:
        """Keep what cannot be published, once. Raises `DeliveryFailed` where that is not possible now."""
        try:
            self._dead_letters.keep(raw, position=position, reason=reason, plugin=plugin)
        except OSError as error:
            raise DeliveryFailed(f"{self._dead_letters.path} cannot be written: {error.strerror}") from error
        self._counters.dead_letters += 1
        self._given_up.add(position)
        if len(self._given_up) > MAX_REMEMBERED:
            self._given_up -= {each for each in self._given_up if each < self.ledger.position}

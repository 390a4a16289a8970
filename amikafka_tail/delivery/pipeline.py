"""The pipeline: reads the journal, cuts it into events, filters, renders and sends them.

One loop in one thread. `Pipeline.step` does one round of it and never waits for Kafka; what comes back from
Kafka moves the checkpoint or, where a message was not taken, takes the pipeline back to it.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Generator, Iterator
from functools import partial

from amikafka_tail.delivery.acknowledged import Acknowledged
from amikafka_tail.delivery.attempts import LONGEST_RETRY, Attempts, Connect, HeldUp, OneByOne
from amikafka_tail.delivery.dead_letter_policy import DeadLetterPolicy
from amikafka_tail.delivery.ledger import DeliveryToken, Failure, Ledger, MessageToken, Receipt
from amikafka_tail.delivery.messages import Messages
from amikafka_tail.delivery.refusals import explain
from amikafka_tail.delivery.sender import Sender
from amikafka_tail.delivery.stall_detector import StallDetector
from amikafka_tail.delivery.transactions import Committed, Transactions
from amikafka_tail.journal.dead_letters import DeadLetters
from amikafka_tail.kafka.producer import KafkaError, KafkaException, describe, is_permanent
from amikafka_tail.model.counters import Counters
from amikafka_tail.model.errors import DeliveryFailed, TryLater
from amikafka_tail.model.event import Event
from amikafka_tail.model.gaps import Gap
from amikafka_tail.model.identity import Identity
from amikafka_tail.model.payload import unpack
from amikafka_tail.model.replayable_source import KeepsDeadLetters, Reader, Unpublishable

MAX_UNDELIVERED = 8 * 1024 * 1024
"""How far reading may run ahead of the checkpoint, in bytes: bounds memory where events are large."""
FIRST_HOLD = 0.05
"""Seconds to wait before a plugin that asked for it is called again: doubled too, up to LONGEST_RETRY."""
QUIET_HOLD = 1.0
"""A plugin that waits no longer than this, in seconds, is not worth a line in the log."""

log = logging.getLogger("amikafka.pipeline")


class Pipeline:
    """Carries a log to Kafka, from where its reader stands.

    `connect` makes a producer, and another when that one has to be replaced. `clock` gives monotonic seconds,
    `now` the time of day.
    With `transactions`, whose `connect` it then is, events are published exactly once; `resume` makes the
    reader that goes on where the last transaction ended, if it can. Nothing is sent of what is
    `acknowledged`, as an earlier pipeline left it.
    """

    def __init__(
        self,
        reader: Reader,
        *,
        messages: Messages,
        connect: Connect,
        dead_letters: DeadLetters,
        counters: Counters,
        clock: Callable[[], float],
        now: Callable[[], float] = time.time,
        transactions: Transactions | None = None,
        resume: Callable[[Committed], Reader | None] = lambda _committed: None,
        acknowledged: Acknowledged | None = None,
    ) -> None:
        self.held: str | None = None
        """Which plugin makes the events wait, and why, where that takes longer than a moment."""
        self._reader = reader
        self._messages = messages
        self._dead_letter_policy = DeadLetterPolicy(
            dead_letters, messages, counters, lambda: self.ledger.position, self._note_dead_letter
        )
        self._counters = counters
        self._clock = clock
        self._stall_detector = StallDetector(clock)
        self._hold_for = FIRST_HOLD
        self._held_until: float | None = None
        self._sent_late = 0
        """How many messages were sent that belong to a chunk whose others had been sent before."""
        self._sending: Generator[None, None, None] | None = None
        self._identity = messages.fallback
        self._route = messages.route(messages.fallback)
        self._transactions = transactions
        self._resume = resume
        self._attempts = Attempts(
            reader.position,
            connect=connect,
            topic=messages.topic,
            give_up=self._give_up,
            explain=lambda failure: explain(failure, messages.topic, now=now()),
            transactional=transactions is not None,
            clock=clock,
            sent=lambda: counters.sent,
            acknowledged=acknowledged,
        )

    @property
    def producer(self) -> Sender:
        """The producer of this attempt."""
        return self._attempts.producer

    @property
    def ledger(self) -> Ledger:
        """The receipts of what is read and not delivered."""
        return self._attempts.ledger

    @property
    def trouble(self) -> str | None:
        """Why Kafka did not take what was sent last; `None` since it has taken something."""
        return self._attempts.trouble

    @property
    def is_held_up(self) -> bool:
        """Whether Kafka refuses every event, for the reason in `trouble`: one is tried now and then."""
        return self._attempts.is_held_up

    @property
    def acknowledged(self) -> int:
        """How many messages Kafka has acknowledged of those that the producer in use has got."""
        return self._attempts.acknowledged_messages

    @property
    def lag(self) -> int:
        """Bytes of the log that are not delivered."""
        return self._reader.end - self.ledger.position

    @property
    def paused_until(self) -> float | None:
        """When to go on after a failure, on the clock; `None` when there is nothing to wait for."""
        held_until = self._held_until
        if held_until is not None and held_until > self._clock():
            return held_until
        return self._attempts.resends_at

    @property
    def waiting(self) -> bool:
        """Whether something is to come back from Kafka."""
        return len(self.producer) > 0 or (self._transactions is not None and self._transactions.waiting)

    @property
    def problem(self) -> str | None:
        """Why nothing may be published any more, in words; `None` where it may."""
        return self._transactions.fenced if self._transactions is not None else None

    @property
    def position(self) -> int:
        """Offset up to which the log is read."""
        return self._reader.position

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
            if not self._attempts.may_send():
                return False
            if self._transactions is not None and not self._transactions.may_send:
                return False
            ledger = self._attempts.ledger
            ahead = self._reader.position - ledger.position if ledger.open_receipts else 0
            if ahead > MAX_UNDELIVERED or not self._attempts.producer.has_room:
                return False
            if not self._read():
                return False
        return self._sending is None or self.send_rest()

    def take_reports(self, seconds: float = 0) -> None:
        """Take delivery reports, waiting at most `seconds` for one, and act on them."""
        try:
            self._attempts.take_reports(seconds)
            if self._settle():
                self._count_delivered()
                self._attempts.delivered()
                self._stall_detector.moved()
            elif self._stall_detector.is_over(
                self._attempts.producer, self._messages.topic, self._attempts.acknowledged_messages
            ):
                raise DeliveryFailed("Kafka answers, and acknowledges nothing of what was sent to it")
        except DeliveryFailed as error:
            self._go_back(error)

    def _count_delivered(self) -> None:
        self._counters.delivered += self._attempts.count_delivered()

    def _settle(self) -> bool:
        """Release what is delivered for good; return whether there was anything. Raises `DeliveryFailed`."""
        # What is delivered is deleted: the dead letters have to be on the disk before.
        self._dead_letter_policy.sync()
        transactions = self._transactions
        if transactions is None:
            released = self._attempts.ledger.settle() > 0
            if released and self._attempts.acknowledged:
                self._attempts.acknowledged.release(self.ledger.position)
            return released
        if self.paused_until is None:
            transactions.open()
        committed = transactions.opened()
        if committed is not None and committed.checkpoint.offset > self.ledger.position:
            reader = self._resume(committed)
            if reader is None:
                log.warning("the checkpoint in Kafka is of another journal: going on with what is here")
            else:
                self._reader = reader
                self._attempts.start_at(reader.position)
        if self.trouble is not None and transactions.may_send and self.exhausted:
            self._attempts.trouble = None  # the take-over was all there was to do
        return transactions.advance(self.ledger)

    def send_rest(self) -> bool:
        """Send what is left of the chunk that was read; return whether that was all of a chunk."""
        if self._sending is None or self.paused_until is not None:
            return False
        self.held = None
        try:
            done = next(self._sending, self) is self
        except DeliveryFailed as error:
            self._go_back(error)
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

    def _send(  # noqa: PLR0912, PLR0915 - one loop, read in one piece
        self, events: Iterator[Event | Unpublishable], receipt: Receipt
    ) -> Generator[None, None, None]:
        """Send the events of one chunk.

        Yields when librdkafka's queue is full or a plugin has to wait, to go on with the same event.
        """
        counters = self._counters
        sent_before, late_before = counters.sent, self._sent_late
        given_up = self._dead_letter_policy.given_up
        envelope, render = self._route
        produce = self.producer.produce
        attempts = self._attempts
        acknowledged = attempts.acknowledged or None
        one_by_one = isinstance(attempts.state, (OneByOne, HeldUp))
        shared_token = DeliveryToken(receipt)
        failed_at = shared_token.failed_at
        token: Callable[..., None] = shared_token
        topic = self._messages.topic
        choose = self._messages.choose
        if self._transactions is not None:
            self._transactions.begin()
        found = None
        try:
            for found in events:
                event: Event | None
                if acknowledged is not None and found.position in acknowledged:
                    continue
                if type(found) is Event and not (given_up and found.position in given_up):
                    event = found
                    at = event.position
                    token = MessageToken(receipt, event) if one_by_one else partial(failed_at, at)
                    counters.events += 1
                else:
                    event = self._in_place_of(found)
                    token = DeliveryToken(receipt, event)
                while event is not None:
                    while one_by_one and attempts.is_waiting_for_verdict:
                        yield
                    try:
                        chosen = event if choose is None or type(event) is Gap else choose(event)
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
                        else:
                            event = self._dead_letter_policy.failed(event, error)
                            token = DeliveryToken(receipt, event)
                        continue
                    try:
                        produce(topic, value, key, -1, token, token, moment_ms, headers)
                        counters.sent += 1
                        if type(token) is MessageToken:
                            token.sent()
                        break
                    except BufferError:
                        yield
                    except KafkaException as error:
                        event = self._refused(event, error.args[0], receipt)
                        token = DeliveryToken(receipt, event)
            receipt.is_whole = True
            receipt.settle_one()
        finally:
            if receipt.is_whole:
                receipt.sent_to = receipt.end
            elif found is not None:
                receipt.sent_to = found.position
            receipt.messages += counters.sent - sent_before - (self._sent_late - late_before)
            # Whoever keeps an exception that a plugin raised keeps this frame too; see DeliveryToken.
            del token, shared_token, failed_at

    def _in_place_of(self, found: Event | Unpublishable) -> Event | None:
        """Return what is published for what is no ordinary event, if anything. Raises `DeliveryFailed`."""
        if type(found) is Gap:
            return found if self._dead_letter_policy.may_tell(found) else None
        if found.position in self._dead_letter_policy.given_up:
            return self._dead_letter_policy.given_up[found.position]
        if type(found) is Unpublishable:
            return self._dead_letter_policy.unpublishable(found)
        assert isinstance(found, Event)  # a source's own kind
        self._counters.events += 1
        return found

    def _give_up(self, failure: Failure) -> None:
        """Give up a message whose delivery report says that it is refused, and see to its failure.

        Raises `DeliveryFailed`.
        """
        reason = describe(failure.error, self._messages.topic)
        in_its_place = self._dead_letter_policy.refused(failure.event, reason)
        failure.receipt.messages -= 1
        # A transaction is sent again as a whole, with what takes the place of the message.
        if in_its_place is not None and self._transactions is None:
            self._send_late(in_its_place, failure.receipt)
        failure.receipt.settle_one()

    def _note_dead_letter(self, position: int) -> None:
        """Tell the reader, if it wants to know."""
        if isinstance(self._reader, KeepsDeadLetters):
            self._reader.note_dead_letter(position)

    def _send_late(self, event: Gap, receipt: Receipt) -> None:
        """Send what takes the place of a message that failed. Raises `DeliveryFailed` where that fails."""
        try:
            key, headers, moment_ms = self._route.envelope(event)
            value = self._route.render(event)
            if type(value) is not bytes:
                value, headers = unpack(value, headers)
            token = DeliveryToken(receipt, event)
            self.producer.produce(self._messages.topic, value, key, -1, token, token, moment_ms, headers)
            self._counters.sent += 1
            self._sent_late += 1
            receipt.messages += 1
        except Exception as error:
            raise DeliveryFailed(f"an event that tells of a gap cannot be sent now: {error}") from error

    def _refused(self, event: Event, error: KafkaError, receipt: Receipt) -> Gap | None:
        """Act on a message that was refused at once; return what takes its place.

        Raises `DeliveryFailed` where trying again may help.
        """
        if not is_permanent(error):
            raise DeliveryFailed(f"Kafka does not take events: {describe(error, self._messages.topic)}")
        self._attempts.refused_at_once(Failure(receipt, error, None, event), self._counters.sent)
        return self._dead_letter_policy.refused(event, describe(error, self._messages.topic))

    def _go_back(self, error: DeliveryFailed) -> None:
        """Begin again at the checkpoint with a fresh producer, after a while."""
        error = self._attempts.await_refusal(error)
        if self._transactions is None:
            with contextlib.suppress(DeliveryFailed):
                self._settle()
                self._count_delivered()
        self._counters.rewinds += 1
        self._stop_sending()
        self._held_until = None
        self._reader.seek(self._attempts.fail(error))
        self._count_delivered()
        self._stall_detector.begin()

    def _stop_sending(self) -> None:
        """Send nothing more of the chunk: its receipt says how far that came."""
        if self._sending is not None:
            self._sending.close()
            self._sending = None

    def leave(self) -> Acknowledged:
        """Throw away what is not acknowledged; return what is, for the pipeline that goes on.

        That begins at the position of the ledger, with a reader that gives the same offsets.
        """
        self._stop_sending()
        self._attempts.abandon()
        self._count_delivered()
        self.producer.discard()
        return self._attempts.acknowledged

    def _has_to_wait(self, error: Exception) -> bool:
        """Tell whether a plugin asked to be called again later, and wait if it did."""
        plugin, cause = self._dead_letter_policy.blamed(error)
        if not isinstance(cause, TryLater):
            return False
        self._held_until = self._clock() + self._hold_for
        if self._hold_for > QUIET_HOLD:
            self.held = f'plugin "{plugin}" has to wait: {cause}'
            log.warning(
                'plugin "%s" has to wait: %s; next attempt in %.0f s; nothing is lost',
                plugin,
                cause,
                self._hold_for,
            )
        self._hold_for = min(2 * self._hold_for, LONGEST_RETRY)
        return True

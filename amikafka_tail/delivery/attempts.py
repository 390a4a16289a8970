"""How a pipeline sends: together, one by one, or again after a failure.

    Together --refused--> Resending --> OneByOne --no refusal for 10 s--> Together
    Together --failed---> Resending --> Together
    OneByOne --failed---> Resending --> OneByOne
    any ------refused in a row---> Resending --> HeldUp
    HeldUp ---refused or failed--> Resending --> HeldUp
    HeldUp ---acknowledged-------> OneByOne

A broker refuses a batch as a whole: the delivery reports of all its messages say so, whichever was meant. So
a refusal counts for one message only where that message had a request of its own. Refusals in a row are an
outage, not dead letters: see `refusals`.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Protocol

from amikafka_tail.delivery.acknowledged import Acknowledged
from amikafka_tail.delivery.ledger import Failure, Ledger
from amikafka_tail.delivery.refusals import Refusals
from amikafka_tail.delivery.sender import Sender
from amikafka_tail.kafka.producer import KafkaException, NoProducer, describe, is_for_size, is_permanent
from amikafka_tail.model.errors import ConfigError, DeliveryFailed

BATCH_OF_ONE = 1
"""librdkafka's `batch.size` that lets every message have a request of its own."""
ONE_BY_ONE_SECONDS = 10.0
"""How long after the last refusal messages are sent one by one."""
LARGEST_BATCH, SMALLEST_BATCH = 1_000_000, 16_384
"""Bytes: librdkafka's default, and what batches are made no smaller than after refusals for their size."""
FIRST_RETRY, LONGEST_RETRY = 1.0, 30.0
"""Seconds to wait before going on after a failure: doubled each time, until something is delivered."""
REPORT_SECONDS, REPORT_POLLS = 0.05, 5
"""How long, and how often, the report of a refused message is waited for when another one has failed."""
RECALL_SECONDS, RECALL_POLLS = 0.05, 10
"""How long, and how often, the reports of messages that are not sent any more are waited for."""
REFUSED_IN_TRANSACTION = "a transaction with a message that was refused has to be sent again without it"

log = logging.getLogger("amikafka.pipeline")


class Connect(Protocol):
    """Makes a producer; `batch_size` is in bytes, `None` where the configuration decides."""

    def __call__(self, batch_size: int | None = None) -> Sender:
        """Make it."""
        ...


@dataclass(frozen=True)
class Together:
    """Messages share requests of `batch_size` bytes, `None` where the configuration decides.

    A refusal does not tell which message is meant: it begins `Resending`, then `OneByOne`.
    """

    batch_size: int | None = None


@dataclass(frozen=True)
class OneByOne:
    """Each message has a request of its own: one that is refused for itself is given up, the others go on.

    Each refusal moves `until`, on the clock; after that, and when all is delivered, `then` follows.
    """

    until: float
    then: Together
    batch_size: ClassVar[int | None] = BATCH_OF_ONE


@dataclass(frozen=True)
class HeldUp:
    """Kafka refuses every message. One is sent, and no other before its report.

    Nothing is given up. `OneByOne` follows when a message is acknowledged that was refused, or one behind it.
    """

    then: Together
    batch_size: ClassVar[int | None] = BATCH_OF_ONE


@dataclass(frozen=True)
class Resending:
    """Something failed. Nothing is sent before `until`, on the clock; `then` begins with the checkpoint.

    The producer is already that of `then`, so that it can connect.
    """

    until: float
    then: Together | OneByOne | HeldUp

    @property
    def batch_size(self) -> int | None:
        """The batch size of what follows."""
        return self.then.batch_size


class Refused(DeliveryFailed):
    """Kafka will never take some messages as they were sent; the next attempt knows more than this one."""

    def __init__(self, reason: str, *, for_size: bool = False) -> None:
        super().__init__(reason)
        self.for_size = for_size
        """Whether a batch was too large."""


class EverythingRefused(DeliveryFailed):
    """Kafka refuses one message after another, for a reason that a person has to mend."""


class Attempts:
    """The attempts of one pipeline to deliver: its producer, the receipts of what it sent, and its `state`.

    Messages share requests until Kafka refuses one; from then on each has a request of its own, and is given
    up if Kafka refuses it for itself, until ten seconds pass without a refusal. Any other failure, and that
    first refusal, ends the attempt: after a wait a fresh producer sends again all that is not delivered.

    Begins at `position`. `give_up` sends a refused message to the dead letters and settles its failure; it
    raises `DeliveryFailed` where it cannot. `explain` says why Kafka refuses a message, and what a person can
    do. `sent` is how many messages were handed to producers so far. What Kafka has acknowledged above the
    checkpoint is in `acknowledged` when an attempt is over. With `transactional` every refusal ends the
    attempt: the transaction is sent again without the message. `clock` gives monotonic seconds. Raises
    `ConfigError` where the first producer cannot be made.
    """

    def __init__(
        self,
        position: int,
        *,
        connect: Connect,
        topic: str,
        give_up: Callable[[Failure], None],
        explain: Callable[[Failure], str],
        transactional: bool,
        clock: Callable[[], float],
        sent: Callable[[], int],
        acknowledged: Acknowledged | None = None,
    ) -> None:
        self.state: Together | OneByOne | HeldUp | Resending = Together()
        self.ledger = Ledger(position)
        self.trouble: str | None = None
        """Why Kafka did not take what was sent last; `None` since it has taken something."""
        self._connect = connect
        self._topic = topic
        self._give_up = give_up
        self._explain = explain
        self._refusals = Refusals()
        self.acknowledged = acknowledged if acknowledged is not None else Acknowledged()
        self._sent = sent
        self._sent_before = sent()
        self._failed = 0
        self._transactional = transactional
        self._clock = clock
        self._retry_after = FIRST_RETRY
        self.producer: Sender = connect(self.state.batch_size)

    @property
    def resends_at(self) -> float | None:
        """When to go on after a failure, on the clock; `None` when there is nothing to wait for."""
        state = self.state
        return state.until if isinstance(state, Resending) and state.until > self._clock() else None

    @property
    def is_held_up(self) -> bool:
        """Whether Kafka refuses every message, as far as is known."""
        state = self.state
        return isinstance(state.then if isinstance(state, Resending) else state, HeldUp)

    @property
    def is_waiting_for_verdict(self) -> bool:
        """Whether no other message may be sent before the reports of those in flight."""
        if isinstance(self.state, HeldUp):
            return len(self.producer) > 0
        return self._refusals.are_outage and bool(self._refusals.suspects)

    def may_send(self) -> bool:
        """Tell whether a chunk may be sent now; change the state when its time is over."""
        if isinstance(self.state, Together):
            return True
        if isinstance(self.state, Resending) and self._clock() >= self.state.until:
            self._enter(self.state.then)
        if isinstance(self.state, OneByOne) and self._clock() >= self.state.until:
            if self.ledger.open_receipts:
                return False
            self._enter(self.state.then)
        return not isinstance(self.state, Resending) and not self.is_waiting_for_verdict

    def take_reports(self, seconds: float) -> None:
        """Take delivery reports, waiting at most `seconds` for one, and give up what is refused.

        Raises `DeliveryFailed` where this attempt is over: then call `fail`.
        """
        try:
            self.producer.poll(seconds)
        except KafkaException as error:  # a fatal one
            reason = describe(error.args[0], self._topic)
            raise DeliveryFailed(f"Kafka does not take events: {reason}") from error
        if self.ledger.acknowledged:
            self._note_acknowledged()
        if self.ledger.failures or self.producer.fatal:
            self._judge_failures()
        if self._refusals.suspects:
            self._give_up_isolated()

    def refused_at_once(self, failure: Failure, sent: int) -> None:
        """Count a message that librdkafka did not accept; `sent` is how many it has accepted so far.

        Raises `EverythingRefused` where it is not to be given up.
        """
        self._refusals.add_at_once(failure, sent)
        if self.is_held_up or self._refusals.are_outage:
            self._refusals.add(failure)
            raise self._everything_refused(failure)

    @property
    def acknowledged_messages(self) -> int:
        """How many messages Kafka has acknowledged of those that this producer has got."""
        failed = self._failed + len(self.ledger.failures)
        return self._sent() - self._sent_before - failed - len(self.producer)

    def start_at(self, position: int) -> None:
        """Go on at another offset: what comes before it is delivered."""
        self.ledger = Ledger(position)

    def count_delivered(self) -> int:
        """Return how many messages were released since the last call."""
        messages, self.ledger.delivered = self.ledger.delivered, 0
        if messages and isinstance(self.state, Together):
            self._refusals.clear()
        return messages

    def delivered(self) -> None:
        """Note that something was released: the next failure is a new one."""
        if not self.is_held_up:
            self._retry_after = FIRST_RETRY
            self.trouble = None

    def await_refusal(self, error: DeliveryFailed) -> DeliveryFailed:
        """Wait a moment for a refused message's report: what is behind it may have failed before.

        Returns what to call `fail` with: the refusal, or `error` where there was none.
        """
        if isinstance(error, (Refused, EverythingRefused)):
            return error
        for _ in range(REPORT_POLLS):
            with contextlib.suppress(KafkaException):  # fatal: the reports come behind it
                self.producer.poll(REPORT_SECONDS)
            try:
                if self._judge_failures():
                    self._give_up_isolated()
                    return Refused(str(error))  # those are given up already; the others are why
            except (Refused, EverythingRefused) as refusal:
                return refusal
            except DeliveryFailed:
                pass  # no news: the attempt is over
            if not len(self.producer):
                break
        return error

    def fail(self, error: DeliveryFailed) -> int:
        """End this attempt. Return the offset from which everything has to be read and sent again."""
        then = self.state.then if isinstance(self.state, Resending) else self.state
        if isinstance(error, Refused):
            self._retry_after = FIRST_RETRY  # it does not grow where attempts lead on
            if isinstance(then, Together):
                batches = Together(_smaller(then.batch_size)) if error.for_size else then
                then = OneByOne(self._clock() + ONE_BY_ONE_SECONDS, batches)
        if isinstance(error, EverythingRefused) and not isinstance(then, HeldUp):
            then = HeldUp(then if isinstance(then, Together) else then.then)
        position = self.abandon()
        self._refusals.begin_attempt()
        self._enter(self._wait(error, then))
        return position

    def abandon(self) -> int:
        """Take back what is not acknowledged; return the offset to go on from. Blocks for half a second."""
        if not self._transactional:
            self._recall()
            self.ledger.settle()
        return self.ledger.abandon(None if self._transactional else self.acknowledged)

    def _recall(self) -> None:
        """Throw away what is not acknowledged, and take the reports that say what that is.

        What is on its way to a broker may be acknowledged just now. Nobody will know, and it comes twice.
        """
        self.producer.purge()
        for _ in range(RECALL_POLLS):
            if not len(self.producer):
                return
            with contextlib.suppress(KafkaException):  # fatal: the reports come all the same
                self.producer.poll(RECALL_SECONDS)

    def _judge_failures(self) -> bool:
        """Note what is refused for itself; return whether there was any.

        Raises `DeliveryFailed` where all has to be sent again, `Refused` if that is for a refusal,
        `EverythingRefused` if it is no use to send anything else.
        """
        failures = list(self.ledger.failures)
        self.ledger.failures.clear()
        self.ledger.lose(failures)
        self._failed += len(failures)
        state = self.state
        refused = [failure for failure in failures if is_permanent(failure.error)]
        if refused and isinstance(state, OneByOne):
            self._enter(OneByOne(self._clock() + ONE_BY_ONE_SECONDS, state.then))
        if refused and isinstance(state, HeldUp):
            self._refusals.add(refused[0])
            raise self._everything_refused(refused[0])
        reason = None
        for failure in failures:
            if isinstance(state, OneByOne) and is_permanent(failure.error):
                self._suspect(failure)
            else:
                reason = reason or describe(failure.error, self._topic)
        if refused and self._transactional:
            reason = reason or REFUSED_IN_TRANSACTION
        if not refused:
            reason = self.producer.fatal or reason
        if reason is None:
            return bool(refused)
        if refused:
            for_size = is_for_size(refused[0].error)
            raise Refused(f"Kafka does not take events: {reason}", for_size=for_size)
        raise DeliveryFailed(f"Kafka does not take events: {reason}")

    def _suspect(self, failure: Failure) -> None:
        """Keep a refused message until it is known whether it is refused for itself.

        A transaction is over with its first refusal, and no report tells more: there only the run counts.
        """
        self._refusals.add(failure)
        if not self._transactional:
            self._refusals.suspects.append(failure)
        elif self._refusals.are_outage:
            raise self._everything_refused(failure)
        else:
            self._give_up_for_good(failure)

    def _give_up_for_good(self, failure: Failure) -> None:
        self._give_up(failure)
        self.ledger.settle_failure(failure)

    def _note_acknowledged(self) -> None:
        """Give up what is refused although something behind it is acknowledged. Raises `DeliveryFailed`."""
        has_passed = self._refusals.acknowledge(self.ledger.acknowledged)
        self.ledger.acknowledged.clear()
        if has_passed and isinstance(self.state, HeldUp):
            self._refusals.clear()
            self._retry_after = FIRST_RETRY
            self._enter(OneByOne(self._clock() + ONE_BY_ONE_SECONDS, self.state.then))
        for failure in self._refusals.isolated():
            self._give_up_for_good(failure)

    def _give_up_isolated(self) -> None:
        """Judge the suspects once no report can tell more of them. Raises `DeliveryFailed`."""
        for failure in self._refusals.isolated():
            self._give_up_for_good(failure)
        if self._refusals.suspects and not len(self.producer):
            if self._refusals.are_outage:
                raise self._everything_refused(self._refusals.suspects[-1])
            for failure in self._refusals.all_suspects():
                self._give_up_for_good(failure)

    def _everything_refused(self, last: Failure) -> EverythingRefused:
        return EverythingRefused(
            f"held up by refusals: Kafka refuses one event after another: {self._explain(last)}"
        )

    def _enter(self, state: Together | OneByOne | HeldUp | Resending) -> None:
        """Change the state, here and nowhere else, and the producer with it.

        A producer has one batch size, and none is used again after a failure.
        """
        before, self.state = self.state, state
        is_usable = not isinstance(state, Resending) and not isinstance(self.producer, NoProducer)
        if is_usable and state.batch_size == before.batch_size:
            return
        self.producer.discard()
        self._sent_before, self._failed = self._sent(), 0
        try:
            self.producer = self._connect(state.batch_size)
        except ConfigError as error:  # what it takes, a certificate for one, may come back
            self.producer = NoProducer()
            then = state.then if isinstance(state, Resending) else state
            self.state = self._wait(DeliveryFailed(f"no producer can be made: {error}"), then)

    def _wait(self, error: DeliveryFailed, then: Together | OneByOne | HeldUp) -> Resending:
        """Say why there is another attempt, and when; the next wait is twice as long."""
        self.trouble = str(error)
        log.error(
            "%s; next attempt in %.0f s, from offset=%d; nothing is lost",
            error,
            self._retry_after,
            self.ledger.position,
        )
        until = self._clock() + self._retry_after
        self._retry_after = min(2 * self._retry_after, LONGEST_RETRY)
        return Resending(until, then)


def _smaller(batch_size: int | None) -> int:
    """Return the size of batches after some of `batch_size` were too large."""
    return max(SMALLEST_BATCH, (batch_size or LARGEST_BATCH) // 4)

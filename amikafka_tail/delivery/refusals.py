"""Tells a message that Kafka refuses for itself from an outage in which Kafka refuses every message.

A refusal is isolated if Kafka acknowledges an event that stands behind it. Refusals in a row, with nothing
acknowledged behind them, have a common reason: a clock that is wrong, a policy, a topic that wants keys. They
are no dead letters, as a person can mend the reason and the events are then accepted as they are.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime, timezone

from amikafka_tail.delivery.ledger import Failure
from amikafka_tail.kafka.producer import KafkaError, describe

OUTAGE_REFUSALS = 5
"""So many refusals in a row are an outage.

Small, as each may cost a dead letter where events come one at a time; larger than what one call leaves in a
row that is bad for itself (a dialplan that sets a huge variable gives some such events one after another).
"""
INVALID_RECORD = 87
"""Kafka's code; confluent-kafka 1.7.0 has no name for it."""


class Refusals:
    """The refusals of messages that were sent one by one, behind the last event that was acknowledged.

    `suspects` are those of which it is not known yet whether they are isolated; all of them are refused.
    """

    def __init__(self) -> None:
        self.suspects: list[Failure] = []
        self._run: set[int] = set()
        self._acknowledged = -1
        self._sent_before: int | None = None
        self._at_once: list[Failure] = []

    @property
    def are_outage(self) -> bool:
        """Whether there are so many in a row that they have a common reason."""
        return len(self._run) >= OUTAGE_REFUSALS

    def add(self, failure: Failure) -> None:
        """Count a refusal, unless something behind it is acknowledged."""
        position = failure.event.position
        if position > self._acknowledged:
            self._run.add(position)

    def add_at_once(self, failure: Failure, sent: int) -> None:
        """Count what librdkafka refused at once; `sent` is how many messages it has accepted so far."""
        if sent != self._sent_before:
            self._at_once.clear()
        self._sent_before = sent
        self._at_once.append(failure)
        if len(self._at_once) >= OUTAGE_REFUSALS:
            for each in self._at_once:
                self.add(each)

    def acknowledge(self, positions: Iterable[int]) -> bool:
        """Note that events are acknowledged; return whether that ends the run, or a part of it."""
        self._acknowledged = max(self._acknowledged, *positions)
        before = len(self._run)
        self._run = {each for each in self._run if each > self._acknowledged}
        return len(self._run) < before

    def isolated(self) -> Iterator[Failure]:
        """Take the suspects that are isolated, one after another."""
        behind = [each for each in self.suspects if each.event.position > self._acknowledged]
        before = [each for each in self.suspects if each.event.position <= self._acknowledged]
        return self._taken(before, behind)

    def all_suspects(self) -> Iterator[Failure]:
        """Take every suspect, one after another."""
        return self._taken(self.suspects, [])

    def begin_attempt(self) -> None:
        """Forget what an attempt knew that is over: what it sent is sent again."""
        self.suspects = []
        self._acknowledged = -1
        self._at_once.clear()

    def clear(self) -> None:
        """Kafka takes events: forget the run."""
        self._run.clear()
        self._at_once.clear()

    def _taken(self, taken: list[Failure], left: list[Failure]) -> Iterator[Failure]:
        for index, failure in enumerate(taken):
            self.suspects = taken[index + 1 :] + left
            yield failure


def explain(failure: Failure, topic: str, *, now: float) -> str:
    """Say why Kafka refuses an event, and what a person can do about it. `now` is the time of day."""
    error: KafkaError = failure.error
    said = describe(error, topic)
    advice = _advice(error.code(), topic)
    if error.code() == KafkaError.INVALID_TIMESTAMP:
        advice = f"{_times(failure, now)}; {advice}"
    return f"{said}: {advice}" if advice else said


def _advice(code: int, topic: str) -> str:
    if code == KafkaError.INVALID_TIMESTAMP:
        return (
            "correct the clock or the time zone of the log, or change message.timestamp.before.max.ms or"
            f' message.timestamp.after.max.ms of topic "{topic}"'
        )
    if code == INVALID_RECORD:
        return (
            "a compacted topic takes no message without a key: set [kafka] key, or cleanup.policy=delete of"
            f' topic "{topic}"; another cause is a time that the topic does not allow'
        )
    if code == KafkaError.POLICY_VIOLATION:
        return f'a policy of the brokers forbids these messages on topic "{topic}": change the policy'
    if code in (
        KafkaError.MSG_SIZE_TOO_LARGE,
        KafkaError.RECORD_LIST_TOO_LARGE,
        KafkaError.INVALID_MSG_SIZE,
    ):
        return f'increase max.message.bytes of topic "{topic}" and [kafka] message_max_bytes'
    if code == KafkaError.INVALID_MSG:
        return "the brokers find the messages damaged: check [kafka] compression and the network"
    return ""


def _times(failure: Failure, now: float) -> str:
    """Compare the time of an event with the clock."""
    at_ms = getattr(failure.event, "captured_ms", 0)
    if not at_ms:
        return f"the clock says {_utc(now)}"
    ahead = at_ms / 1000 - now
    hours = f"{abs(ahead) / 3600:.1f} h {'ahead of' if ahead > 0 else 'behind'} the clock"
    return f"the time of the event is {_utc(at_ms / 1000)}, {hours}, which says {_utc(now)}"


def _utc(seconds: float) -> str:
    return datetime.fromtimestamp(int(seconds), timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")

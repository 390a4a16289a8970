"""What cannot be published: it goes to the dead letters, once, however often its chunk is read again."""

from __future__ import annotations

import logging
from collections.abc import Callable
from traceback import format_exception, format_exception_only

from amikafka_tail.delivery.messages import FilterFailed, Messages
from amikafka_tail.journal.dead_letters import DeadLetters, Kind
from amikafka_tail.model.counters import Counters
from amikafka_tail.model.errors import DeliveryFailed
from amikafka_tail.model.event import Event
from amikafka_tail.model.gaps import Gap, Reason
from amikafka_tail.model.gaps import gap as make_gap
from amikafka_tail.model.replayable_source import Unpublishable

MAX_REMEMBERED = 10_000
"""Positions that are remembered before those that cannot come again are looked for."""

log = logging.getLogger("amikafka.pipeline")


class DeadLetterPolicy:
    """Keeps dead letters for one pipeline.

    `given_up` says for the position of each event what is published in its place, if anything. All that set
    something aside raise `DeliveryFailed` where it cannot be kept. `delivered` is the checkpoint's offset.
    `kept` is called with the position of each dead letter.
    """

    def __init__(
        self,
        dead_letters: DeadLetters,
        messages: Messages,
        counters: Counters,
        delivered: Callable[[], int],
        kept: Callable[[int], None] = lambda _position: None,
    ) -> None:
        self.given_up: dict[int, Gap | None] = {}
        self._silenced: set[tuple[int, bytes]] = set()
        """Gaps of the reader's: the position of one may be an event's, too."""
        self._dead_letters = dead_letters
        self._messages = messages
        self._counters = counters
        self._delivered = delivered
        self._kept = kept

    def _put(
        self,
        event: Event,
        reason: str,
        *,
        kind: Kind = "refused",
        plugin: str | None = None,
        gap: Reason = "SetAside",
    ) -> Gap | None:
        """Keep what cannot be published; return what takes its place."""
        position, captured_ms = event.position, event.captured_ms
        try:
            self._counters.forgotten_letters += self._dead_letters.keep(
                event.raw, position=position, reason=reason, kind=kind, plugin=plugin, captured_ms=captured_ms
            )
        except OSError as error:
            raise self._not_kept(error) from error
        self._kept(position)
        self._counters.dead_letters += 1
        in_its_place = None
        if type(event) is Gap and self.given_up.get(position) is not event:
            self._silenced.add((position, event.raw))
        else:
            if self._messages.gap_events and type(event) is not Gap:
                in_its_place = make_gap(gap, position, captured_ms, LostEvents=1, Detail=reason)
            self.given_up[position] = in_its_place
        self._forget()
        return in_its_place

    def sync(self) -> None:
        """Wait until all that was set aside is on the disk."""
        try:
            self._dead_letters.sync()
        except OSError as error:
            raise self._not_kept(error) from error

    def may_tell(self, gap: Gap) -> bool:
        """Tell whether a gap that the reader found is published."""
        return self._messages.gap_events and (gap.position, gap.raw) not in self._silenced

    def unpublishable(self, bytes_: Unpublishable) -> Gap | None:
        """Keep what is no event; return what takes its place."""
        torn = bytes_.kind == "torn"
        log.warning("set aside: %s: offset=%d %r", bytes_.reason, bytes_.position, bytes_.raw[:80])
        in_its_place = self._put(
            Event(bytes_.raw, bytes_.position),
            bytes_.reason,
            kind=bytes_.kind,
            gap="Torn" if torn else "SetAside",
        )
        # Behind it: what cannot be kept now is read and set aside again.
        self._counters.torn += torn
        self._counters.malformed += not torn
        return in_its_place

    def refused(self, event: Event, reason: str) -> Gap | None:
        """Keep an event whose message Kafka will never take; return what takes its place."""
        log.error("refused by Kafka: %s: event=%r offset=%d", reason, event.name, event.position)
        return self._put(event, reason)

    def failed(self, event: Event, error: Exception) -> Gap | None:
        """Keep an event that a plugin could not handle; return what takes its place."""
        plugin, cause = self.blamed(error)
        said = format_exception_only(cause)[-1].strip()  # whatever its own str() does
        log.error('plugin "%s" failed: %s: event=%r', plugin, said, event.name)
        in_its_place = self._put(event, "".join(format_exception(cause)), plugin=plugin)
        self._counters.plugin_failures[plugin] = self._counters.plugin_failures.get(plugin, 0) + 1
        return in_its_place

    def blamed(self, error: Exception) -> tuple[str, Exception]:
        """Return the plugin that an exception came from, and what it raised."""
        if isinstance(error, FilterFailed) and isinstance(error.__cause__, Exception):
            return str(error), error.__cause__
        return self._messages.format_name, error

    def _not_kept(self, error: OSError) -> DeliveryFailed:
        return DeliveryFailed(f"{self._dead_letters.path} cannot be written: {error.strerror}")

    def _forget(self) -> None:
        """Forget, if there is much, what is behind the checkpoint: it is not read again."""
        if len(self.given_up) + len(self._silenced) > MAX_REMEMBERED:
            delivered = self._delivered()
            for each in [each for each in self.given_up if each < delivered]:
                del self.given_up[each]
            self._silenced = {each for each in self._silenced if each[0] >= delivered}

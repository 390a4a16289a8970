"""The recorder: moves what Asterisk sends into the journal, and keeps the connection up.

It never waits for Kafka. A new connection is made in a thread of its own, so that the backlog goes on being
delivered meanwhile.

Where one connection takes the place of another, the new one has all events before the old one is let go: half
closed, so that Asterisk sends what it still has for it. Some events then come twice; none is missing.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
from collections.abc import Callable
from dataclasses import dataclass

from amikafka_tail.intake.connector import Connector, Made, Target, close_connection, log_connected
from amikafka_tail.intake.fd_store import FdStore, complete, discard
from amikafka_tail.intake.link import Link
from amikafka_tail.intake.transfer import MAX_MOVE, ConnectionClosed, DiskError, Transfer
from amikafka_tail.journal.journal import Journal
from amikafka_tail.model.counters import Counters
from amikafka_tail.model.errors import AlreadyLoggedIn, AmikafkaError, LoginRefused, SourceDisconnected
from amikafka_tail.model.identity import Identity
from amikafka_tail.model.live_source import Connection, LiveSource, Resumable
from amikafka_tail.model.pushed_filters import Filtered, Pushed

DISK_RETRY = 0.2
"""Seconds between attempts to write to a full disk."""

STORED = ("socket", "pipe-out", "pipe-in")
LAST_WORD, LAST_WORDS = 1.0, 10.0
"""Seconds without a byte, and in all, after which a connection that is being replaced is not waited for."""

log = logging.getLogger("amikafka.recorder")


@dataclass(frozen=True)
class Away:
    """There is no connection, and one is made as soon as it is due. What happens meanwhile is lost."""

    lost_at: float | None = None
    """When the last sign of life came, `None` where there has been none in this process."""


@dataclass(frozen=True)
class Recording:
    """What comes on a connection goes to the journal, and a silent connection is asked for a sign of life.

    Where the connection is not to what it should be to, another one is made meanwhile.
    """

    link: Link


@dataclass(frozen=True)
class Replacing:
    """Another connection is ready, and the old one is recorded until it ends or has said nothing for long.

    Then the new one is recorded: both were there at the same time, so no event is missing between them.
    """

    link: Link
    made: Made
    since: float

    @property
    def deadline(self) -> float:
        """When the old connection is not waited for any more."""
        return min(max(self.link.heard_at, self.since) + LAST_WORD, self.since + LAST_WORDS)


class Recorder:
    """Records one live source into the journal. `collect` is called from the main loop and does not block.

    It is `Away`, `Recording` or `Replacing`. `identify` makes the identity of a fresh connection, `wake` is
    called from the connecting thread when it has finished. `clock` gives monotonic seconds, `now_ms` the time
    of day in ms. In `store` the connection and the pipe outlive this process, under names that begin with
    `key`: a source with another key may go on with them only until it has a connection of its own.
    """

    def __init__(
        self,
        source: LiveSource,
        journal: Journal,
        *,
        identify: Callable[[Connection], Identity],
        counters: Counters,
        wake: Callable[[], None],
        clock: Callable[[], float],
        now_ms: Callable[[], int],
        store: FdStore,
        key: str,
    ) -> None:
        self.problem: str | None = "connecting"
        """Why there is no connection now, in words; `None` while there is one."""
        self.disk_problem: str | None = None
        """Why the journal cannot be written now; `None` while it can."""
        self._state: Away | Recording | Replacing = Away()
        self._connector = Connector(Target(source, key), wake=wake)
        self._transfer = Transfer(journal, now_ms)
        self._journal = journal
        self._identify = identify
        self._counters = counters
        self._clock = clock
        self._now_ms = now_ms
        self._disk_retry_at = 0.0
        self._store = store
        self._stored_key = key
        """The key that the pipe, and perhaps a connection, has in the store."""

    @property
    def _link(self) -> Link | None:
        return None if isinstance(self._state, Away) else self._state.link

    @property
    def connected(self) -> bool:
        """Whether there is a connection to Asterisk."""
        return self._link is not None

    @property
    def peer(self) -> str | None:
        """Address of the Asterisk, `None` without a connection."""
        return self._link.connection.peer if self._link else None

    def fileno(self) -> int | None:
        """Return the descriptor to wait on for more bytes, `None` where there is nothing to wait for."""
        link = self._link
        if link is None or self._disk_retry_at > self._clock():
            return None
        return link.connection.socket.fileno()

    def deadline(self) -> float:
        """Return when `collect` has to be called at the latest, on the clock."""
        if self._disk_retry_at > self._clock():
            return self._disk_retry_at
        next_attempt = float("inf") if self._connector.connecting else self._connector.due
        state = self._state
        if isinstance(state, Away):
            return next_attempt
        if isinstance(state, Replacing):
            return state.deadline
        return (
            min(state.link.deadline, next_attempt) if self._is_outdated(state.link) else state.link.deadline
        )

    def _is_outdated(self, link: Link) -> bool:
        """Tell whether a connection is not to what it should be to now."""
        return link.target is not self._connector.target

    def collect(self) -> bool:
        """Move to the journal what has come, see to the connection; return whether anything was moved."""
        now = self._clock()
        if now < self._disk_retry_at:
            return False
        try:
            moved = self._transfer.finish()
            if not isinstance(self._state, Away):
                moved += self._record(self._state, now, moved)
            self._connect(now)
        except DiskError as error:
            if self.disk_problem is None:
                log.error("the journal cannot be written: %s; Asterisk has to hold its events", error)
            self.disk_problem = str(error)
            self._disk_retry_at = now + DISK_RETRY
            with contextlib.suppress(OSError):
                # What is delivered can be deleted once it is in a segment that is not written to any more.
                self._journal.roll()
            return False
        if moved and self.disk_problem is not None:
            log.warning("the journal can be written again")
            self.disk_problem = None
            self._keep_in_store()
        return moved > 0

    def _record(self, state: Recording | Replacing, now: float, late: int) -> int:
        """Move what has come on the connection; `late` says how many bytes had to wait for the disk."""
        link = state.link
        try:
            moved = self._transfer.move(link.connection)
            if late + moved:
                link.heard(now)
            elif isinstance(state, Recording):
                link.keep_alive(now)
        except SourceDisconnected as error:
            if isinstance(error, ConnectionClosed):
                link.found_closed()
            link.close()
            if isinstance(state, Replacing):
                self._adopt(state.made, now)
            else:
                self._lose(link, str(error), now)
            return 1
        if moved < MAX_MOVE:
            link.found_open(now)
        return moved

    def _connect(self, now: float) -> None:
        """Start connecting when it is time, take a connection when there is one."""
        state = self._state
        if isinstance(state, Replacing):
            if now >= state.deadline:
                log.warning("the previous connection does not end: its last events may be lost")
                self._adopt(state.made, now)
            return
        if isinstance(state, Recording) and not self._is_outdated(state.link):
            return
        outcome = self._connector.take(now)
        if isinstance(outcome, Exception):
            self._failed(outcome, now)
        elif outcome is not None and isinstance(state, Recording):
            self._state = Replacing(state.link, outcome, now)
            close_connection(state.link.connection)
        elif outcome is not None:
            self._adopt(outcome, now)

    def _adopt(self, made: Made, now: float) -> None:
        """Record a new connection from here on, in place of the old one if there is one.

        Raises `DiskError` where the journal cannot note it: the new one is closed then.
        """
        before, connection = self._state, made.connection
        pushed = connection.pushed if isinstance(connection, Filtered) else Pushed()
        identity = self._identify(connection)
        now_ms = self._now_ms()
        lost_ms = self._lost_since(before, now, now_ms) if isinstance(before, Away) else 0
        try:
            self._journal.begin_connection(identity, now_ms, lost_ms=lost_ms, filters=pushed.taken)
        except OSError as error:
            connection.socket.close()
            self._connector.pause(now)
            if not isinstance(before, Away):
                self._state = Away(now) if before.link.closed else Recording(before.link)
            raise DiskError(error.strerror) from error
        self._forget_stored()
        if not isinstance(before, Away):
            before.link.close()
        self._state = Recording(Link(made.target, connection, now))
        self._stored_key = made.target.key
        self._transfer.begin(connection.leftover)
        self.problem = None
        self._counters.connections += 1
        self._connector.succeeded(now)
        log_connected(connection, identity)
        if pushed.wanted:
            log.info("Asterisk filters by %d of %d eventfilter lines", pushed.taken, pushed.wanted)
        if lost_ms:
            seconds = max(0, now_ms - lost_ms) / 1000
            self._counters.disconnections += 1
            self._counters.disconnected_seconds += seconds
            log.error("there was no connection for %.1f s: events in that time are lost", seconds)
        self._transfer.finish()
        # Only now: a process that goes on with it must find the journal complete up to here.
        self._keep_in_store()

    def _lost_since(self, away: Away, now: float, now_ms: int) -> int:
        """Return since when there was no connection, in ms since the epoch; 0 where nothing is missing."""
        if away.lost_at is not None:
            return now_ms - int((now - away.lost_at) * 1000)
        # The previous process may have been connected until its end. The answers to its pings are here, too.
        return self._journal.last_moment() or 0

    def _lose(self, link: Link, reason: str, now: float) -> None:
        self._state = Away(link.heard_at)
        self._store.drop(f"{self._stored_key}-{STORED[0]}")
        self._connector.pause(now)
        self.problem = reason
        log.warning("lost the connection to Asterisk: %s", reason)

    def _failed(self, error: Exception, now: float) -> None:
        link = self._link
        if isinstance(error, AlreadyLoggedIn) and link is not None and link.inherited:
            # A restart is the way to change over where a user may be logged in only once.
            log.warning("%s: closing the connection of the previous process to make room", error)
            close_connection(link.connection)
            link.inherited = False
            self._connector.pause(now)
            return
        delay = self._connector.pause(now, refused=isinstance(error, LoginRefused))
        if link is None:
            self.disk_problem = None  # nothing waits for the disk any more, and nobody knows how it is
        reason = str(error) if isinstance(error, AmikafkaError) else f"{type(error).__name__}: {error}"
        if reason == self.problem:
            log.debug("still no connection: %s", reason)
            return
        self.problem = reason
        level = logging.ERROR if isinstance(error, LoginRefused) else logging.WARNING
        meanwhile = ""
        if link is not None:
            meanwhile = (
                "; the connection from before the reload stays in use (with allowmultiplelogin = no in"
                " manager.conf only a restart can change over)"
            )
        log.log(
            level,
            "no connection to Asterisk: %s; next attempt in %.1f s, then less and less often%s",
            reason,
            delay,
            meanwhile,
        )

    def replace_source(self, source: LiveSource, key: str) -> None:
        """Connect to another source; go on recording the one before until that has succeeded."""
        self._connector.target = Target(source, key)
        self._connector.due = self._clock()

    def resume(self, handed_over: dict[str, int]) -> bool:
        """Go on with the connection of an earlier process, perhaps in the middle of an event.

        One that was made with other options is recorded until there is one with those of now. Return whether
        there was one. What is handed over and does not belong here is closed and dropped.
        """
        target = self._connector.target
        keys = complete(handed_over, STORED)
        key = target.key if target.key in keys else next(filter(self._is_of_my_kind, keys), target.key)
        mine = [handed_over.pop(f"{key}-{part}", -1) for part in STORED]
        discard(handed_over, self._store)
        identity = self._journal.identity_at(self._journal.end)
        source = target.source
        if -1 in mine or identity is None or not isinstance(source, Resumable):
            for part, descriptor in zip(STORED, mine, strict=True):
                if descriptor != -1:
                    os.close(descriptor)
                    self._store.drop(f"{key}-{part}")
            return False
        number, pipe_out, pipe_in = mine
        self._transfer.resume(pipe_out, pipe_in)
        self._stored_key = key
        handed = socket.socket(fileno=number)
        handed.setblocking(False)
        connection = source.resume(handed)
        # Nobody has looked since the previous process: whether Asterisk is still there will show.
        away_ms = max(0, self._now_ms() - (self._journal.last_moment() or self._now_ms()))
        link = Link(target, connection, self._clock() - away_ms / 1000)
        self._state = Recording(link)
        self.problem = None
        until = ""
        if key != target.key:
            link.target = Target(source, key)
            link.inherited = True
            until = ", until there is one with the options of now"
        log.info(
            "went on with the connection of the process before%s: asterisk=%s version=%s",
            until,
            connection.peer,
            identity.asterisk_version,
        )
        return True

    def _is_of_my_kind(self, key: str) -> bool:
        return key.rpartition("-")[0] == self._connector.target.key.rpartition("-")[0]

    def _keep_in_store(self) -> None:
        """Put the connection into the store, and the pipe, if they are not there."""
        link = self._link
        if link is not None and not link.connection.tls:
            descriptors = link.connection.socket.fileno(), *self._transfer.pipe
            for part, descriptor in zip(STORED, descriptors, strict=True):
                self._store.keep(f"{self._stored_key}-{part}", descriptor)

    def _forget_stored(self) -> None:
        """Take the connection before out of the store, and the pipe, which has another name from now on."""
        for part in STORED:
            self._store.drop(f"{self._stored_key}-{part}")

    def close(self) -> None:
        """Close the connection; what came before is in the journal. What is in the store stays open."""
        if isinstance(self._state, Replacing):
            self._state.made.connection.socket.close()
        if self._link is not None:
            self._link.close()
            self._state = Away()
        self._connector.close()
        self._transfer.close()

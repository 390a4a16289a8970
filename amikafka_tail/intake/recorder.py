"""The recorder: moves what Asterisk sends into the journal, and keeps the connection up.

It never waits for Kafka. The bytes do not pass through this process: `splice` moves them from the socket to
a pipe and from the pipe to the segment. (A TLS connection has to be read and written.) A new connection is
made in a thread of its own, so that the backlog goes on being delivered meanwhile.

Where one connection takes the place of another, the new one has all events before the old one is let go: half
closed, so that Asterisk sends what it still has for it. Some events then come twice; none is missing.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import socket
import ssl
import struct
import termios
from collections.abc import Callable

from amikafka_tail.intake.connector import Connector, Made, Target, close_connection, log_connected
from amikafka_tail.intake.fd_store import FdStore, complete, discard
from amikafka_tail.journal.journal import Journal
from amikafka_tail.model.counters import Counters
from amikafka_tail.model.errors import AlreadyLoggedIn, AmikafkaError, LoginRefused, SourceDisconnected
from amikafka_tail.model.identity import Identity
from amikafka_tail.model.live_source import Connection, LiveSource, Resumable
from amikafka_tail.model.pushed_filters import Filtered, Pushed

PIPE_BYTES = 1024 * 1024
MAX_MOVE = 4 * 1024 * 1024
"""Bytes moved in one round at most, so that the pipeline has its turn."""
DISK_RETRY = 0.2
"""Seconds between attempts to write to a full disk."""

STORED = ("socket", "pipe-out", "pipe-in")
LAST_WORD, LAST_WORDS = 1.0, 10.0
"""Seconds without a byte, and in all, after which a connection that is being replaced is not waited for."""

log = logging.getLogger("amikafka.recorder")


class _DiskError(Exception):
    """The journal did not take the bytes; they wait in the pipe."""


class Recorder:
    """Records one live source into the journal. `collect` is called from the main loop and does not block.

    `identify` makes the identity of a fresh connection, `wake` is called from the connecting thread when it
    has finished. `clock` gives monotonic seconds, `now_ms` the time of day in ms. In `store` the connection
    and the pipe outlive this process, under names that begin with `key`: a source with another key may go on
    with them only until it has a connection of its own.
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
        self._connector = Connector(Target(source, key), wake=wake)
        self._journal = journal
        self._identify = identify
        self._counters = counters
        self._clock = clock
        self._now_ms = now_ms
        self._connection: Connection | None = None
        self._target = self._connector.target
        """What the connection was made to."""
        self._next: Made | None = None
        """The connection that takes the place of the one that is being recorded."""
        self._next_since = 0.0
        self._overlaps = False
        self._inherited = False
        """Whether the connection is of another process, with options that are not those of now."""
        self._disk_retry_at = 0.0
        self._heard_at = 0.0
        """When the last sign of life came: what Asterisk did since then is lost if there is no other."""
        self._open_at = 0.0
        """When the connection was last found open, with nothing left to read: it ended after that."""
        self._pinged_at: float | None = None
        self._lost_at: float | None = None
        self._in_pipe = 0
        self._unwritten = b""
        self._store = store
        self._pipe_out, self._pipe_in = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        with contextlib.suppress(
            OSError
        ):  # an unprivileged user may be over /proc/sys/fs/pipe-user-pages-soft
            fcntl.fcntl(self._pipe_in, fcntl.F_SETPIPE_SZ, PIPE_BYTES)

    @property
    def connected(self) -> bool:
        """Whether there is a connection to Asterisk."""
        return self._connection is not None

    @property
    def peer(self) -> str | None:
        """Address of the Asterisk, `None` without a connection."""
        return self._connection.peer if self._connection else None

    def fileno(self) -> int | None:
        """Return the descriptor to wait on for more bytes, `None` where there is nothing to wait for."""
        waiting = self._connection is None or self._disk_retry_at > self._clock()
        return None if waiting or self._connection is None else self._connection.socket.fileno()

    def deadline(self) -> float:
        """Return when `collect` has to be called at the latest, on the clock."""
        if self._disk_retry_at > self._clock():
            return self._disk_retry_at
        connector = self._connector
        if self._connection is None:
            return float("inf") if connector.connecting else connector.due
        if self._next is not None:
            return self._last_word()
        if self._pinged_at is not None:
            due = self._pinged_at + self._connection.timeout
        else:
            due = self._heard_at + self._connection.keepalive
        return min(due, connector.due) if self._replacing and not connector.connecting else due

    @property
    def _replacing(self) -> bool:
        return self._target is not self._connector.target

    def collect(self) -> bool:
        """Move to the journal what has come, see to the connection; return whether anything was moved."""
        now = self._clock()
        if now < self._disk_retry_at:
            return False
        try:
            moved = self._empty_pipe()
            if self._connection is not None:
                moved += self._record(self._connection, now, moved)
            if self._connection is None or self._replacing:
                self._establish(now)
        except _DiskError as error:
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

    def resume(self, handed_over: dict[str, int]) -> bool:
        """Go on with the connection of an earlier process, perhaps in the middle of an event.

        One that was made with other options is recorded until there is one with those of now. Return whether
        there was one. What is handed over and does not belong here is closed and dropped.
        """
        own = self._target.key
        keys = complete(handed_over, STORED)
        key = own if own in keys else next(filter(self._is_of_my_kind, keys), own)
        mine = [handed_over.pop(f"{key}-{part}", -1) for part in STORED]
        discard(handed_over, self._store)
        identity = self._journal.identity_at(self._journal.end)
        source = self._target.source
        if -1 in mine or identity is None or not isinstance(source, Resumable):
            for part, descriptor in zip(STORED, mine, strict=True):
                if descriptor != -1:
                    os.close(descriptor)
                    self._store.drop(f"{key}-{part}")
            return False
        os.close(self._pipe_out)
        os.close(self._pipe_in)
        number, self._pipe_out, self._pipe_in = mine
        waiting = struct.unpack("i", fcntl.ioctl(self._pipe_out, termios.FIONREAD, bytes(4)))
        self._in_pipe = waiting[0]
        handed = socket.socket(fileno=number)
        handed.setblocking(False)
        self._connection = source.resume(handed)
        # Nobody has looked since the process before: whether Asterisk is still there will show.
        away_ms = max(0, self._now_ms() - (self._journal.last_moment() or self._now_ms()))
        self._heard_at = self._open_at = self._clock() - away_ms / 1000
        self.problem = None
        until = ""
        if key != own:
            self._target = Target(source, key)
            self._inherited = True
            until = ", until there is one with the options of now"
        log.info(
            "went on with the connection of the process before%s: asterisk=%s version=%s",
            until,
            self._connection.peer,
            identity.asterisk_version,
        )
        return True

    def _is_of_my_kind(self, key: str) -> bool:
        return key.rpartition("-")[0] == self._target.key.rpartition("-")[0]

    def replace_source(self, source: LiveSource, key: str) -> None:
        """Connect to another source; go on recording the one before until that has succeeded."""
        self._connector.target = Target(source, key)
        self._connector.due = self._clock()

    def close(self) -> None:
        """Close the connection; what came before is in the journal. What is in the store stays open."""
        if self._connection is not None:
            self._connection.socket.close()
            self._connection = None
        if self._next is not None:
            self._next.connection.socket.close()
            self._next = None
        self._connector.close()
        os.close(self._pipe_in)
        os.close(self._pipe_out)

    def _record(self, connection: Connection, now: float, late: int) -> int:
        """Move what has come on the connection; `late` says how many bytes had to wait for the disk."""
        try:
            moved = self._receive(connection) if connection.tls else self._splice(connection)
            self._keep_alive(connection, now, late + moved)
        except SourceDisconnected as error:
            if self._next is None:
                self._disconnect(str(error), now)
            else:
                connection.socket.close()
                self._connection = None
            return 1
        if moved < MAX_MOVE:
            self._open_at = now
        return moved

    def _splice(self, connection: Connection) -> int:
        total = 0
        while total < MAX_MOVE:
            try:
                count = os.splice(
                    connection.socket.fileno(),
                    self._pipe_in,
                    PIPE_BYTES,
                    flags=os.SPLICE_F_NONBLOCK | os.SPLICE_F_MOVE,
                )
            except BlockingIOError:
                break
            except OSError as error:
                raise SourceDisconnected(f"the connection broke: {error.strerror}") from error
            if not count:
                self._heard_at = self._open_at
                raise SourceDisconnected("Asterisk closed the connection")
            self._in_pipe = count
            self._empty_pipe()
            total += count
        return total

    def _empty_pipe(self) -> int:
        """Move to the journal what has left the socket; return how many bytes that was."""
        total = 0
        try:
            while self._in_pipe:
                moved = self._journal.splice_from(self._pipe_out, self._in_pipe, self._now_ms())
                self._in_pipe -= moved
                total += moved
            if self._unwritten:
                self._journal.append(self._unwritten, self._now_ms())
                total += len(self._unwritten)
                self._unwritten = b""
        except OSError as error:
            raise _DiskError(error.strerror) from error
        return total

    def _receive(self, connection: Connection) -> int:
        total = 0
        while total < MAX_MOVE:
            try:
                self._unwritten = connection.socket.recv(PIPE_BYTES)
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError, BlockingIOError):
                break
            except OSError as error:
                raise SourceDisconnected(f"the connection broke: {error.strerror or error}") from error
            if not self._unwritten:
                self._heard_at = self._open_at
                raise SourceDisconnected("Asterisk closed the connection")
            total += len(self._unwritten)
            self._empty_pipe()
        return total

    def _keep_alive(self, connection: Connection, now: float, moved: int) -> None:
        if moved:
            self._heard_at = now
            self._pinged_at = None
        elif self._next is not None:
            return  # it has been asked for the last time
        elif self._pinged_at is not None:
            if now - self._pinged_at >= connection.timeout:
                raise SourceDisconnected(
                    f"Asterisk does not answer: nothing for {now - self._heard_at:.0f} s"
                )
        elif now - self._heard_at >= connection.keepalive:
            self._pinged_at = now
            try:
                connection.socket.send(connection.ping)
            except (BlockingIOError, ssl.SSLWantWriteError):
                pass  # no room for a few bytes: it is not reading, and the answer will be missing
            except OSError as error:
                raise SourceDisconnected(f"the connection broke: {error.strerror}") from error

    def _establish(self, now: float) -> None:
        """Start connecting when it is time, take a connection when there is one."""
        if self._next is None:
            outcome = self._connector.take(now)
            if isinstance(outcome, Exception):
                self._failed(outcome, now)
            elif outcome is not None:
                self._next = outcome
                self._next_since = now
                self._overlaps = self._connection is not None
                if self._connection is not None:
                    close_connection(self._connection)
        if self._next is None or (self._connection is not None and now < self._last_word()):
            return
        if self._connection is not None:
            log.warning("the connection before does not come to its end: its last events may be lost")
        made, self._next = self._next, None
        self._adopt(made, now)

    def _last_word(self) -> float:
        """Return when the connection that is being replaced is not waited for any more."""
        return min(max(self._heard_at, self._next_since) + LAST_WORD, self._next_since + LAST_WORDS)

    def _adopt(self, made: Made, now: float) -> None:
        connection = made.connection
        pushed = connection.pushed if isinstance(connection, Filtered) else Pushed()
        identity = self._identify(connection)
        now_ms = self._now_ms()
        lost_ms = 0 if self._overlaps else self._lost_since(now, now_ms)
        try:
            self._journal.begin_connection(identity, now_ms, lost_ms=lost_ms, filters=pushed.taken)
        except OSError as error:
            connection.socket.close()
            self._connector.pause(now)
            if self._overlaps:
                self._lost_at = now
            raise _DiskError(error.strerror) from error
        self._forget_stored()
        if self._connection is not None:
            self._connection.socket.close()
        self._connection = connection
        self._target = made.target
        self._inherited = False
        self._unwritten = connection.leftover
        self._heard_at = self._open_at = now
        self._pinged_at = None
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
            log.error("there was no connection for %.1f s: what happened meanwhile is lost", seconds)
        self._lost_at = None
        self._empty_pipe()
        # Only now: a process that goes on with it must find the journal complete up to here.
        self._keep_in_store()

    def _keep_in_store(self) -> None:
        """Put the connection into the store, and the pipe, if they are not there."""
        connection = self._connection
        if connection is not None and not connection.tls:
            descriptors = connection.socket.fileno(), self._pipe_out, self._pipe_in
            for part, descriptor in zip(STORED, descriptors, strict=True):
                self._store.keep(f"{self._target.key}-{part}", descriptor)

    def _forget_stored(self) -> None:
        """Take the connection before out of the store, and the pipe, which has another name from now on."""
        for part in STORED:
            self._store.drop(f"{self._target.key}-{part}")

    def _lost_since(self, now: float, now_ms: int) -> int:
        """Return since when there was no connection, in ms since the epoch; 0 where nothing is missing."""
        if self._lost_at is not None:
            return now_ms - int((now - self._lost_at) * 1000)
        # The process before may have been connected until its end. The answers to its pings are here, too.
        return self._journal.last_moment() or 0

    def _failed(self, error: Exception, now: float) -> None:
        if isinstance(error, AlreadyLoggedIn) and self._inherited and self._connection is not None:
            # A restart is the way to change over where a user may be logged in only once.
            log.warning("%s: the connection of the process before makes room", error)
            close_connection(self._connection)
            self._inherited = False
            self._connector.pause(now)
            return
        delay = self._connector.pause(now, refused=isinstance(error, LoginRefused))
        if self._connection is None:
            self.disk_problem = None  # nothing waits for the disk any more, and nobody knows how it is
        reason = str(error) if isinstance(error, AmikafkaError) else f"{type(error).__name__}: {error}"
        if reason == self.problem:
            log.debug("still no connection: %s", reason)
            return
        self.problem = reason
        level = logging.ERROR if isinstance(error, LoginRefused) else logging.WARNING
        meanwhile = ""
        if self._connection is not None:
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

    def _disconnect(self, reason: str, now: float) -> None:
        if self._connection is not None:
            self._connection.socket.close()
            self._store.drop(f"{self._target.key}-{STORED[0]}")
        self._connection = None
        self._lost_at = self._heard_at
        self._connector.pause(now)
        self.problem = reason
        log.warning("lost the connection to Asterisk: %s", reason)

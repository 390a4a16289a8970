from __future__ import annotations

import contextlib
import errno
import logging
import os
import queue
import random
import select
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from amikafka_tail.ami.framing import END
from amikafka_tail.intake.recorder import DISK_RETRY, LAST_WORD, Recorder
from amikafka_tail.journal.journal import BOUNDARY, Journal
from amikafka_tail.model.counters import Counters
from amikafka_tail.model.errors import AlreadyLoggedIn, LoginRefused, SourceDisconnected
from amikafka_tail.model.identity import Identity
from amikafka_tail.model.pushed_filters import Pushed
from tests.support.waiting import BOUND

NOW = 1_795_426_158_000
PING = b"Action: Ping\r\n\r\n"
FIRST = b"Event: A\r\nPrivilege: call,all\r\nNumber: 1" + END
SECOND = b"Event: A\r\nPrivilege: call,all\r\nNumber: 2" + END
THIRD = b"Event: A\r\nPrivilege: call,all\r\nNumber: 3" + END


@dataclass
class FakeConnection:
    """A connection that a fake source made, and the Asterisk at its other end."""

    socket: Any
    asterisk: socket.socket | None = None
    tls: bool = False
    leftover: bytes = b""
    asterisk_version: str = "22"
    system_name: str = "pbx"
    warnings: Sequence[str] = ()
    peer: str = "127.0.0.1:5038"
    ping: bytes = PING
    keepalive: float = 10.0
    timeout: float = 5.0


class FakeSource:
    """Connects with whatever the test gives it, as soon as that is given."""

    def __init__(self) -> None:
        self.outcomes: queue.Queue[FakeConnection | Exception] = queue.Queue()
        self.attempts = 0
        self.resumed: list[socket.socket] = []

    def connect(self) -> FakeConnection:
        self.attempts += 1
        outcome = self.outcomes.get(timeout=BOUND)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def resume(self, handed_over: socket.socket) -> FakeConnection:
        self.resumed.append(handed_over)
        return FakeConnection(handed_over)


class FakeTlsSocket:
    """What an `ssl.SSLSocket` does: decrypted bytes in pieces, and nothing to splice from."""

    def __init__(self) -> None:
        self.pieces: list[bytes | Exception] = []
        self.sent: list[bytes] = []
        self.closed = False

    def recv(self, _size: int) -> bytes:
        if not self.pieces:
            raise ssl.SSLWantReadError
        piece = self.pieces.pop(0)
        if isinstance(piece, Exception):
            raise piece
        return piece

    def send(self, data: bytes) -> int:
        self.sent.append(data)
        return len(data)

    def fileno(self) -> int:
        raise AssertionError("TLS bytes cannot be spliced")

    def close(self) -> None:
        self.closed = True


class FakeStore:
    """systemd's file descriptor store."""

    def __init__(self) -> None:
        self.kept: dict[str, int] = {}

    def keep(self, name: str, descriptor: int) -> None:
        if name in self.kept:
            os.close(self.kept[name])
        self.kept[name] = os.dup(descriptor)

    def drop(self, name: str) -> None:
        if name in self.kept:
            os.close(self.kept.pop(name))

    def hand_over(self) -> dict[str, int]:
        return {name: os.dup(descriptor) for name, descriptor in self.kept.items()}


class Disk(Journal):
    """A journal on a disk that can be full."""

    full = False
    takes: int | None = None
    """How many bytes more the disk takes before it is full."""

    def _check(self) -> None:
        if self.full:
            raise OSError(errno.ENOSPC, "No space left on device")

    def splice_from(self, pipe: int, count: int, now_ms: int) -> int:
        self._check()
        if self.takes is not None:
            if not self.takes:
                raise OSError(errno.ENOSPC, "No space left on device")
            count = min(count, self.takes)
        moved = super().splice_from(pipe, count, now_ms)
        if self.takes is not None:
            self.takes -= moved
        return moved

    def append(self, data: bytes, now_ms: int) -> None:
        self._check()
        super().append(data, now_ms)

    def begin_connection(self, identity: Identity, now_ms: int, **noted: int) -> None:
        self._check()
        super().begin_connection(identity, now_ms, **noted)


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@dataclass
class World:
    """A recorder between a fake source and a real journal."""

    directory: Path
    clock: Clock = field(default_factory=Clock)
    counters: Counters = field(default_factory=Counters)
    source: FakeSource = field(default_factory=FakeSource)
    store: FakeStore = field(default_factory=FakeStore)
    woken: threading.Event = field(default_factory=threading.Event)
    sockets: list[socket.socket] = field(default_factory=list)
    now_ms: int = NOW

    def __post_init__(self) -> None:
        self.journal = Disk(self.directory, segment_bytes=1 << 20, max_bytes=1 << 30)
        self.recorder = self.make_recorder()
        self.recorders = [self.recorder]

    def make_recorder(self, key: str = "main") -> Recorder:
        return Recorder(
            self.source,
            self.journal,
            identify=lambda connection: Identity(
                entity_id="a",
                system_name=connection.system_name,
                asterisk_version=connection.asterisk_version,
                hostname="vm",
            ),
            counters=self.counters,
            wake=self.woken.set,
            clock=self.clock,
            now_ms=lambda: self.now_ms,
            store=self.store,
            key=key,
        )

    def connection(self, **fields: Any) -> FakeConnection:
        """Make a connection over loopback."""
        with socket.create_server(("127.0.0.1", 0)) as server:
            ours = socket.create_connection(server.getsockname(), BOUND)
            asterisk, _ = server.accept()
        ours.setblocking(False)
        self.sockets += [ours, asterisk]
        return FakeConnection(ours, asterisk, **fields)

    def connect(self, connection: FakeConnection | None = None, **fields: Any) -> FakeConnection:
        """Let the recorder's next attempt succeed; return when it records the new connection."""
        connection = connection or self.connection(**fields)
        self.source.outcomes.put(connection)
        before = self.counters.connections
        self.collect_until(lambda: self.counters.connections > before)
        return connection

    def fail(self, error: Exception) -> None:
        """Let the recorder's next attempt fail; return when it knows."""
        self.recorder.collect()
        self.woken.clear()
        self.source.outcomes.put(error)
        assert self.woken.wait(BOUND)
        self.recorder.collect()

    def collect_until(self, condition: Callable[[], bool]) -> None:
        until = time.monotonic() + BOUND
        while not condition():
            assert time.monotonic() < until
            if not self.recorder.collect():
                self.woken.wait(0.001)
                self.woken.clear()

    def expect(self, expected: bytes) -> None:
        """Collect until the journal is as long as `expected`; it must be `expected` then."""
        self.collect_until(lambda: self.journal.end >= len(expected))
        self.recorder.collect()
        assert self.recorded == expected

    def arrived(self, connection: FakeConnection) -> None:
        """Wait until bytes have come to our end of a connection."""
        assert select.select([connection.socket], [], [], BOUND)[0]

    @property
    def recorded(self) -> bytes:
        data = b""
        while more := self.journal.read(len(data), 1 << 20):
            data += more
        return data

    def close(self) -> None:
        self.source.outcomes.put(SourceDisconnected("the end"))
        for recorder in self.recorders:
            recorder.close()
        for each in self.sockets:
            each.close()
        for name in list(self.store.kept):
            self.store.drop(name)
        self.journal.close()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.close()


# Recording.


def test_a_connection_begins_with_its_mark_and_who_it_is(world: World) -> None:
    assert not world.recorder.connected
    assert world.recorder.problem == "connecting"
    world.connect(system_name="zürich")
    assert world.recorder.connected
    assert world.recorder.problem is None
    assert world.recorded == BOUNDARY
    identity = world.journal.identity_at(0)
    assert identity is not None
    assert identity.system_name == "zürich"


def test_what_came_with_the_login_is_recorded_first(world: World) -> None:
    connection = world.connect(leftover=FIRST + SECOND[:10])
    connection.asterisk.sendall(SECOND[10:])
    world.expect(BOUNDARY + FIRST + SECOND)


def test_bytes_are_recorded_as_they_come(world: World) -> None:
    connection = world.connect()
    assert not world.recorder.collect()
    connection.asterisk.sendall(FIRST[:7])
    world.expect(BOUNDARY + FIRST[:7])
    connection.asterisk.sendall(FIRST[7:] + bytes(range(256)))
    world.expect(BOUNDARY + FIRST + bytes(range(256)))


def test_much_is_recorded_byte_for_byte(world: World) -> None:
    connection = world.connect()
    data = random.Random(1).randbytes(12 << 20)
    sender = threading.Thread(target=connection.asterisk.sendall, args=(data,))
    sender.start()
    world.expect(BOUNDARY + data)
    sender.join()


def test_one_round_does_not_take_for_ever(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("amikafka_tail.intake.transfer.MAX_MOVE", 1000)
    monkeypatch.setattr("amikafka_tail.intake.transfer.PIPE_BYTES", 400)
    connection = world.connect()
    connection.asterisk.sendall(bytes(10_000))
    world.arrived(connection)
    before = world.journal.end
    assert world.recorder.collect()
    assert 0 < world.journal.end - before < 1400
    world.expect(BOUNDARY + bytes(10_000))


def test_there_is_a_descriptor_to_wait_on_while_there_is_a_connection(world: World) -> None:
    assert world.recorder.fileno() is None
    connection = world.connect()
    assert world.recorder.fileno() == connection.socket.fileno()
    connection.asterisk.sendall(FIRST)
    assert select.select([world.recorder.fileno()], [], [], BOUND)[0]


def test_warnings_of_a_connection_are_logged(world: World, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        world.connect(warnings=["writetimeout is 100 ms", "no right to read cdr"])
    assert [record.message for record in caplog.records if record.levelno == logging.WARNING] == [
        "writetimeout is 100 ms",
        "no right to read cdr",
    ]
    assert "connected: asterisk=127.0.0.1:5038 version=22 system_name=pbx" in caplog.text


@pytest.mark.parametrize(
    ("pushed", "said"),
    [
        (Pushed(), False),
        (Pushed(wanted=3, taken=2), True),
        (Pushed(wanted=3, taken=0), True),
    ],
)
def test_how_many_filters_asterisk_takes_is_noted_and_said(
    world: World, caplog: pytest.LogCaptureFixture, pushed: Pushed, said: bool
) -> None:
    connection = world.connection()
    connection.pushed = pushed  # type: ignore[attr-defined]
    with caplog.at_level(logging.INFO):
        world.connect(connection)
    assert world.journal.filters_at(world.journal.end) == pushed.taken
    assert (f"Asterisk filters by {pushed.taken} of 3 eventfilter lines" in caplog.text) is said


# Losing the connection.


def test_after_the_end_of_a_connection_there_is_another_with_its_own_mark(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    connection = world.connect()
    connection.asterisk.sendall(FIRST + SECOND[:10])
    connection.asterisk.close()
    world.collect_until(lambda: not world.recorder.connected)
    assert world.recorder.problem == "Asterisk closed the connection"
    assert world.recorder.fileno() is None
    assert connection.socket.fileno() == -1
    assert world.recorded == BOUNDARY + FIRST + SECOND[:10]
    assert world.recorder.deadline() > world.clock.now
    world.clock.now = world.recorder.deadline()
    second = world.connect()
    second.asterisk.sendall(THIRD)
    world.expect(BOUNDARY + FIRST + SECOND[:10] + BOUNDARY + THIRD)
    assert world.counters.connections == 2
    assert "lost the connection to Asterisk: Asterisk closed the connection" in caplog.text
    assert "events in that time are lost" in caplog.text


def test_a_connection_that_is_reset_is_lost_and_made_again(world: World) -> None:
    connection = world.connect()
    connection.asterisk.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    connection.asterisk.close()
    world.collect_until(lambda: not world.recorder.connected)
    assert world.recorder.problem == "the connection broke: Connection reset by peer"
    world.clock.now = world.recorder.deadline()
    world.connect().asterisk.sendall(FIRST)
    world.expect(BOUNDARY + BOUNDARY + FIRST)


def test_the_next_attempt_waits_for_its_time(world: World) -> None:
    connection = world.connect()
    connection.asterisk.close()
    world.collect_until(lambda: not world.recorder.connected)
    attempts = world.source.attempts
    for _ in range(5):
        assert not world.recorder.collect()
    assert world.source.attempts == attempts
    world.clock.now = world.recorder.deadline()
    world.connect()
    assert world.source.attempts == attempts + 1


def test_there_is_one_attempt_at_a_time(world: World) -> None:
    for _ in range(5):
        world.recorder.collect()
        world.clock.now += 100
    assert world.recorder.deadline() == float("inf")
    world.connect()
    assert world.source.attempts == 1


def test_the_main_loop_is_woken_when_an_attempt_is_over(world: World) -> None:
    world.recorder.collect()
    assert not world.woken.is_set()
    world.source.outcomes.put(SourceDisconnected("refused"))
    assert world.woken.wait(BOUND)


# Attempts that fail.


def test_a_failed_attempt_is_reported_once(world: World, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(5):
        world.fail(SourceDisconnected("127.0.0.1:5038: Connection refused"))
        world.clock.now = world.recorder.deadline()
    reported = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert [record.levelno for record in reported] == [logging.WARNING]
    assert "no connection to Asterisk: 127.0.0.1:5038: Connection refused" in reported[0].message
    assert world.recorder.problem == "127.0.0.1:5038: Connection refused"
    assert world.source.attempts == 5


def test_another_reason_is_reported_too(world: World, caplog: pytest.LogCaptureFixture) -> None:
    for reason in ("Connection refused", "Connection refused", "timed out", "Connection refused"):
        world.fail(SourceDisconnected(reason))
        world.clock.now = world.recorder.deadline()
    assert [record.message.split(": ")[1].split(";")[0] for record in caplog.records] == [
        "Connection refused",
        "timed out",
        "Connection refused",
    ]


def test_what_a_person_has_to_mend_is_an_error(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.fail(LoginRefused("Authentication failed"))
    assert [record.levelno for record in caplog.records] == [logging.ERROR]


def test_a_source_that_fails_unexpectedly_does_not_end_the_recorder(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.fail(ZeroDivisionError("division by zero"))
    assert "ZeroDivisionError: division by zero" in caplog.text
    world.clock.now = world.recorder.deadline()
    world.connect().asterisk.sendall(FIRST)
    world.expect(BOUNDARY + FIRST)


def waits_after(world: World, error: Exception) -> list[float]:
    waits = []
    for _ in range(8):
        world.fail(error)
        waits.append(world.recorder.deadline() - world.clock.now)
        world.clock.now = world.recorder.deadline()
    return waits


def test_waits_between_attempts_grow_to_a_few_seconds(world: World) -> None:
    waits = waits_after(world, SourceDisconnected("refused"))
    assert waits[0] <= 1
    assert waits[-1] > 2 * waits[0]
    assert max(waits) <= 5, "what happens meanwhile is lost"


def test_a_login_that_is_refused_is_tried_again_only_now_and_then(world: World) -> None:
    assert 10 < max(waits_after(world, LoginRefused("Authentication failed"))) <= 30


# Keeping it alive.


def test_a_silent_asterisk_is_asked_whether_it_is_there(world: World) -> None:
    connection = world.connect()
    assert world.recorder.deadline() == world.clock.now + connection.keepalive
    world.clock.now += connection.keepalive - 0.1
    world.recorder.collect()
    assert not select.select([connection.asterisk], [], [], 0)[0]
    world.clock.now += 0.1
    world.recorder.collect()
    assert select.select([connection.asterisk], [], [], BOUND)[0]
    assert connection.asterisk.recv(1000) == PING
    assert world.recorder.deadline() == world.clock.now + connection.timeout


def test_an_answer_keeps_the_connection(world: World) -> None:
    connection = world.connect()
    expected = BOUNDARY
    for _ in range(3):
        world.clock.now += connection.keepalive
        world.recorder.collect()
        assert select.select([connection.asterisk], [], [], BOUND)[0]
        assert connection.asterisk.recv(1000) == PING
        world.clock.now += connection.timeout - 0.1
        pong = b"Response: Success\r\nPing: Pong" + END
        connection.asterisk.sendall(pong)
        expected += pong
        world.expect(expected)
        assert world.recorder.deadline() == world.clock.now + connection.keepalive
    assert world.counters.connections == 1


def test_it_is_asked_only_once(world: World) -> None:
    connection = world.connect()
    world.clock.now += connection.keepalive
    for _ in range(5):
        world.recorder.collect()
    assert select.select([connection.asterisk], [], [], BOUND)[0]
    assert connection.asterisk.recv(1000) == PING


def test_an_asterisk_that_does_not_answer_is_given_up(world: World) -> None:
    connection = world.connect()
    world.clock.now += connection.keepalive
    world.recorder.collect()
    world.clock.now += connection.timeout
    assert world.recorder.collect()
    assert not world.recorder.connected
    assert world.recorder.problem == "Asterisk does not answer: nothing for 15 s"
    world.clock.now = world.recorder.deadline()
    world.connect().asterisk.sendall(FIRST)
    world.expect(BOUNDARY + BOUNDARY + FIRST)


def test_events_are_as_good_as_an_answer(world: World) -> None:
    connection = world.connect()
    expected = BOUNDARY
    for _ in range(5):
        world.clock.now += connection.keepalive - 0.1
        connection.asterisk.sendall(FIRST)
        expected += FIRST
        world.expect(expected)
    assert not select.select([connection.asterisk], [], [], 0)[0]


def test_a_ping_that_cannot_be_sent_because_asterisk_does_not_read_ends_with_the_time_limit(
    world: World,
) -> None:
    connection = world.connect()
    try:
        while connection.socket.send(bytes(1 << 16)):
            pass
    except BlockingIOError:
        pass
    world.clock.now += connection.keepalive
    world.recorder.collect()
    assert world.recorder.connected
    world.clock.now += connection.timeout
    world.recorder.collect()
    assert not world.recorder.connected


# A full disk.


def test_a_full_disk_loses_nothing(world: World, caplog: pytest.LogCaptureFixture) -> None:
    connection = world.connect()
    data = random.Random(2).randbytes(6 << 20)
    sender = threading.Thread(target=connection.asterisk.sendall, args=(data,))
    sender.start()
    world.journal.takes = 1_000_000
    world.collect_until(lambda: world.recorder.disk_problem is not None)
    assert world.recorder.disk_problem == "No space left on device"
    for _ in range(10):
        assert world.recorder.fileno() is None
        assert world.recorder.deadline() == pytest.approx(world.clock.now + DISK_RETRY)
        assert not world.recorder.collect()
        world.clock.now = world.recorder.deadline()
        world.recorder.collect()
    assert world.recorded == (BOUNDARY + data)[: len(BOUNDARY) + 1_000_000]
    assert world.recorder.connected
    world.journal.takes = None
    world.clock.now = world.recorder.deadline()
    world.expect(BOUNDARY + data)
    sender.join()
    assert world.recorder.disk_problem is None
    assert caplog.text.count("the journal cannot be written") == 1
    assert caplog.text.count("the journal can be written again") == 1


def test_an_asterisk_whose_answer_had_to_wait_for_the_disk_is_not_given_up(world: World) -> None:
    connection = world.connect()
    world.clock.now += connection.keepalive
    world.recorder.collect()
    world.journal.full = True
    connection.asterisk.sendall(FIRST)
    world.collect_until(lambda: world.recorder.disk_problem is not None)
    for _ in range(5):
        world.clock.now += connection.timeout
        world.recorder.collect()
    world.journal.full = False
    world.clock.now += DISK_RETRY
    world.recorder.collect()
    assert world.recorded == BOUNDARY + FIRST
    assert world.recorder.connected


def test_what_came_with_the_login_waits_for_a_full_disk(world: World) -> None:
    class FullAfterTheMark(Disk):
        def begin_connection(self, identity: Identity, now_ms: int, **noted: int) -> None:
            super().begin_connection(identity, now_ms, **noted)
            self.full = True

    world.journal.__class__ = FullAfterTheMark
    connection = world.connect(leftover=FIRST)
    connection.asterisk.sendall(SECOND)
    world.collect_until(lambda: world.recorder.disk_problem is not None)
    assert world.recorded == BOUNDARY
    assert world.store.kept == {}, "another process has not what came with the login"
    world.journal.full = False
    world.clock.now = world.recorder.deadline()
    world.expect(BOUNDARY + FIRST + SECOND)
    assert set(world.store.kept) == {"main-socket", "main-pipe-in", "main-pipe-out"}


def test_a_connection_that_could_not_be_noted_is_made_again(world: World) -> None:
    world.journal.full = True
    refused = world.connection()
    world.source.outcomes.put(refused)
    world.collect_until(lambda: world.recorder.disk_problem is not None)
    assert not world.recorder.connected
    assert refused.socket.fileno() == -1
    world.journal.full = False
    world.clock.now += 60
    world.connect().asterisk.sendall(FIRST)
    world.expect(BOUNDARY + FIRST)


def test_a_disk_that_nothing_waits_for_hides_no_reason_why_there_is_no_connection(world: World) -> None:
    world.journal.full = True
    world.source.outcomes.put(world.connection())
    world.collect_until(lambda: world.recorder.disk_problem is not None)
    world.journal.full = False
    world.clock.now += 60
    world.fail(SourceDisconnected("Connection refused"))
    assert (world.recorder.disk_problem, world.recorder.problem) == (None, "Connection refused")


# TLS.


@pytest.fixture
def tls(world: World) -> FakeTlsSocket:
    connection = FakeTlsSocket()
    world.connect(FakeConnection(connection, tls=True, leftover=FIRST))
    return connection


def test_bytes_of_a_tls_connection_are_recorded(world: World, tls: FakeTlsSocket) -> None:
    tls.pieces = [SECOND[:5], SECOND[5:] + bytes(range(256)), ssl.SSLWantReadError(), THIRD]
    assert world.recorder.collect()
    assert world.recorder.collect()
    assert not world.recorder.collect()
    assert world.recorded == BOUNDARY + FIRST + SECOND + bytes(range(256)) + THIRD


@pytest.mark.parametrize(
    ("end", "problem"),
    [
        (b"", "Asterisk closed the connection"),
        (
            ConnectionResetError(104, "Connection reset by peer"),
            "the connection broke: Connection reset by peer",
        ),
        (ssl.SSLEOFError(8, "EOF occurred in violation of protocol"), "the connection broke: EOF occurred"),
    ],
)
def test_the_end_of_a_tls_connection_is_noticed(
    world: World, tls: FakeTlsSocket, end: bytes | Exception, problem: str
) -> None:
    tls.pieces = [SECOND[:5], end]
    world.recorder.collect()
    assert not world.recorder.connected
    assert (world.recorder.problem or "").startswith(problem)
    assert tls.closed
    assert world.recorded == BOUNDARY + FIRST + SECOND[:5]


def test_a_tls_connection_is_kept_alive_too(world: World, tls: FakeTlsSocket) -> None:
    world.clock.now += 10
    world.recorder.collect()
    assert tls.sent == [PING]
    world.clock.now += 5
    world.recorder.collect()
    assert not world.recorder.connected


def test_bytes_of_a_tls_connection_wait_for_a_full_disk(world: World, tls: FakeTlsSocket) -> None:
    tls.pieces = [SECOND, THIRD]
    world.journal.full = True
    for _ in range(5):
        world.recorder.collect()
        world.clock.now += DISK_RETRY
    world.journal.full = False
    world.recorder.collect()
    assert world.recorded == BOUNDARY + FIRST + SECOND + THIRD


def test_a_tls_connection_cannot_outlive_the_process(world: World, tls: FakeTlsSocket) -> None:
    assert world.store.kept == {}


# Another source.


def end_session(connection: FakeConnection, last: bytes = b"") -> None:
    """Do what Asterisk does once nothing more will be asked: send what is left, then close."""
    connection.asterisk.settimeout(BOUND)
    asked = b""
    while data := connection.asterisk.recv(1000):
        asked += data
    assert asked == PING
    connection.asterisk.sendall(last)
    connection.asterisk.close()


@contextlib.contextmanager
def session_that_ends(connection: FakeConnection) -> Iterator[None]:
    """Let Asterisk end a session meanwhile."""
    ending = threading.Thread(target=end_session, args=(connection,))
    ending.start()
    yield
    ending.join(BOUND)
    assert not ending.is_alive()


def replaced(world: World, **fields: Any) -> tuple[FakeSource, FakeConnection]:
    """Replace the source; return when it has connected. The connection before is still recorded."""
    other = FakeSource()
    world.recorder.replace_source(other, "other")
    new = world.connection(**fields)
    world.recorder.collect()
    world.woken.clear()
    other.outcomes.put(new)
    assert world.woken.wait(BOUND)
    world.recorder.collect()
    return other, new


def test_the_connection_before_is_recorded_until_the_new_one_is_there(world: World) -> None:
    old = world.connect()
    old.asterisk.sendall(FIRST)
    world.expect(BOUNDARY + FIRST)
    other = FakeSource()
    world.recorder.replace_source(other, "other")
    world.recorder.collect()
    old.asterisk.sendall(SECOND)
    world.expect(BOUNDARY + FIRST + SECOND)
    assert world.recorder.connected
    new = world.connection(system_name="other")
    other.outcomes.put(new)
    with session_that_ends(old):
        world.collect_until(lambda: world.counters.connections == 2)
    assert old.socket.fileno() == -1
    new.asterisk.sendall(THIRD)
    world.expect(BOUNDARY + FIRST + SECOND + BOUNDARY + THIRD)
    identity = world.journal.identity_at(world.journal.end)
    assert identity is not None
    assert identity.system_name == "other"


def test_what_asterisk_still_has_for_the_connection_before_is_recorded(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    old = world.connect()
    old.asterisk.sendall(FIRST[:10])
    world.expect(BOUNDARY + FIRST[:10])
    _, new = replaced(world, leftover=THIRD)
    assert world.counters.connections == 1
    assert world.recorder.deadline() == world.clock.now + LAST_WORD
    end_session(old, FIRST[10:] + SECOND)
    world.collect_until(lambda: world.counters.connections == 2)
    new.asterisk.sendall(FIRST)
    world.expect(BOUNDARY + FIRST + SECOND + BOUNDARY + THIRD + FIRST)
    assert world.counters.disconnections == 0
    assert caplog.records == []


def test_the_connection_before_has_not_for_ever_to_end(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    old = world.connect()
    old.asterisk.sendall(FIRST[:10])
    world.expect(BOUNDARY + FIRST[:10])
    replaced(world)
    world.clock.now += LAST_WORD
    world.recorder.collect()
    assert world.counters.connections == 2
    assert world.recorded == BOUNDARY + FIRST[:10] + BOUNDARY
    assert "the previous connection does not end: its last events may be lost" in caplog.text


def test_a_connection_that_lags_behind_is_waited_for_as_long_as_something_comes(world: World) -> None:
    old = world.connect()
    replaced(world)
    expected = BOUNDARY
    for _ in range(12):
        old.asterisk.sendall(FIRST)
        expected += FIRST
        world.expect(expected)
        world.clock.now += 0.8
        world.recorder.collect()
        assert world.counters.connections == 1
    old.asterisk.sendall(FIRST)
    world.expect(expected + FIRST)
    world.clock.now += 0.8
    world.recorder.collect()
    assert world.counters.connections == 2


def test_a_silent_connection_is_not_asked_for_a_sign_of_life_once_it_is_being_replaced(world: World) -> None:
    old = world.connect()
    world.clock.now += old.keepalive - 0.1
    replaced(world)
    world.clock.now += 0.2
    world.recorder.collect()
    end_session(old)
    world.collect_until(lambda: world.counters.connections == 2)


def test_a_connection_that_breaks_while_it_is_being_replaced_leaves_no_gap(world: World) -> None:
    old = world.connect()
    replaced(world)
    old.asterisk.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    old.asterisk.close()
    world.collect_until(lambda: world.counters.connections == 2)
    assert world.counters.disconnections == 0


def test_a_disk_that_is_full_when_the_connection_before_has_ended_leaves_a_gap(world: World) -> None:
    old = world.connect()
    other, new = replaced(world)
    end_session(old)
    world.arrived(old)
    world.journal.full = True
    world.recorder.collect()
    assert new.socket.fileno() == -1
    world.journal.full = False
    world.clock.now += 2.5
    other.outcomes.put(world.connection())
    world.collect_until(lambda: world.counters.connections == 2)
    assert (world.counters.disconnections, world.counters.disconnected_seconds) == (1, 2.5)


def test_an_attempt_that_was_under_way_to_the_source_before_is_none_to_the_new_one(world: World) -> None:
    world.recorder.collect()
    other = FakeSource()
    world.recorder.replace_source(other, "other")
    late = world.connection()
    world.source.outcomes.put(late)
    world.collect_until(lambda: late.socket.fileno() == -1)
    new = world.connection()
    other.outcomes.put(new)
    world.collect_until(lambda: world.counters.connections == 1)
    new.asterisk.sendall(FIRST)
    world.expect(BOUNDARY + FIRST)


def test_a_source_that_is_replaced_while_it_takes_over_is_replaced_once_it_has(world: World) -> None:
    old = world.connect()
    _, second = replaced(world, leftover=FIRST)
    third = FakeSource()
    world.recorder.replace_source(third, "third")
    end_session(old)
    world.collect_until(lambda: world.counters.connections == 2)
    assert set(world.store.kept) == {"other-socket", "other-pipe-in", "other-pipe-out"}
    third.outcomes.put(world.connection(leftover=SECOND))
    with session_that_ends(second):
        world.collect_until(lambda: world.counters.connections == 3)
    world.expect(BOUNDARY + BOUNDARY + FIRST + BOUNDARY + SECOND)
    assert set(world.store.kept) == {"third-socket", "third-pipe-in", "third-pipe-out"}


def test_a_new_source_that_cannot_connect_leaves_the_one_before_in_use(world: World) -> None:
    old = world.connect()
    other = FakeSource()
    world.recorder.replace_source(other, "other")
    world.recorder.collect()
    world.woken.clear()
    other.outcomes.put(LoginRefused("Authentication failed"))
    assert world.woken.wait(BOUND)
    world.recorder.collect()
    assert world.recorder.connected
    old.asterisk.sendall(FIRST)
    world.expect(BOUNDARY + FIRST)
    world.clock.now = world.recorder.deadline()
    new = world.connection()
    other.outcomes.put(new)
    with session_that_ends(old):
        world.collect_until(lambda: world.counters.connections == 2)
    new.asterisk.sendall(SECOND)
    world.expect(BOUNDARY + FIRST + BOUNDARY + SECOND)
    assert other.attempts == 2


def test_a_connection_that_is_lost_while_it_is_being_replaced_is_made_to_the_new_source(
    world: World,
) -> None:
    old = world.connect()
    other = FakeSource()
    world.recorder.replace_source(other, "other")
    world.recorder.collect()
    old.asterisk.close()
    world.collect_until(lambda: not world.recorder.connected)
    new = world.connection()
    other.outcomes.put(new)
    world.collect_until(lambda: world.recorder.connected)
    new.asterisk.sendall(FIRST)
    world.expect(BOUNDARY + BOUNDARY + FIRST)
    assert other.attempts == 1


# The end.


def test_closing_closes_the_connection_where_nothing_keeps_it(world: World) -> None:
    connection = world.connect()
    for name in list(world.store.kept):
        world.store.drop(name)
    world.recorder.close()
    world.recorders.clear()
    assert not world.recorder.connected
    assert connection.asterisk.recv(10) == b""


def test_a_connection_that_comes_after_the_end_is_closed(world: World) -> None:
    world.recorder.collect()
    world.recorder.close()
    world.recorders.clear()
    late = world.connection()
    world.source.outcomes.put(late)
    assert world.woken.wait(BOUND)
    assert late.asterisk.recv(10) == b""


def test_a_connection_that_came_just_before_the_end_is_closed(world: World) -> None:
    world.recorder.collect()
    late = world.connection()
    world.source.outcomes.put(late)
    assert world.woken.wait(BOUND)
    world.recorder.close()
    world.recorders.clear()
    late.asterisk.settimeout(BOUND)
    assert late.socket.fileno() == -1


# Handing over to the next process.


def next_process(world: World, key: str = "main") -> Recorder:
    """Return the recorder of another process, while the one before has been killed."""
    recorder = world.make_recorder(key)
    world.recorders.append(recorder)
    return recorder


def test_the_next_process_goes_on_in_the_middle_of_an_event(world: World) -> None:
    connection = world.connect()
    connection.asterisk.sendall(FIRST[:10])
    world.expect(BOUNDARY + FIRST[:10])
    handed_over = world.store.hand_over()
    world.recorder.close()
    world.recorders.clear()
    connection.asterisk.sendall(FIRST[10:20])
    world.recorder = next_process(world)
    assert world.recorder.resume(handed_over)
    assert world.recorder.connected
    assert world.recorder.problem is None
    connection.asterisk.sendall(FIRST[20:])
    world.expect(BOUNDARY + FIRST)


def test_what_was_in_the_pipe_comes_first(world: World) -> None:
    connection = world.connect()
    # Killed between the move to the pipe and the move to the journal.
    world.journal.full = True
    connection.asterisk.sendall(FIRST)
    world.collect_until(lambda: world.recorder.disk_problem is not None)
    handed_over = world.store.hand_over()
    world.journal.full = False
    world.recorder = next_process(world)
    connection.asterisk.sendall(SECOND)
    assert world.recorder.resume(handed_over)
    world.expect(BOUNDARY + FIRST + SECOND)


def test_a_connection_that_was_handed_over_is_kept_alive(world: World) -> None:
    connection = world.connect()
    handed_over = world.store.hand_over()
    world.recorder = next_process(world)
    world.recorder.resume(handed_over)
    world.clock.now += 10
    world.recorder.collect()
    assert select.select([connection.asterisk], [], [], BOUND)[0]
    assert connection.asterisk.recv(100) == PING


def test_a_connection_that_ended_meanwhile_is_made_again(world: World) -> None:
    connection = world.connect()
    handed_over = world.store.hand_over()
    world.recorder.close()
    world.recorders.clear()
    connection.asterisk.sendall(FIRST)
    connection.asterisk.close()
    world.recorder = next_process(world)
    world.recorder.resume(handed_over)
    world.collect_until(lambda: not world.recorder.connected)
    assert world.recorded == BOUNDARY + FIRST
    world.clock.now = world.recorder.deadline()
    world.connect().asterisk.sendall(SECOND)
    world.expect(BOUNDARY + FIRST + BOUNDARY + SECOND)


def is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


@pytest.mark.parametrize("missing", ["main-socket", "main-pipe-in", "main-pipe-out"])
def test_half_a_hand_over_is_put_away(world: World, missing: str) -> None:
    world.connect()
    handed_over = world.store.hand_over()
    os.close(handed_over.pop(missing))
    world.store.drop(missing)
    descriptors = list(handed_over.values())
    world.recorder = next_process(world)
    assert not world.recorder.resume(handed_over)
    assert world.store.kept == {}
    assert not any(map(is_open, descriptors))
    world.connect().asterisk.sendall(FIRST)
    world.expect(BOUNDARY + BOUNDARY + FIRST)


def test_what_belongs_to_another_source_is_put_away(world: World) -> None:
    world.connect()
    read_end, write_end = os.pipe()
    world.store.keep("other-socket", read_end)
    os.close(read_end)
    os.close(write_end)
    handed_over = world.store.hand_over()
    other = handed_over["other-socket"]
    world.recorder = next_process(world)
    assert world.recorder.resume(handed_over)
    assert not is_open(other)
    assert "other-socket" not in world.store.kept


def test_a_connection_made_with_other_options_is_recorded_until_there_is_one_with_those_of_now(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    old = world.connect()
    old.asterisk.sendall(FIRST[:10])
    world.expect(BOUNDARY + FIRST[:10])
    handed_over = world.store.hand_over()
    world.recorder.close()
    world.recorders.clear()
    world.recorder = next_process(world, key="other")
    assert world.recorder.resume(handed_over)
    old.asterisk.sendall(FIRST[10:])
    world.expect(BOUNDARY + FIRST)
    new = world.connection(leftover=THIRD)
    world.woken.clear()
    world.source.outcomes.put(new)
    assert world.woken.wait(BOUND)
    world.recorder.collect()
    end_session(old, SECOND)
    world.collect_until(lambda: world.counters.connections == 2)
    world.expect(BOUNDARY + FIRST + SECOND + BOUNDARY + THIRD)
    assert world.counters.disconnections == 0
    assert set(world.store.kept) == {"other-socket", "other-pipe-in", "other-pipe-out"}
    assert not [record for record in caplog.records if record.levelno > logging.INFO]


def test_a_connection_of_another_kind_of_source_is_put_away(world: World) -> None:
    world.connect()
    handed_over = world.store.hand_over()
    world.recorder.close()
    world.recorders.clear()
    world.recorder = next_process(world, key="queue-0123456789ab")
    assert not world.recorder.resume(handed_over)
    assert not any(map(is_open, handed_over.values()))
    assert world.store.kept == {}


def test_a_connection_that_is_in_the_way_of_the_one_with_the_options_of_now_makes_room(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    old = world.connect()
    handed_over = world.store.hand_over()
    world.recorder.close()
    world.recorders.clear()
    world.recorder = next_process(world, key="other")
    assert world.recorder.resume(handed_over)
    world.fail(AlreadyLoggedIn("Login Already In Use"))
    end_session(old, FIRST)
    world.collect_until(lambda: not world.recorder.connected)
    world.clock.now = world.recorder.deadline()
    world.connect().asterisk.sendall(SECOND)
    world.expect(BOUNDARY + FIRST + BOUNDARY + SECOND)
    assert "Login Already In Use: closing the connection of the previous process to make room" in caplog.text
    assert world.counters.disconnections == 1


def test_a_connection_of_this_process_stays_where_the_user_may_be_logged_in_only_once(world: World) -> None:
    world.connect()
    other = FakeSource()
    world.recorder.replace_source(other, "other")
    world.recorder.collect()
    world.woken.clear()
    other.outcomes.put(AlreadyLoggedIn("Login Already In Use"))
    assert world.woken.wait(BOUND)
    world.recorder.collect()
    assert world.recorder.connected


def test_nothing_handed_over_is_nothing_to_resume(world: World) -> None:
    assert not world.recorder.resume({})
    world.connect().asterisk.sendall(FIRST)
    world.expect(BOUNDARY + FIRST)


def test_a_connection_that_is_lost_is_taken_out_of_the_store(world: World) -> None:
    connection = world.connect()
    assert set(world.store.kept) == {"main-socket", "main-pipe-in", "main-pipe-out"}
    connection.asterisk.close()
    world.collect_until(lambda: not world.recorder.connected)
    assert "main-socket" not in world.store.kept
    world.clock.now = world.recorder.deadline()
    world.connect()
    assert set(world.store.kept) == {"main-socket", "main-pipe-in", "main-pipe-out"}


def test_the_store_holds_the_connection_that_is_recorded(world: World) -> None:
    old = world.connect()
    _, new = replaced(world)
    assert set(world.store.kept) == {"main-socket", "main-pipe-in", "main-pipe-out"}
    end_session(old)
    world.collect_until(lambda: world.counters.connections == 2)
    assert set(world.store.kept) == {"other-socket", "other-pipe-in", "other-pipe-out"}
    assert os.fstat(world.store.kept["other-socket"]).st_ino == os.fstat(new.socket.fileno()).st_ino


# What was lost.


def test_how_long_there_was_no_connection_is_said_and_counted(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    connection = world.connect()
    connection.asterisk.close()
    world.collect_until(lambda: not world.recorder.connected)
    world.clock.now += 12.5
    with caplog.at_level(logging.ERROR):
        world.connect()
    assert "there was no connection for 12.5 s: events in that time are lost" in caplog.text
    assert (world.counters.disconnections, world.counters.disconnected_seconds) == (1, 12.5)


def test_what_an_asterisk_that_does_not_answer_did_since_it_was_last_heard_is_lost_too(world: World) -> None:
    connection = world.connect()
    world.clock.now += connection.keepalive
    world.recorder.collect()
    world.clock.now += connection.timeout
    world.recorder.collect()
    assert not world.recorder.connected
    world.clock.now += 2.5
    world.connect()
    assert world.counters.disconnected_seconds == connection.keepalive + connection.timeout + 2.5


def test_a_connection_that_ended_while_nobody_read_may_have_ended_at_once(world: World) -> None:
    connection = world.connect()
    connection.asterisk.sendall(FIRST)
    world.expect(BOUNDARY + FIRST)
    world.clock.now += 7.5
    world.recorder.collect()
    connection.asterisk.sendall(SECOND)
    connection.asterisk.close()
    world.arrived(connection)
    world.clock.now += 300  # frozen, or the disk was full
    world.collect_until(lambda: not world.recorder.connected)
    assert world.recorded == BOUNDARY + FIRST + SECOND
    world.clock.now += 2.5
    world.connect()
    assert world.counters.disconnected_seconds == 302.5


def test_a_connection_that_ended_between_two_processes_may_have_ended_with_the_first(world: World) -> None:
    connection = world.connect()
    connection.asterisk.sendall(FIRST)
    world.expect(BOUNDARY + FIRST)
    handed_over = world.store.hand_over()
    world.recorder.close()
    world.recorders.clear()
    connection.asterisk.sendall(SECOND)
    connection.asterisk.close()
    world.now_ms += 60_000
    world.recorder = next_process(world)
    world.recorder.resume(handed_over)
    world.collect_until(lambda: not world.recorder.connected)
    assert world.recorded == BOUNDARY + FIRST + SECOND
    world.clock.now += 2.5
    world.now_ms += 2_500
    world.connect()
    assert world.counters.disconnected_seconds == 62.5


def test_a_new_process_without_a_hand_over_says_it_too(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.journal.append(FIRST, NOW - 60_000)
    with caplog.at_level(logging.ERROR):
        world.connect()
    assert "there was no connection for 60.0 s" in caplog.text
    assert world.counters.disconnections == 1


def test_the_first_connection_of_all_is_no_gap(world: World, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        world.connect()
    assert not caplog.records
    assert world.counters.disconnections == 0

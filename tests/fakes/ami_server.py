"""A stand-in for Asterisk's manager interface on a real socket, as ill-behaved as a test wants it.

It answers as main/manager.c does, as far as a login, CoreSettings, Filter, Events and Ping go; what comes
after that is what the test sends. Nothing waits without a bound.
"""

from __future__ import annotations

import contextlib
import hashlib
import socket
import ssl
import struct
import subprocess
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from tests.fakes.event_filters import EventFilters
from tests.support.waiting import BOUND

GREETING = b"Event: FullyBooted\r\nPrivilege: system,all\r\nUptime: 60\r\nStatus: Fully Booted\r\n\r\n"
CHALLENGE = "164293187"


@dataclass(kw_only=True)
class Manners:
    """How the server behaves; may be changed between two connections."""

    username: str = "amikafka"
    secret: str = "s3cret"
    banner: bytes = b"Asterisk Call Manager/11.0.0\r\n"
    silent: bool = False
    """Accepts connections and says nothing at all."""
    refusal_delay: float = 0.01
    """Before `Authentication failed`; Asterisk takes one second."""
    may_read: bool = True
    """Whether the user may read system events, and so is greeted after the login."""
    may_report: bool = True
    """Whether CoreSettings is allowed."""
    asterisk_version: str = "22.10.1"
    system_name: str = "pbx-01"
    answers_ping: bool = True
    """Whether it does once the login is done."""
    may_filter: bool = True
    knows_criteria: bool = True
    """Whether it knows advanced filters, or passes over what makes them so."""
    refuses_filter: Callable[[str], bool] = lambda _pattern: False
    """Which filters it does not take, though nothing is wrong with them."""
    answers: dict[str, bytes] = field(default_factory=dict)
    """Per action, what to send instead; empty closes the connection."""


class _Client:
    """One connection, served by a thread of its own."""

    def __init__(self, server: AmiServer, accepted: socket.socket) -> None:
        self.socket = accepted
        self.ready = False
        self.filters = EventFilters(knows_criteria=server.manners.knows_criteria)
        self._server = server
        self._logged_in = False
        self._in_login = True
        self._lock = threading.Lock()

    def send(self, data: bytes) -> None:
        with self._lock:
            self.socket.sendall(data)

    def send_events(self, data: bytes) -> None:
        """Send whole events, but for those that the session's filters hold back."""
        if self.filters.entries:
            events = [event + b"\r\n\r\n" for event in data.split(b"\r\n\r\n")[:-1]]
            data = b"".join(filter(self.filters.sends, events))
        self.send(data)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()

    def reset(self) -> None:
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        # Lets go the thread that reads, without telling the other side; a reset goes out with the last user.
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RD)
        self.socket.close()

    def serve(self) -> None:
        manners = self._server.manners
        with contextlib.suppress(OSError):
            if not manners.silent:
                self.send(manners.banner)
            held = b""
            while data := self.socket.recv(65536):
                *blocks, held = (held + data).split(b"\r\n\r\n")
                for block in blocks:
                    lines = block.decode("utf-8", "surrogateescape").split("\r\n")
                    action = dict(line.split(": ", 1) for line in lines)
                    if not manners.silent and not self._answer(action):
                        return
                    self._server.note(action)

    def _answer(self, action: dict[str, str]) -> bool:
        """Answer one action; return whether the connection stays."""
        manners = self._server.manners
        name = action["Action"]
        if name in manners.answers:
            self.send(manners.answers[name])
            return bool(manners.answers[name])
        if name == "Challenge":
            self._succeed(action, f"Challenge: {CHALLENGE}")
        elif name == "Login":
            return self._log_in(action)
        elif not self._logged_in or (name == "CoreSettings" and not manners.may_report):
            self._fail(action, "Permission denied")
        elif name == "CoreSettings":
            version = f"AsteriskVersion: {manners.asterisk_version}"
            self._succeed(action, "AMIversion: 11.0.0", version, f"SystemName: {manners.system_name}")
        elif name == "Filter":
            self._add_filter(action)
        elif name == "Events":
            self.ready = action["EventMask"] == "on"
            self._succeed(action, "Events: On")
        elif name == "Ping" and (manners.answers_ping or self._in_login):
            self._in_login = False
            self._succeed(action, "Ping: Pong")
        return True

    def _add_filter(self, action: dict[str, str]) -> None:
        manners = self._server.manners
        pattern = action.get("Filter", "")
        refusal: str | None = "Permission denied"
        if manners.may_filter:
            refusal = "Internal Error. Failed adding filter."
            if not manners.refuses_filter(pattern):
                criteria = action.get("MatchCriteria", "")
                refusal = self.filters.add(*(_bytes(value) for value in (criteria, pattern)))
        if refusal is None:
            self._succeed(action, "Message: Success")
        else:
            self._fail(action, refusal)

    def _log_in(self, action: dict[str, str]) -> bool:
        manners = self._server.manners
        if action.get("AuthType") == "MD5":
            key = hashlib.md5((CHALLENGE + manners.secret).encode(), usedforsecurity=False).hexdigest()
            proven = action["Key"] == key
        else:
            proven = action["Secret"] == manners.secret
        if not proven or action["Username"] != manners.username:
            self._server.ended.wait(manners.refusal_delay)
            self._fail(action, "Authentication failed")
            return False
        self._logged_in = True
        self._succeed(action, "Message: Authentication accepted")
        if manners.may_read and action.get("Events", "on") in ("on", "system"):
            self.send(GREETING)
        return True

    def _succeed(self, action: dict[str, str], *lines: str) -> None:
        self._respond(action, "Response: Success", *lines)

    def _fail(self, action: dict[str, str], message: str) -> None:
        self._respond(action, "Response: Error", f"Message: {message}")

    def _respond(self, action: dict[str, str], response: str, *lines: str) -> None:
        identified = [f"ActionID: {action['ActionID']}"] if "ActionID" in action else []
        self.send("\r\n".join([response, *identified, *lines, "", ""]).encode())


class AmiServer:
    """Listens on a free port of 127.0.0.1, or on the unix socket `path`, from `with` to its end.

    `connections` counts all that were accepted, `actions` holds what they asked for, in order.
    """

    def __init__(
        self,
        manners: Manners | None = None,
        *,
        tls: ssl.SSLContext | None = None,
        path: Path | None = None,
    ) -> None:
        self.manners = manners or Manners()
        self.connections = 0
        self.actions: list[dict[str, str]] = []
        self.ended = threading.Event()
        self._tls = tls
        self._path = path
        self._changed = threading.Condition()
        self._clients: list[_Client] = []
        self._threads: list[threading.Thread] = []
        self._listener: socket.socket | None = None
        self._port = 0

    @property
    def port(self) -> int:
        """The port, the same after `refuse` and `listen`."""
        return self._port

    def __enter__(self) -> AmiServer:
        self.listen()
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.ended.set()
        self.refuse()
        self.close()
        for thread in self._threads:
            thread.join(BOUND)
            assert not thread.is_alive(), "a thread of the server does not end"

    def listen(self) -> None:
        """Accept connections, again."""
        if self._path is not None:
            self._path.unlink(missing_ok=True)
            listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            listener.bind(str(self._path))
        else:
            listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(("127.0.0.1", self._port))
            self._port = listener.getsockname()[1]
        listener.listen()
        self._listener = listener
        self._start(self._accept, listener)

    def refuse(self) -> None:
        """Accept no connections any more; those that are there stay."""
        if self._listener is not None:
            with contextlib.suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)  # wakes accept()
            self._listener.close()
            self._listener = None

    def send(self, data: bytes) -> None:
        """Send to the newest connection, once events are on there."""
        self._ready().send(data)

    def send_to_all(self, data: bytes, connections: int) -> None:
        """Send to every connection, once events are on in so many."""

        def ready() -> bool:
            return sum(client.ready for client in self._clients) >= connections

        self._wait(ready, f"{connections} connections with events on")
        for client in list(self._clients):
            client.send(data)

    def happen(self, data: bytes) -> None:
        """Send events to every connection on which events are on, as far as its filters let them pass."""
        with self._changed:
            ready = [client for client in self._clients if client.ready]
        for client in ready:
            with contextlib.suppress(OSError):
                client.send_events(data)

    def close(self) -> None:
        """Close all connections in good order."""
        for client in self._take_clients():
            client.close()

    def reset(self) -> None:
        """Break all connections off."""
        for client in self._take_clients():
            client.reset()

    def wait_until_ready(self, connections: int = 1) -> None:
        """Wait until so many connections have come and events are on in the newest."""
        self._wait(lambda: self.connections >= connections, f"{connections} connections")
        self._ready()

    def wait_for_connections(self, connections: int) -> None:
        """Wait until so many are left."""
        self._wait(lambda: len(self._clients) == connections, f"{connections} connections left")

    def wait_for_action(self, name: str, count: int = 1) -> None:
        """Wait until an action has come so many times."""
        self._wait(
            lambda: sum(action["Action"] == name for action in self.actions) >= count, f"{count} of {name}"
        )

    def note(self, action: dict[str, str]) -> None:
        """Note that an action has been answered."""
        with self._changed:
            self.actions.append(action)
            self._changed.notify_all()

    def _ready(self) -> _Client:
        self._wait(lambda: bool(self._clients) and self._clients[-1].ready, "a login")
        return self._clients[-1]

    def _wait(self, condition: object, what: str) -> None:
        assert callable(condition)
        with self._changed:
            if not self._changed.wait_for(condition, BOUND):
                raise TimeoutError(f"waited {BOUND:g} s for {what}")

    def _take_clients(self) -> list[_Client]:
        with self._changed:
            clients, self._clients = self._clients, []
            return clients

    def _start(self, work: object, *arguments: object) -> None:
        assert callable(work)
        thread = threading.Thread(target=work, args=arguments, name="ami-server", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                accepted, _ = listener.accept()
            except OSError:
                return
            self._start(self._serve, accepted)

    def _serve(self, accepted: socket.socket) -> None:
        with self._changed:
            self.connections += 1
            self._changed.notify_all()
        # A handshake that does not get on must not keep the test from ending.
        accepted.settimeout(BOUND)
        if self._tls is not None:
            try:
                accepted = self._tls.wrap_socket(accepted, server_side=True)
            except OSError:
                accepted.close()
                return
        accepted.settimeout(None)
        client = _Client(self, accepted)
        with self._changed:
            self._clients.append(client)
        try:
            client.serve()
        finally:
            with self._changed:
                if client in self._clients:
                    self._clients.remove(client)
                    client.close()
                self._changed.notify_all()


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


@dataclass(frozen=True)
class Certificate:
    """A certificate that signs itself, and its key."""

    certificate: Path
    key: Path

    def server(self, *, ask_for_certificate: bool = False) -> ssl.SSLContext:
        """Return what a server needs that shows this certificate, and may want one signed by it."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(self.certificate, self.key)
        if ask_for_certificate:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(self.certificate)
        return context


def make_certificate(directory: Path, *names: str) -> Certificate:
    """Make a certificate for names such as `IP:127.0.0.1` or `DNS:pbx`. Raises `OSError` without openssl."""
    made = Certificate(directory / "certificate.pem", directory / "key.pem")
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=pbx"
    files = ["-keyout", str(made.key), "-out", str(made.certificate)]
    subject = ["-addext", f"subjectAltName={','.join(names)}"]
    subprocess.run([*command.split(), *files, *subject], check=True, capture_output=True, timeout=BOUND)
    return made

"""The source `manager`: a session on Asterisk's manager interface."""

from __future__ import annotations

import math
import socket
import ssl
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from amikafka_tail.ami.session import PING, Session
from amikafka_tail.model.errors import LoginRefused, SourceDisconnected
from amikafka_tail.model.pushed_filters import FilterLine, Pushed
from amikafka_tail.plugins.hookspecs import API_VERSION, Register, hookimpl

UNIX = "unix:"
PORT, TLS_PORT = 5038, 5039
RECEIVE_BYTES = 65536
# X509_V_ERR_HOSTNAME_MISMATCH and X509_V_ERR_IP_ADDRESS_MISMATCH of OpenSSL.
_OTHER_NAME = (62, 64)


@dataclass(frozen=True, kw_only=True)
class ManagerOptions:
    """Options of the section `[manager]`. What is left out comes from manager.conf where it is there."""

    host: str = "127.0.0.1"
    """A name, an address, or `unix:/path` of a socket."""
    port: int = field(default=0, metadata={"minimum": 0, "maximum": 65535})
    """0: 5038, or 5039 with TLS."""
    username: str = field(default="amikafka", metadata={"any_bytes": True})
    """The manager user, a section of manager.conf."""
    secret: str = field(default="", repr=False, metadata={"any_bytes": True})
    """Its secret. If neither this nor `secret_file` is set: what manager.conf says."""
    secret_file: Path | None = None
    """A file with the secret. It is read at each login, so that a systemd credential or a changed secret
    works."""
    auth: Literal["md5", "plain"] = "md5"
    """`md5`: the secret itself does not cross the network. `plain`: it does."""
    tls: bool = False
    """Whether to speak TLS. A TLS connection does not outlive a restart."""
    tls_ca: Path | None = None
    """Certificates to trust, instead of the system's."""
    tls_certificate: Path | None = None
    """The client's own certificate, with its key if there is no `tls_key`."""
    tls_key: Path | None = None
    """The key of `tls_certificate`, where it is a file of its own."""
    tls_verify: bool = True
    """Whether the certificate of Asterisk must be valid, and for this host."""
    keepalive: float = field(default=15.0, metadata={"unit": "seconds", "minimum": 1})
    """Silence before a Ping is sent."""
    timeout: float = field(default=10.0, metadata={"unit": "seconds", "minimum": 0.1})
    """How long connecting and logging in may take together, and how long the answer to a Ping."""
    push_filters: bool = False
    """Whether Asterisk is asked to filter by the eventfilter lines, so that less crosses the socket."""

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65535:
            raise ValueError(f"port {self.port}: a port is a number from 0 to 65535")
        for name, value in (("keepalive", self.keepalive), ("timeout", self.timeout)):
            if not 0 < value < math.inf:
                raise ValueError(f"{name} {value}: must be more than 0 seconds")
        for name in ("host", "username"):
            if not getattr(self, name):
                raise ValueError(f"{name} is empty")
        if any(end in value for end in "\r\n" for value in (self.username, self.secret)):
            raise ValueError("username and secret are one line each")
        if self.secret and self.secret_file is not None:
            raise ValueError("both secret and secret_file are set: which is meant?")
        self._check_transport()

    def _check_transport(self) -> None:
        if self.host.startswith(UNIX):
            if not self.host[len(UNIX) :].startswith("/"):
                raise ValueError(f'host "{self.host}": what follows unix: must be an absolute path')
            if self.tls:
                raise ValueError("tls = yes does not go with a unix socket")
        if not self.tls and any((self.tls_ca, self.tls_certificate, self.tls_key)):
            raise ValueError("tls_ca, tls_certificate and tls_key need tls = yes")
        if self.tls_key is not None and self.tls_certificate is None:
            raise ValueError("tls_key needs tls_certificate")


@dataclass(frozen=True, kw_only=True)
class ManagerConnection:
    """A session that is logged in and on which events are on; see `amikafka_tail.api.Connection`."""

    socket: socket.socket
    tls: bool
    leftover: bytes
    asterisk_version: str
    system_name: str
    warnings: tuple[str, ...]
    peer: str
    keepalive: float
    timeout: float
    pushed: Pushed = field(default_factory=Pushed)
    ping: bytes = PING


class ManagerSource:
    """Makes sessions on the manager interface, one call of `connect` at a time."""

    def __init__(self, options: ManagerOptions, filters: Sequence[FilterLine] = ()) -> None:
        self._options = options
        self._filters = filters
        self._host = options.host.strip("[]")
        self._port = options.port or (TLS_PORT if options.tls else PORT)
        host = f"[{self._host}]" if ":" in self._host else self._host
        self.peer = options.host if options.host.startswith(UNIX) else f"{host}:{self._port}"

    def filtered(self, lines: Sequence[FilterLine]) -> ManagerSource:
        """Return the same source, whose sessions Asterisk is asked to filter."""
        return ManagerSource(self._options, lines)

    def connect(self) -> ManagerConnection:
        """Connect and log in. Blocks, for at most `timeout` seconds beyond the look-up of the host's name.

        Raises `SourceDisconnected` where trying again may help, `LoginRefused` where a person has to act;
        the text names the other side, and never the secret.
        """
        try:
            return self._connect()
        except SourceDisconnected as error:
            raise type(error)(f"{self.peer}: {error}") from error

    def resume(self, handed_over: socket.socket) -> ManagerConnection:
        """Return the connection on a socket that an earlier process logged in on."""
        return ManagerConnection(
            socket=handed_over,
            tls=False,
            leftover=b"",
            asterisk_version="",
            system_name="",
            warnings=(),
            peer=self.peer,
            keepalive=self._options.keepalive,
            timeout=self._options.timeout,
        )

    def _connect(self) -> ManagerConnection:
        options = self._options
        session = Session(options.username, self._secret(), options.auth, self._filters)
        context = self._tls_context() if options.tls else None
        addresses = self._addresses()
        deadline = time.monotonic() + options.timeout

        def remaining() -> float:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError
            return left

        connection = self._open(addresses, remaining)
        try:
            if context is not None:
                connection = self._secured(connection, context, remaining)
            self._log_in(connection, session, remaining)
            connection.setblocking(False)
        except BaseException:
            connection.close()
            raise
        return ManagerConnection(
            socket=connection,
            tls=options.tls,
            leftover=session.leftover,
            asterisk_version=session.asterisk_version,
            system_name=session.system_name,
            warnings=tuple(session.warnings),
            peer=self.peer,
            keepalive=options.keepalive,
            timeout=options.timeout,
            pushed=session.pushed,
        )

    def _secret(self) -> str:
        file = self._options.secret_file
        if file is None:
            return self._options.secret
        try:
            return file.read_bytes().decode("utf-8", "surrogateescape").rstrip("\r\n")
        except OSError as error:
            raise LoginRefused(f"secret_file {file} cannot be read: {error.strerror}") from error

    def _tls_context(self) -> ssl.SSLContext:
        options = self._options
        try:
            context = ssl.create_default_context(cafile=options.tls_ca)
        except OSError as error:  # ssl.SSLError too
            raise LoginRefused(f"tls_ca {options.tls_ca} cannot be used: {_reason(error)}") from error
        if not options.tls_verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if options.tls_certificate is not None:
            try:
                # With a password, even an empty one, OpenSSL does not ask for it on a terminal.
                context.load_cert_chain(options.tls_certificate, options.tls_key, password="")
            except OSError as error:
                key = f" with tls_key {options.tls_key}" if options.tls_key else ""
                raise LoginRefused(
                    f"tls_certificate {options.tls_certificate}{key} cannot be used: {_reason(error)}"
                ) from error
        return context

    def _addresses(self) -> list[tuple[int, Any]]:
        """Return what to try to connect to, as family and address."""
        if self._options.host.startswith(UNIX):
            return [(socket.AF_UNIX, self._options.host[len(UNIX) :])]
        try:
            found = socket.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise SourceDisconnected(f"the name cannot be resolved: {_reason(error)}") from error
        return [(family, address) for family, _, _, _, address in found]

    def _open(self, addresses: list[tuple[int, Any]], remaining: Callable[[], float]) -> socket.socket:
        """Connect to the first address that accepts; the time left is divided among those left."""
        failure: OSError | None = None
        for left, (family, address) in zip(range(len(addresses), 0, -1), addresses, strict=True):
            try:
                opened = socket.socket(family, socket.SOCK_STREAM)
            except OSError as error:
                # A name may have an IPv6 address where the kernel has no IPv6: the others say more.
                failure = failure or error
                continue
            try:
                opened.settimeout(remaining() / left)
                opened.connect(address)
                return opened
            except OSError as error:
                opened.close()
                failure = error
        assert failure is not None, "a name has an address"
        if isinstance(failure, ConnectionRefusedError):
            raise SourceDisconnected(
                "refuses connections: is Asterisk running, and is enabled = yes in manager.conf, with this"
                " port?"
            ) from failure
        if isinstance(failure, TimeoutError):
            raise SourceDisconnected(
                f"does not answer within {self._options.timeout:g} s: is it switched on, and does the"
                " firewall let this through?"
            ) from failure
        raise SourceDisconnected(f"cannot be reached: {_reason(failure)}") from failure

    def _secured(
        self, opened: socket.socket, context: ssl.SSLContext, remaining: Callable[[], float]
    ) -> ssl.SSLSocket:
        try:
            opened.settimeout(remaining())
            return context.wrap_socket(opened, server_hostname=self._host)
        except ssl.SSLCertVerificationError as error:
            advice = "tls_ca has to name the certificates to trust"
            if error.verify_code in _OTHER_NAME:
                advice = "host has to be what the certificate says"
            raise LoginRefused(
                f"its certificate is not trusted: {error.verify_message}; {advice}, or tls_verify = no"
            ) from error
        except TimeoutError as error:
            raise SourceDisconnected(
                f"does not answer in TLS within {self._options.timeout:g} s: is this the port of"
                " tlsbindaddr in manager.conf?"
            ) from error
        except OSError as error:  # ssl.SSLError too
            raise SourceDisconnected(
                f"does not speak TLS that suits: {_reason(error)}; is this the port of tlsbindaddr in"
                " manager.conf?"
            ) from error

    def _log_in(self, opened: socket.socket, session: Session, remaining: Callable[[], float]) -> None:
        try:
            while not session.ready:
                opened.settimeout(remaining())
                data = opened.recv(RECEIVE_BYTES)
                if not data:
                    raise session.closed()
                opened.settimeout(remaining())
                opened.sendall(session.receive(data))
        except TimeoutError as error:
            raise session.silent(self._options.timeout) from error
        except ssl.SSLError as error:
            if "CERTIFICATE" not in _reason(error):
                raise SourceDisconnected(f"the TLS session broke: {_reason(error)}") from error
            # From TLS 1.3 on, a server says only here that it does not like the client's certificate.
            raise LoginRefused(
                f"does not accept the certificate of this side: {_reason(error)};"
                " tls_certificate has to name one that it knows"
            ) from error
        except OSError as error:
            raise SourceDisconnected(f"{session.closed()} ({_reason(error)})") from error


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return error.reason or str(error)
    return str(getattr(error, "strerror", None) or error)


AMIKAFKA_API = API_VERSION


@hookimpl
def register_sources(register: Register) -> None:
    """Register the source."""
    register("manager", ManagerOptions, ManagerSource)

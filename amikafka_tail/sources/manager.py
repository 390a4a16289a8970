"""The source `manager`: a session on Asterisk's manager interface."""

from __future__ import annotations

import socket
import ssl
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from amikafka_tail.ami.session import PING, Session
from amikafka_tail.errors import AmikafkaError, LoginRefused, SourceDisconnected
from amikafka_tail.hookspecs import Register, hookimpl

UNIX = "unix:"
PORT, TLS_PORT = 5038, 5039
RECEIVE_BYTES = 65536
_WHICH_PORT = "is this the port of tlsbindaddr in manager.conf?"


@dataclass(frozen=True, kw_only=True)
class ManagerOptions:
    """Options of the section `[manager]`. What is left out comes from manager.conf where it is there."""

    host: str = "127.0.0.1"
    """A name, an address, or `unix:/path` of a socket."""
    port: int = field(default=0, metadata={"minimum": 0, "maximum": 65535})
    """0: 5038, or 5039 with TLS."""
    username: str = "amikafka"
    secret: str = field(default="", repr=False)
    secret_file: Path | None = None
    """Read at each login, so that a systemd credential or a changed secret works."""
    auth: Literal["md5", "plain"] = "md5"
    tls: bool = False
    tls_ca: Path | None = None
    """Certificates to trust, instead of the system's."""
    tls_certificate: Path | None = None
    tls_key: Path | None = None
    tls_verify: bool = True
    keepalive: float = field(default=15.0, metadata={"unit": "seconds", "minimum": 1})
    """Silence before a Ping is sent."""
    timeout: float = field(default=10.0, metadata={"unit": "seconds", "minimum": 0.1})
    """How long connecting and logging in may take, and how long the answer to a Ping."""

    def __post_init__(self) -> None:
        if self.secret and self.secret_file is not None:
            raise ValueError("both secret and secret_file are set: which is meant?")
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
    ping: bytes = PING


class ManagerSource:
    """Makes sessions on the manager interface."""

    def __init__(self, options: ManagerOptions) -> None:
        self._options = options
        port = options.port or (TLS_PORT if options.tls else PORT)
        self._address = (options.host, port)
        self.peer = options.host if options.host.startswith(UNIX) else f"{options.host}:{port}"

    def connect(self) -> ManagerConnection:
        """Connect and log in. Blocks, for at most `timeout` seconds and the look-up of the name.

        Raises `SourceDisconnected`, or `LoginRefused` where a person has to act.
        """
        options = self._options
        deadline = time.monotonic() + options.timeout
        session = Session(options.username, self._secret(), options.auth)
        connection = self._open()
        try:
            while not session.ready:
                remaining = deadline - time.monotonic()
                if remaining <= 0:
                    raise TimeoutError
                connection.settimeout(remaining)
                data = connection.recv(RECEIVE_BYTES)
                if not data:
                    raise SourceDisconnected(f"{self.peer} closed the connection during the login")
                connection.sendall(session.receive(data))
            connection.setblocking(False)
        except TimeoutError as error:
            connection.close()
            raise SourceDisconnected(
                f"{self.peer} accepted the connection but did not finish the login in {options.timeout:g} s"
            ) from error
        except OSError as error:
            connection.close()
            raise SourceDisconnected(f"{self.peer}: {error.strerror or error}") from error
        except AmikafkaError:
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
        )

    def _secret(self) -> str:
        file = self._options.secret_file
        if file is None:
            return self._options.secret
        try:
            return file.read_text(encoding="utf-8").rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not text"
            raise LoginRefused(f"secret_file {file} cannot be read: {reason}") from error

    def _open(self) -> socket.socket:
        """Open the connection, TLS included, in at most `timeout` seconds each."""
        options = self._options
        try:
            if options.host.startswith(UNIX):
                opened = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
                opened.settimeout(options.timeout)
                opened.connect(options.host[len(UNIX) :])
            else:
                opened = socket.create_connection(self._address, timeout=options.timeout)
        except ConnectionRefusedError as error:
            raise SourceDisconnected(
                f"{self.peer} refuses connections: is Asterisk running, and is enabled = yes in manager.conf?"
            ) from error
        except TimeoutError as error:
            raise SourceDisconnected(f"{self.peer} does not answer within {options.timeout:g} s") from error
        except OSError as error:
            raise SourceDisconnected(f"{self.peer}: {error.strerror or error}") from error
        return self._secured(opened) if options.tls else opened

    def _secured(self, opened: socket.socket) -> socket.socket:
        options = self._options
        try:
            context = ssl.create_default_context(
                cafile=None if options.tls_ca is None else str(options.tls_ca)
            )
            if not options.tls_verify:
                context.check_hostname = False
                context.verify_mode = ssl.CERT_NONE
            if options.tls_certificate is not None:
                context.load_cert_chain(options.tls_certificate, options.tls_key)
            return context.wrap_socket(opened, server_hostname=options.host)
        except ssl.SSLCertVerificationError as error:
            opened.close()
            raise LoginRefused(
                f"{self.peer}: its certificate is not trusted: {error.verify_message}; tls_ca names the"
                " certificates to trust, and the host must be named as in the certificate"
            ) from error
        except ssl.SSLError as error:
            opened.close()
            raise SourceDisconnected(
                f"{self.peer}: no TLS: {error.reason or error}; {_WHICH_PORT}"
            ) from error
        except TimeoutError as error:
            opened.close()
            raise SourceDisconnected(
                f"{self.peer} does not answer the TLS handshake; {_WHICH_PORT}"
            ) from error
        except OSError as error:
            opened.close()
            raise LoginRefused(
                f"{self.peer}: TLS: {error.filename or ''} {error.strerror or error}"
            ) from error


@hookimpl
def register_sources(register: Register) -> None:
    """Register the source."""
    register("manager", ManagerOptions, ManagerSource)

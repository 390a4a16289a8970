"""The manager source against a server on a real socket: logins, TLS, and each way to fail."""

from __future__ import annotations

import contextlib
import logging
import os
import select
import shutil
import socket
import ssl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from amikafka_tail.api import Connection
from amikafka_tail.intake.connector import close_connection
from amikafka_tail.model.errors import LoginRefused, SourceDisconnected
from amikafka_tail.model.pushed_filters import FilterLine, Pushed
from amikafka_tail.sources.manager import ManagerOptions, ManagerSource
from tests.fakes.ami_server import AmiServer, Certificate, make_certificate
from tests.support.waiting import BOUND, wait_for

SECRET = "s3cret"
HANGUP = b"Event: Hangup\r\nPrivilege: call,all\r\nCause: 16\r\n\r\n"


@pytest.fixture
def server() -> Iterator[AmiServer]:
    with AmiServer() as running:
        yield running


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    if shutil.which("openssl") is None:
        pytest.skip("there is no openssl to make a certificate with")
    return make_certificate(tmp_path_factory.mktemp("tls"), "IP:127.0.0.1", "DNS:localhost")


def options(server: AmiServer, **changes: Any) -> ManagerOptions:
    if "secret_file" not in changes:
        changes.setdefault("secret", SECRET)
    return ManagerOptions(**{"port": server.port, "timeout": BOUND, **changes})


@contextlib.contextmanager
def connected(options: ManagerOptions) -> Iterator[Connection]:
    connection = ManagerSource(options).connect()
    try:
        yield connection
    finally:
        connection.socket.close()


def refusal(options: ManagerOptions) -> str:
    with pytest.raises(LoginRefused) as caught:
        ManagerSource(options).connect()
    assert SECRET not in str(caught.value)
    return str(caught.value)


def failure(options: ManagerOptions) -> str:
    with pytest.raises(SourceDisconnected) as caught:
        ManagerSource(options).connect()
    assert not isinstance(caught.value, LoginRefused), caught.value
    return str(caught.value)


def read(connection: Connection, wanted: bytes) -> bytes:
    """Return what came, once it ends with what is wanted; fail when it does not come."""
    received = connection.leftover
    end = time.monotonic() + BOUND
    while not received.endswith(wanted):
        with contextlib.suppress(BlockingIOError, ssl.SSLWantReadError):
            received += connection.socket.recv(65536)
            continue
        assert time.monotonic() < end, received
        select.select([connection.socket], [], [], 0.1)
    return received


def sockets() -> set[str]:
    """Return the sockets that this process has, each by a name of its own."""
    found = set()
    for number in os.listdir("/proc/self/fd"):  # noqa: PTH208 - the one that lists them is no socket
        with contextlib.suppress(FileNotFoundError):  # closed by another thread meanwhile
            found.add(os.readlink(f"/proc/self/fd/{number}"))  # noqa: PTH115 - what it names is no file
    return {name for name in found if name.startswith("socket:")}


@pytest.mark.parametrize("auth", ["md5", "plain"])
def test_a_login_ends_with_events_on_and_a_socket_that_does_not_block(server: AmiServer, auth: str) -> None:
    with connected(options(server, auth=auth)) as connection:
        server.send(HANGUP)
        assert read(connection, HANGUP) == HANGUP
        assert not connection.socket.getblocking()
        assert connection.asterisk_version == "22.10.1"
        assert connection.system_name == "pbx-01"
        assert connection.warnings == ()
        assert connection.peer == f"127.0.0.1:{server.port}"
        assert not connection.tls
    names = [action["Action"] for action in server.actions]
    assert names == [*(["Challenge"] if auth == "md5" else []), "Login", "CoreSettings", "Events", "Ping"]
    assert any(SECRET in action.values() for action in server.actions) == (auth == "plain")


def test_a_ping_is_answered(server: AmiServer) -> None:
    with connected(options(server)) as connection:
        connection.socket.sendall(connection.ping)
        assert b"Ping: Pong" in read(connection, b"Ping: Pong\r\n\r\n")


def test_a_unix_socket_is_as_good(tmp_path: Path) -> None:
    path = tmp_path / "ami.sock"
    with AmiServer(path=path) as server, connected(options(server, host=f"unix:{path}")) as connection:
        server.send(HANGUP)
        assert read(connection, HANGUP).endswith(HANGUP)
        assert connection.peer == f"unix:{path}"


def test_a_name_with_several_addresses_is_tried_to_the_end(
    server: AmiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def look_up(_host: str, port: int, **_kind: object) -> list[tuple[object, ...]]:
        nobody = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 1))
        return [nobody, (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    with connected(options(server, host="pbx.example")) as connection:
        assert connection.asterisk_version


@pytest.mark.parametrize("first", [True, False])
def test_an_address_of_a_kind_that_the_kernel_has_not_is_passed_over(
    server: AmiServer, monkeypatch: pytest.MonkeyPatch, first: bool
) -> None:
    unknown = (12345, socket.SOCK_STREAM, 6, "", ("::1", 5038, 0, 0))

    def look_up(_host: str, port: int, **_kind: object) -> list[tuple[object, ...]]:
        known = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))
        return [unknown, known] if first else [known, unknown]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    with connected(options(server, host="localhost")) as connection:
        assert connection.asterisk_version
    with pytest.raises(SourceDisconnected, match="refuses connections: is Asterisk running"):
        ManagerSource(options(server, host="localhost", port=1)).connect()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_look_up, **_kind: [unknown])
    with pytest.raises(SourceDisconnected, match="cannot be reached: Address family not supported"):
        ManagerSource(options(server, host="localhost")).connect()


def test_the_secret_file_is_read_again_at_each_login(server: AmiServer, tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("old\n")
    source = ManagerSource(options(server, secret_file=file))
    with pytest.raises(LoginRefused):
        source.connect()
    file.write_text(f"{SECRET}\n")
    source.connect().socket.close()


def test_a_secret_file_that_cannot_be_read_is_named(server: AmiServer, tmp_path: Path) -> None:
    words = refusal(options(server, secret_file=tmp_path / "nope"))
    assert f"secret_file {tmp_path}/nope cannot be read: No such file" in words
    assert server.connections == 0


@pytest.mark.parametrize("auth", ["md5", "plain"])
def test_a_wrong_secret_says_what_to_look_at(server: AmiServer, auth: str) -> None:
    words = refusal(options(server, secret="wrong", auth=auth))
    assert words.startswith(
        f"127.0.0.1:{server.port}: Asterisk refuses the login of 'amikafka': Authentication"
    )
    assert "permit" in words
    assert "wrong" not in words


def test_filters_are_handed_over_where_the_source_is_asked_to(server: AmiServer) -> None:
    line = FilterLine("eventfilter(name(Hangup),header(Cause),method(exact))", "17")
    source = ManagerSource(options(server)).filtered([line])
    connection = source.connect()
    with connection.socket:
        assert connection.pushed == Pushed(wanted=1, taken=1)
        server.happen(HANGUP + HANGUP.replace(b"16", b"17"))
        assert read(connection, b"\r\n\r\n") == HANGUP.replace(b"16", b"17")
    assert [action["Action"] for action in server.actions][-5:] == [
        "CoreSettings",
        "Filter",
        "Filter",
        "Events",
        "Ping",
    ]


def test_missing_rights_are_warnings(server: AmiServer) -> None:
    server.manners.may_report = server.manners.may_read = False
    with connected(options(server)) as connection:
        assert connection.asterisk_version == ""
        assert "write = reporting" in connection.warnings[0]
        assert "read = all" in connection.warnings[1]


def test_nobody_listening_asks_whether_asterisk_runs(server: AmiServer) -> None:
    server.refuse()
    assert "is Asterisk running, and is enabled = yes in manager.conf" in failure(options(server))


def test_a_missing_unix_socket_is_named(server: AmiServer, tmp_path: Path) -> None:
    words = failure(options(server, host=f"unix:{tmp_path}/nope"))
    assert words == f"unix:{tmp_path}/nope: cannot be reached: No such file or directory"


def test_a_name_that_nobody_knows_is_named(server: AmiServer) -> None:
    words = failure(options(server, host="nobody.invalid"))
    assert words.startswith(f"nobody.invalid:{server.port}: the name cannot be resolved: ")


def test_a_server_that_says_nothing_is_given_up_after_the_time_limit(server: AmiServer) -> None:
    server.manners.silent = True
    start = time.monotonic()
    words = failure(options(server, timeout=0.2))
    assert 0.2 <= time.monotonic() - start < BOUND
    assert "no greeting of a manager interface within 0.2 s" in words
    assert "tls = yes" in words


def test_a_server_that_drips_is_given_up_after_the_same_time_limit(server: AmiServer) -> None:
    # Every answer comes in time by itself, but the login does not.
    server.manners.refusal_delay = 2 * BOUND  # or until the end of the test
    start = time.monotonic()
    words = failure(options(server, secret="wrong", timeout=2))
    assert time.monotonic() - start < BOUND
    assert "no answer to Login within 2 s" in words


def test_a_listener_that_never_accepts_is_given_up_after_the_time_limit() -> None:
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):  # fill what the kernel accepts by itself
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        port = listener.getsockname()[1]
        words = failure(ManagerOptions(port=port, secret=SECRET, timeout=0.3))
    assert "does not answer within 0.3 s" in words


def test_a_connection_closed_before_the_greeting_may_be_one_login_too_many(server: AmiServer) -> None:
    server.manners.silent = True
    server.manners.banner = b""
    source = ManagerSource(options(server))
    with closing_at_once(server), pytest.raises(SourceDisconnected, match="authlimit"):
        source.connect()


@contextlib.contextmanager
def closing_at_once(server: AmiServer) -> Iterator[None]:
    """Make the server close each connection as soon as it is accepted."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tests.fakes.ami_server._Client.serve", lambda _client: None)
        yield


def test_a_connection_closed_during_the_login_says_where(server: AmiServer) -> None:
    server.manners.answers["Login"] = b""
    assert "closed instead of answer to Login" in failure(options(server))


def test_something_else_on_the_port_is_shown(server: AmiServer) -> None:
    server.manners.banner = b"220 mail.example ESMTP\x07\r\n"
    words = failure(options(server))
    assert r"not Asterisk's manager interface: it begins with b'220 mail.example ESMTP\x07" in words


def test_a_stopping_asterisk_is_worth_another_attempt(server: AmiServer) -> None:
    server.manners.answers["Challenge"] = b"Response: Error\r\nMessage: Asterisk is shutting down\r\n\r\n"
    assert "shutting down" in failure(options(server))


def test_no_failure_leaves_a_descriptor_open(server: AmiServer, certificate: Certificate) -> None:
    attempts = [
        options(server, secret="wrong"),
        options(server, tls=True, timeout=0.2),
        options(server, tls=True, tls_ca=certificate.certificate, timeout=0.2),
        options(server, host="127.0.0.1", port=1),
    ]
    before = sockets()
    for attempt in attempts:
        with pytest.raises(SourceDisconnected):
            ManagerSource(attempt).connect()
    server.close()
    wait_for(lambda: sockets() <= before, BOUND, "the server to close what it has accepted")


def test_tls_with_a_certificate_that_is_trusted(certificate: Certificate) -> None:
    with AmiServer(tls=certificate.server()) as server:
        changes = {"tls": True, "tls_ca": certificate.certificate}
        for host in ("127.0.0.1", "localhost"):
            with connected(options(server, host=host, **changes)) as connection:
                server.wait_until_ready()
                server.send(HANGUP)
                assert read(connection, HANGUP).endswith(HANGUP)
                assert connection.tls
                assert isinstance(connection.socket, ssl.SSLSocket)
                assert connection.asterisk_version == "22.10.1"


def test_a_tls_connection_that_is_let_go_can_be_read_to_its_end(certificate: Certificate) -> None:
    changes = {"tls": True, "tls_ca": certificate.certificate}
    with AmiServer(tls=certificate.server()) as server, connected(options(server, **changes)) as connection:
        server.send(HANGUP)
        close_connection(connection)
        assert HANGUP in read(connection, b"Ping: Pong\r\n\r\n")
        connection.socket.settimeout(BOUND)
        with contextlib.suppress(ssl.SSLError):  # the other side may dislike an end without a farewell
            assert connection.socket.recv(100) == b""


def test_tls_with_an_unknown_certificate_names_the_option(certificate: Certificate) -> None:
    with AmiServer(tls=certificate.server()) as server:
        words = refusal(options(server, tls=True))
        assert "certificate is not trusted: self" in words
        assert "tls_ca" in words
        with connected(options(server, tls=True, tls_verify=False)) as connection:
            assert connection.tls


def test_tls_with_a_certificate_for_another_name_says_so(certificate: Certificate, tmp_path: Path) -> None:
    other = make_certificate(tmp_path, "DNS:pbx.example")
    with AmiServer(tls=other.server()) as server:
        for host in ("127.0.0.1", "localhost"):
            words = refusal(options(server, host=host, tls=True, tls_ca=other.certificate))
            assert "host has to be what the certificate says" in words


def test_tls_on_a_plain_port_says_so(server: AmiServer) -> None:
    words = failure(options(server, tls=True))
    assert "does not speak TLS" in words
    assert "tlsbindaddr" in words


def test_tls_on_a_port_that_says_nothing_says_so(server: AmiServer) -> None:
    server.manners.silent = True
    assert "does not answer in TLS within 0.2 s" in failure(options(server, tls=True, timeout=0.2))


def test_plain_on_a_tls_port_is_a_silence_with_a_hint(certificate: Certificate) -> None:
    with AmiServer(tls=certificate.server()) as server:
        assert "set tls = yes" in failure(options(server, timeout=0.2))


def test_a_server_may_ask_for_a_certificate(certificate: Certificate) -> None:
    changes = {"tls": True, "tls_ca": certificate.certificate}
    own = {"tls_certificate": certificate.certificate, "tls_key": certificate.key}
    with AmiServer(tls=certificate.server(ask_for_certificate=True)) as server:
        with connected(options(server, **changes, **own)) as connection:
            assert connection.asterisk_version
        assert "tls_certificate has to name one" in refusal(options(server, **changes))


@pytest.mark.parametrize("option", ["tls_ca", "tls_certificate"])
def test_files_of_tls_that_cannot_be_used_are_named(server: AmiServer, option: str, tmp_path: Path) -> None:
    words = refusal(options(server, tls=True, **{option: tmp_path / "nope.pem"}))
    assert f"{option} {tmp_path}/nope.pem cannot be used: No such file" in words
    file = tmp_path / "text.pem"
    file.write_text("no certificate")
    assert f"{option} {file} cannot be used: " in refusal(options(server, tls=True, **{option: file}))
    assert server.connections == 0


def test_a_connection_that_breaks_off_is_seen_as_such(server: AmiServer) -> None:
    with connected(options(server)) as connection:
        server.wait_until_ready()
        server.reset()
        with pytest.raises(ConnectionResetError):
            read(connection, b"what never comes")


@pytest.mark.parametrize("end", ["close", "refuse"])
def test_a_connection_that_ends_and_a_listener_that_does_are_two_things(server: AmiServer, end: str) -> None:
    with connected(options(server)) as connection:
        server.wait_until_ready()
        getattr(server, end)()
        if end == "refuse":
            server.send(HANGUP)
            assert read(connection, HANGUP).endswith(HANGUP)
            assert "is Asterisk running" in failure(options(server))
            server.listen()
        with connected(options(server)) as another:
            assert another.asterisk_version
    assert server.connections == 2


def test_the_secret_is_in_no_text_about_the_options(caplog: pytest.LogCaptureFixture) -> None:
    logging.getLogger("amikafka").warning("%r", ManagerOptions(secret=SECRET))
    assert "amikafka" in caplog.text
    assert SECRET not in caplog.text

"""The status socket: each client that connects gets the snapshot as JSON, and the connection is closed.

It is in the runtime directory. Only root and the service's group may enter the directory and open the socket.
(sockaddr_un holds 107 bytes of a path, so the directory is addressed by a descriptor.)
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import select
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from amikafka_tail.daemon.status.main_loop_queries import NoAnswerError
from amikafka_tail.daemon.status.snapshot import Snapshot

NAME = "status.sock"
ANSWER_SECONDS = 10.0
"""How long the main loop may take to answer."""
SEND_SECONDS = 5.0
"""How long a client may take to read."""

log = logging.getLogger("amikafka.status")


def runtime_directory(environment: Mapping[str, str]) -> Path | None:
    """Return the service's runtime directory (systemd.exec(5)), `None` if there is none."""
    name = environment.get("RUNTIME_DIRECTORY", "").partition(":")[0]
    return Path(name) if name else None


@contextlib.contextmanager
def short_path(path: Path) -> Iterator[str]:
    """Give a temporary name for a path that is short enough for a socket address."""
    descriptor = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{descriptor}/{path.name}"
    finally:
        os.close(descriptor)


class StatusServer:
    """Serves the status socket in a thread of its own. An unusable path is only a warning."""

    def __init__(self, path: Path, ask: Callable[[float], Snapshot]) -> None:
        self._path = path
        self._ask = ask
        self._thread: threading.Thread | None = None
        self._stop_reader, self._stop_writer = socket.socketpair()

    def start(self) -> None:
        """Start listening."""
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            self._path.unlink(missing_ok=True)
            with short_path(self._path) as name:
                before = os.umask(0o117)
                try:
                    listener.bind(name)
                finally:
                    os.umask(before)
            listener.listen(8)
        except OSError as error:
            listener.close()
            log.warning(
                "%s cannot be used: %s: amikafka status and top will not work", self._path, error.strerror
            )
            return
        self._thread = threading.Thread(target=self._run, args=(listener,), name="status", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop, and remove the socket."""
        if self._thread is not None:
            self._stop_writer.send(b"\0")
            self._thread.join(2)
            self._thread = None
            with contextlib.suppress(OSError):
                self._path.unlink()
        self._stop_reader.close()
        self._stop_writer.close()

    def _run(self, listener: socket.socket) -> None:
        with listener:
            while True:
                ready, _, _ = select.select([listener, self._stop_reader], [], [])
                if self._stop_reader in ready:
                    return
                with contextlib.suppress(OSError):
                    connection, _ = listener.accept()
                    with connection:
                        connection.settimeout(SEND_SECONDS)
                        connection.sendall(self._answer())

    def _answer(self) -> bytes:
        try:
            answer = self._ask(ANSWER_SECONDS).to_json()
        except NoAnswerError as error:
            answer = {"problem": str(error)}
        return json.dumps(answer).encode() + b"\n"

"""The daemon under test as a process of its own, with a stand-in for systemd's side of it."""

from __future__ import annotations

import array
import contextlib
import fcntl
import os
import re
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from tests.support.waiting import BOUND, wait_for

T = TypeVar("T")
MEGABYTE = 1024 * 1024
PROJECT = Path(__file__).resolve().parents[2]
# Puts the descriptors that are handed over where systemd puts them, then becomes the daemon.
HAND_OVER = """
import fcntl, os, sys
names, command = sys.argv[1].split(":"), sys.argv[2:]
passed = [int(number) for number in os.environ.pop("E2E_FDS").split(",")]
given = [fcntl.fcntl(number, fcntl.F_DUPFD_CLOEXEC, 100) for number in passed]
for number in passed:
    os.close(number)
for place, number in enumerate(given, 3):
    os.dup2(number, place, inheritable=True)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(len(given)), LISTEN_FDNAMES=":".join(names))
os.execv(command[0], command)
"""


class ServiceManager:
    """The socket that NOTIFY_SOCKET names: collects what the daemon says, keeps what it hands over."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.messages: list[dict[str, str]] = []
        self.store: list[tuple[str, int]] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._thread = threading.Thread(target=self._receive, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop listening and close all that is kept."""
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as farewell:
            farewell.sendto(b"E2E_END=1", str(self.path))
        self._thread.join(BOUND)
        self._socket.close()
        self.forget()
        self.path.unlink(missing_ok=True)

    def alive(self) -> list[tuple[str, int]]:
        """Return what is kept, without what has hung up: systemd drops that by itself."""
        poll = select.poll()
        for _, number in self.store:
            poll.register(number, 0)
        hung_up = {number for number, _ in poll.poll(0)}
        for pair in [pair for pair in self.store if pair[1] in hung_up]:
            self.store.remove(pair)
            os.close(pair[1])
        return list(self.store)

    def forget(self) -> None:
        """Close what is kept, as systemd does when a unit has stopped for good."""
        while self.store:
            os.close(self.store.pop()[1])

    def said(self, name: str) -> list[str]:
        """Return every value that a variable was given: `said("STATUS")`."""
        return [message[name] for message in list(self.messages) if name in message]

    def _receive(self) -> None:
        space = socket.CMSG_SPACE(16 * array.array("i").itemsize)
        while True:
            data, controls, _, _ = self._socket.recvmsg(65536, space)
            message = dict(line.partition("=")[::2] for line in data.decode().splitlines())
            handed = array.array("i")
            for level, kind, content in controls:
                if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                    handed.frombytes(content[: len(content) - len(content) % handed.itemsize])
            if "E2E_END" in message:
                return
            self._keep(message, handed)
            self.messages.append(message)

    def _keep(self, message: dict[str, str], handed: Sequence[int]) -> None:
        name = message.get("FDNAME", "stored")
        if message.get("FDSTORE") == "1":
            for number in handed:
                if any(_same(number, kept) for _, kept in self.store):
                    os.close(number)
                else:
                    self.store.append((name, number))
            return
        for number in handed:
            os.close(number)
        if message.get("FDSTOREREMOVE") == "1":
            for pair in [pair for pair in self.store if pair[0] == name]:
                self.store.remove(pair)
                os.close(pair[1])


class Daemon:
    """`python -m amikafka_tail run -c FILE` in a directory of its own.

    With `hand_over` the descriptors that it stored come back to it at the next start, as under systemd. With
    `python` it is what is installed for that interpreter, plugins included. `prefix` is a command that runs
    the command behind it.
    """

    def __init__(
        self,
        directory: Path,
        configuration: str,
        *,
        hand_over: bool = False,
        python: Path | None = None,
        prefix: Sequence[str] = (),
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self.configuration = directory / "ami_kafka.conf"
        self.configure(configuration)
        self.output = directory / "output"
        self.output.touch()
        self.manager = ServiceManager(directory / "notify")
        self.process: subprocess.Popen[bytes] | None = None
        self._hand_over = hand_over
        self._python = python
        self._prefix = prefix

    def configure(self, configuration: str) -> None:
        """Write its configuration; `@HERE@` stands for its own directory."""
        self.configuration.write_text(configuration.replace("@HERE@", str(self.directory)))

    def start(self, *arguments: str) -> Daemon:
        """Start it. Returns at once."""
        assert self.process is None or self.process.poll() is not None, "it is running"
        python = str(self._python or sys.executable)
        command = [python, "-m", "amikafka_tail", "run", "-c", str(self.configuration), *arguments]
        environment = {
            **os.environ,
            "PYTHONPATH": str(PROJECT),
            "PYTHONUNBUFFERED": "1",
            "AMIKAFKA_LOAD_PLUGINS": "",
            "NOTIFY_SOCKET": str(self.manager.path),
        }
        if self._python is not None:
            del environment["PYTHONPATH"], environment["AMIKAFKA_LOAD_PLUGINS"]
        store = self.manager.alive() if self._hand_over else []
        if self._hand_over:
            environment["FDSTORE"] = "16"
        if store:
            environment["E2E_FDS"] = ",".join(str(number) for _, number in store)
            command = [sys.executable, "-c", HAND_OVER, ":".join(name for name, _ in store), *command]
        with self.output.open("ab") as out:
            self.process = subprocess.Popen(
                [*self._prefix, *command],
                cwd=self.directory,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                pass_fds=[number for _, number in store],
            )
        return self

    @property
    def running(self) -> bool:
        """Whether its process is there."""
        return self.process is not None and self.process.poll() is None

    @property
    def log(self) -> str:
        """All it has printed, over all its starts."""
        return self.output.read_text(errors="replace")

    def signal(self, which: signal.Signals) -> None:
        """Send it a signal."""
        assert self.process is not None
        self.process.send_signal(which)

    def wait_for_exit(self, timeout: float) -> int:
        """Return its exit status; negative for a signal."""
        assert self.process is not None
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise TimeoutError(f"still running after {timeout:g} s\n{self.tail()}") from None

    def stop(self, timeout: float = BOUND) -> int:
        """End it as systemd does; return its exit status."""
        self.signal(signal.SIGTERM)
        return self.wait_for_exit(timeout)

    def kill(self) -> None:
        """End it as a crash would."""
        self.signal(signal.SIGKILL)
        self.wait_for_exit(BOUND)

    def wait_for_log(self, pattern: str, timeout: float = BOUND, *, after: int = 0) -> re.Match[str]:
        """Wait until its output, from character `after` on, has a match of a regular expression."""
        return self.wait_for(
            lambda: re.search(pattern, self.log[after:]), timeout, f"{pattern!r} in the output"
        )

    def wait_for_word(self, name: str, timeout: float = BOUND, *, count: int = 1) -> list[str]:
        """Wait until it has told the service manager a variable `count` times; return the values."""

        def said() -> list[str] | None:
            values = self.manager.said(name)
            return values if len(values) >= count else None

        return self.wait_for(said, timeout, f"{name} on the notify socket")

    def wait_for(self, condition: Callable[[], T], timeout: float, what: str) -> T:
        """Wait for something while it runs; fail at once, with its output, when it has ended."""

        def condition_or_end() -> T:
            if (result := condition()) or self.running:
                return result
            status = None if self.process is None else self.process.returncode
            raise AssertionError(f"ended with {status} while waiting for {what}\n{self.tail()}")

        try:
            return wait_for(condition_or_end, timeout, what)
        except TimeoutError as error:
            raise TimeoutError(f"{error}\n{self.tail()}") from None

    def tail(self, lines: int = 40) -> str:
        """Return the end of its output."""
        return "\n".join(self.log.splitlines()[-lines:])

    def journal(self) -> bytes:
        """Return every byte that stands in its journal now, segments in order of their names."""
        found = []
        for path in sorted((self.directory / "journal").rglob("*.log")):
            with contextlib.suppress(FileNotFoundError):  # deleted meanwhile
                found.append(path.read_bytes())
        return b"".join(found)

    def journal_end(self, size: int = MEGABYTE) -> bytes:
        """Return the last bytes of its journal's last segment."""
        segments = sorted((self.directory / "journal").rglob("*.log"))
        if not segments:
            return b""
        with segments[-1].open("rb") as file:
            file.seek(max(0, segments[-1].stat().st_size - size))
            return file.read()

    def resident(self) -> int:
        """Return its resident memory in bytes."""
        return self._memory("VmRSS")

    def peak(self) -> int:
        """Return the most resident memory that it has had, in bytes."""
        return self._memory("VmHWM")

    def cpu_seconds(self) -> float:
        """Return the processor time that it has taken."""
        assert self.process is not None
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def _memory(self, field: str) -> int:
        assert self.process is not None
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        match = re.search(rf"{field}:\s+(\d+) kB", status)
        assert match is not None
        return int(match[1]) * 1024

    def close(self) -> None:
        """End it, whatever state it is in."""
        if self.running:
            self.kill()
        self.manager.close()


def _same(one: int, other: int) -> bool:
    """Tell whether two descriptors are of the same thing, and of the same end of a pipe."""
    stats = (os.fstat(one), os.fstat(other))
    modes = (fcntl.fcntl(one, fcntl.F_GETFL), fcntl.fcntl(other, fcntl.F_GETFL))
    return os.path.samestat(*stats) and modes[0] & os.O_ACCMODE == modes[1] & os.O_ACCMODE

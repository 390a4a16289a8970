"""The real Asterisk: Debian's package in a chroot, on loopback, with the configuration in asterisk-etc."""

from __future__ import annotations

import shutil
import signal
import subprocess
from functools import cached_property
from pathlib import Path

from ami import Driver, Witness
from expected import Origin
from machine import free_port, need_program

from tests.support.waiting import wait_for

TEMPLATES = Path(__file__).parent / "asterisk-etc"
BORROWED = (
    "acl",
    "ccss",
    "codecs",
    "dsp",
    "features",
    "indications",
    "musiconhold",
    "sorcery",
    "stasis",
    "udptl",
)
# In a mount namespace of its own, so that nothing stays mounted; exec keeps the process id.
START = """
mountpoint -q "$1/proc" || mount -t proc proc "$1/proc"
mountpoint -q "$1/dev" || mount --bind /dev "$1/dev"
exec chroot "$1" /usr/sbin/asterisk -C "$2" -f
"""


class Asterisk:
    """An Asterisk with directories and a manager port of its own; others may run from the same chroot."""

    system_name = "pbx-01"
    entity_id = "00:11:22:33:44:55"
    user, secret = "amikafka", "amikafka-secret"

    def __init__(
        self, root: Path, name: str, *, host: str = "127.0.0.1", permit: str = "127.0.0.1/255.255.255.255"
    ) -> None:
        self.root = root
        self.host = host
        self.port = free_port()
        self._inside = f"/amikafka/{name}"
        self.directory = root / self._inside.lstrip("/")
        self._process: subprocess.Popen[bytes] | None = None
        shutil.rmtree(self.directory, ignore_errors=True)
        for part in ("etc", "var", "spool", "run", "log"):
            (self.directory / part).mkdir(parents=True)
        for borrowed in BORROWED:
            source = root / f"etc/asterisk/{borrowed}.conf"
            if source.exists():
                shutil.copy(source, self.directory / "etc")
        for template in TEMPLATES.glob("*.conf"):
            text = template.read_text()
            for place, value in (
                ("ROOT", self._inside),
                ("PORT", str(self.port)),
                ("HOST", host),
                ("PERMIT", permit),
            ):
                text = text.replace(f"@{place}@", value)
            (self.directory / "etc" / template.name).write_text(text)

    @property
    def log(self) -> Path:
        """What it prints."""
        return self.directory / "log/console"

    def start(self) -> None:
        """Start it and wait until it has fully booted."""
        unshare = need_program("unshare", "util-linux")
        with self.log.open("ab") as out:
            self._process = subprocess.Popen(
                [
                    unshare,
                    "--mount",
                    "sh",
                    "-ec",
                    START,
                    "sh",
                    self.root,
                    f"{self._inside}/etc/asterisk.conf",
                ],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
        wait_for(self._booted, 60, f"Asterisk to boot, see {self.log}", 0.2)

    def _booted(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, f"Asterisk ended: {self.log.read_text(errors='replace')[-2000:]}"
        return self.cli("core waitfullybooted") is not None

    def cli(self, command: str) -> str | None:
        """Run a command of Asterisk's console; return what it prints, `None` if Asterisk does not answer."""
        answer = subprocess.run(
            [
                "chroot",
                self.root,
                "/usr/sbin/asterisk",
                "-C",
                f"{self._inside}/etc/asterisk.conf",
                "-rx",
                command,
            ],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
        )
        return answer.stdout if answer.returncode == 0 else None

    def stop(self) -> None:
        """Stop it, calls and all; it can be started again on the same port."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it as a crash would."""
        self._end(signal.SIGKILL)

    def _end(self, how: signal.Signals) -> None:
        if self._process is None:
            return
        self._process.send_signal(how)
        try:
            self._process.wait(15)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def remove(self) -> None:
        """Stop it and delete its directories."""
        self.stop()
        shutil.rmtree(self.directory, ignore_errors=True)

    @cached_property
    def origin(self) -> Origin:
        """What every message says of it. It must have been started."""
        with self.driver() as driver:
            version = driver.request("CoreSettings")["AsteriskVersion"]
        return Origin(entity_id=self.entity_id, system_name=self.system_name, asterisk_version=version)

    def driver(self) -> Driver:
        """Log in as the one who makes things happen."""
        return Driver(self.port, "driver", "driver-secret", host=self.host)

    def witness(self) -> Witness:
        """Log in as the one who sees everything."""
        return Witness(self.port, "witness", "witness-secret")

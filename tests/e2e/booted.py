"""A Debian that is booted: the real systemd of a chroot as process 1 of namespaces of its own.

It shares the network of the test, so that it reaches the test's Asterisk and Kafka on loopback.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import uuid
from pathlib import Path

from debian import ENVIRONMENT
from machine import cache, need_program

from tests.support.waiting import Unavailable, wait_for

# A cgroup of its own, so that the cgroup namespace has its root there.
START = """
cgroup=$1; shift
echo $$ > "$cgroup/cgroup.procs"
exec unshare --mount --pid --uts --ipc --cgroup --fork --kill-child --propagation private sh -ec "$@"
"""
BOOT = """
root=$1
hostname amikafka-e2e
mount --bind "$root" "$root"
cd "$root"
mount -t proc proc proc
mount --bind proc/sys proc/sys
mount -o remount,bind,ro proc/sys
mount -t sysfs -o ro sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs -o mode=755 tmpfs dev
for device in null zero full random urandom tty; do
    : > dev/$device
    mount --bind /dev/$device dev/$device
done
mkdir dev/pts dev/shm
mount -t devpts -o newinstance,ptmxmode=0666,mode=620,gid=5 devpts dev/pts
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
mount -t tmpfs -o mode=1777 tmpfs dev/shm
mount -t tmpfs -o mode=755 tmpfs run
mount -t tmpfs -o mode=1777 tmpfs tmp
mkdir -p mnt
pivot_root . mnt
umount -l /mnt
exec env -i container=other PATH=/usr/sbin:/usr/bin:/sbin:/bin \\
    /lib/systemd/systemd --system --log-target=journal-or-kmsg
"""


class Booted:
    """A machine that runs. Raises `Unavailable` where it cannot be booted."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.name = f"amikafka-{uuid.uuid4().hex[:8]}"
        self._cgroups = cache() / "cgroup"
        self._cgroup = self._cgroups / self.name
        self._process: subprocess.Popen[bytes] | None = None
        self._pid = 0

    def start(self) -> Booted:
        """Boot it and wait until it is up."""
        for program in ("unshare", "nsenter", "mount"):
            need_program(program, "util-linux")
        self._cgroups.mkdir(exist_ok=True)
        if not os.path.ismount(self._cgroups):
            done = subprocess.run(
                ["mount", "-t", "cgroup2", "cgroup2", str(self._cgroups)], capture_output=True
            )
            if done.returncode:
                raise Unavailable(f"no cgroup2 for a booted machine: {done.stderr.decode().strip()}")
        self._cgroup.mkdir()
        log = (self.root / "boot.log").open("wb")
        with log:
            self._process = subprocess.Popen(
                ["sh", "-ec", START, "sh", str(self._cgroup), BOOT, "sh", str(self.root)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        wait_for(self._found, 20, "systemd to be process 1", 0.1)
        wait_for(lambda: self.state() in ("running", "degraded"), 60, "the machine to be up", 0.2)
        return self

    def _found(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise Unavailable(f"systemd cannot be booted here: {(self.root / 'boot.log').read_text()[-500:]}")
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
        for child in children:
            with contextlib.suppress(OSError):
                if Path(f"/proc/{child}/comm").read_text().strip() == "systemd":
                    self._pid = int(child)
        return bool(self._pid)

    def state(self) -> str:
        """Return what `systemctl is-system-running` says."""
        return self.run("systemctl", "is-system-running", check=False).strip()

    def run(self, *command: str, check: bool = True, timeout: float = 300) -> str:
        """Run a command inside; return its output. Raises `AssertionError` with the output when it fails."""
        status, output = self.status_of(*command, timeout=timeout)
        assert not check or status == 0, f"{' '.join(command)}: {status}\n{output[-4000:]}"
        return output

    def status_of(self, *command: str, timeout: float = 300) -> tuple[int, str]:
        """Run a command inside; return its exit status and its output."""
        done = subprocess.run(
            [
                "nsenter",
                "--target",
                str(self._pid),
                *("--mount", "--pid", "--uts", "--ipc", "--cgroup"),
                "--",
                *("env", "-i", *(f"{name}={value}" for name, value in ENVIRONMENT.items())),
                *command,
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=timeout,
        )
        return done.returncode, done.stdout

    def show(self, unit: str, what: str) -> str:
        """Return a property of a unit."""
        return self.run("systemctl", "show", unit, "--property", what, "--value").strip()

    def journal(self, unit: str = "amikafka") -> str:
        """Return the log of a unit."""
        return self.run("journalctl", "--unit", unit, "--no-pager", "--output", "cat")

    def file(self, path: str) -> Path:
        """Return a file of the machine as this process sees it."""
        return self.root / path.lstrip("/")

    def stop(self) -> None:
        """Switch it off."""
        if self._process is not None:
            with contextlib.suppress(Exception):
                self.run("systemctl", "poweroff", check=False, timeout=10)
            try:
                self._process.wait(15)
            except subprocess.TimeoutExpired:
                self._process.send_signal(signal.SIGKILL)
                self._process.wait()
            self._process = None
        with contextlib.suppress(OSError):
            wait_for(self._emptied, 10, "the machine's processes to end", 0.2)

    def _emptied(self) -> bool:
        """Remove the cgroups, from the innermost on."""
        for path in sorted(self._cgroup.rglob("*"), key=lambda each: -len(each.parts)):
            if path.is_dir():
                with contextlib.suppress(OSError):
                    path.rmdir()
        with contextlib.suppress(FileNotFoundError):
            self._cgroup.rmdir()
        # Busy while another machine runs.
        subprocess.run(["umount", str(self._cgroups)], capture_output=True)
        return True

    def remove(self) -> None:
        """Switch it off and delete it."""
        self.stop()
        shutil.rmtree(self.root, ignore_errors=True)

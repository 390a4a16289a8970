"""Makes, once, a chroot with Debian sid's package asterisk."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from machine import alone, cache, need_program, run_logged

from tests.support.waiting import Unavailable

STAMP = ".amikafka-e2e"
# Runs in a mount namespace of its own: when it ends, however it ends, its mounts are gone.
MAKE = """
debootstrap --variant=minbase --include=ca-certificates sid "$1"
echo 'Acquire::Check-Valid-Until "false";' > "$1/etc/apt/apt.conf.d/90e2e"
printf '#!/bin/sh\\nexit 101\\n' > "$1/usr/sbin/policy-rc.d"
chmod +x "$1/usr/sbin/policy-rc.d"
cp /etc/resolv.conf "$1/etc/"
mount -t proc proc "$1/proc"
mount --bind /dev "$1/dev"
chroot "$1" apt-get install -y --no-install-recommends asterisk
chroot "$1" apt-get clean
"""


def asterisk_root() -> Path:
    """Return the chroot, made now if it is not there. Raises `Unavailable` where that cannot be."""
    if os.geteuid() != 0:
        raise Unavailable("a chroot with Asterisk needs root")
    root = cache() / "sid"
    with alone("sid"):
        if not _usable(root):
            _make(root)
    return root


def _usable(root: Path) -> bool:
    if not (root / "usr/sbin/asterisk").exists():
        return False
    if (root / STAMP).exists():
        return True
    # Made by hand: whole if dpkg has finished with it.
    status = subprocess.run(
        ["chroot", root, "dpkg-query", "-W", "-f", "${db:Status-Abbrev}", "asterisk"],
        capture_output=True,
        text=True,
    )
    return status.stdout.startswith("ii")


def _make(root: Path) -> None:
    need_program("debootstrap", "debootstrap")
    unshare = need_program("unshare", "util-linux")
    making = root.with_name(f"{root.name}.making")
    _remove(making)
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C"}
    run_logged(
        [unshare, "--mount", "sh", "-ec", MAKE, "sh", str(making)],
        cache() / "sid.log",
        1200,
        env=environment,
    )
    (making / STAMP).touch()
    _remove(root)
    making.rename(root)


def _remove(root: Path) -> None:
    """Delete a chroot that is half made. Never while something is mounted in it."""
    for mount in sorted(_mounts_under(root), key=len, reverse=True):
        subprocess.run(["umount", mount], capture_output=True)
    if left := _mounts_under(root):
        raise Unavailable(f"{root} is half made and cannot be removed: {', '.join(left)} is mounted")
    if root.exists():
        shutil.rmtree(root)


def _mounts_under(root: Path) -> list[str]:
    inside = f"{root.resolve()}/"
    points = (line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines())
    return [point for point in points if f"{point}/".startswith(inside)]

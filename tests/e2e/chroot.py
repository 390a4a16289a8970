"""Makes, once for each suite, a chroot with the package asterisk of Debian or of Ubuntu."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from machine import alone, cache, need_program, run_logged

from tests.support.waiting import Unavailable

STAMP = ".amikafka-e2e"
# Runs in a mount namespace of its own: when it ends, however it ends, its mounts are gone. What comes after
# the directory are the arguments of debootstrap.
MAKE = """
root=$1; shift
debootstrap --variant=minbase --include=ca-certificates "$@"
echo 'Acquire::Check-Valid-Until "false";' > "$root/etc/apt/apt.conf.d/90e2e"
printf '#!/bin/sh\\nexit 101\\n' > "$root/usr/sbin/policy-rc.d"
chmod +x "$root/usr/sbin/policy-rc.d"
cp /etc/resolv.conf "$root/etc/"
mount -t proc proc "$root/proc"
mount --bind /dev "$root/dev"
chroot "$root" apt-get install -y --no-install-recommends asterisk
chroot "$root" apt-get clean
"""
# Debian 12 has no package with the keys of Ubuntu; sid has.
KEYRING = """
root=$1; into=$2
cp /etc/resolv.conf "$root/etc/"
mount -t proc proc "$root/proc"
mount --bind /dev "$root/dev"
mount -t tmpfs tmpfs "$root/tmp"
chroot "$root" sh -ec "apt-get -q update; cd /tmp; apt-get -q download ubuntu-keyring"
dpkg-deb -x "$root"/tmp/ubuntu-keyring_*.deb "$into"
"""
# An archive that does not answer is not to be waited for: wget would for hours.
WGETRC = "timeout = 20\ntries = 2\n"


@dataclass(frozen=True, kw_only=True)
class Suite:
    """A release that has an Asterisk, and how debootstrap gets it."""

    name: str
    release: str
    """As the distribution numbers it; empty where it does not."""
    asterisk: str
    """The version of Asterisk, as far as the release keeps to it."""
    distribution: str = "Debian"
    components: str = "main"
    required: bool = True
    """Whether its archive can be had wherever the tests run in CI."""

    @property
    def title(self) -> str:
        """Distribution, release and name."""
        return " ".join(part for part in (self.distribution, self.release, self.name) if part)

    @property
    def mirror(self) -> str:
        """What AMIKAFKA_E2E_MIRROR_DEBIAN or AMIKAFKA_E2E_MIRROR_UBUNTU says; empty: debootstrap's own."""
        return os.environ.get(f"AMIKAFKA_E2E_MIRROR_{self.distribution.upper()}", "")


BULLSEYE = Suite(name="bullseye", release="11", asterisk="16")
JAMMY = Suite(
    name="jammy",
    release="22.04",
    asterisk="18",
    distribution="Ubuntu",
    components="main,universe",
    required=False,
)
NOBLE = Suite(
    name="noble",
    release="24.04",
    asterisk="20",
    distribution="Ubuntu",
    components="main,universe",
    required=False,
)
SID = Suite(name="sid", release="", asterisk="22")
SUITES = (BULLSEYE, JAMMY, NOBLE, SID)


def asterisk_root(suite: Suite = SID) -> Path:
    """Return the chroot, made now if it is not there. Raises `Unavailable` where that cannot be."""
    if os.geteuid() != 0:
        raise Unavailable("a chroot with Asterisk needs root")
    root = cache() / suite.name
    with alone(suite.name):
        if not _usable(root):
            try:
                _make(root, suite)
            except Unavailable as error:
                raise Unavailable(f"no Asterisk {suite.asterisk} from {suite.title}: {error}") from error
    return root


def package_version(root: Path) -> str:
    """Return the version of the package asterisk in a chroot."""
    command = ["chroot", root, "dpkg-query", "-W", "-f", "${Version}", "asterisk"]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout


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


def _make(root: Path, suite: Suite) -> None:
    need_program("debootstrap", "debootstrap")
    unshare = need_program("unshare", "util-linux")
    making = root.with_name(f"{root.name}.making")
    _remove(making)
    wgetrc = cache() / "wgetrc"
    wgetrc.write_text(WGETRC)
    options = [f"--components={suite.components}", suite.name, str(making), suite.mirror]
    if suite.distribution == "Ubuntu":
        # One script does for all of its suites, and an older debootstrap has no name for the newer ones.
        options = [f"--keyring={_ubuntu_keyring()}", *options, "gutsy"]
    run_logged(
        [unshare, "--mount", "sh", "-ec", MAKE, "sh", str(making), *options],
        cache() / f"{suite.name}.log",
        1200,
        env={**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C", "WGETRC": str(wgetrc)},
    )
    (making / STAMP).touch()
    _remove(root)
    making.rename(root)


def _ubuntu_keyring() -> Path:
    """Return the file with the keys of Ubuntu's archive: the machine's, or that of sid's package."""
    found = Path("/usr/share/keyrings/ubuntu-archive-keyring.gpg")
    if found.exists():
        return found
    kept = cache() / "ubuntu-keyring"
    if not (kept / found.relative_to("/")).exists():
        root = asterisk_root(SID)
        unshare = need_program("unshare", "util-linux")
        with alone(SID.name):
            command = [unshare, "--mount", "sh", "-ec", KEYRING, "sh", str(root), str(kept)]
            run_logged(command, cache() / "ubuntu-keyring.log", 300)
    return kept / found.relative_to("/")


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

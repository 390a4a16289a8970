"""Debian in chroots: made once by debootstrap, copied for each use; the packages built in them."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from machine import alone, cache, need_program, run_logged

from amikafka_tail import __version__
from tests.support.daemon import PROJECT
from tests.support.waiting import Unavailable

SUITES = ("bookworm", "trixie", "sid")
DEBIAN = PROJECT / "packaging" / "debian"
# What a fresh machine has: systemd, and nothing of ours.
INCLUDED = "systemd-sysv,dbus,ca-certificates"
TOOLS = "build-essential debhelper lintian git apt-utils gnupg xz-utils"
ENVIRONMENT = {
    "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "LC_ALL": "C.UTF-8",
    "DEBIAN_FRONTEND": "noninteractive",
}
# Runs in a mount namespace of its own: when it ends, however it ends, its mounts are gone.
INSIDE = """
root=$1; shift
mount -t proc proc "$root/proc"
mount --bind /dev "$root/dev"
exec chroot "$root" "$@"
"""


def run_in(root: Path, *command: str, timeout: float = 600, check: bool = True) -> str:
    """Run a command in a chroot; return its output. Raises `AssertionError` with the output when it fails."""
    unshare = need_program("unshare", "util-linux")
    done = subprocess.run(
        [unshare, "--mount", "sh", "-ec", INSIDE, "sh", str(root), *command],
        env=ENVIRONMENT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=timeout,
    )
    assert not check or done.returncode == 0, f"{command}\n{done.stdout[-4000:]}"
    return done.stdout


def base_root(suite: str) -> Path:
    """Return a chroot of a fresh Debian, made now if it is not there. It is to be copied and not used.

    Raises `Unavailable` where that cannot be.
    """
    if os.geteuid() != 0:
        raise Unavailable("a chroot needs root")
    root = cache() / f"base-{suite}"
    with alone(f"base-{suite}"):
        if not (root / "usr/lib/systemd/systemd").exists():
            debootstrap = need_program("debootstrap", "debootstrap")
            making = root.with_name(f"{root.name}.making")
            shutil.rmtree(making, ignore_errors=True)
            command = [debootstrap, "--variant=minbase", f"--include={INCLUDED}", suite, str(making)]
            run_logged(command, cache() / f"base-{suite}.log", 900, env={**os.environ, **ENVIRONMENT})
            making.rename(root)
    return root


def copy_of(base: Path, root: Path) -> Path:
    """Copy a chroot, and let it reach what this machine reaches."""
    subprocess.run(["cp", "-a", str(base), str(root)], check=True, timeout=300)
    shutil.copy("/etc/resolv.conf", root / "etc/resolv.conf")
    (root / "etc/apt/apt.conf.d/90e2e").write_text('Acquire::Check-Valid-Until "false";\n')
    return root


def build_root(suite: str) -> Path:
    """Return a chroot with all that the packages need to be built, made now if it is not there."""
    control = hashlib.sha256((DEBIAN / "control").read_bytes()).hexdigest()[:8]
    root = cache() / f"build-{suite}-{control}"
    base = base_root(suite)
    with alone(f"build-{suite}"):
        if not root.exists():
            # One of other dependencies, or one that was broken off.
            for old in (*cache().glob(f"build-{suite}-*"), *cache().glob(f"making-build-{suite}-*")):
                shutil.rmtree(old, ignore_errors=True)
            making = copy_of(base, root.with_name(f"making-{root.name}"))
            (making / "usr/sbin/policy-rc.d").write_text("#!/bin/sh\nexit 101\n")
            (making / "usr/sbin/policy-rc.d").chmod(0o755)
            shutil.copytree(DEBIAN, making / "tmp/source/debian")
            try:
                run_in(making, "apt-get", "-q", "update")
                run_in(making, "apt-get", "-qy", "install", "--no-install-recommends", *TOOLS.split())
                depends = "cd /tmp/source && apt-get -qy build-dep --no-install-recommends ./"
                run_in(making, "sh", "-ec", depends)
            except AssertionError as error:
                raise Unavailable(f"the build dependencies cannot be installed: {error}") from error
            making.rename(root)
    return root


class Build:
    """The packages as they come out of a suite's chroot."""

    def __init__(self, suite: str, directory: Path) -> None:
        self.root = build_root(suite)
        self.source = self.root / "src"
        self.output = directory
        self._version = 0
        shutil.rmtree(self.source, ignore_errors=True)
        self.source.mkdir()
        # As a release would have them: what git knows of.
        listed = subprocess.run(
            ["git", "-C", str(PROJECT), "ls-files", "-z"], capture_output=True, check=True, timeout=60
        ).stdout
        for name in filter(None, listed.decode().split("\0")):
            target = self.source / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(PROJECT / name, target)
        for path in self.source.rglob("*"):
            os.utime(path, (1_700_000_000, 1_700_000_000), follow_symlinks=False)

    def make(self, *, check: bool) -> list[Path]:
        """Build; return the binary packages, debug symbols left out. With `check` their tests are run."""
        shutil.rmtree(self.source / "dist", ignore_errors=True)
        options = "" if check else "nocheck"
        run_in(self.root, "sh", "-ec", f"cd /src && DEB_BUILD_OPTIONS={options} make deb")
        return sorted(
            each for each in (self.source / "dist/deb").glob("*.deb") if "-dbgsym_" not in each.name
        )

    def architecture(self) -> str:
        """Return what Debian calls this kind of machine."""
        return run_in(self.root, "dpkg", "--print-architecture").strip()

    def lintian(self) -> str:
        """Return what lintian says, information included."""
        command = "cd /src/dist/deb && lintian --allow-root -EvI *.changes | grep -v ^N: || true"
        return run_in(self.root, "sh", "-ec", command)

    def newer(self, packages: Sequence[Path], version: str) -> list[Path]:
        """Return the same packages as a newer version, whose configuration file has one more comment."""
        made = []
        for package in packages:
            script = (
                f"cd /src && rm -rf newer && dpkg-deb -R dist/deb/{package.name} newer &&"
                f" sed -i -E 's/^Version: .*/Version: {version}/;"
                f" s/amikafka \\(= [^)]*\\)/amikafka (= {version})/'"
                " newer/DEBIAN/control &&"
                " if [ -e newer/etc/asterisk/ami_kafka.conf ]; then"
                "   echo '; newer' >> newer/etc/asterisk/ami_kafka.conf; fi &&"
                f" dpkg-deb -b newer dist/{package.name.replace(f'_{__version__}-1_', f'_{version}_')}"
            )
            run_in(self.root, "sh", "-ec", script)
            made.append(self.source / "dist" / package.name.replace(f"_{__version__}-1_", f"_{version}_"))
        return made

    def repository(self, packages: Sequence[Path]) -> Path:
        """Return a signed repository with these packages, to be found in /srv/apt."""
        names = " ".join(f"/src/{package.relative_to(self.source)}" for package in packages)
        script = (
            f"cd /src && rm -rf dist/apt && APT_URI=file:/srv/apt packaging/make-apt-repo dist/apt {names}"
        )
        run_in(self.root, "sh", "-ec", script)
        return self.source / "dist/apt"

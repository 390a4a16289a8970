"""What the tests need from the machine: a place for what is made once, free ports, programs."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import socket
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.support.waiting import Unavailable


def cache() -> Path:
    """Return the directory that holds what is made once and kept: the chroot and Kafka's jars."""
    return Path(os.environ.get("AMIKAFKA_E2E_CACHE") or "/var/tmp/amikafka-e2e")


@contextlib.contextmanager
def alone(name: str) -> Iterator[None]:
    """Hold the cache's lock `name`, so that two test runs never make the same thing at once."""
    try:
        cache().mkdir(parents=True, exist_ok=True)
        lock = (cache() / f"{name}.lock").open("w")
    except OSError as error:
        raise Unavailable(f"cannot write to {cache()}: {error}") from error
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def free_port() -> int:
    """Return a TCP port of loopback that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def need_program(name: str, package: str) -> str:
    """Return the path of a program; install Debian's package where that is possible and it is missing.

    Raises `Unavailable` when it cannot be had.
    """
    if (found := shutil.which(name)) is not None:
        return found
    if os.geteuid() == 0 and shutil.which("apt-get"):
        with alone("apt"):
            _install(package)
        if (found := shutil.which(name)) is not None:
            return found
    raise Unavailable(f"{name} is missing (Debian's package {package})")


def _install(package: str) -> None:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (["update"], ["install", "-y", "--no-install-recommends", package]):
        subprocess.run(["apt-get", "-q", *command], env=environment, capture_output=True, timeout=600)


def fetched(name: str) -> Path:
    """Return the directory with the jars that NAME-pom.xml names, fetched by Maven now if it is not there.

    Its property NAME.version says which. Raises `Unavailable` where that cannot be.
    """
    java = need_program("java", "default-jre-headless")
    try:
        subprocess.run([java, "-version"], capture_output=True, check=True, timeout=60)
    except (OSError, subprocess.SubprocessError) as error:
        raise Unavailable(f"java does not run: {error}") from error
    pom = Path(__file__).with_name(f"{name}-pom.xml")
    version = re.search(rf"<{name}\.version>(.+?)<", pom.read_text())
    assert version is not None
    jars = cache() / f"{name}-{version[1]}"
    with alone("maven"):  # what it keeps for itself is not for two at once
        if not jars.exists():
            maven = need_program("mvn", "maven")
            making = jars.with_name(f"{jars.name}.making")
            shutil.rmtree(making, ignore_errors=True)
            command = [maven, "-q", "-B", "-f", str(pom), "dependency:copy-dependencies"]
            run_logged([*command, f"-DoutputDirectory={making}"], cache() / f"{name}.log", 900)
            for archive in making.glob("*.tar.gz"):
                shutil.unpack_archive(archive, making)
                archive.unlink()
            making.rename(jars)
    return jars


def run_logged(command: Sequence[str], log: Path, timeout: float, **more: object) -> None:
    """Run a command, its output into `log`. Raises `Unavailable` with the last lines when it fails."""
    with log.open("wb") as out:
        try:
            status = subprocess.run(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, timeout=timeout, **more
            ).returncode
        except subprocess.TimeoutExpired:
            status = f"no end after {timeout:g} s"
    if status != 0:
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-8:])
        raise Unavailable(f"{Path(command[0]).name} failed ({status}), see {log}:\n{tail}")

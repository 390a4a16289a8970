"""What is measured: an interpreter with its libraries, with amikafka-speedups or without."""

from __future__ import annotations

import functools
import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SYSTEM = Path("/usr/bin/python3")
"""What a package of the distribution runs with."""
_DESCRIBE = """
import importlib.metadata, sys, sysconfig
from amikafka_tail.kafka.producer import libraries
flags = sysconfig.get_config_var("CONFIG_ARGS") or ""
is_slow = sys.base_prefix != "/usr" and "--enable-optimizations" not in flags
print(f"{libraries()}, Python {sys.version.split()[0]}{' built without optimizations' if is_slow else ''}")
print(",".join({each.name for each in importlib.metadata.entry_points(group="amikafka")}))
"""


@dataclass(frozen=True)
class Subject:
    """One way to run amikafka."""

    name: str
    python: Path
    plugins: frozenset[str] = frozenset()
    """Those that are installed for it."""
    speedups: Path | None = None
    """The directory that holds the extension, built for this interpreter."""

    def command(self, *arguments: str) -> list[str]:
        return [str(self.python), *arguments]

    def environment(self, *, plugins: str = "") -> dict[str, str]:
        """Return what it is run with. Of its plugins those named are loaded: `avro,redact`."""
        path = [str(ROOT)] if self.speedups is None else [str(self.speedups), str(ROOT)]
        return {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(path),
            "PYTHONDONTWRITEBYTECODE": "",
            "AMIKAFKA_LOAD_PLUGINS": plugins,
            "AMIKAFKA_SPEEDUPS": "no" if self.speedups is None else "yes",
        }


@functools.cache
def describe(python: Path) -> tuple[str, frozenset[str]]:
    """Return what an interpreter and its libraries are, and the plugins that are installed for it.

    Raises `RuntimeError` where it lacks something.
    """
    done = subprocess.run(
        [str(python), "-c", _DESCRIBE],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{python}: {(done.stderr.splitlines() or ['?'])[-1]}")
    described, plugins = done.stdout.splitlines()
    return described, frozenset(filter(None, plugins.split(",")))


def build_speedups(python: Path, directory: Path) -> Path | None:
    """Build the extension for an interpreter into a directory of its own; `None` where that cannot be."""
    library = directory / "lib"
    command = [str(python), "setup.py", "--quiet", "build", "--force"]
    done = subprocess.run(
        [*command, "--build-base", str(directory / "build"), "--build-lib", str(library)],
        cwd=ROOT / "plugins" / "amikafka-speedups",
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode or not list(library.glob("*/*.so")):
        print(f"no speedups for {python}: {(done.stderr.splitlines() or ['?'])[-1]}")
        return None
    print(f"built amikafka-speedups for {python}")
    return library


def find(pythons: Sequence[Path], directory: Path) -> list[Subject]:
    """Return each interpreter, without and with speedups. Those that cannot run amikafka are left out."""
    found = []
    for number, python in enumerate(pythons or default_pythons()):
        try:
            described, plugins = describe(python)
        except RuntimeError as error:
            print(f"left out: {error}")
            continue
        library, _, version = described.partition(", Python ")
        name = distribution() if python == SYSTEM else library.partition(",")[0]
        if pythons:
            name = f"{name}, Python {version.split()[0]}"
        print(f"{name}: {described} ({python})")
        found.append(Subject(name, python, plugins))
        extension = build_speedups(python, directory / str(number))
        if extension is not None:
            found.append(Subject(f"{name} + speedups", python, plugins, extension))
    if not found:
        raise SystemExit("no interpreter here can run amikafka")
    return found


def distribution() -> str:
    """Return the name of this distribution: Debian 12."""
    release = platform.freedesktop_os_release()
    return f"{release.get('NAME', 'Linux').split()[0]} {release.get('VERSION_ID', '')}".strip()


def default_pythons() -> list[Path]:
    """Return the distribution's interpreter, if there is one, and this one."""
    return [path for path in (SYSTEM, Path(sys.executable)) if path.exists()]

"""The C programs that are measured beside amikafka, compiled when they are needed."""

from __future__ import annotations

import subprocess
from pathlib import Path

HERE = Path(__file__).parent
LIBRARIES = {"reference": ("-lrdkafka", "-ljansson")}
NEEDS = {"reference": "a C compiler, librdkafka-dev and libjansson-dev"}


def build(name: str, directory: Path) -> Path | None:
    """Compile a program; return it, or `None`, with the reason printed, where this machine cannot."""
    binary = directory / name
    command = ["cc", "-O2", "-Wall", "-Wextra", "-o", str(binary), str(HERE / f"{name}.c")]
    try:
        subprocess.run([*command, *LIBRARIES.get(name, ())], check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        said = (getattr(error, "stderr", "") or str(error)).splitlines()
        print(f"no {name}: it needs {NEEDS.get(name, 'a C compiler')}: {said[-1] if said else ''}")
        return None
    return binary

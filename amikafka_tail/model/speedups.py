"""Finds amikafka_speedups, which does in C what is done for every event; without it Python does the same."""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

DISTRIBUTION = "amikafka-speedups"
VARIABLE = "AMIKAFKA_SPEEDUPS"
VERSION = 3
"""Of what is between this package and that one and of what both do. That one is used if it has the same."""


@dataclass(frozen=True, kw_only=True)
class Speedups:
    """What was found."""

    package: Any = None
    """The package, `None` where it is not used."""
    reason: str = ""
    """Why it is not used."""
    advice: str = ""
    """What to do, where it is installed and cannot be used: nobody wanted that."""

    @property
    def used(self) -> str:
        """`yes` or `no`."""
        return "no" if self.package is None else "yes"

    def __str__(self) -> str:
        return f"{self.used}, {self.reason}" if self.package is None else f"yes, {self.package.__version__}"


def find(environment: Mapping[str, str]) -> Speedups:
    """Look for the package. `AMIKAFKA_SPEEDUPS=no` in the environment says that it is not wanted."""
    if environment.get(VARIABLE) == "no":
        return Speedups(reason=f"{VARIABLE}=no")
    try:
        import amikafka_speedups as package  # noqa: PLC0415 - it may not be installed
    except ImportError as error:
        if isinstance(error, ModuleNotFoundError) and error.name == "amikafka_speedups":
            return Speedups(reason=f"{DISTRIBUTION} is not installed")
        # Built for another Python, as after an upgrade of the distribution.
        return Speedups(
            reason=f"{DISTRIBUTION} cannot be loaded: {error}", advice=f"install {DISTRIBUTION} again"
        )
    theirs = getattr(package, "VERSION", None)
    if theirs != VERSION:
        return Speedups(
            reason=f"{DISTRIBUTION} is for another version of amikafka (it says {theirs}, this is {VERSION})",
            advice=f"upgrade amikafka and {DISTRIBUTION} together",
        )
    return Speedups(package=package)


@functools.cache
def found() -> Speedups:
    """Return what this process has found, for good."""
    return find(os.environ)


def native() -> Any:
    """Return the package, `None` where it is not used."""
    return found().package

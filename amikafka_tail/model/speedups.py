"""Finds amikafka_speedups, which does the work for every event in C. Without it Python does the same."""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

DISTRIBUTION = "amikafka-speedups"
VARIABLE = "AMIKAFKA_SPEEDUPS"
VERSION = 4
"""Version of the interface and the behaviour. The package is used only if it has the same."""


@dataclass(frozen=True, kw_only=True)
class Speedups:
    """The result of the search."""

    package: Any = None
    """The package, `None` if it is not used."""
    reason: str = ""
    """Why it is not used."""
    advice: str = ""
    """What to do, if it is installed but unusable."""

    @property
    def used(self) -> str:
        """`yes` or `no`."""
        return "no" if self.package is None else "yes"

    def __str__(self) -> str:
        return f"{self.used}, {self.reason}" if self.package is None else f"yes, {self.package.__version__}"


def find(environment: Mapping[str, str]) -> Speedups:
    """Look for the package. `AMIKAFKA_SPEEDUPS=no` in the environment disables it."""
    if environment.get(VARIABLE) == "no":
        return Speedups(reason=f"{VARIABLE}=no")
    try:
        import amikafka_speedups as package  # noqa: PLC0415 - it may not be installed
    except ImportError as error:
        if isinstance(error, ModuleNotFoundError) and error.name == "amikafka_speedups":
            return Speedups(reason=f"{DISTRIBUTION} is not installed")
        # It was built for another Python, for example before an upgrade of the distribution.
        return Speedups(
            reason=f"{DISTRIBUTION} cannot be loaded: {error}", advice=f"reinstall {DISTRIBUTION}"
        )
    theirs = getattr(package, "VERSION", None)
    if theirs != VERSION:
        return Speedups(
            reason=(
                f"{DISTRIBUTION} does not match this amikafka (its interface version is {theirs}, expected"
                f" {VERSION})"
            ),
            advice=f"upgrade amikafka and {DISTRIBUTION} together",
        )
    return Speedups(package=package)


@functools.cache
def found() -> Speedups:
    """Return the result, which does not change during the process."""
    return find(os.environ)


def native() -> Any:
    """Return the package, `None` if it is not used."""
    return found().package

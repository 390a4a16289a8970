"""Finds amikafka_speedups, which does in C what is done for every event; without it Python does the same."""

from __future__ import annotations

import functools
import os
from typing import Any

VERSION = 1
"""Of what is between this package and that one; each takes the other only if both have the same."""


@functools.cache
def native() -> Any:
    """Return the package, `None` where it is not installed, is another version, or is not wanted.

    `AMIKAFKA_SPEEDUPS=no` in the environment says that it is not.
    """
    if os.environ.get("AMIKAFKA_SPEEDUPS") == "no":
        return None
    try:
        import amikafka_speedups  # noqa: PLC0415 - it may not be installed
    except ImportError:
        return None
    return amikafka_speedups if amikafka_speedups.VERSION == VERSION else None

"""Waiting for a condition, always with a bound."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
BOUND = 60.0
"""Seconds that a test waits for anything that has to happen. A machine with a load of ten keeps it."""
_pause = threading.Event()


class Unavailable(Exception):
    """This machine cannot have what the tests need; the text says what is missing."""


def wait_for(condition: Callable[[], T], timeout: float, what: str, interval: float = 0.05) -> T:
    """Ask `condition` until it returns something true; return that.

    Raises `TimeoutError`, saying that `what` was awaited, after `timeout` seconds.
    """
    end = time.monotonic() + timeout
    while not (result := condition()):
        if time.monotonic() > end:
            raise TimeoutError(f"waited {timeout:g} s for {what}")
        _pause.wait(interval)
    return result

"""How long to wait before trying again."""

from __future__ import annotations

import random
from collections.abc import Callable


class Backoff:
    """Exponential waits with jitter, in seconds, that begin anew once a connection has been stable.

    Each wait is between half of and the whole of its step; steps double from `initial` and never exceed
    `maximum`.
    """

    def __init__(
        self,
        *,
        initial: float = 0.5,
        maximum: float = 30.0,
        stable_after: float = 60.0,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._initial = initial
        self._maximum = maximum
        self._stable_after = stable_after
        self._uniform = uniform
        self._step = initial
        self._connected_at: float | None = None

    def connected(self, now: float) -> None:
        """Note that there is a connection since `now`."""
        self._connected_at = now

    def delay(self, now: float) -> float:
        """Return how long to wait after a failure at `now`."""
        if self._connected_at is not None and now - self._connected_at >= self._stable_after:
            self._step = self._initial
        self._connected_at = None
        step, self._step = self._step, min(2 * self._step, self._maximum)
        return self._uniform(step / 2, step)

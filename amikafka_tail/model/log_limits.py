"""Limits on repeated log messages: what a logger may put into `extra` for the daemon's log."""

from __future__ import annotations

from typing import NamedTuple


class Limit(NamedTuple):
    """How many equal messages are written in how many seconds."""

    burst: int
    seconds: float


RARELY = {"limit": Limit(1, 300.0)}
"""The `extra` of a message that repeats during an outage. Messages with the same whole text are equal."""

"""How often a message of the log is written: what a logger may put into `extra` for the daemon's log."""

from __future__ import annotations

from typing import NamedTuple


class Limit(NamedTuple):
    """How many of the same message are written in how many seconds."""

    burst: int
    seconds: float


RARELY = {"limit": Limit(1, 300.0)}
"""The `extra` of a message that comes as long as something is away: it is the same when its whole text is."""

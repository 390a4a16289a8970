"""What is found in a log file."""

from __future__ import annotations

from typing import NamedTuple


class Found(NamedTuple):
    """An event of a log file, or with `torn` what is left of one. `position` is its offset in the file.

    Of one that was `too_long` to be held nothing is left.
    """

    raw: bytes
    position: int
    logged_at: bytes
    """The time of its log line as it stands there, empty where there is none."""
    torn: bool = False
    too_long: bool = False
    wrapped_at: bytes = b""
    """The time that syslog or a container runtime noted, where the log line itself has none."""
    reason: str = ""
    """Why it is `torn`, where that is not an end or another line in it."""


def passed_over(position: int) -> Found:
    """Return what stands for an event that was too long to be held."""
    return Found(b"", position, b"", torn=True, too_long=True)

"""Keeps the secrets that this process has read out of files."""

from __future__ import annotations

import ctypes

PR_SET_DUMPABLE = 4


def disable_core_dumps() -> None:
    """Leave no core dump, which would hold the passwords, and let no process of this user read our memory.

    See PR_SET_DUMPABLE of prctl(2). Where that is refused, a core dump is what the machine's limits say.
    """
    ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)

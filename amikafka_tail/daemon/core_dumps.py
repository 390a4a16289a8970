"""Keeps secrets out of core dumps."""

from __future__ import annotations

import ctypes

PR_SET_DUMPABLE = 4


def disable_core_dumps() -> None:
    """Disable core dumps, which would contain passwords, and reading our memory from other processes.

    See PR_SET_DUMPABLE in prctl(2). If the call fails, the machine's limits decide about core dumps.
    """
    ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)

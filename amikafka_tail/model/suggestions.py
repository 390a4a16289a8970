"""Suggests a known name for an unknown one."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def unknown(what: str, name: str, known: Iterable[str]) -> str:
    """Return that a name is unknown, with the most similar known one."""
    names = list(known)
    near = difflib.get_close_matches(name.lower(), names, n=1, cutoff=0.6)
    return f'unknown {what} (did you mean "{near[0]}"?)' if near else f"unknown {what}"

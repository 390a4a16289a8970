"""Reports requested event names that do not arrive, so that a misspelt name is noticed."""

from __future__ import annotations

import dataclasses
import difflib
from collections import Counter
from collections.abc import Sequence

from amikafka_tail.commands.tap.view import harmless
from amikafka_tail.delivery.messages import Messages
from amikafka_tail.model.event import Event

PATIENCE = 10.0
"""Seconds from the first event of any name until a missing name is reported."""
ALIKE, MOST_WRONG = 0.81, 2
"""How similar a misspelt name must be, and how many letters at most may not be in both.

DialBegin and DialEnd, Hold and Unhold, MusicOnHoldStart and MusicOnHoldStop are less similar.
"""
MOST_NAMES = 1000
MOST_SAID = 8


class RequestedNames:
    """The requested names, and all names that arrive."""

    def __init__(self, names: Sequence[str]) -> None:
        self._missing = {name.lower(): name for name in names}
        self._came: Counter[str] = Counter()
        self._looked_at = 0
        self._since: float | None = None

    def over(self, messages: Messages) -> Messages:
        """Return the same messages, noting each event's name before and after the filters."""
        choose, came, missing = messages.choose, self._came, self._missing

        def noting(event: Event) -> Event | None:
            name = event.name
            if name in came or len(came) < MOST_NAMES:
                came[name] += 1
            chosen = event if choose is None else choose(event)
            if chosen is not None and missing:
                missing.pop(chosen.name.lower(), None)
            return chosen

        return dataclasses.replace(messages, choose=noting)

    def remarks(self, now: float) -> list[str]:
        """Return a remark for each name that has not arrived: once, and earlier if it looks misspelt.

        `now` is in monotonic seconds.
        """
        if not self._missing or not self._came:
            return []
        if self._since is None:
            self._since = now
        is_time = now - self._since >= PATIENCE
        if not is_time and len(self._came) == self._looked_at:
            return []
        self._looked_at = len(self._came)
        found = {key: self._like(key) for key in self._missing}
        due = [key for key, alike in found.items() if alike or is_time]
        return [self._remark(self._missing.pop(key), found[key]) for key in due]

    def _like(self, wanted: str) -> str | None:
        """Return the received name that is most similar to a missing one."""
        known = {name.lower(): name for name in self._came}
        if wanted in known:
            return None
        for near in difflib.get_close_matches(wanted, known, cutoff=ALIKE):
            ratio = difflib.SequenceMatcher(None, near, wanted).ratio()
            if (1 - ratio) * (len(near) + len(wanted)) < MOST_WRONG + 0.5:
                return known[near]
        return None

    def _remark(self, name: str, alike: str | None) -> str:
        if name.lower() in (each.lower() for each in self._came):
            return f'"{name}" arrives but filters exclude it; --all ignores the configured filters'
        others = [harmless(each) for each, _ in self._came.most_common(MOST_SAID)]
        more = len(self._came) - len(others)
        hint = f' (did you mean "{harmless(alike)}"?)' if alike else ""
        said = ", ".join(others) + (f" and {more} more" if more else "")
        return f'no event "{name}" received yet{hint}; received so far: {said}'

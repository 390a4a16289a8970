"""Which of the names that were asked for do not come: a name that is misspelt must not be a silence."""

from __future__ import annotations

import dataclasses
import difflib
from collections import Counter
from collections.abc import Sequence

from amikafka_tail.commands.tap.view import harmless
from amikafka_tail.delivery.messages import Messages
from amikafka_tail.model.event import Event

PATIENCE = 10.0
"""Seconds from the first event of any name until what has not come is said."""
ALIKE, MOST_WRONG = 0.81, 2
"""How much like another a misspelt name is at least, and how many letters at most are not in both.

DialBegin and DialEnd, Hold and Unhold, MusicOnHoldStart and MusicOnHoldStop are less alike.
"""
MOST_NAMES = 1000
MOST_SAID = 8


class RequestedNames:
    """The names that were asked for, and all that come."""

    def __init__(self, names: Sequence[str]) -> None:
        self._missing = {name.lower(): name for name in names}
        self._came: Counter[str] = Counter()
        self._looked_at = 0
        self._since: float | None = None

    def over(self, messages: Messages) -> Messages:
        """Return the same messages, with a look at each event before and behind the filters."""
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
        """Return what is to be said of names that have not come: once, and soon where another may be meant.

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
        """Return the name that came and is most like one that did not."""
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
            return f'"{name}" comes and filters keep it back; --all passes over those of the configuration'
        others = [harmless(each) for each, _ in self._came.most_common(MOST_SAID)]
        more = len(self._came) - len(others)
        hint = f' (did you mean "{harmless(alike)}"?)' if alike else ""
        said = ", ".join(others) + (f" and {more} more" if more else "")
        return f'no event "{name}" has come yet{hint}; those that came: {said}'

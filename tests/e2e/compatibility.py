"""What the tests of the versions find, for docs/compatibility.md."""

from __future__ import annotations

import json
from pathlib import Path

FILE = Path(__file__).parents[2] / "docs" / "compatibility.json"
FEATURES = {
    "protocol": "Version of the manager interface",
    "calls": "Calls, parking, voice mail",
    "queue": "Queues",
    "conference": "Conferences",
    "order": "Order of the session",
    "odd": "Values of any bytes",
    "md5": "`auth = md5`",
    "tls": "`tls = yes`",
    "push": "`push_filters = yes`",
    "restart": "Restart of Asterisk",
    "debug": "Manager debug",
    "numbers": "SequenceNumber tells no loss where there is none",
    "marker": "Marker of an event in the debug log",
    "text_log": "`source = eventlog`, text",
    "json_log": "`source = eventlog`, `[json]`",
    "escape": "ESC in a value, in the debug log",
    "bytes": "Bytes that are not UTF-8, in the debug log",
}
"""Each feature with its words in the table."""


class Table:
    """The column of one version. A feature whose test does not come to its end is `no`."""

    def __init__(self, distribution: str, package: str) -> None:
        self._column = {"distribution": distribution, "package": package}
        self._cells = dict.fromkeys(FEATURES, "no")

    def __setitem__(self, feature: str, cell: str) -> None:
        assert feature in self._cells, feature
        self._cells[feature] = cell

    def record(self, version: str) -> None:
        """Put the column into docs/compatibility.json, in place of an older one of the same distribution."""
        known = json.loads(FILE.read_text()) if FILE.exists() else {}
        columns = {
            old: column
            for old, column in known.get("versions", {}).items()
            if column["distribution"] != self._column["distribution"]
        }
        columns[version] = {**self._column, "cells": self._cells}
        columns = dict(sorted(columns.items(), key=lambda item: [int(part) for part in item[0].split(".")]))
        FILE.write_text(json.dumps({"features": FEATURES, "versions": columns}, indent=2) + "\n")

"""Writes docs/compatibility.md out of what the tests found, docs/compatibility.json.

`make compatibility` makes both anew. `--check` writes nothing, and fails where the page is stale.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).with_name("compatibility.json")
PAGE = Path(__file__).with_name("compatibility.md")
ABOUT = (
    "<!-- Made by docs/generate_compatibility.py from compatibility.json: do not change it here;"
    " `make compatibility` makes both anew. -->"
)
INTRODUCTION = """\
Each column is a real Asterisk, the distribution's own package in a chroot. On each the tests make the same calls and
send the same odd values, through several daemons at once. They compare the messages in Kafka with what a manager
session of their own saw: every event once, key, headers and payload to the byte. `make e2e` runs them (it leaves out a
distribution whose archive cannot be had), and `make compatibility` writes this page.
"""
NOTES = {
    "order": "Messages are in the order of amikafka's own session. Up to 22.10 every session sees the same order."
    " From 22.11 and 23.5 on Asterisk has one queue for each session, and two sessions can see two orders.",
    "push": "Before 18.26, 20.11, 21.6 and 22.1 Asterisk knows no `MatchCriteria`, so it is asked for legacy"
    " `eventfilter` lines only. amikafka filters by the others itself; the messages are the same.",
    "restart": "What happens while there is no connection is lost, and is told: the events of Asterisk's own start,"
    " and those before the daemon is connected again. `source = eventlog` has them.",
    "text_log": "With `manager set debug on` or `debug = on` in manager.conf, verbose(5), and a high"
    " `logger_queue_limit` in logger.conf; before and after a restart of Asterisk.",
    "escape": "Asterisk takes ESC, and what follows up to the next `m`, out of what it writes to a text log.",
    "bytes": "Asterisk writes no line to a `[json]` log if the event has bytes that are not UTF-8, such as the Latin-1"
    " name of a caller. The event is missing in the log; amikafka counts it as lost by its SequenceNumber.",
}
AFTER = """\
`source = manager` has every event on every version, with all of its bytes. Each kind of debug log lacks something: a
text log the ESC in a value, a `[json]` log each event that is not UTF-8.
"""


def page(results: dict[str, Any]) -> str:
    """Return the text of the page."""
    return "\n".join(_lines(results)).rstrip() + "\n"


def _lines(results: dict[str, Any]) -> Iterator[str]:
    versions = results["versions"]
    yield ABOUT
    yield ""
    yield "# Versions of Asterisk"
    yield ""
    yield INTRODUCTION
    yield f"| Asterisk | {' | '.join(versions)} |"
    yield f"|---|{'---|' * len(versions)}"
    yield f"| from | {' | '.join(column['distribution'] for column in versions.values())} |"
    noted = list(NOTES)
    for feature, words in results["features"].items():
        mark = f" ({noted.index(feature) + 1})" if feature in noted else ""
        cells = (column["cells"].get(feature, "not tried") for column in versions.values())
        yield f"| {words}{mark} | {' | '.join(cells)} |"
    yield ""
    for number, text in enumerate(NOTES.values(), 1):
        yield f"{number}. {text}"
    yield ""
    yield AFTER
    packages = (f"{column['distribution']} `{column['package']}`" for column in versions.values())
    yield f"The packages: {', '.join(packages)}."


def main() -> int:
    """Write the page, or see whether it is as it should be."""
    text = page(json.loads(RESULTS.read_text(encoding="utf-8")))
    if "--check" not in sys.argv[1:]:
        PAGE.write_text(text, encoding="utf-8")
    elif not PAGE.exists() or PAGE.read_text(encoding="utf-8") != text:
        print(f"{PAGE.name} is not what {RESULTS.name} says: run {Path(__file__).name}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

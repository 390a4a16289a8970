"""What one version of Asterisk sends and writes, kept for the tests that need no Asterisk."""

from __future__ import annotations

import lzma
from collections.abc import Iterator
from pathlib import Path

from ami import marker_of
from versions import Scenario

DIRECTORY = Path(__file__).parents[1] / "data" / "versions"
FIRST, LAST = "debug-begin", "bytes-end"


def keep(scenario: Scenario, version: str) -> None:
    """Write the session of one daemon and both logs of the same time, with manager debug on."""
    directory = DIRECTORY / version
    directory.mkdir(parents=True, exist_ok=True)
    for name, data in _recordings(scenario):
        (directory / f"{name}.xz").write_bytes(lzma.compress(data, preset=9))


def _recordings(scenario: Scenario) -> Iterator[tuple[str, bytes]]:
    stream = scenario.journal_of("plain")
    events = scenario.session_of("plain")
    marks = {marker_of(event): event for event in events}
    begin, end = stream.index(marks[FIRST]), stream.index(marks[LAST]) + len(marks[LAST] + b"\r\n\r\n")
    yield "session.ami", stream[begin:end]
    for way, name in (("text log", "full"), ("json log", "full.json")):
        log = scenario.file_of(way)
        # Every session has its copy of an event: from the first one of the first to the last one of the last.
        start = log.rindex(b"\n[20" if name == "full" else b"\n{", 0, log.index(FIRST.encode())) + 1
        stop = log.rindex(LAST.encode())
        stop = log.index(b"\n[20" if name == "full" else b"\n{", stop) + 1
        yield name, log[start:stop]

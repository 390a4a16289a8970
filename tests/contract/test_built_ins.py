"""The contract suites that plugin authors run, run by the built-ins."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from amikafka_tail import testing
from amikafka_tail.ami.framing import END
from amikafka_tail.model.pushed_filters import FilterLine
from amikafka_tail.sources import rotation, spool
from tests.fakes.ami_server import AmiServer

LINES = (
    FilterLine("eventfilter", "Event: [A-N]"),
    FilterLine("eventfilter", "!Channel: Local/"),
    FilterLine("eventfilter(name(Hangup),header(Cause),method(exact))", "16"),
)
EVENTS = [b"Event: A\r\nPrivilege: call,all\r\nNumber: %d" % number for number in range(30)]

TestJson = testing.format_contract("json")
TestJsonWithLists = testing.format_contract("json", duplicates="list", fallback_encoding="cp1252")
TestAmi = testing.format_contract("ami")
TestEventFilter = testing.filter_contract("eventfilter", lines=LINES)
TestNoEventFilter = testing.filter_contract("eventfilter")


@pytest.fixture(autouse=True)
def small_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (rotation, spool):
        monkeypatch.setattr(module, "CHUNK", 300)


def logged(directory: Path) -> tuple[dict[str, Any], list[bytes]]:
    def entry(number: int, event: bytes) -> bytes:
        head = b"[2026-11-23 09:30:23.739] VERBOSE[1] manager.c: <-- Examining AMI event (1): -->\n"
        return head + event.replace(b"Number", b"SequenceNumber: %d\r\nNumber" % number) + END + b"\n"

    text = [entry(number, event) for number, event in enumerate(EVENTS)]
    (directory / "full.1").write_bytes(b"".join(text[:20]))
    (directory / "full").write_bytes(b"".join(text[20:]))
    return {"path": (f"{directory}/full",), "start": "beginning"}, EVENTS


def spooled(directory: Path) -> tuple[dict[str, Any], list[bytes]]:
    for number in range(0, len(EVENTS), 7):
        text = b"".join(event + END for event in EVENTS[number : number + 7])
        (directory / f"{number:03}.ami").write_bytes(text)
    return {"directory": directory, "settle": 0.0}, EVENTS


@contextmanager
def asterisk(_directory: Path) -> Iterator[tuple[dict[str, Any], Callable[[bytes], None]]]:
    with AmiServer() as server:
        yield {"port": server.port, "secret": "s3cret", "timeout": 5.0}, server.send


TestEventLog = testing.source_contract("eventlog", logged)
TestSpool = testing.source_contract("spool", spooled)
TestManager = testing.live_source_contract("manager", asterisk)

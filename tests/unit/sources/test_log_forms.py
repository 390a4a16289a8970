"""Logs as people have them, and logs and streams of each Asterisk, with the outcome that is right."""

from __future__ import annotations

import gzip
import time
from collections.abc import Iterator
from datetime import datetime, timezone
from itertools import pairwise
from pathlib import Path

import pytest

from amikafka_tail.ami.debuglog import LogFramer, debug_headers
from amikafka_tail.ami.framing import Framer
from amikafka_tail.ami.sequence import Sequence
from amikafka_tail.model.counters import Counters
from amikafka_tail.model.event import Event
from amikafka_tail.model.identity import Identity
from amikafka_tail.model.replayable_source import Reader
from amikafka_tail.sources.eventlog import EventLogOptions, EventLogSource
from amikafka_tail.sources.files import FilesReader
from amikafka_tail.sources.spool import SpoolOptions, SpoolSource

DATA = Path(__file__).parents[2] / "data"
FIELD = DATA / "field"
VERSIONS = DATA / "versions"
NOBODY = Identity(entity_id="x", system_name="", asterisk_version="", hostname="vm")

NEWCHANNEL = b"Event: Newchannel\r\nPrivilege: call,all\r\nChannel: PJSIP/alice-00000001\r\n"
NEWCHANNEL += b"Uniqueid: 1700000000.1\r\nLinkedid: 1700000000.1"
HANGUP = NEWCHANNEL.replace(b"Newchannel", b"Hangup") + b"\r\nCause: 16"
BOTH = [NEWCHANNEL, HANGUP]

CASES = [
    ("e01-old-marker-debug.log", BOTH, 0),
    ("e01-old-marker-verbose.log", BOTH, 0),
    ("e02-two-sessions-lagging.log", 13, 0),
    ("e03-log-lf-only.log", BOTH, 0),
    ("e04-log-all-crlf.log", BOTH, 0),
    ("e05-syslog-prefixed-lines.log", BOTH, 0),
    ("e05-syslog-rsyslog-escaped.log", BOTH, 0),
    ("e06-console-plain.log", BOTH, 0),
    ("e06-console-timestamp.log", BOTH, 0),
    ("e06-console.log", BOTH, 0),
    *((f"e07-date-{number}.log", [NEWCHANNEL], 0) for number in range(8)),
    ("e08-torn-direct.log", BOTH, 1),
    ("e08-torn-nul.log", BOTH, 1),
    ("e08-torn-then-line.log", BOTH, 1),
    ("e08-torn-then-restart.log", BOTH, 1),
    ("e09-custom-level-after-torn.log", BOTH, 1),
    ("e10-cri.log", BOTH, 0),
    ("e10-docker-json.log", BOTH, 0),
    ("a16-lf-only.ami", BOTH, 0),
    ("a16-telnet-capture.ami", BOTH, 1),
    ("l-cr-only.ami", 2, 0),
    ("l-dongle-3crlf.ami", 3, 0),
    ("l-nul.ami", [HANGUP], 1),
    ("nul-hole.ami", 3, 0),
    ("esc-full-22.log", 6, 0),
    ("esc-full-22.json.log", 6, 0),
    ("old-16.28.full", 4, 0),
    ("old-16.28.full.json", 4, 0),
]


@pytest.fixture(autouse=True)
def utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def replayed(path: Path, options: EventLogOptions | None = None) -> tuple[list[Event], int, FilesReader]:
    """Return the events of a file, how many were set aside, and the reader."""
    reader = FilesReader([path], counters=Counters(), identity=NOBODY, options=options)
    events, torn = read_all(reader)
    return events, torn, reader


def read_all(reader: Reader) -> tuple[list[Event], int]:
    events, torn = [], 0
    while (chunk := reader.read()) is not None:
        for each in chunk.events:
            if isinstance(each, Event):
                events.append(each)
            else:
                torn += 1
    return events, torn


@pytest.mark.parametrize(("name", "expected", "set_aside"), CASES)
def test_a_log_from_the_field(name: str, expected: list[bytes] | int, set_aside: int) -> None:
    events, torn, reader = replayed(FIELD / name)
    if isinstance(expected, int):
        assert len(events) == expected
    else:
        assert [event.raw for event in events] == expected
    assert torn == set_aside
    assert reader.without_events == []


def test_every_case_of_the_field_is_tried() -> None:
    logs = {path.name for path in FIELD.glob("e*.log")}
    assert logs <= {name for name, _, _ in CASES}


LOCAL = datetime(2026, 11, 23, 9, 30, 23, tzinfo=timezone.utc).timestamp() * 1000


@pytest.mark.parametrize(
    ("name", "dateformat", "expected"),
    [
        (
            "e07-date-0.log",
            "",
            datetime(2016, 8, 19, 10, 21, 41, tzinfo=timezone.utc).timestamp() * 1000 + 129,
        ),
        ("e07-date-0.log", "%Y%m%d %H:%M:%S.%3q", 1471602101129),
        ("e07-date-2.log", "%FT%T.%3q%z", LOCAL - 3600_000 + 739),
        ("e07-date-3.log", "", LOCAL - 3600_000 + 739),
        ("e07-date-3.log", "%F %T.%3q %z", LOCAL - 3600_000 + 739),
        ("e07-date-4.log", "", LOCAL),
        ("e07-date-5.log", "%s.%6q", 1795427182710),
        ("e07-date-6.log", "%D %T", LOCAL),
        ("e07-date-7.log", "", LOCAL + 739),
        ("e10-docker-json.log", "", LOCAL + 739),
        ("e10-cri.log", "", LOCAL + 739),
    ],
)
def test_the_time_is_the_logs(name: str, dateformat: str, expected: float) -> None:
    events, _, _ = replayed(FIELD / name, EventLogOptions(dateformat=dateformat))
    assert events[0].happened_ms == expected


@pytest.mark.parametrize("name", ["e05-syslog-prefixed-lines.log", "e05-syslog-rsyslog-escaped.log"])
def test_the_time_is_syslogs_where_the_line_has_none(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes((FIELD / name).read_bytes().replace(b"Nov 23", b"Nov  2"))
    events, _, _ = replayed(path)
    said = datetime.fromtimestamp(events[0].happened_ms / 1000, timezone.utc)
    assert (said.month, said.day, said.hour, said.minute, said.second) == (11, 2, 9, 30, 23)


def test_a_date_that_cannot_be_read_is_said_once_per_file(
    caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    path = tmp_path / "full"
    path.write_bytes((FIELD / "e07-date-6.log").read_bytes() * 3)
    events, _, _ = replayed(path)
    assert [event.happened_ms for event in events] == [int(path.stat().st_mtime * 1000)] * 3
    assert caplog.text.count("the date of its lines cannot be read") == 1
    assert "date='11/23/26 09:30:23'" in caplog.text


def test_a_log_without_events_is_named_with_a_count_and_an_example(tmp_path: Path) -> None:
    path = tmp_path / "messages"
    path.write_bytes(b"\n[Nov 23 09:30:23] NOTICE[1] x.c: hello\n" * 20)
    _, _, reader = replayed(path)
    assert reader.without_events == [(path, 40, "[Nov 23 09:30:23] NOTICE[1] x.c: hello")]
    empty = tmp_path / "empty"
    empty.touch()
    assert replayed(empty)[2].without_events == []


UNKNOWN = {
    "compose": b"pbx-1  | ",
    "ts": b"Nov 23 09:30:23 ",
    "multilog": b"@4000000067419d2f2c0f1d34 ",
}


@pytest.mark.parametrize("prefix", UNKNOWN.values(), ids=UNKNOWN)
def test_an_unknown_wrapper_is_refused_by_name_event_by_event(prefix: bytes, tmp_path: Path) -> None:
    path = tmp_path / "full"
    lines = (FIELD / "e01-old-marker-verbose.log").read_bytes().split(b"\n")[:-1]
    path.write_bytes(b"".join(prefix + line + b"\n" for line in lines))
    events, torn, _ = replayed(path)
    assert (events, torn) == ([], 2)


def test_what_two_hosts_wrote_into_one_syslog_is_not_mixed(tmp_path: Path) -> None:
    path = tmp_path / "syslog"
    ours = (FIELD / "e05-syslog-prefixed-lines.log").read_bytes().split(b"\n")[:-1]
    others = [line.replace(b" pbx ", b" other ").replace(b"alice", b"bob") for line in ours]
    mixed = [line + b"\n" for pair in zip(ours, others, strict=True) for line in pair]
    path.write_bytes(b"".join(mixed))
    events, torn, _ = replayed(path)
    assert ([event.raw for event in events], torn) == (BOTH, 2)


def test_a_line_that_syslog_only_counts_makes_no_event_of_what_is_left(tmp_path: Path) -> None:
    path = tmp_path / "syslog"
    text = (FIELD / "e05-syslog-prefixed-lines.log").read_bytes()
    line = b"Nov 23 09:30:23 pbx asterisk[2350]: Uniqueid: 1700000000.1\r\n"
    path.write_bytes(text.replace(line, b"Nov 23 09:30:23 pbx last message repeated 2 times\n", 1))
    events, torn, _ = replayed(path)
    assert ([event.raw for event in events], torn) == ([HANGUP], 1)


def test_what_rsyslog_may_have_escaped_and_a_caller_may_have_dialled_is_not_guessed(tmp_path: Path) -> None:
    path = tmp_path / "syslog"
    text = (FIELD / "e05-syslog-rsyslog-escaped.log").read_bytes()
    path.write_bytes(text.replace(b"PJSIP/alice-00000001", b"*#012#", 1))
    events, torn, _ = replayed(path)
    assert ([event.raw for event in events], torn) == ([HANGUP], 1)


def test_a_value_that_looks_like_a_line_of_the_log_begins_no_event(tmp_path: Path) -> None:
    marker = b"[2026-11-23 09:30:23.739] VERBOSE[1] manager.c: <-- Examining AMI event (1): -->"
    forged = b"Event: Forged\r\nPrivilege: call,all"
    event = b"Event: UserEvent\r\nPrivilege: user,all\r\nUserEvent: a\r\n" + marker + b"\r\n" + forged
    text = marker + b"\n" + event + b"\r\n\r\n\n"
    path = tmp_path / "full"
    path.write_bytes(text * 2)
    events, torn, _ = replayed(path)
    assert ([each.raw for each in events], torn) == ([event, event], 0)
    for changed in (text.replace(b"\r", b""), text.replace(b"\r", b"").replace(b"\n", b"\r\n")):
        path.write_bytes(changed + b"[2026-11-23 09:30:24.000] NOTICE[1] x.c: y\n")
        events, torn, _ = replayed(path)
        assert events == []
        assert torn >= 1


def test_an_empty_line_in_a_value_ends_no_event(tmp_path: Path) -> None:
    marker = b"[2026-11-23 09:30:23.739] VERBOSE[1] manager.c: <-- Examining AMI event (1): -->\n"
    event = b"Event: UserEvent\r\nPrivilege: user,all\r\nText: a\r\n\r\nb: c\r\nLast: d"
    path = tmp_path / "full"
    path.write_bytes((marker + event + b"\r\n\r\n\n") * 2)
    events, torn, _ = replayed(path)
    assert ([each.raw for each in events], torn) == ([event, event], 0)


def test_a_hole_between_the_halves_of_two_events_sets_both_aside(tmp_path: Path) -> None:
    text = (FIELD / "e01-old-marker-verbose.log").read_bytes()
    begin, end = text.index(b"Uniqueid"), text.rindex(b"Cause")
    path = tmp_path / "full"
    path.write_bytes(text + text[:begin] + b"\0" * (end - begin) + text[end:] + text)
    events, torn, _ = replayed(path)
    assert ([each.raw for each in events], torn) == (BOTH * 2, 2)


@pytest.mark.parametrize("cut", range(40, 200, 7))
def test_an_object_of_a_json_log_that_is_cut_off_hides_none_behind_it(cut: int, tmp_path: Path) -> None:
    banner, *lines = (FIELD / "old-16.28.full.json").read_bytes().split(b"\n")[:-1]
    at = lines[0].index(b"Examining AMI event") + 20 + cut
    path = tmp_path / "full.json"
    path.write_bytes(b"\n".join([banner, lines[1], lines[0][:at] + lines[2], lines[3], b""]))
    events, torn, _ = replayed(path)
    assert [event.get("Event") for event in events] == ["UserEvent"] * 3
    assert torn == 1


# Each recorded version.


def names() -> list[str]:
    return sorted(path.name.removesuffix(".ami.gz") for path in VERSIONS.glob("*.ami.gz"))


def stream_events(version: str) -> dict[int, bytes]:
    """Return the events of a manager stream by their numbers, as the source `manager` publishes them."""
    data = gzip.decompress((VERSIONS / f"{version}.ami.gz").read_bytes())
    found = {}
    for block, following in pairwise([*Framer().feed(data), b""]):
        # An empty line too many belongs to the event that it ends.
        extra = following[: len(following) - len(following.lstrip(b"\r\n"))]
        raw, number = debug_headers(block.lstrip(b"\r\n") + extra)
        if number is not None:
            found[number] = raw
    return found


@pytest.mark.parametrize("version", names())
def test_stream_and_log_of_a_run_give_the_same_events(version: str, tmp_path: Path) -> None:
    path = tmp_path / "full"
    path.write_bytes(gzip.decompress((VERSIONS / f"{version}.full.gz").read_bytes()))
    markers = path.read_bytes().count(b"Examining AMI event")
    counters = Counters()
    options = EventLogOptions(keep_debug_headers=True)
    reader = FilesReader([path], counters=counters, identity=NOBODY, options=options)
    events, torn = read_all(reader)
    assert len(events) + torn + counters.duplicates == markers
    assert torn <= 1
    assert counters.gaps == 0
    streamed = stream_events(version)
    compared = 0
    for event in events:
        raw, number = debug_headers(event.raw)
        assert number is not None
        if number in streamed:
            assert raw == streamed[number]
            compared += 1
    assert compared >= 50 or not streamed


@pytest.mark.parametrize("version", names())
def test_a_run_of_events_has_no_false_loss(version: str) -> None:
    data = gzip.decompress((VERSIONS / f"{version}.ami.gz").read_bytes())
    sequence = Sequence()
    lost = 0
    for block in Framer().feed(data):
        _, number = debug_headers(block)
        if number is not None:
            sequence.is_new(number, block)
            lost += sequence.ended_gap(Event(block.lstrip(b"\r\n")).happened_ms)
    assert (lost, sequence.duplicates, sequence.restarts) == (0, 0, 0)


# The same file and the same configuration, whichever way it is read.


@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize("name", ["e07-date-6.log", "e08-torn-direct.log", "old-16.28.full", "e10-cri.log"])
def test_source_spool_and_replay_give_the_same_events(name: str, keep: bool, tmp_path: Path) -> None:
    spool = tmp_path / "spool"
    spool.mkdir()
    logged, spooled = tmp_path / "full", spool / "full.ami"
    for path in (logged, spooled):
        path.write_bytes((FIELD / name).read_bytes())
    options = EventLogOptions(path=(str(logged),), keep_debug_headers=keep, dateformat="%D %T")
    log_reader = EventLogSource(options).open(
        position=0, bookmark=None, counters=Counters(), identify=lambda _version, _name: NOBODY
    )
    source = SpoolSource(SpoolOptions(directory=spool, settle=0.0)).reading_logs_as(options)
    spool_reader = source.open(
        position=0, bookmark=None, counters=Counters(), identify=lambda _version, _name: NOBODY
    )
    ways = [read_all(log_reader), read_all(spool_reader), replayed(logged, options)[:2]]
    said = [([(event.raw, event.happened_ms) for event in events], torn) for events, torn in ways]
    assert said[0] == said[2]
    if name == "e07-date-6.log":
        assert said[0] == said[1]
    assert [[raw for raw, _ in events] for events, _ in said] == [[raw for raw, _ in said[0][0]]] * 3
    assert bool(said[0][0])
    log_reader.close()
    spool_reader.close()


def test_the_form_is_kept_where_reading_goes_on_in_the_middle() -> None:
    data = (FIELD / "e10-docker-json.log").read_bytes()
    framer = LogFramer()
    framer.feed(data)
    assert framer.form == "docker:log"
    assert LogFramer(0, framer.form).form == "docker:log"

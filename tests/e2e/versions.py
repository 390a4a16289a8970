"""One scenario for every version of Asterisk: several daemons beside each other, and what came of it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from ami import Driver, Witness, events_in, line_value, marker_of
from asterisk import Asterisk
from chroot import Suite
from conftest import Daemons
from expected import Origin, name_of
from flow import marker_in, wait_for_marker, wait_until_connected
from kafka import Kafka, Record, TopicReader
from machine import free_port

from tests.fakes.ami_server import make_certificate
from tests.support.daemon import Daemon
from tests.support.waiting import wait_for

# A queue's call is 6 s in the queue, a parked one is 2 s in the lot.
EXTENSIONS = ("100", "200", "300", "400", "410", "500", "600", "200")
# Every tenth caller has a name that is not UTF-8, which no JSON log has.
CALLS, CALLS_IN_LOGS = 16, 8
ODD: list[tuple[str, str | bytes]] = [
    ("Empty", ""),
    ("Colons", "a: b:c: d"),
    ("Quotes", "\"double\" 'single' back\\slash \\n \\r\\n /"),
    ("Blanks", "  two before, two after  "),
    ("Controls", b"\x01\x02\t\x0b\x0c\x1f\x7f"),
    ("Utf8", "žluťoučký 日本 \U0001f600"),
    ("Separators", "a\u0085b\u2028c\u2029d"),
    ("Arrows", "<-- Examining AMI event: -->"),
    ("Repeated", "first"),
    ("Repeated", "last"),
    ("Event", "Forged"),
    ("Privilege", "forged,all"),
    ("EntityID", "forged"),
    ("SystemName", "forged"),
    ("Timestamp", "1.000000"),
    ("Long", "x" * 900),  # Asterisk takes no line over 1,024 bytes
]
NOT_UTF8: list[tuple[str, str | bytes]] = [
    ("Latin1", b"M\xfcller"),
    ("HalfUtf8", b"\xe6\x97 \xf0\x9f"),
    ("Surrogate", b"\xed\xa0\x80"),
]
# Asterisk's text log loses it and what follows, up to the next "m" (term_strip, main/term.c).
ESCAPE = ("Escape", b"\x1b[1;31mred\x1b[0m, and plain")
DEBUG_LINES = re.compile(rb"\r\nSequenceNumber: \d+\r\nFile: [^\r]*\r\nLine: \d+\r\nFunc: [^\r]*")
NUMBER_IN_LOG = re.compile(rb"SequenceNumber: (\d+)")
FILTERS = ("!Event: (VarSet|Newexten)", "(action(exclude),name(Newstate)) = ")
KINDS = {
    "calls": (
        "Newchannel",
        "DialBegin",
        "DialEnd",
        "Hangup",
        "Cdr",
        "CEL",
        "VarSet",
        "ParkedCall",
        "DTMFEnd",
    ),
    "queue": ("QueueCallerJoin", "AgentCalled", "AgentConnect", "QueueCallerLeave", "QueueMemberStatus"),
    "conference": ("ConfbridgeStart", "ConfbridgeJoin", "ConfbridgeLeave", "ConfbridgeEnd"),
}
LOGGER = """
[general]
dateformat = %F %T.%3q
logger_queue_limit = 100000
[logfiles]
console => notice,warning,error
full => notice,warning,error,verbose(5)
full.json => [json]notice,warning,error,verbose(5)
"""


@dataclass(frozen=True, kw_only=True)
class Way:
    """One way from Asterisk to Kafka: the sections of a daemon's configuration, and what it publishes."""

    form: str = "json"
    log: str = ""
    """The file in Asterisk's directory of logs that is read; empty: a manager session."""
    general: str = ""
    manager: str = ""
    debug_headers: bool = True
    """Whether it publishes the headers of manager debug."""

    def payload(self, origin: Origin, event: bytes) -> bytes:
        """Return what it has to publish for an event that the witness saw."""
        return origin.payload(event if self.debug_headers else DEBUG_LINES.sub(b"", event, 1), self.form)


WAYS = {
    "plain": Way(manager="auth = plain"),
    "md5": Way(manager="auth = md5", form="ami"),
    "tls": Way(manager="port = @TLS@\ntls = yes\ntls_ca = @CERTIFICATE@"),
    "pushed": Way(
        general="eventfilter = {}\neventfilter{}".format(*FILTERS),
        manager="username = filtering\nsecret = filtering-secret\npush_filters = yes",
    ),
    "text log": Way(log="full", debug_headers=False),
    "json log": Way(log="full.json"),
}
LOGS = tuple(name for name, way in WAYS.items() if way.log)
SESSIONS = tuple(name for name in WAYS if name not in LOGS)


@dataclass(kw_only=True)
class Part:
    """What the witness saw from one marker to the next, and what Kafka holds of it."""

    seen: list[bytes] = field(default_factory=list)
    held: dict[str, list[Record]] = field(default_factory=dict)
    """By way; one that is in `late` is missing."""
    late: dict[str, str] = field(default_factory=dict)
    """By way, what was waited for in vain."""

    def events(self, way: str) -> list[bytes]:
        """Return the events that a way has to publish."""
        return [event for event in self.seen if way != "pushed" or not is_filtered(event)]


def is_filtered(event: bytes) -> bool:
    """Tell whether `FILTERS` drop an event. The expression is looked for in the whole of it."""
    return b"Event: VarSet" in event or b"Event: Newexten" in event or name_of(event) == "Newstate"


class Scenario:
    """Runs the parts on one Asterisk that is not started yet. Ends what it started when it is left."""

    def __init__(self, suite: Suite, asterisk: Asterisk, kafka: Kafka, directory: Path) -> None:
        self.suite = suite
        self.asterisk = asterisk
        self.parts: dict[str, Part] = {}
        self.logins: list[bytes] = []
        """What the witness saw while the daemons of the first part logged in."""
        self.log_before_restart: dict[str, str] = {}
        """By way, what its daemon had printed when Asterisk was stopped."""
        self._late: dict[str, str] = {}
        self._kafka = kafka
        self._directory = directory
        self._daemons = Daemons(directory, asterisk, kafka)
        self._of: dict[str, Daemon] = {}
        self._readers: dict[str, TopicReader] = {}

    def run(self, name: str) -> None:
        """Do all of it."""
        tls = self._configure()
        self.asterisk.start()
        with ExitStack() as stack:
            with self._watched() as (driver, witness):
                for number, (way, options) in enumerate(WAYS.items()):
                    topic = self._kafka.create_topic(f"{name}-{way.replace(' ', '-')}")
                    self._readers[way] = stack.enter_context(self._kafka.reader(topic))
                    self._of[way] = self._daemons(topic, str(number), **self._sections(options, tls)).start()
                self._connect(driver, SESSIONS)
                self.logins = list(witness.events)
                self._part("plain", (driver, witness), SESSIONS, [*ODD, *NOT_UTF8, ESCAPE], CALLS)
                assert self.asterisk.cli("manager set debug on") is not None
                self._connect(driver, LOGS)
                self._part("debug", (driver, witness), tuple(WAYS), ODD, CALLS_IN_LOGS)
                self._part("bytes", (driver, witness), LOGS, [*NOT_UTF8, ESCAPE], 0)
            self.log_before_restart = {way: self.log_of(way) for way in WAYS}
            self.asterisk.stop()
            self._debug_from_the_start()
            self.asterisk.start()
            with self._watched() as (driver, witness):
                self._connect(driver, tuple(WAYS))
                self._part("restarted", (driver, witness), tuple(WAYS), ODD, CALLS_IN_LOGS)

    def close(self) -> None:
        """End the daemons and Asterisk."""
        self._daemons.close()
        self.asterisk.remove()

    def log_of(self, way: str) -> str:
        """Return what the daemon of a way has printed."""
        return self._of[way].log

    def file_of(self, way: str) -> bytes:
        """Return what stands in the log that the daemon of a way reads."""
        return (self.asterisk.directory / "log" / WAYS[way].log).read_bytes()

    def journal_of(self, way: str) -> bytes:
        """Return all that Asterisk sent the session of a way."""
        return self._of[way].journal()

    def session_of(self, way: str) -> list[bytes]:
        """Return the events that Asterisk sent the session of a way, in their order."""
        return events_in(self.journal_of(way))

    def difference(self, name: str, way: str, left_out: Callable[[bytes], bool] = lambda _: False) -> str:
        """Return the first difference between what was seen in a part and what Kafka holds; empty if none.

        The messages have to be those of the witness's events, each once; see `order_difference`. `left_out`
        tells, of an event as the witness saw it and of a message, whether it is not looked at.
        """
        part = self.parts[name]
        if way in part.late:
            return part.late[way]
        origin, options = self.asterisk.origin, WAYS[way]
        events = {}
        for event in part.events(way):
            if not left_out(event):
                events.setdefault(options.payload(origin, event), []).append(event)
        records = [record for record in part.held[way] if not left_out(record.value)]
        wanted = Counter({payload: len(same) for payload, same in events.items()})
        found = Counter(record.value for record in records)
        if wanted != found:
            missing, more = list(wanted - found), list(found - wanted)
            counts = f"{wanted.total()} seen, {found.total()} in Kafka"
            return f"{counts}:\n  {len(missing)} missing {missing[:3]}\n  {len(more)} more {more[:3]}"
        for record in records:
            if text := header_difference(origin, events[record.value].pop(0), options.form, record):
                return text
        return ""

    def order_difference(self, name: str, way: str) -> str:
        """Return where messages are not in the order of the session or the log that they are from.

        Empty if it is. From Asterisk 22.11 on each session has a queue of its own, so the order of the
        witness says nothing.
        """
        part = self.parts[name]
        if way in part.late:
            return part.late[way]
        for number, (payload, record) in enumerate(zip(self._order(name, way), part.held[way], strict=True)):
            if payload != record.value:
                return f"number {number} is {record.value!r}, read there was {payload!r}"
        return ""

    def _order(self, name: str, way: str) -> list[bytes]:
        """Return the payloads of a part in the order in which the daemon of a way read their events."""
        options, origin = WAYS[way], self.asterisk.origin
        if not options.log:
            events = [event for event in self.session_of(way) if way != "pushed" or not is_filtered(event)]
            marks = [marker_of(event) for event in events]
            events = events[marks.index(f"{name}-begin") : marks.index(f"{name}-end") + 1]
            return [options.payload(origin, event) for event in events]
        text = self.file_of(way)
        # The number of an event stands before its other headers, so the first one is not that of the marker.
        text = text[text.index(b"%s-begin" % name.encode()) : text.rindex(b"%s-end" % name.encode())]
        payloads = {
            line_value(event, "SequenceNumber"): options.payload(origin, event)
            for event in self.parts[name].seen
        }
        numbers = dict.fromkeys(number.decode() for number in NUMBER_IN_LOG.findall(text))
        first = options.payload(origin, self.parts[name].seen[0])
        return [first, *(payloads[number] for number in numbers if payloads.get(number, first) != first)]

    def _configure(self) -> int:
        """Give Asterisk a TLS port and its logs; return the port."""
        port = free_port()
        etc = self.asterisk.directory / "etc"
        make_certificate(etc, "IP:127.0.0.1")
        inside = f"/{etc.relative_to(self.asterisk.root)}"
        tls = (
            f"tlsenable = yes\ntlsbindaddr = 127.0.0.1:{port}\n"
            f"tlscertfile = {inside}/certificate.pem\ntlsprivatekey = {inside}/key.pem\n"
        )
        manager = (etc / "manager.conf").read_text()
        (etc / "manager.conf").write_text(manager.replace("[general]\n", f"[general]\n{tls}", 1))
        (etc / "logger.conf").write_text(LOGGER)
        return port

    def _debug_from_the_start(self) -> None:
        manager = self.asterisk.directory / "etc/manager.conf"
        manager.write_text(manager.read_text().replace("[general]\n", "[general]\ndebug = on\n", 1))

    def _sections(self, way: Way, tls: int) -> dict[str, str]:
        certificate = self.asterisk.directory / "etc/certificate.pem"
        general = f"format = {way.form}\n{way.general}"
        if not way.log:
            manager = way.manager.replace("@TLS@", str(tls)).replace("@CERTIFICATE@", str(certificate))
            return {"general": general, "manager": manager}
        log = self.asterisk.directory / "log" / way.log
        keep = f"path = {log}\nstart = end\nkeep_debug_headers = {'yes' if way.debug_headers else 'no'}"
        return {"general": f"source = eventlog\n{general}", "eventlog": keep}

    @contextmanager
    def _watched(self) -> Iterator[tuple[Driver, Witness]]:
        with self.asterisk.driver() as driver, self.asterisk.witness() as witness:
            yield driver, witness

    def _connect(self, driver: Driver, ways: Sequence[str]) -> None:
        for way in ways:
            if way in self._late:
                continue
            try:
                wait_until_connected(self._of[way], driver, self._readers[way], 40)
            except TimeoutError as error:
                self._late[way] = str(error)

    def _part(
        self,
        name: str,
        watched: tuple[Driver, Witness],
        ways: Sequence[str],
        odd: Sequence[tuple[str, str | bytes]],
        calls: int,
    ) -> None:
        """Cause events between two markers, with nothing else going on, and wait for them in Kafka."""
        driver, witness = watched
        begin, end = f"{name}-begin", f"{name}-end"
        settle(driver, witness)
        driver.marker(begin)
        for field_name, value in odd:
            driver.user_event("Odd", (field_name, value), ("After", "it"))
        driver.user_event("OddAll", *(pair for pair in odd if pair != ESCAPE))
        raw = b"NoSpace:value\r\nEmpty:\r\nNo colon\r\nOne: 1"
        driver.send_raw(b"Action: UserEvent\r\nUserEvent: OddLines\r\n" + raw + b"\r\n\r\n")
        driver.calls(calls, 8, EXTENSIONS)
        settle(driver, witness)
        driver.marker(end)
        part = self.parts[name] = Part()
        part.seen = witness.events[witness.wait_for_marker(begin) : witness.wait_for_marker(end) + 1]
        part.late = {way: self._late[way] for way in ways if way in self._late}
        for way in ways:
            if way in part.late:
                continue
            reader = self._readers[way]
            try:
                wait_for_marker(reader, end, 60)
            except TimeoutError as error:
                part.late[way] = str(error)
                continue
            marks = [marker_in(record) for record in reader.records]
            part.held[way] = reader.records[marks.index(begin) : marks.index(end) + 1]


def settle(driver: Driver, witness: Witness) -> None:
    """Wait until no call is there, and the witness has seen nothing new at two looks."""
    driver.wait_for_quiet()
    before = -1

    def still() -> bool:
        nonlocal before
        same, before = len(witness.events) == before, len(witness.events)
        return same

    wait_for(still, 30, "nothing to happen in Asterisk", 0.5)


def header_difference(origin: Origin, event: bytes, form: str, record: Record) -> str:
    """Return what is wrong with the key or the headers of a message; empty if nothing is."""
    if record.key != name_of(event).encode():
        return f"key {record.key!r} of {event!r}"
    wanted = origin.headers(event, form)
    late = int(dict(record.headers)["timestamp"]) - int(dict(wanted)["timestamp"])
    # Where the clock's second turns between the event and its capture either is right.
    if [(k, v) for k, v in record.headers if k != "timestamp"] != [
        (k, v) for k, v in wanted if k != "timestamp"
    ] or not -2 <= late <= 2:
        return f"headers of {event!r}:\n  wanted {wanted}\n  record {record.headers}"
    return ""

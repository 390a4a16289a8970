"""AMI sessions for the tests: one that drives, one that witnesses. Nothing here is the product's code."""

from __future__ import annotations

import contextlib
import itertools
import socket
import threading
import time
from collections.abc import Sequence
from types import TracebackType

from tests.support.waiting import wait_for

EXTENSIONS = ("100", "200", "300", "400", "410", "500", "600", "710")
MARKER = b"E2eMarker"


class Events:
    """Collects the events of a stream, as bytes without the empty line at their end.

    Some, such as ConfBridge's TestEvents, end with an empty line too many, and some have one inside a value:
    both belong to the event. A block begins an event where its second line is `Privilege:`.
    """

    def __init__(self) -> None:
        self.found: list[bytes] = []
        self._in_event = False

    def take(self, block: bytes) -> bytes:
        """Take what stands before the next empty line; return it without what belongs to the event before."""
        rest = block.lstrip(b"\r\n")
        first, _, second = rest.partition(b"\r\n")
        begins = first.startswith(b"Event: ") and second.startswith(b"Privilege: ")
        is_ours = rest.startswith(b"Response: ") or b"ActionID: " in rest
        if self._in_event and begins:
            self.found[-1] += block[: len(block) - len(rest)]
        elif self._in_event and not is_ours:
            self.found[-1] += b"\r\n\r\n" + block if rest else block + b"\r\n\r\n"
            return b""
        if begins:
            self.found.append(rest)
        self._in_event = begins
        return rest


def events_in(stream: bytes) -> list[bytes]:
    """Return the events of a stream that are whole."""
    events = Events()
    for block in stream.split(b"\r\n\r\n")[:-1]:
        events.take(block)
    return events.found


class Session:
    """One AMI connection. A thread reads it all: events into `events`, answers by their ActionID."""

    def __init__(
        self, port: int, user: str, secret: str, *, events: str = "off", host: str = "127.0.0.1"
    ) -> None:
        self._collected = Events()
        self.events = self._collected.found
        self.closed = threading.Event()
        self._answers: dict[str, dict[str, str]] = {}
        self._ids = itertools.count(1)
        self._sending = threading.Lock()
        self._socket = socket.create_connection((host, port), timeout=10)
        self._socket.settimeout(None)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        try:
            answer = self.request("Login", Username=user, Secret=secret, Events=events)
            if answer.get("Response") != "Success":
                raise AssertionError(f"login of {user} refused: {answer}")
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the session once Asterisk has done all that it was sent; after 10 s without it.

        A connection that is cut takes with it the actions that Asterisk has not read: its answer to an
        earlier one cannot be written, and that ends the session (`write_error`, main/manager.c).
        """
        with contextlib.suppress(OSError):  # Asterisk was faster
            self.send("Logoff", [])
            self.closed.wait(10)
            self._socket.shutdown(socket.SHUT_RDWR)
        self._reader.join(10)
        self._socket.close()

    def send(self, action: str, fields: Sequence[tuple[str, str | bytes]]) -> None:
        """Send one action and wait for nothing."""
        self.send_raw(_action(action, fields))

    def send_raw(self, data: bytes) -> None:
        """Send bytes as they are."""
        with self._sending:
            self._socket.sendall(data)

    def request(self, action: str, **fields: str) -> dict[str, str]:
        """Send one action; return its answer's headers."""
        action_id = f"e2e-{next(self._ids)}"
        self.send(action, [("ActionID", action_id), *fields.items()])
        return wait_for(lambda: self._answers.get(action_id), 20, f"the answer to {action}", 0.01)

    def _read(self) -> None:
        held = b""
        while True:
            try:
                data = self._socket.recv(1 << 20)
            except OSError:
                data = b""
            if not data:
                self.closed.set()
                return
            *blocks, held = (held + data).split(b"\r\n\r\n")
            for block in map(self._collected.take, blocks):
                if block.startswith(b"Event: ") or b"ActionID: " not in block:
                    continue
                lines = (line.partition(": ") for line in block.decode("utf-8", "replace").split("\r\n"))
                answer = {name: value for name, _, value in lines}
                if "ActionID" in answer:
                    self._answers[answer["ActionID"]] = answer


class Witness(Session):
    """Sees every event that Asterisk gives an AMI session, as bytes without the empty line at the end."""

    def __init__(self, port: int, user: str, secret: str) -> None:
        super().__init__(port, user, secret, events="on")
        # The greeting goes to one session alone and is nothing that happened.
        wait_for(lambda: self.events, 10, "the greeting")
        assert self.events[0].startswith(b"Event: FullyBooted"), self.events[0]
        del self.events[0]

    def wait_for_marker(self, text: str, timeout: float = 30) -> int:
        """Return the index of the marker's event, waiting for it."""
        seen = 0

        def found() -> int | None:
            nonlocal seen
            while seen < len(self.events):
                seen += 1
                if marker_of(self.events[seen - 1]) == text:
                    return seen
            return None

        return wait_for(found, timeout, f"marker {text} at the witness") - 1


class Driver(Session):
    """Makes things happen: calls, user events, markers."""

    def call(self, number: int, extension: str) -> None:
        """Start a call to an extension; every tenth caller has a name that is not UTF-8."""
        name = b"M\xfcller" if number % 10 == 9 else b"Lab %d" % number
        seconds = "2" if extension in ("200", "300", "500") else "1"
        fields: list[tuple[str, str | bytes]] = [
            ("Channel", f"Local/{extension}@lab"),
            ("Application", "Wait"),
            ("Data", seconds),
            ("CallerID", b"%s <%d>" % (name, 5000 + number)),
            ("Async", "true"),
        ]
        self.send("Originate", fields)

    def calls(self, count: int, per_second: float, extensions: Sequence[str] = EXTENSIONS) -> None:
        """Start calls at an even rate, and wait until all are over."""
        begin = time.monotonic()
        for number, extension in zip(range(count), itertools.cycle(extensions), strict=False):
            self.call(number, extension)
            self.closed.wait(max(0.0, begin + (number + 1) / per_second - time.monotonic()))
        self.wait_for_quiet()

    def wait_for_quiet(self, timeout: float = 90) -> None:
        """Wait until there has been no call at two looks."""
        quiet = 0

        def over() -> bool:
            nonlocal quiet
            quiet = quiet + 1 if self.request("CoreStatus").get("CoreCurrentCalls") == "0" else 0
            return quiet == 2

        wait_for(over, timeout, "the end of all calls", 0.3)

    def marker(self, text: str) -> None:
        """Raise an event that `marker_of` recognises."""
        self.send("UserEvent", [("UserEvent", MARKER.decode()), ("Marker", text)])

    def user_event(self, name: str, *fields: tuple[str, str | bytes]) -> None:
        """Raise a UserEvent."""
        self.send("UserEvent", [("UserEvent", name), *fields])


class Flood:
    """Numbered UserEvents at an even rate from a thread of its own, until it is stopped.

    `sent` is how many there have been: their `Number:` lines are 0 to `sent` - 1, and `Series:` is `series`.
    It ends by itself when Asterisk does.
    """

    def __init__(self, driver: Driver, per_second: float, series: str, padding: int = 200) -> None:
        assert padding <= 900, "Asterisk takes no line over 1,024 bytes (main/manager.c)"
        self.sent = 0
        self.series = series
        self._driver = driver
        self._per_second = per_second
        self._padding = "x" * padding
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Flood:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> int:
        """Stop; return how many were sent."""
        self._stop.set()
        self._thread.join(30)
        return self.sent

    def _run(self) -> None:
        begin = time.monotonic()
        while not self._stop.wait(0.02):
            due = int((time.monotonic() - begin) * self._per_second)
            try:
                self._driver.send_raw(b"".join(map(self._numbered, range(self.sent, due))))
            except OSError:
                return  # Asterisk has gone
            self.sent = max(self.sent, due)

    def _numbered(self, number: int) -> bytes:
        fields = [
            ("UserEvent", "E2eFlood"),
            ("Series", self.series),
            ("Number", str(number)),
            ("Padding", self._padding),
        ]
        return _action("UserEvent", fields)


def numbers_in(data: bytes, series: str) -> list[int]:
    """Return a flood's numbers in the order they stand in some bytes: a stream, a file or an AMI payload."""
    start = b"Series: %s\r\nNumber: " % series.encode()
    numbers = []
    for part in data.split(start)[1:]:
        digits, end, _ = part.partition(b"\r\n")
        if end and digits.isdigit():
            numbers.append(int(digits))
    return numbers


def line_value(event: bytes, name: str) -> str | None:
    """Return the first value of a header of an event, as the witness saw it."""
    wanted = name.encode() + b": "
    for line in event.split(b"\r\n"):
        if line.startswith(wanted):
            return line[len(wanted) :].decode("utf-8", "replace")
    return None


def marker_of(event: bytes) -> str | None:
    """Return the text of a marker event, `None` for any other."""
    if not event.startswith(b"Event: UserEvent\r\n") or MARKER not in event:
        return None
    return line_value(event, "Marker")


def _action(action: str, fields: Sequence[tuple[str, str | bytes]]) -> bytes:
    lines = [b"Action: " + action.encode()]
    for name, value in fields:
        lines.append(name.encode() + b": " + (value if isinstance(value, bytes) else value.encode()))
    return b"\r\n".join(lines) + b"\r\n\r\n"

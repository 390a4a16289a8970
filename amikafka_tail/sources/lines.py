"""Logs of which each line is a record: a replayable source out of a function that reads one line."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from traceback import format_exception
from typing import Any, NamedTuple

from amikafka_tail.ami.debuglog import Found, passed_over
from amikafka_tail.ami.framing import MAX_BLOCK
from amikafka_tail.model.event import Event
from amikafka_tail.model.replayable_source import Unpublishable
from amikafka_tail.sources.logfile import LogFile
from amikafka_tail.sources.logs import FollowedLogs, LogOptions
from amikafka_tail.sources.losses import Losses

MOST_BITS = 63
"""Of a time in ms: Kafka has no room for more."""


class LineLogOptions(LogOptions):
    """What every source of lines can be told. A plugin's own options are a subclass of this."""


class LineEvent(NamedTuple):
    """What a line says: the event's text without its last empty line, and when it happened.

    `raw` is `Event: Name\\r\\nHeader: value...`; `happened_ms` is in ms since the epoch, `None`
    where the line does not tell: then the time counts at which the file was last written to.
    """

    raw: bytes
    happened_ms: int | None


ReadLine = Callable[[bytes], "LineEvent | None"]
"""Reads a line without its end. Returns `None` for one that is no event, raises `ValueError` with the reason
for one that ought to be: it goes to the dead letters. Called again when the same line is read again."""


class LineFramer:
    """Cuts a file at its line feeds; see `Framing`. A line longer than `max_line` bytes is `too_long`."""

    form = None

    def __init__(self, position: int = 0, _form: Any = None, *, max_line: int = MAX_BLOCK) -> None:
        self.position = position
        self.held_back = b""
        self._max_line = max_line
        self._passed_over = 0

    def feed(self, data: bytes) -> list[Found]:
        """Take the next bytes of the file; return the lines that are complete with them."""
        *lines, self.held_back = (self.held_back + data).split(b"\n")
        found = []
        for line in lines:
            if self._passed_over:
                found.append(passed_over(self.position))
            else:
                found.append(Found(line.removesuffix(b"\r"), self.position, b""))
            self.position += self._passed_over + len(line) + 1
            self._passed_over = 0
        if len(self.held_back) > self._max_line:
            self._passed_over += len(self.held_back)
            self.held_back = b""
        return found

    def finish(self) -> Found | None:
        """Return the line that the end of the file cuts off."""
        if self._passed_over:
            return passed_over(self.position)
        if not self.held_back:
            return None
        return Found(self.held_back, self.position, b"", torn=True)


class _Lines:
    """Makes events of the lines of one log; see `Interpreter`. One serves all logs."""

    learn_bytes = 0
    framer = LineFramer

    def __init__(self, read_line: ReadLine, losses: Losses) -> None:
        self._read_line = read_line
        self._losses = losses

    def interpreter(self) -> _Lines:
        """Return this."""
        return self

    def learn(self, _found: list[Found]) -> None:
        """Nothing has to be learned."""

    def events(self, found: list[Found], file: LogFile, distance: int) -> Iterator[Event | Unpublishable]:
        """Return an event for each line that is one."""
        for line in found:
            position = line.position + distance
            if line.too_long:
                yield self._losses.too_long(position, file)
                continue
            if line.torn:
                yield Unpublishable(line.raw, position, "a line cut off at the end of a file", "torn")
                continue
            try:
                said = self._read_line(line.raw)
                if said is not None and type(said.raw) is not bytes:
                    raise TypeError(f"the event is of the type {type(said.raw).__name__}, not bytes")
                happened_ms = None if said is None or said.happened_ms is None else int(said.happened_ms)
                if happened_ms is not None and happened_ms.bit_length() > MOST_BITS:
                    raise ValueError("the event has a time that no clock shows")
            except Exception as error:
                why = str(error) if type(error) is ValueError else "".join(format_exception(error))
                yield Unpublishable(line.raw, position, f"{file.path}: {why}", "malformed")
                continue
            if said is not None:
                modified_ms = file.modified_ns // 1_000_000
                yield Event(said.raw, position, modified_ms if happened_ms is None else happened_ms)

    def is_begun(self, held: bytes) -> bool:
        """Tell whether a line has begun."""
        return bool(held)

    def asterisk(self, _file: LogFile) -> tuple[str, str]:
        """Return nothing: lines do not tell."""
        return "", ""


class LineLog(FollowedLogs):
    """A source of events out of logs of lines, with all that rotation does to them; see `ReplayableSource`.

    `read_line` says what a line is. It is called from the thread that does all the work, and must not wait.
    """

    def __init__(self, options: LineLogOptions, read_line: ReadLine) -> None:
        super().__init__(options, lambda counters: _Lines(read_line, Losses(counters)))

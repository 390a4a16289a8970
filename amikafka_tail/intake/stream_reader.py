"""Reads an AMI stream, from the journal or from a file, as chunks of events."""

from __future__ import annotations

import logging
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from operator import itemgetter
from typing import NamedTuple, Protocol

from amikafka_tail.ami.debuglog import debug_headers
from amikafka_tail.ami.framing import END, MAX_BLOCK, Framer
from amikafka_tail.ami.sequence import Sequence
from amikafka_tail.journal.journal import Disconnection
from amikafka_tail.journal.segment import CaptureTime
from amikafka_tail.model import speedups
from amikafka_tail.model.counters import Counters
from amikafka_tail.model.event import Event
from amikafka_tail.model.gaps import Gap, gap
from amikafka_tail.model.identity import Identity
from amikafka_tail.model.replayable_source import NOWHERE, Chunk, FirstReadings, Unpublishable

CHUNK = 32 * 1024
EVENT = b"Event: "
SEQUENCE_NUMBER = b"\r\nSequenceNumber: "
SEQUENCE_WINDOW = 256
"""How far numbers may come out of their order, in events."""
NOT_EVENTS = (b"Response: ", b"Asterisk Call Manager/")

PlainEvents = Callable[[list[bytes], int, int], "list[Event] | None"]

log = logging.getLogger("amikafka.reader")


class Stream(Protocol):
    """Bytes of an AMI stream at offsets. `Journal` describes each."""

    @property
    def end(self) -> int:
        """Offset of the next byte to come."""
        ...

    def next_readable(self, position: int) -> int:
        """Return `position`, or the next offset that is still there where its bytes are gone."""

    def read(self, position: int, size: int) -> bytes:
        """Return up to `size` bytes at `position`; none at the end."""

    def capture_times(self, start: int, end: int) -> list[CaptureTime]:
        """Return when the bytes of one read were captured; the first moment holds for `start`."""

    def identity_at(self, position: int) -> Identity | None:
        """Return who the Asterisk was whose bytes stand at `position`."""

    def filters_at(self, position: int) -> int:
        """Return by how many filters Asterisk decided what to send of what stands at `position`."""
        ...

    def connection_in(self, start: int, end: int) -> int | None:
        """Return the offset of the first connection that begins between two offsets: a NUL stands there."""

    def disconnection_before(self, offset: int) -> Disconnection | None:
        """Return how long there was no connection before the one that begins at an offset."""

    def before(self, position: int) -> bytes:
        """Return the four bytes before a position, fewer where they are not known any more."""


class _Piece(NamedTuple):
    """Blocks of one connection that stand from `position` on, and what the end of the connection cut off."""

    start: int
    end: int
    position: int
    blocks: list[bytes]
    cut_off: bytes
    gaps: list[Gap]
    """What is missing before its events."""


class StreamReader:
    """Reads a stream. A chunk never holds events of two connections.

    With `in_block` the first position may be in the middle of an event, whose rest is passed over.
    """

    def __init__(self, stream: Stream, position: int, *, in_block: bool = False, counters: Counters) -> None:
        self._stream = stream
        self._counters = counters
        native = speedups.native()
        self._plain_events: PlainEvents = (
            plain_events if native is None else partial(native.plain_events, Event)
        )
        self._first_readings = FirstReadings()
        self._cut_at = position if in_block else NOWHERE
        self._begin(position, in_block=in_block)

    @property
    def end(self) -> int:
        """Offset of the next byte to come."""
        return self._stream.end

    @property
    def position(self) -> int:
        """Offset that the next read begins at."""
        return self._ready[0].start if self._ready else self._read_at

    @property
    def partial(self) -> bytes:
        """The start of an event whose end has not come yet."""
        return self._framer.held_back

    def seek(self, position: int) -> None:
        """Go on reading at the end of a chunk, or where the first one began."""
        self._begin(position, in_block=position == self._cut_at)

    def _begin(self, position: int, *, in_block: bool = False, before: bytes = b"") -> None:
        self._framer = Framer(position, in_block=in_block, before=before)
        self._read_at = position
        self._capture_times: list[CaptureTime] = []
        self._ready: deque[Chunk] = deque()
        self._gaps: list[Gap] = []
        self._sequence = Sequence(SEQUENCE_WINDOW)

    def read(self) -> Chunk | None:
        """Return the next chunk. Raises `OSError`."""
        if self._ready:
            return self._ready.popleft()
        position = self._stream.next_readable(self._read_at)
        data = self._stream.read(position, CHUNK)
        if not data:
            return None
        if position != self._read_at:
            self._skip_to(position, len(data))
        self._read_at += len(data)
        self._note_capture_times(position)
        framer = self._framer
        overlong = framer.overlong
        blocks = framer.feed(data)
        if framer.overlong != overlong:
            self._note_overlong(framer.position)
        pieces = self._pieces(blocks, framer.first, framer.position)
        if blocks:
            pieces[0].gaps[:0] = self._gaps
            self._gaps = []
        self._ready += map(self._chunk, pieces)
        return self._ready.popleft()

    def _skip_to(self, position: int, size: int) -> None:
        """Go on at `position`: the stream gave up what comes before, perhaps the beginning of an event."""
        before = self._stream.before(position)
        in_block = before != END
        if in_block and self._first_readings.is_first("beheaded", position):
            self._counters.lost += 1
        missing, lost_from = position - self._read_at, self._read_at
        self._begin(position, in_block=in_block, before=before)
        moment = self._stream.capture_times(position, position + size)[0]
        self._gaps.append(gap("JournalFull", lost_from, moment.captured_ms, LostBytes=missing))
        log.warning("%d bytes are gone that were not read: going on at offset=%d", missing, position)

    def _note_capture_times(self, position: int) -> None:
        """Keep when the bytes from `position` on came, and those before them that are still needed."""
        times = self._capture_times
        # Of a block that is passed over, however long it is, no time is needed.
        needed_from = position if self._framer.is_passing_over else self._framer.position
        while len(times) > 1 and times[1].offset <= needed_from:
            del times[0]
        known_until = times[-1].offset if times else -1
        moments = self._stream.capture_times(position, self._read_at)
        times += [moment for moment in moments if moment.offset > known_until]

    def _captured_ms(self, position: int) -> int:
        """Return when the byte at `position` came, which is at or behind the first one needed."""
        times = self._capture_times
        index = bisect_right(times, position, key=itemgetter(0)) - 1
        return times[max(index, 0)].captured_ms

    def _note_overlong(self, position: int) -> None:
        if self._first_readings.is_first("too long", position):
            self._counters.overlong += 1
            log.error("passed over: an event longer than %d bytes: offset=%d", MAX_BLOCK, position)
        self._gaps.append(gap("TooLong", position, self._captured_ms(position)))

    def _pieces(self, blocks: list[bytes], start: int, end: int) -> list[_Piece]:
        """Cut blocks that stand between two offsets into what came on each connection."""
        stream = self._stream
        pieces: list[_Piece] = []
        gaps: list[Gap] = []
        searched = position = start
        while (begin := stream.connection_in(searched, end)) is not None:
            searched = begin + 1
            index, at = _find(blocks, begin - position)
            if blocks[index][at : at + 1] != b"\0":
                continue  # noted, and then the disk was full
            cut_off, rest = blocks[index][:at], blocks[index][at + 1 :]
            if start < begin:
                pieces.append(_Piece(start, begin, position, blocks[:index], cut_off, gaps))
                gaps = []
            blocks = [rest, *blocks[index + 1 :]]
            # The NUL is of what it begins: who reads that again finds how long there was silence.
            start, position = begin, begin + 1
            if (disconnection := stream.disconnection_before(begin)) is not None:
                seconds = f"{disconnection.ms / 1000:.3f}"
                gaps.append(gap("Disconnected", begin, disconnection.until_ms, Seconds=seconds))
        pieces.append(_Piece(start, end, position, blocks, b"", gaps))
        return pieces

    def _chunk(self, piece: _Piece) -> Chunk:
        """Make the chunk of what came on one connection."""
        identity = self._stream.identity_at(piece.start)
        times = self._capture_times
        plain = None
        if not piece.gaps and not piece.cut_off and (len(times) == 1 or times[1].offset >= piece.end):
            # Blocks that are nothing but events and came at one moment, as most do.
            plain = self._plain_events(piece.blocks, piece.position, times[0].captured_ms)
        events = self._events(piece) if plain is None else plain
        return Chunk(piece.start, piece.end, identity, iter(events))

    def _events(self, piece: _Piece) -> list[Event | Unpublishable]:
        """Tell the events from whatever else is in the stream, each with its position and capture time."""
        # What Asterisk was asked to keep back is not lost, though its number is missing.
        numbered = not self._stream.filters_at(piece.position)
        if not numbered:
            self._sequence = Sequence(SEQUENCE_WINDOW)
        found: list[Event | Unpublishable] = list(piece.gaps)
        at = piece.position
        for block in piece.blocks:
            if numbered and block.find(SEQUENCE_NUMBER) >= 0 and (lost := self._missing_before(block, at)):
                found.append(gap("SequenceGap", at, self._captured_ms(at), LostEvents=lost))
            if block.startswith(EVENT) and 0 not in block:
                found.append(Event(block, at, self._captured_ms(at)))
            else:
                found += self._odd_block(block, at)
            at += len(block) + len(END)
        # With only the last byte of its end missing, the event is whole.
        if piece.cut_off.endswith(b"\r\n\r"):
            found += self._odd_block(piece.cut_off[:-3], at)
        elif piece.cut_off:
            found += self._odd_block(piece.cut_off, at, torn=True)
        return found

    def _missing_before(self, block: bytes, at: int) -> int:
        """Return how many events turn out to be missing, as the numbers of manager debug tell."""
        _, number = debug_headers(block)
        if number is None:
            return 0
        self._sequence.is_new(number, block)
        missing = self._sequence.ended_gap()
        if missing and self._first_readings.is_first("missing", at):
            self._counters.gaps += missing
            log.warning(
                "events did not come, as SequenceNumber tells: they are lost, or the manager user may not"
                " read them: lost_events=%d before=%d",
                missing,
                number,
            )
        return missing

    def _odd_block(self, block: bytes, at: int, *, torn: bool = False) -> Iterator[Event | Unpublishable]:
        # NULs in front are the rest of a page that a full disk was given back.
        text = block.lstrip(b"\r\n\0")
        if text.startswith(NOT_EVENTS) or not text.strip():
            return
        if torn:
            yield Unpublishable(block, at, "cut off by a lost connection", "torn")
        elif text.startswith(EVENT) and 0 not in text:
            yield Event(text, at, self._captured_ms(at))
        else:
            yield Unpublishable(block, at, "not an AMI event", "malformed")


def plain_events(blocks: list[bytes], position: int, captured_ms: int) -> list[Event] | None:
    """Return the events of blocks, the first at `position`; `None` where one may be something else."""
    whole = b"".join(blocks)
    # `in` would format an error message first: bytes in bytes are looked for as a number.
    if 0 in whole or whole.find(SEQUENCE_NUMBER) >= 0:
        return None
    events = []
    for block in blocks:
        if not block.startswith(EVENT):
            return None
        events.append(Event(block, position, captured_ms))
        position += len(block) + len(END)
    return events


def _find(blocks: list[bytes], distance: int) -> tuple[int, int]:
    """Return which block stands so many bytes from the first one's start, and where in it that is."""
    index = 0
    while distance >= (covered := len(blocks[index]) + len(END)):
        distance -= covered
        index += 1
    return index, distance

"""Reads an AMI stream, from the journal or from a file, as chunks of events."""

from __future__ import annotations

import logging
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from operator import itemgetter
from typing import NamedTuple

from amikafka_tail.ami.debuglog import debug_headers
from amikafka_tail.ami.events import EVENT, PRIVILEGE, EventJoiner, Found, begins_event
from amikafka_tail.ami.framing import END, MAX_BLOCK, Framer
from amikafka_tail.ami.sequence import WINDOW, Sequence
from amikafka_tail.intake.streams import Stream
from amikafka_tail.journal.segment import CaptureTime
from amikafka_tail.model import speedups
from amikafka_tail.model.counters import Counters
from amikafka_tail.model.event import CRLF, Event
from amikafka_tail.model.gaps import Gap, gap
from amikafka_tail.model.replayable_source import NOWHERE, Chunk, FirstReadings, Unpublishable

CHUNK = 32 * 1024
SEQUENCE_NUMBER = b"\r\nSequenceNumber: "
SEQUENCE_WINDOW = WINDOW
"""How far numbers may come out of their order, in events."""
QUIET_MS = 50
"""How long nothing must come until an event is taken to be whole, on a connection that cuts events."""
IN_PIECES_MS = 10_000
"""How long a connection is taken for one that cuts events after it has cut one."""
REASONS = {
    "odd": "not an AMI event",
    "late": "the rest of an event that came too late and was published without it",
    "torn": "cut off by a lost connection",
}

PlainEvents = Callable[[list[bytes], int, int], "list[Event] | None"]

log = logging.getLogger("amikafka.reader")


class _Piece(NamedTuple):
    """Blocks of one connection that stand from `position` on.

    The connection ended behind them, with `cut_off`, where that is not `None`.
    """

    start: int
    end: int
    position: int
    blocks: list[bytes]
    cut_off: bytes | None
    gaps: list[Gap]
    """What is missing before its events."""


class StreamReader:
    """Reads a stream. A chunk never holds events of two connections.

    The last event of the stream is given out when the next one has begun behind it, or when nothing follows
    it. Where events have lately come in pieces, nothing follows after `QUIET_MS` without a byte, by `now_ms`,
    the time of day in ms; elsewhere, and without `now_ms`, at once: Asterisk writes an event in one piece.

    With `in_block` the first position may be in the middle of an event, whose rest is passed over.
    """

    def __init__(
        self,
        stream: Stream,
        position: int,
        *,
        in_block: bool = False,
        counters: Counters,
        now_ms: Callable[[], int] | None = None,
    ) -> None:
        self._stream = stream
        self._counters = counters
        self._now_ms = now_ms
        native = speedups.native()
        self._plain_events: PlainEvents = (
            plain_events if native is None else partial(native.plain_events, Event)
        )
        self._first_readings = FirstReadings()
        self._cut_at = position if in_block else NOWHERE
        self._in_pieces_ms = -IN_PIECES_MS
        """When the stream last ended in the middle of an event."""
        self._begin(position, in_block=in_block)

    @property
    def end(self) -> int:
        """Offset of the next byte to come."""
        return self._stream.end

    @property
    def position(self) -> int:
        """Offset that the next read begins at."""
        if self._ready:
            return self._ready[0].start
        opened = self._joiner.open
        return self._read_at if opened is None or self._is_partial else opened[1]

    @property
    def partial(self) -> bytes:
        """The start of an event whose end has not come yet."""
        held = self._framer.held_back
        opened = self._joiner.open
        return opened[0] + END + held if opened is not None and self._is_partial else held

    @property
    def _is_partial(self) -> bool:
        """Whether the rest of the open event has begun to come."""
        return self._joiner.open is not None and self._joiner.continues(self._framer.held)

    @property
    def due_in_ms(self) -> int | None:
        """In how many ms an event is given out if nothing follows it, `None` where none waits for that."""
        return None if self._joiner.open is None or self._is_partial else self._wait_ms()

    def _wait_ms(self) -> int:
        """Return for how many ms nothing more must come until the last event is taken to be whole."""
        if self._now_ms is None:
            return 0
        now_ms = self._now_ms()
        waited = now_ms - self._capture_times[-1].captured_ms
        is_in_pieces = now_ms - self._in_pieces_ms <= IN_PIECES_MS
        return QUIET_MS - waited if is_in_pieces and 0 <= waited < QUIET_MS else 0

    def seek(self, position: int) -> None:
        """Go on reading at the end of a chunk, or where the first one began."""
        self._begin(position, in_block=position == self._cut_at)

    def _begin(self, position: int, *, in_block: bool = False, before: bytes = b"") -> None:
        self._framer = Framer(position, in_block=in_block, before=before)
        self._joiner = EventJoiner(ours=self._stream.is_ours, in_event=in_block)
        self._read_at = position
        self._capture_times: list[CaptureTime] = []
        self._ready: deque[Chunk] = deque()
        self._gaps: list[Gap] = []
        self._is_at_end = False
        self._sequence = Sequence(SEQUENCE_WINDOW)

    def read(self) -> Chunk | None:
        """Return the next chunk. Raises `OSError`."""
        if self._ready:
            return self._ready.popleft()
        position = self._stream.next_readable(self._read_at)
        data = self._stream.read(position, CHUNK)
        if not data:
            return self._release()
        if position != self._read_at:
            self._skip_to(position, len(data))
        self._read_at += len(data)
        self._note_capture_times(position)
        framer = self._framer
        begin, overlong = framer.position, framer.overlong
        blocks = framer.feed(data)
        if framer.first != begin or framer.overlong != overlong:
            self._pass_over(framer.overlong != overlong)
        start = framer.first
        if self._joiner.open is not None:
            raw, start = self._joiner.open
            blocks.insert(0, raw)
        self._is_at_end = self._read_at >= self._stream.end
        if self._is_at_end and framer.held.strip(b"\r\n") and self._now_ms is not None:
            self._in_pieces_ms = self._now_ms()
        self._ready += self._chunks(blocks, start, framer.position)
        return self._ready.popleft()

    def _release(self) -> Chunk | None:
        """Give out the open event, if there is one and nothing follows it for now."""
        opened = self._joiner.open
        if opened is None or self._is_partial or self._wait_ms():
            return None
        found, taken = self._joiner.release(self._framer.held)
        self._framer.forget(taken)
        return self._chunk_of(found, opened[1], self._framer.position)

    def _chunk_of_open(self, raw: bytes, position: int) -> Chunk:
        """Make the chunk of the open event, behind which something is missing."""
        return self._chunk_of(self._joiner.close(), position, position + len(raw) + len(END))

    def _chunk_of(self, found: list[Found], start: int, end: int) -> Chunk:
        """Make the chunk of the event that was open."""
        gaps, self._gaps = self._gaps, []
        events = [*gaps, *self._events(found, start)]
        return Chunk(start, end, self._stream.identity_at(start), iter(events))

    def _skip_to(self, position: int, size: int) -> None:
        """Go on at `position`: the stream gave up what comes before, perhaps the beginning of an event."""
        before = self._stream.before(position)
        in_block = before != END
        if in_block and self._first_readings.is_first("beheaded", position):
            self._counters.lost += 1
        missing, lost_from = position - self._read_at, self._read_at
        ready = [] if self._joiner.open is None else [self._chunk_of_open(*self._joiner.open)]
        self._begin(position, in_block=in_block, before=before)
        self._ready.extend(ready)
        moment = self._stream.capture_times(position, position + size)[0]
        self._gaps.append(gap("JournalFull", lost_from, moment.captured_ms, LostBytes=missing))
        log.warning("%d bytes are gone that were not read: going on at offset=%d", missing, position)

    def _note_capture_times(self, position: int) -> None:
        """Keep when the bytes from `position` on came, and those before them that are still needed."""
        times = self._capture_times
        # Of a block that is passed over, however long it is, no time is needed.
        needed_from = position if self._framer.is_passing_over else self._framer.position
        if self._joiner.open is not None:
            needed_from = self._joiner.open[1]
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

    def _pass_over(self, is_overlong: bool) -> None:
        """Let go the event before a block that is passed over: what comes next does not belong to it."""
        if self._joiner.open is not None:
            self._ready.append(self._chunk_of_open(*self._joiner.open))
        self._joiner.skip()
        if is_overlong:
            self._gaps.append(self._overlong(self._framer.position))

    def _overlong(self, position: int) -> Gap:
        if self._first_readings.is_first("too long", position):
            self._counters.overlong += 1
            log.error("passed over: an event longer than %d bytes: offset=%d", MAX_BLOCK, position)
        return gap("TooLong", position, self._captured_ms(position))

    def _chunks(self, blocks: list[bytes], start: int, end: int) -> list[Chunk]:
        """Make the chunks of blocks that stand between two offsets, one for each connection."""
        pieces = self._pieces(blocks, start, end)
        if blocks:
            pieces[0].gaps[:0] = self._gaps
            self._gaps = []
        return list(map(self._chunk, pieces))

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
        pieces.append(_Piece(start, end, position, blocks, None, gaps))
        return pieces

    def _chunk(self, piece: _Piece) -> Chunk:
        """Make the chunk of what came on one connection."""
        start, end, position, blocks, cut_off, gaps = piece
        identity = self._stream.identity_at(start)
        joiner = self._joiner
        events: list[Event | Unpublishable] | None = None
        is_joined = joiner.open is not None and joiner.open[0].find(END) >= 0
        if cut_off is None and not gaps and blocks and not is_joined:
            events = self._plain(blocks, position, end)
        if events is None:
            joiner.open = None  # it is the first of the blocks
            found = joiner.take(blocks, position)
            if cut_off is not None:
                after = position + sum(map(len, blocks)) + len(END) * len(blocks)
                found += joiner.end_connection(cut_off, after)
            elif begins_event(self._framer.held):
                found += joiner.close()
            elif self._is_at_end and joiner.open and not self._is_partial and not self._wait_ms():
                more, taken = joiner.release(self._framer.held)
                self._framer.forget(taken)
                found += more
                end += taken
            events = self._events(found, position)
        end = end if joiner.open is None else joiner.open[1]
        if start == end:
            self._gaps[:0] = gaps  # nothing of the chunk is published: they wait for the first event
        else:
            events[:0] = gaps
        return Chunk(start, end, identity, iter(events))

    def _plain(self, blocks: list[bytes], position: int, end: int) -> list[Event | Unpublishable] | None:
        """Return the events of blocks that are nothing else, as most are; `None` where one may be more.

        The last block stays open unless the next event has begun behind it.
        """
        opened = None
        held = self._framer.held
        released = self._is_at_end and not held and not self._wait_ms()
        if not released and not begins_event(held):
            if not begins_event(blocks[-1]):
                return None
            opened = blocks[-1], end - len(END) - len(blocks[-1])
            blocks = blocks[:-1]
        times = self._capture_times
        events: list[Event | Unpublishable] = []
        if len(times) == 1 or times[1].offset >= end:
            runs = [(position, blocks, times[0].captured_ms)]
        else:
            runs = list(self._runs(blocks, position))
        for at, run, captured_ms in runs:
            plain = self._plain_events(run, at, captured_ms)
            if plain is None:
                return None
            events += plain
        self._joiner.hold(opened, released=released)
        return events

    def _runs(self, blocks: list[bytes], position: int) -> Iterator[tuple[int, list[bytes], int]]:
        """Cut blocks into those that came at the same time: where they stand, they, and that time in ms."""
        times = self._capture_times
        index = max(bisect_right(times, position, key=itemgetter(0)) - 1, 0)
        begin, run = position, list[bytes]()
        for block in blocks:
            if index + 1 < len(times) and times[index + 1].offset <= position:
                yield begin, run, times[index].captured_ms
                begin, run = position, []
                while index + 1 < len(times) and times[index + 1].offset <= position:
                    index += 1
            run.append(block)
            position += len(block) + len(END)
        yield begin, run, times[index].captured_ms

    def _events(self, found: list[Found], position: int) -> list[Event | Unpublishable]:
        """Make the events of what was found, each with its position and capture time."""
        # What Asterisk was asked to keep back is not lost, though its number is missing.
        numbered = not self._stream.filters_at(position)
        if not numbered:
            self._sequence = Sequence(SEQUENCE_WINDOW)
        events: list[Event | Unpublishable] = []
        for kind, raw, at in found:
            if numbered and raw.find(SEQUENCE_NUMBER) >= 0 and (lost := self._missing_before(raw, at)):
                events.append(gap("SequenceGap", at, self._captured_ms(at), LostEvents=lost))
            if kind == "joined" and self._first_readings.is_first("joined", at):
                self._counters.joined += 1
                log.warning("an event with an empty line inside a value was put together: offset=%d", at)
            if kind in ("event", "joined"):
                events.append(Event(raw, at, self._captured_ms(at)))
            elif kind == "overlong":
                events.append(self._overlong(at))
            else:
                reason = REASONS[kind]
                events.append(Unpublishable(raw, at, reason, "torn" if kind == "torn" else "malformed"))
        return events

    def _missing_before(self, block: bytes, at: int) -> int:
        """Return how many events turn out to be missing, as the numbers of manager debug tell."""
        _, number = debug_headers(block)
        if number is None:
            return 0
        self._sequence.is_new(number, block)
        missing = self._sequence.ended_gap(self._captured_ms(at))
        if missing and self._first_readings.is_first("missing", at):
            self._counters.gaps += missing
            log.warning(
                "events did not come, as SequenceNumber tells: they are lost, or the manager user may not"
                " read them: lost_events=%d before=%d",
                missing,
                number,
            )
        return missing


def plain_events(blocks: list[bytes], position: int, captured_ms: int) -> list[Event] | None:
    """Return the events of blocks, the first at `position`; `None` where one may be something else."""
    whole = b"".join(blocks)
    # `in` would format an error message first: bytes in bytes are looked for as a number.
    if 0 in whole or whole.find(SEQUENCE_NUMBER) >= 0:
        return None
    events = []
    for block in blocks:
        if not block.startswith(EVENT) or not block.startswith(PRIVILEGE, block.find(CRLF) + 2):
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

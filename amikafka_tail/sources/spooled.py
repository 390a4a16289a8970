"""One file of the spool: how far it is read, and how far delivered."""

from __future__ import annotations

from collections import deque

from amikafka_tail.ami.debuglog import LogFramer
from amikafka_tail.ami.sequence import Sequence
from amikafka_tail.sources.logevents import WARM_UP, learn
from amikafka_tail.sources.logfile import LogFile, Mark


class Spooled:
    """A file of the spool, and what was found in it. `held_events` says so of what was delivered before."""

    def __init__(self, file: LogFile, *, held_events: bool = False) -> None:
        self.file = file
        self.held_events = held_events
        self.wrong = ""
        """Why not all of it could be read."""
        self.has_grown = False
        self.start = 0
        """Where its first byte is among the reader's offsets."""
        self.end: int | None = None
        self.sequence: Sequence
        self.places: deque[tuple[int, Mark | None]] = deque()
        """The reader's offsets between its chunks, and where they are in it, `None` at its beginning."""

    def begin(self, position: int) -> None:
        """Read on in the file, its bytes from `position` on among the reader's offsets. Raises `OSError`."""
        file = self.file
        self.places = deque([(position, file.mark(file.offset) if file.offset else None)])
        self.start = position - file.offset
        self.end = None
        self.has_grown = False
        self.sequence = Sequence()
        before = max(0, file.offset - WARM_UP)
        if file.offset:
            framer = LogFramer(before, file.framer.form)
            learn(framer.feed(file.read_at(before, file.offset - before)), self.sequence)

    def go_back(self, position: int) -> None:
        """Be ready to begin again, at `position` or where it was begun before."""
        while len(self.places) > 1 and self.places[1][0] <= position:
            self.places.popleft()
        mark = self.places[0][1]
        self.places = deque([self.places[0]])
        self.file.start_at(mark.offset if mark is not None else 0, self.file.framer.form)

    def delivered(self, position: int) -> Mark | None:
        """Return up to where it is delivered when all before `position` is, `None` for nowhere."""
        reached = [mark for at, mark in self.places if at <= position] or [self.places[0][1]]
        return reached[-1]


def is_marked(file: LogFile, mark: Mark) -> bool:
    """Tell whether a file is the very one of a mark, and not another with the same content."""
    # Not by its device: that may have another number after the machine was started again.
    here = (str(file.path), file.inode, file.modified_ns)
    return here == (mark.path, mark.inode, mark.modified_ns) and file.has(mark)

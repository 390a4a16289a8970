"""One file of the spool: how far it is read, and how far delivered."""

from __future__ import annotations

from amikafka_tail.ami.debuglog import LogFramer
from amikafka_tail.ami.sequence import Sequence
from amikafka_tail.sources.logevents import WARM_UP, learn
from amikafka_tail.sources.logfile import LogFile, Mark


class Spooled:
    """A file of the spool, and what was found in it. `held_events` says so of what was delivered before.

    `has_dead_letters` says whether something of it is in the dead letters.
    """

    def __init__(self, file: LogFile, *, held_events: bool = False, has_dead_letters: bool = False) -> None:
        self.file = file
        self.has_dead_letters = has_dead_letters
        self.held_events = held_events
        self.wrong = ""
        """Why not all of it could be read."""
        self.start = 0
        """Where its first byte is among the reader's offsets."""
        self.end: int | None = None
        self.sequence: Sequence
        self.read_to: Mark | None = None
        """Up to where it was read and can be read on, `None` for its beginning."""
        self.delivered_to: Mark | None = None
        """The same for what is delivered."""

    def begin(self, position: int) -> None:
        """Read on in the file, its bytes from `position` on among the reader's offsets. Raises `OSError`."""
        file = self.file
        self.read_to = self.delivered_to = file.mark(file.offset) if file.offset else None
        self.start = position - file.offset
        self.end = None
        self.sequence = Sequence()
        before = max(0, file.offset - WARM_UP)
        if file.offset:
            framer = LogFramer(before, file.framer.form)
            learn(framer.feed(file.read_at(before, file.offset - before)), self.sequence)


def is_marked(file: LogFile, mark: Mark) -> bool:
    """Tell whether a file is the very one of a mark, and not another with the same content."""
    # Not by its device: that may have another number after the machine was started again.
    here = (str(file.path), file.inode, file.modified_ns)
    return here == (mark.path, mark.inode, mark.modified_ns) and file.has(mark)

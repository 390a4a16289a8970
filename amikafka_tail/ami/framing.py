"""Bytes in, blocks out: cuts an AMI stream at its empty lines, wherever the reads happened to end."""

from __future__ import annotations

END = b"\r\n\r\n"
MAX_BLOCK = 4 * 1024 * 1024
"""Longest block held while its end is awaited, in bytes: four times Kafka's own default for a message."""
LOGIN_ACCEPTED = b"\r\nMessage: Authentication accepted"
GREETING = b"Event: FullyBooted\r\n"


class Framer:
    """Cuts a stream into blocks: the text between two empty lines, an event or a response.

    `position` is the offset in the stream of the first byte that no returned block has covered, `first` that
    of the first block the last `feed` returned; a block covers `len(block) + 4` bytes.

    Memory is bounded: a block longer than `max_block` is passed over up to its empty line and counted in
    `overlong`. With `in_block` the stream starts inside a block, which is passed over in the same way but
    not counted; `before` is what stood before, as far as it is known, because its end may be half there.

    The FullyBooted that Asterisk sends to one session right after its login (main/manager.c, action_login)
    is a greeting and not something that happened: it is blanked.
    """

    def __init__(
        self,
        position: int = 0,
        *,
        in_block: bool = False,
        before: bytes = b"",
        max_block: int = MAX_BLOCK,
    ) -> None:
        self.position = position
        self.first = position
        self.overlong = 0
        self._max_block = max_block
        self._held = bytearray(before[-3:] if in_block else b"")
        self._passed_over = -len(self._held)
        self._passing_over = in_block
        self._greeting_due = False

    @property
    def held_back(self) -> bytes:
        """The start of a block whose end has not come yet."""
        return bytes(self._held)

    @property
    def held(self) -> bytearray:
        """The same without a copy: to be looked at, and not kept."""
        return self._held

    @property
    def is_passing_over(self) -> bool:
        """Whether the end of a block is awaited that is not returned."""
        return self._passing_over

    def forget(self, count: int) -> None:
        """Give up the first bytes that are held back: nothing of them is needed."""
        del self._held[:count]
        self.position += count

    def feed(self, data: bytes) -> list[bytes]:
        """Take the next bytes of the stream; return the blocks they complete, without their empty lines."""
        held = self._held
        self.first = self.position
        if held:
            # The end mark may straddle two reads, so look back three bytes.
            searched = max(0, len(held) - 3)
            held += data
            if held.find(END, searched) < 0:
                self._keep_bounded()
                return []
            data = bytes(held)
            held.clear()
        *blocks, rest = data.split(END)
        held += rest
        if blocks and self._passing_over:
            self.position += self._passed_over + len(blocks.pop(0)) + len(END)
            self._passed_over = 0
            self._passing_over = False
        self.first = self.position
        self.position += sum(map(len, blocks)) + len(END) * len(blocks)
        self._keep_bounded()
        if self._greeting_due or LOGIN_ACCEPTED in data:
            self._blank_greeting(blocks)
        return blocks

    def _keep_bounded(self) -> None:
        held = self._held
        if len(held) > self._max_block and not self._passing_over:
            self.overlong += 1
            self._passing_over = True
        if self._passing_over and len(held) > 3:
            self._passed_over += len(held) - 3
            del held[:-3]

    def _blank_greeting(self, blocks: list[bytes]) -> None:
        for index, block in enumerate(blocks):
            if self._greeting_due and block.startswith(GREETING):
                # As long as before, so that the positions of the others stay right.
                blocks[index] = b" " * len(block)
            self._greeting_due = not block.startswith(b"Event: ") and LOGIN_ACCEPTED in block

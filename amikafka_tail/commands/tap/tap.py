"""Shows the live events of a source: the daemon's own pipeline with a printer at its end."""

from __future__ import annotations

import dataclasses
import glob
import logging
import os
import select
import time
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

from amikafka_tail.commands.tap.receiver import received
from amikafka_tail.commands.tap.requested_names import RequestedNames
from amikafka_tail.commands.tap.window import Window
from amikafka_tail.delivery.messages import Messages
from amikafka_tail.delivery.pipeline import Pipeline
from amikafka_tail.delivery.printer import Printer
from amikafka_tail.intake.backoff import Backoff
from amikafka_tail.intake.connector import log_connected
from amikafka_tail.intake.stream_reader import StreamReader
from amikafka_tail.journal.dead_letters import DeadLetters
from amikafka_tail.model.counters import Counters
from amikafka_tail.model.errors import InputError, LoginRefused, SourceDisconnected
from amikafka_tail.model.identity import Identity
from amikafka_tail.model.live_source import Connection, LiveSource
from amikafka_tail.model.pushed_filters import Filtered
from amikafka_tail.model.replayable_source import Reader, ReplayableSource
from amikafka_tail.sources.logs import LogOptions

LOOK_SECONDS = 0.1
"""How often to look at files, and to call a waiting plugin again."""
READER_SECONDS = 0.5
"""How often to check that somebody still reads the output."""
LONGEST_RETRY = 5.0
"""Seconds between two attempts to reconnect at most: a person is waiting."""

log = logging.getLogger("amikafka.tap")


class _Unkept(DeadLetters):
    """Keeps nothing: the log reports what cannot be published, and keeping it is the daemon's job."""

    def __init__(self) -> None:
        super().__init__(Path(os.devnull))

    def keep(self, *_: object, **__: object) -> int:
        """Do nothing."""
        return 0


class Tap:
    """Shows messages through a printer on `out` until the printer is done or nobody reads the output.

    Reports which of the `wanted` events do not arrive. Gaps are not shown: only the daemon knows what the
    daemon missed.
    """

    def __init__(self, messages: Messages, printer: Printer, out: TextIO, wanted: RequestedNames) -> None:
        self.counters = Counters()
        self.unprinted = 0
        """Bytes that arrived faster than they could be printed."""
        self._messages = wanted.over(dataclasses.replace(messages, gap_events=False))
        self._wanted = wanted
        self._printer = printer
        self._out = out

    def live(self, source: LiveSource, identify: Callable[[Connection], Identity]) -> None:
        """Show the events of our own connection, and reconnect when it is lost. Blocks.

        Raises `SourceDisconnected` if the first attempt fails, `LoginRefused` if any attempt is refused.
        """
        connection = source.connect()
        while True:
            identity = identify(connection)
            log_connected(connection, identity)
            filters = connection.pushed.taken if isinstance(connection, Filtered) else 0
            window = Window(identity, filters=filters)
            with received(connection, window):
                self._show_window(window)
            if self._printer.is_done:
                return
            lost_at = time.monotonic()
            log.warning("lost the connection to Asterisk: %s; reconnecting", window.ended)
            connection = self._connected_again(source)
            seconds = time.monotonic() - lost_at
            log.warning("reconnected after %.1f s: events in that time are not shown", seconds)

    def files(
        self, source: ReplayableSource, options: LogOptions, identify: Callable[[str, str], Identity]
    ) -> None:
        """Show new events in log files: `options` start at the ends of the files. Blocks.

        Raises `InputError` if no file can be read.
        """
        remarks = source.remarks()
        names = [name for pattern in options.path for name in glob.glob(pattern)]  # noqa: PTH207, absolute
        if not any(os.access(name, os.R_OK) for name in names):
            raise InputError("\n".join(remarks))
        for remark in remarks:
            log.warning("%s", remark)
        reader = source.open(position=0, bookmark=None, counters=self.counters, identify=identify)
        is_first = True

        def wait(_position: int) -> bool:
            nonlocal is_first
            if is_first:
                log.info("waiting for new events in: %s", ", ".join(options.path))
            is_first = False
            reader.look_for_files()
            time.sleep(LOOK_SECONDS)
            return True

        try:
            self._show(reader, wait, reader.release)
        finally:
            reader.close()

    def _show_window(self, window: Window) -> None:
        def wait(position: int) -> bool:
            window.wait(position, READER_SECONDS)
            return window.ended is None or window.end > position

        try:
            self._show(StreamReader(window, 0, counters=self.counters), wait)
        finally:
            self.unprinted += window.dropped

    def _show(
        self,
        reader: Reader,
        wait: Callable[[int], bool],
        release: Callable[[int], None] = lambda _position: None,
    ) -> None:
        """Show a reader's events until the printer is done, or `wait` says that no more will come."""
        pipeline = Pipeline(
            reader,
            messages=self._messages,
            connect=self._printer.connect,
            dead_letters=_Unkept(),
            counters=self.counters,
            clock=time.monotonic,
        )
        while True:
            stepped = pipeline.step()
            release(pipeline.ledger.position)
            self._out.flush()
            if self._printer.is_done:
                return
            for remark in self._wanted.remarks(time.monotonic()):
                log.warning("%s", remark)
            if stepped:
                continue
            self._see_reader()
            if not pipeline.settled:  # a plugin has to wait
                time.sleep(LOOK_SECONDS)
            elif not wait(pipeline.position):
                return

    def _connected_again(self, source: LiveSource) -> Connection:
        backoff = Backoff(maximum=LONGEST_RETRY)
        said = ""
        while True:
            until = time.monotonic() + backoff.delay(time.monotonic())
            while (left := until - time.monotonic()) > 0:
                self._see_reader()
                time.sleep(min(left, READER_SECONDS))
            try:
                return source.connect()
            except LoginRefused:
                raise
            except SourceDisconnected as error:
                if str(error) != said:
                    said = str(error)
                    log.warning("no connection to Asterisk: %s; retrying", said)

    def _see_reader(self) -> None:
        """Raise `BrokenPipeError` if nobody reads the output any more."""
        poll = select.poll()
        poll.register(self._out.fileno(), 0)
        if any(happened & (select.POLLERR | select.POLLHUP) for _, happened in poll.poll(0)):
            raise BrokenPipeError

"""Contract suites: classes of tests for what the host relies on in a source."""

from __future__ import annotations

import json
import select
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, closing
from pathlib import Path
from typing import Any, NamedTuple

from amikafka_tail.model.counters import Counters
from amikafka_tail.model.event import Event
from amikafka_tail.model.live_source import Connection, LiveSource
from amikafka_tail.model.replayable_source import Chunk, FollowingReader, ReplayableSource, Unpublishable
from amikafka_tail.testing.contracts import registered
from amikafka_tail.testing.events import ASTERISK

BOUND = 10.0
"""Seconds within which bytes must arrive."""
IDLE = 3
"""How often a reader must return nothing before it counts as finished."""
Prepare = Callable[[Path], "tuple[dict[str, Any], list[bytes]]"]
Serve = Callable[[Path], "AbstractContextManager[tuple[dict[str, Any], Callable[[bytes], None]]]"]


class Read(NamedTuple):
    """What was read from a source."""

    events: list[Event]
    refused: list[Unpublishable]
    """What would go to the dead letters."""


def read_source(name: str, options: dict[str, Any]) -> Read:
    """Read a registered replayable source with these options to its end."""
    registration = registered("source", name)
    made = registration.make(registration.options(**options))
    reader = made.open(
        position=0, bookmark=None, counters=Counters(), identify=lambda _version, _name: ASTERISK
    )
    with closing(reader):
        found = [each for _, events in _read(reader) for each in events]
    return Read(
        [each for each in found if isinstance(each, Event)],
        [each for each in found if isinstance(each, Unpublishable)],
    )


def source_contract(name: str, prepare: Prepare) -> type:
    """Return the contract suite of a registered replayable source.

    `prepare(directory)` writes files there. It returns the options that read all of them, and the events in
    them, in order, as `Event.raw`. There should be at least three events.
    """

    def source(directory: Path) -> tuple[ReplayableSource, list[bytes]]:
        directory.mkdir(exist_ok=True)
        options, events = prepare(directory)
        registration = registered("source", name)
        made = registration.make(registration.options(**options))
        assert isinstance(made, ReplayableSource), f"{made!r} is not a ReplayableSource"
        return made, events

    def opened(
        made: ReplayableSource, bookmark: dict[str, Any] | None = None, position: int = 0
    ) -> closing[FollowingReader]:
        reader = made.open(
            position=position,
            bookmark=bookmark,
            counters=Counters(),
            identify=lambda _version, _name: ASTERISK,
        )
        return closing(reader)

    def goes_on_at_the_bookmark(directory: Path, *, released: bool) -> None:
        made, wanted = source(directory / "first")
        with opened(made) as reader:
            ends = [chunk.end for chunk, _ in _read(reader)]
        for count, end in enumerate(ends):
            made, _ = source(directory / str(count))
            with opened(made) as reader:
                taken = len(_raw(_read(reader, until=end)))
                _read(reader)  # read further than what is delivered
                if released:
                    reader.release(end)
                bookmark = json.loads(json.dumps(reader.bookmark(end)))
            with opened(made, bookmark, end) as reader:
                assert _raw(_read(reader)) == wanted[taken:]

    class Contract:
        def test_every_event_comes_once_and_in_order(self, tmp_path: Path) -> None:
            made, wanted = source(tmp_path)
            with opened(made) as reader:
                assert _raw(_read(reader)) == wanted
                assert reader.position >= reader.end, "after reading everything, position has reached end"
                assert reader.problem is None

        def test_offsets_only_grow_and_each_event_has_its_own(self, tmp_path: Path) -> None:
            made, _ = source(tmp_path)
            with opened(made, position=1000) as reader:
                position = reader.position
                assert position == 1000, "offsets start where the host says"
                seen: list[int] = []
                for chunk, events in _read(reader):
                    assert position <= chunk.start <= chunk.end, "chunks follow each other"
                    position = chunk.end
                    for event in events:
                        assert chunk.start <= event.position < chunk.end, "an event is inside its chunk"
                        seen.append(event.position)
                assert seen == sorted(set(seen))

        def test_going_back_gives_the_rest_once_more(self, tmp_path: Path) -> None:
            made, wanted = source(tmp_path / "first")
            with opened(made) as reader:
                chunks = _read(reader)
            offsets = [event.position for _, events in chunks for event in events]
            for count, (chunk, _) in enumerate(chunks, 1):
                # Delivered files may be removed, so each round uses its own files.
                made, _ = source(tmp_path / str(count))
                with opened(made) as reader:
                    _read(reader)
                    reader.seek(chunk.end)
                    again = _read(reader)
                    assert _raw(again) == wanted[len(_raw(chunks[:count])) :]
                    found = [event.position for _, events in again for event in events]
                    assert found == offsets[len(offsets) - len(found) :], "each event keeps its offset"

        def test_another_process_goes_on_at_the_bookmark(self, tmp_path: Path) -> None:
            goes_on_at_the_bookmark(tmp_path, released=True)

        def test_the_bookmark_is_known_before_the_release(self, tmp_path: Path) -> None:
            goes_on_at_the_bookmark(tmp_path, released=False)

        def test_it_says_how_to_learn_of_more(self, tmp_path: Path) -> None:
            made, _ = source(tmp_path)
            assert made.watch in ("inotify", "poll")
            assert made.poll_interval > 0
            assert all(isinstance(remark, str) for remark in made.remarks())
            with opened(made) as reader:
                reader.look_for_files()
                assert all(directory.is_dir() for directory in reader.directories)

    return Contract


def _read(
    reader: FollowingReader, until: int | None = None
) -> list[tuple[Chunk, list[Event | Unpublishable]]]:
    """Read to the end, or to an offset, taking the events of each chunk before the next read."""
    found = []
    idle = 0
    while idle < IDLE and (until is None or reader.position < until):
        chunk = reader.read()
        if chunk is None:
            idle += 1
        else:
            found.append((chunk, list(chunk.events)))
    return found


def _raw(chunks: list[tuple[Chunk, list[Event | Unpublishable]]]) -> list[bytes]:
    return [each.raw for _, events in chunks for each in events if isinstance(each, Event)]


def live_source_contract(name: str, serve: Serve) -> type:
    """Return the contract suite of a registered live source.

    `serve(directory)` is a context manager. It runs the server that the source connects to, and gives the
    options for it and a function that sends bytes on every connection that is ready.
    """

    def made(options: dict[str, Any]) -> LiveSource:
        registration = registered("source", name)
        source = registration.make(registration.options(**options))
        assert isinstance(source, LiveSource), f"{source!r} is not a LiveSource"
        return source

    class Contract:
        def test_a_connection_is_ready_to_be_recorded(self, tmp_path: Path) -> None:
            with serve(tmp_path) as (options, _):
                connection = made(options).connect()
                with connection.socket:
                    assert not connection.socket.getblocking(), "the host never waits for a socket"
                    assert connection.keepalive > 0
                    assert connection.timeout > 0
                    assert connection.peer
                    assert type(connection.leftover) is bytes
                    assert type(connection.ping) is bytes
                    for text in (connection.asterisk_version, connection.system_name, *connection.warnings):
                        assert isinstance(text, str)

        def test_what_is_sent_arrives_whole(self, tmp_path: Path) -> None:
            sent = b"Event: Contract\r\nNumber: 1\r\n\r\nEvent: Contract\r\nNumber: 2\r\n\r\n"
            with serve(tmp_path) as (options, send):
                source = made(options)
                for _ in range(2):  # the host reconnects whenever a connection is lost
                    connection = source.connect()
                    with connection.socket:
                        send(sent)
                        assert _received(connection, sent), f"{sent!r} did not arrive"

    return Contract


def _received(connection: Connection, wanted: bytes) -> bool:
    """Read until the wanted bytes arrive; return whether they arrived in time."""
    data = connection.leftover
    until = time.monotonic() + BOUND
    while wanted not in data and time.monotonic() < until:
        # A TLS connection may have decrypted bytes already.
        pending = connection.tls and connection.socket.pending()  # type: ignore[attr-defined]
        if not pending and not select.select([connection.socket], [], [], 0.1)[0]:
            continue
        try:
            data += connection.socket.recv(65536)
        except (BlockingIOError, OSError):
            continue
    return wanted in data

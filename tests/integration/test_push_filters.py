"""With filters handed to Asterisk the messages are the same, and less comes over the socket."""

from __future__ import annotations

import contextlib
import json
import re
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from amikafka_tail.commands.status.client import ask
from amikafka_tail.kafka.mock import Received
from tests.support.daemon import Daemon
from tests.support.waiting import wait_for
from tests.support.world import BOUND, World, event

LINES = """eventfilter(action(exclude),name(RTCPSent)) =
eventfilter = !Noise: [0-9]+
eventfilter(name(Numbered)) =
eventfilter(header(Name),method(starts_with)) = Zo
"""


def configuration(world: World, lines: str = LINES, *, push: bool = True, topic: str | None = None) -> str:
    text = world.configuration(topic=topic or world.topic)
    text = text.replace("[kafka]", f"{lines}\n[kafka]")
    return text.replace("[manager]", f"[manager]\npush_filters = {'yes' if push else 'no'}")


def other_event(name: str, *lines: str) -> bytes:
    return "\r\n".join([f"Event: {name}", "Privilege: call,all", *lines, "", ""]).encode(
        "utf-8", "surrogateescape"
    )


MIX = b"".join(
    [
        event(1),
        other_event("RTCPSent", "Number: 2"),
        event(3, "Noise: 1"),
        other_event("Other", "Name: Zoë"),
        other_event("Other", "Name: Anna"),
        other_event("Other", "Name:Zo\udceb"),
        other_event("Other", "Name: ", "Name:   Zora"),
        event(4, "Event: RTCPSent"),
        other_event("Other", "EventList: Numbered"),
        event(5, "Noise: none"),
    ]
)


class Happening:
    """Numbered events without a pause, on every session that has events on and lets them pass."""

    def __init__(self, world: World) -> None:
        self.count = 0
        self._world = world
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Happening:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._stop.set()
        self._thread.join(BOUND)

    def _run(self) -> None:
        while not self._stop.wait(0.0005):
            self._world.asterisk.happen(event(self.count) + other_event("Wanted", f"Number: {self.count}"))
            self.count += 1

    def go_on(self, count: int = 300) -> None:
        """Wait until so many more have happened."""
        until = self.count + count
        wait_for(lambda: self.count >= until, BOUND, f"{count} more events")


@contextlib.contextmanager
def second_daemon(world: World, directory: Path, text: str) -> Iterator[Daemon]:
    made = Daemon(directory, text)
    try:
        made.start()
        made.wait_for_log("connected: asterisk=")
        yield made
    finally:
        made.close()


def in_order(messages: list[Received]) -> list[tuple[int, int, bytes]]:
    return sorted((each.partition, each.offset, each.value) for each in messages)


def numbers_by_name(world: World, count: int) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for message in world.messages(count):
        fields = json.loads(message.value)
        found.setdefault(fields["Event"], []).append(int(fields["Number"]))
    return found


def test_the_messages_are_the_same_and_less_comes_over_the_socket(world: World, tmp_path: Path) -> None:
    world.daemon.configure(configuration(world))
    world.start()
    world.daemon.wait_for_log("Asterisk filters by 4 of 4 eventfilter lines")
    plain = configuration(world, push=False, topic=f"{world.topic}-plain")
    with second_daemon(world, tmp_path / "plain", plain) as other:
        for _ in range(20):
            world.asterisk.happen(MIX)
        pushed = in_order(world.messages(120))
        assert pushed == in_order(world.messages(120, f"{world.topic}-plain"))
        other.wait_for(lambda: MIX * 20 in other.journal(), BOUND, "all in the journal")
    assert len(pushed) == 120
    journal = world.daemon.journal()
    assert (b"RTCPSent\r\nPriv" in journal, b"Noise: 1" in journal, b"Anna" in journal) == (
        False,
        False,
        False,
    )
    snapshot = ask(world.daemon.directory / "journal" / "status.sock")
    assert (snapshot.source.pushed_filters, snapshot.events.filtered) == (4, 0)


def test_the_filters_are_handed_over_again_after_a_reconnect(world: World) -> None:
    world.daemon.configure(configuration(world))
    world.start()
    world.asterisk.reset()
    world.wait_until_connected()
    world.asterisk.happen(MIX)
    assert len(world.messages(6)) == 6
    assert b"Anna" not in world.daemon.journal()
    assert sum(action["Action"] == "Filter" for action in world.asterisk.actions) == 2 * 5


@pytest.mark.parametrize(
    ("manner", "value", "warned"),
    [
        (
            "may_filter",
            False,
            r"does not apply 4 of 4 eventfilter lines \(Permission denied\): add system",
        ),
        (
            "knows_criteria",
            False,
            r"does not apply 3 of 4 eventfilter lines \(it does not know MatchCrit",
        ),
        (
            "refuses_filter",
            lambda pattern: pattern == "Zo",
            r"does not apply 1 of 4 .* Failed adding filter",
        ),
    ],
)
def test_what_asterisk_does_not_take_is_filtered_here(
    world: World, manner: str, value: object, warned: str
) -> None:
    setattr(world.asterisk.manners, manner, value)
    world.daemon.configure(configuration(world))
    world.start()
    world.daemon.wait_for_log(f"WARNING .*{warned}")
    assert re.search(r"eventfilter lines .*: .*; .*/ami_kafka\.conf:\d+", world.daemon.log)
    for _ in range(20):
        world.asterisk.happen(MIX)
    assert len(world.messages(120)) == 120


def test_a_reload_with_other_filters_loses_no_event_that_either_wants(world: World) -> None:
    world.daemon.configure(configuration(world, "eventfilter(action(exclude),name(Wanted)) ="))
    world.start()
    with Happening(world) as happening:
        happening.go_on()
        world.daemon.configure(configuration(world, "eventfilter = !Noise"))
        world.daemon.signal(signal.SIGHUP)
        world.wait_until_connected()
        happening.go_on()
    assert world.asterisk.connections == 2
    world.wait_until_recorded(f"Number: {happening.count - 1}\r\n\r\n".encode())
    found = numbers_by_name(world, happening.count)
    # Those that both want: each of them, and in order but for what came on both connections.
    assert sorted(set(found["Numbered"])) == list(range(happening.count))
    # Those that only the new ones want: each of them from the first one on.
    assert sorted(set(found["Wanted"])) == list(range(found["Wanted"][0], happening.count))
    assert "there was no connection" not in world.daemon.log


def test_a_reload_without_push_filters_leaves_the_connection_as_it_is(world: World) -> None:
    world.daemon.configure(configuration(world, push=False))
    world.start()
    world.daemon.configure(configuration(world, "eventfilter = Event: Other", push=False))
    world.daemon.signal(signal.SIGHUP)
    world.daemon.wait_for_log("configuration reloaded")
    world.asterisk.happen(MIX)
    assert len(world.messages(5)) == 5
    assert world.asterisk.connections == 1


@pytest.fixture
def hand_over(world: World, tmp_path: Path) -> World:
    """A world whose daemon's descriptors outlive it."""
    world.daemon.close()
    world.daemon = Daemon(tmp_path / "stored", world.configuration(), hand_over=True)
    return world


def test_a_restart_with_the_same_filters_goes_on_with_the_connection(hand_over: World) -> None:
    world = hand_over
    world.daemon.configure(configuration(world))
    world.start()
    assert world.daemon.stop() == 0
    world.asterisk.happen(MIX)
    # Where it stands in the file is no matter.
    world.daemon.configure("; a line more\n" + configuration(world))
    world.daemon.start()
    world.daemon.wait_for_log("went on with the connection of the process before: asterisk=")
    assert len(world.messages(6)) == 6
    assert world.asterisk.connections == 1
    snapshot = ask(world.daemon.directory / "journal" / "status.sock")
    assert snapshot.source.pushed_filters == 4


def test_a_restart_with_other_filters_loses_no_event_that_both_want(hand_over: World) -> None:
    world = hand_over
    world.daemon.configure(configuration(world, "eventfilter(action(exclude),name(Wanted)) ="))
    world.start()
    with Happening(world) as happening:
        happening.go_on()
        assert world.daemon.stop() == 0
        happening.go_on()
        world.daemon.configure(configuration(world, "eventfilter = !Noise"))
        world.start()
        happening.go_on()
    assert "until there is one with the options of now" in world.daemon.log
    assert world.asterisk.connections == 2
    world.wait_until_recorded(f"Number: {happening.count - 1}\r\n\r\n".encode())
    found = numbers_by_name(world, happening.count)
    assert sorted(set(found["Numbered"])) == list(range(happening.count))
    assert sorted(set(found["Wanted"])) == list(range(found["Wanted"][0], happening.count))
    assert "there was no connection" not in world.daemon.log

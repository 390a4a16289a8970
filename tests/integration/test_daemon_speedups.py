"""The whole daemon with amikafka_speedups, without it, and with one that it cannot use."""

from __future__ import annotations

import json

import pytest

from tests.support.twins import native_package
from tests.support.world import World, event

LINES = ("ChanVariable: a=1", "Name: Zoë", 'Quote: "', "ChanVariable: b=2", "Event: Forged", "Tab: \t")
WANTED = {
    "Event": "Numbered",
    "EntityID": "00:11:22:33:44:55",
    "SystemName": "pbx-01",
    "Privilege": "call,all",
    "Number": "0",
    "ChanVariable": "b=2",
    "Name": "Zoë",
    "Quote": '"',
    "Tab": "\t",
    "Event[2]": "Forged",
}


def see_that_it_works(world: World, used: str) -> None:
    world.start()
    world.daemon.wait_for_log(rf"amikafka 0.* speedups={used}\n")
    world.asterisk.send(event(0, *LINES))
    (found,) = world.messages(1)
    assert json.loads(found.value) == WANTED
    assert list(json.loads(found.value)) == list(WANTED)
    assert found.key == b"Numbered"


def test_it_is_used_where_it_is_installed(world: World) -> None:
    native_package()
    see_that_it_works(world, "yes")


def test_without_it_the_messages_are_the_same(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AMIKAFKA_SPEEDUPS", "no")
    see_that_it_works(world, "no")
    assert "WARNING" not in world.daemon.log


def test_one_of_another_version_is_said_once_and_left_alone(world: World) -> None:
    # The directory that the daemon starts in is the first where Python looks.
    (world.daemon.directory / "amikafka_speedups.py").write_text("VERSION = 0\n")
    see_that_it_works(world, "no")
    assert world.daemon.log.count("upgrade amikafka and amikafka-speedups together") == 1

"""`amikafka tap` on a terminal: colour, Ctrl-C, and nothing that an event could do to it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.support.tapping import command, environment
from tests.support.terminal import Terminal
from tests.support.world import World, event

# CSI, OSC and DCS in both forms, what erases, rings and moves, and a change of direction.
HOSTILE = "\x1b[2J\x1b]0;owned\x07 \x9b31m\x9d0;x\x9c \x08\x0b\x7f\x01 \u202e ü 日本"
HARMLESS = "\\x1b[2J\\x1b]0;owned\\x07 \\x9b31m\\x9d0;x\\x9c \\x08\\x0b\\x7f\\x01 \\u202e ü 日本"


def hostile_event() -> bytes:
    """A UserEvent as the dialplan can raise it, and a line of C1 controls that are not UTF-8."""
    text = HOSTILE.encode()
    lines = [b"Event: UserEvent", b"Privilege: user,all", b"UserEvent: Evil", b"Text: " + text]
    lines += [b"Name" + text + b": x", b"Raw: \x9b2J\x9d0;x\x9c", b"Break: one\ntwo: \x1b[2J"]
    return b"\r\n".join([*lines, b"", b""])


def assert_harmless(terminal: Terminal) -> None:
    """Fail for anything on the terminal but text and colours."""
    left = re.sub(r"\x1b\[[0-9;]*m", "", terminal.raw).replace("\r\n", "\n")
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e]", left), repr(left)
    assert "\ufffd" not in left, "it is UTF-8"


@pytest.mark.parametrize("arguments", [(), ("--long", "--headers"), ("--json",)])
@pytest.mark.parametrize("form", ["json", "ami"])
def test_nothing_hostile_reaches_a_terminal(world: World, form: str, arguments: tuple[str, ...]) -> None:
    world.daemon.configure(world.configuration(format=form))
    with Terminal(command(world, "-n", "1", *arguments), environment()) as terminal:
        terminal.wait_for("connected: asterisk=")
        world.asterisk.send(hostile_event())
        assert terminal.wait_for_exit() == 0
        assert_harmless(terminal)
        if "--json" in arguments:
            found = json.loads(next(line for line in terminal.raw.splitlines() if line.startswith("{")))
            assert "value" in found or form == "ami"
        else:
            assert HARMLESS in terminal.text
            assert "\x1b[" in terminal.raw, "there is colour"


def test_nothing_hostile_of_a_binary_format_reaches_a_terminal(world: World) -> None:
    pytest.importorskip("amikafka_avro")
    world.daemon.configure(world.configuration(format="avro"))
    found = environment()
    del found["AMIKAFKA_LOAD_PLUGINS"]
    with Terminal(command(world, "-n", "1", "--long", "--headers"), found) as terminal:
        terminal.wait_for("connected: asterisk=")
        world.asterisk.send(hostile_event())
        assert terminal.wait_for_exit() == 0
        assert_harmless(terminal)
        assert HARMLESS in terminal.text
        assert re.search(r"\d+ bytes \\x12UserEvent", terminal.text)


def test_a_terminal_has_colour_unless_it_is_not_wanted(world: World) -> None:
    for arguments, more, coloured in (
        ((), {}, True),
        (("--color", "never"), {}, False),
        ((), {"NO_COLOR": "1"}, False),
        (("--color=always",), {"NO_COLOR": "1"}, True),
    ):
        connections = world.asterisk.connections
        with Terminal(command(world, *arguments), {**environment(), **more}) as terminal:
            world.asterisk.wait_until_ready(connections + 1)
            world.asterisk.send(event(1))
            terminal.wait_for("Number: 1")
            assert ("\x1b[" in terminal.raw) is coloured
            terminal.press("\x03")
            assert terminal.wait_for_exit() == 130
            assert "1 event received, 1 shown" in terminal.text
            assert "Traceback" not in terminal.text


def test_what_cannot_be_made_a_message_is_said_and_kept_nowhere(world: World, tmp_path: Path) -> None:
    """The mean format refuses an event; those around it are shown."""
    pytest.importorskip("amikafka_avro")
    (tmp_path / "avro").mkdir()
    schema = {
        "type": "record",
        "name": "Numbered",
        "fields": [{"name": "Number", "type": "int"}],
    }
    (tmp_path / "avro" / "Numbered.avsc").write_text(json.dumps(schema))
    text = world.configuration(format="avro") + f"\n[avro]\nschemas = {tmp_path}/avro\n"
    world.daemon.configure(text)
    found = environment()
    del found["AMIKAFKA_LOAD_PLUGINS"]
    with Terminal(command(world, "-n", "2"), found) as terminal:
        terminal.wait_for("connected: asterisk=")
        bad = event(2).replace(b"Number: 2", b"Number: no number")
        world.asterisk.send(event(1) + bad + event(3))
        assert terminal.wait_for_exit() == 0
        assert 'plugin "avro" failed' in terminal.text
    assert not list(tmp_path.rglob("dead-letter*"))

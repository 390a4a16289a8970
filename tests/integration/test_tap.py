"""`amikafka tap` as a process: beside a daemon, without one, on a terminal, with whatever happens to it."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from amikafka_tail.kafka.mock import Received
from tests.fakes.ami_server import AmiServer, make_certificate
from tests.support.tapping import command, environment, tapping
from tests.support.world import BOUND, World, event

# Becomes somebody who may read nothing. The interpreter and the project may be in a directory of root's own:
# `check` imports before what it takes to read a configuration.
AS_NOBODY = """
import os, sys
from amikafka_tail import cli
assert cli.main(["check", "--quiet", *sys.argv[2:]]) == 0
os.setgroups([]), os.setresgid(65534, 65534, 65534), os.setresuid(65534, 65534, 65534)
sys.exit(cli.main())
"""


def as_shown(message: Received) -> dict[str, Any]:
    """Return what --json must say of a message."""
    return {
        "topic": message.topic,
        "key": message.key.decode(),
        "headers": [[name, value.decode()] for name, value in message.headers],
        "value": message.value.decode(),
    }


def numbers(messages: list[dict[str, Any]]) -> list[int]:
    return [int(json.loads(message["value"])["Number"]) for message in messages]


def test_beside_a_daemon_tap_shows_what_is_published_and_disturbs_nothing(world: World) -> None:
    """Byte for byte; what the daemon logs, keeps and publishes is as without a tap that comes and goes."""
    world.start()
    stamp = "Timestamp: 1795426158.220602"
    data = [event(number, f"Name: Müller {number}") for number in range(200)]
    data = [each.replace(b"call,all\r\n", f"call,all\r\n{stamp}\r\n".encode()) for each in data]
    world.carry(b"".join(data[:50]))
    before = world.daemon.log
    with tapping(world, "--json") as tap:
        world.asterisk.wait_until_ready(2)
        for each in data[50:150]:
            world.asterisk.send_to_all(each, 2)
        shown = tap.messages(100)
        assert tap.end() == 130
    world.asterisk.wait_for_connections(1)
    world.carry(b"".join(data[150:]))
    published = world.messages(200)
    assert world.numbers(200) == list(range(200))
    assert shown == [as_shown(message) for message in published[50:150]]
    assert world.daemon.log == before, "the daemon has nothing to say about it"
    assert world.dead_letters == []


def test_without_a_daemon_nothing_is_written(world: World, tmp_path: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    with tapping(world, "-n", "3") as tap:
        world.asterisk.send(b"".join(map(event, range(10))))
        assert len(tap.lines(3)) == 3
        assert tap.process.wait(BOUND) == 0
        assert " events received, 3 shown" in tap.said
        assert tap.process.stdout is not None
        assert tap.process.stdout.read() == b"", "no line more"
    after = {
        path: path.stat().st_mtime_ns
        for path in tmp_path.rglob("*")
        if path.is_file() and not path.name.startswith("tap-")
    }
    assert after == before
    assert not (tmp_path / "journal").exists()


@pytest.mark.parametrize("push", ["no", "yes"])
def test_a_person_sees_lines_and_filters_choose_them(world: World, push: str) -> None:
    text = world.configuration().replace("[kafka]", "eventfilter = !Number: 3\n[kafka]")
    text = text.replace("[manager]", f"[manager]\npush_filters = {push}")
    world.daemon.configure(text)
    data = b"".join(map(event, range(6)))
    with tapping(world, "!Number: 4", "-e", "numbered") as tap:
        world.asterisk.wait_until_ready(1)
        world.asterisk.happen(data)
        lines = tap.lines(4)
        assert [line.partition("Number: ")[2] for line in lines] == ["0", "1", "2", "5"]
        assert re.fullmatch(r"\d\d:\d\d:\d\d\.\d{3} Numbered           key Numbered  Number: 0", lines[0])
        assert tap.end() == 130
        came = 5 if push == "yes" else 6
        assert f"{came} events received, 4 shown, {came - 4} excluded by filters" in tap.said
    with tapping(world, "--all", "Number: [34]", "--headers") as tap:
        world.asterisk.wait_until_ready(2)
        world.asterisk.happen(data)
        lines = tap.lines(18)
        assert lines[0].endswith("Number: 3")
        assert lines[2] == "    header system_name: pbx-01"
        assert lines[9].endswith("Number: 4")


def test_a_name_that_is_misspelt_is_said(world: World) -> None:
    with tapping(world, "-e", "Numberd") as tap:
        world.asterisk.send(event(1))
        tap.wait_until_said('no event "Numberd" received yet (did you mean "Numbered"?); received so far: ')
        assert tap.end() == 130


def test_what_only_the_daemon_knows_is_not_made_up(world: World) -> None:
    world.daemon.configure(world.configuration().replace("[kafka]", "[kafka]\nevent_id = yes"))
    with tapping(world, "--json") as tap:
        world.asterisk.send(event(1))
        (message,) = tap.messages(1)
        name, value = message["headers"][-1]
        assert name == "event_id"
        assert re.fullmatch(r"00:11:22:33:44:55/tap/\d+", value)


def test_a_lost_connection_is_made_again_and_said(world: World) -> None:
    with tapping(world) as tap:
        world.asterisk.send(event(1))
        assert tap.lines(1)[0].endswith("Number: 1")
        world.asterisk.send(event(2)[:30])
        world.asterisk.refuse()
        world.asterisk.reset()
        tap.wait_until_said("lost the connection to Asterisk: ")
        tap.wait_until_said("no connection to Asterisk: 127.0.0.1:")
        world.asterisk.listen()
        world.asterisk.wait_until_ready(2)
        world.asterisk.send(event(3))
        assert tap.lines(1)[0].endswith("Number: 3"), "of the torn event nothing is shown"
        tap.wait_until_said("events in that time are not shown")
        assert tap.end() == 130


def test_a_login_that_is_refused_later_ends_it(world: World) -> None:
    with tapping(world) as tap:
        tap.wait_until_said("connected: asterisk=")
        world.asterisk.manners.secret = "another"
        world.asterisk.close()
        assert tap.process.wait(BOUND) == os.EX_NOPERM
        assert "Authentication failed" in tap.said


def test_the_session_is_kept_alive_and_a_dead_one_is_noticed(world: World) -> None:
    world.daemon.configure(world.configuration(timeout=2))
    with tapping(world) as tap:
        tap.wait_until_said("connected: asterisk=")
        world.asterisk.wait_for_action("Ping", 2)
        world.asterisk.send(event(1))
        assert tap.lines(1)
        world.asterisk.manners.answers_ping = False
        tap.wait_until_said("Asterisk does not answer: nothing for 3 s")
        world.asterisk.manners.answers_ping = True
        world.asterisk.wait_until_ready(2)
        world.asterisk.send(event(2))
        assert tap.lines(1)


def test_asterisk_refuses_a_second_session(world: World) -> None:
    world.asterisk.manners.answers["Login"] = b"Response: Error\r\nMessage: Login Already In Use\r\n\r\n"
    with tapping(world) as tap:
        assert tap.process.wait(BOUND) == os.EX_NOPERM
        assert "The user is logged in elsewhere and has allowmultiplelogin = no" in tap.said
        assert "tap needs its own session: set allowmultiplelogin = yes" in tap.said


def test_over_tls(world: World, tmp_path: Path) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("there is no openssl to make a certificate with")
    certificate = make_certificate(tmp_path, "IP:127.0.0.1")
    with AmiServer(tls=certificate.server()) as server:
        text = world.configuration(port=server.port)
        world.daemon.configure(
            text.replace("[manager]", f"[manager]\ntls = yes\ntls_ca = {certificate.certificate}")
        )
        with tapping(world, "--json") as tap:
            server.send(b"".join(map(event, range(3000))))
            assert numbers(tap.messages(3000)) == list(range(3000))
            server.wait_for_action("Ping")
            server.send(event(3000))
            assert numbers(tap.messages(1)) == [3000]


def test_asterisk_does_not_wait_for_whoever_reads_the_output(world: World) -> None:
    """Nobody reads: Asterisk is read on, memory is bounded, and what is passed over is said."""
    world.daemon.configure(world.configuration().replace("[kafka]", "[kafka]\ngap_events = yes"))
    padding = "Padding: " + "x" * 900
    data = [b"".join(event(number, padding) for number in range(start, start + 1000))
            for start in range(0, 40_000, 1000)]  # fmt: skip
    with tapping(world, "--json") as tap:
        world.asterisk.wait_until_ready()
        for each in data:
            world.asterisk.send(each)  # would block, and time out, if the other side did not read
        world.asterisk.send(b"Event: Last\r\nPrivilege: call,all\r\nNumber: -1\r\n\r\n")
        world.asterisk.wait_for_action("Ping", 2)  # silence: it has taken all
        status = Path(f"/proc/{tap.process.pid}/status").read_text()
        peak = re.search(r"VmHWM:\s+(\d+) kB", status)
        assert peak is not None
        assert int(peak[1]) < 120_000
        found: list[int] = []
        while not found or found[-1] != -1:
            found += numbers(tap.messages(1))
        assert found[:-1] == sorted(found[:-1])
        assert found[-2] == 39_999, "the newest are there"
        assert len(found) < 40_000
        assert tap.end() == 130
        assert "events arrive faster than they can be printed: some are skipped" in tap.said
        assert "MB skipped" in tap.said


def test_a_closed_pipe_ends_it_even_when_nothing_happens(world: World) -> None:
    errors = world.daemon.directory / "errors"
    with errors.open("wb") as err:
        process = subprocess.Popen(command(world), stdout=subprocess.PIPE, stderr=err, env=environment())
    assert process.stdout is not None
    world.asterisk.send(event(1))
    assert b"Number: 1" in process.stdout.readline()
    process.stdout.close()
    assert process.wait(BOUND) == 0
    assert "Traceback" not in errors.read_text()
    assert "BrokenPipe" not in errors.read_text()


def test_head_ends_it(world: World) -> None:
    line = " ".join(f"'{word}'" for word in command(world))
    shell = subprocess.Popen(
        ["bash", "-c", f"set -o pipefail; {line} | head -n 2"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment(), text=True,
    )  # fmt: skip
    world.asterisk.wait_until_ready()
    world.asterisk.send(b"".join(map(event, range(5000))))
    out, err = shell.communicate(timeout=BOUND)
    assert shell.returncode == 0, err
    assert len(out.splitlines()) == 2
    assert "Error" not in err


def log_lines(*numbers_: int) -> bytes:
    """Return events as Asterisk writes them into its debug log."""
    return b"".join(
        b"[2026-11-23 09:30:23.739] VERBOSE[1] manager.c: <-- Examining AMI event (1): -->\n"
        + event(number, f"SequenceNumber: {number}").replace(b"call,all\r\n", b"call,all\r\n")
        + b"\n[2026-11-23 09:30:23.740] NOTICE[1] a.c: hello\n"
        for number in numbers_
    )


def test_an_event_log_is_followed_from_now_on_and_left_alone(world: World, tmp_path: Path) -> None:
    log = tmp_path / "full"
    log.write_bytes(log_lines(1, 2))
    text = world.configuration().replace("[general]", "[general]\nsource = eventlog")
    world.daemon.configure(text.partition("[manager]")[0] + f"\n[eventlog]\npath = {log}\n"
                           "[journal]\ndirectory = @HERE@/journal\n")  # fmt: skip
    with tapping(world, "--json") as tap:
        tap.wait_until_said("waiting for new events in")
        with log.open("ab") as file:
            file.write(log_lines(3))
        assert numbers(tap.messages(1)) == [3]
        log.rename(tmp_path / "full.1")
        log.write_bytes(log_lines(4))
        assert numbers(tap.messages(1)) == [4]
        assert tap.end() == 130
    assert not (tmp_path / "journal").exists()
    assert log.read_bytes() == log_lines(4)
    assert (tmp_path / "full.1").read_bytes() == log_lines(1, 2, 3)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody who may read nothing")
@pytest.mark.parametrize("closed", ["ami_kafka.conf", "secret", "."])
def test_somebody_who_may_not_read_the_secret_is_told_so(world: World, closed: str) -> None:
    with tempfile.TemporaryDirectory() as name:  # not pytest's, which is closed to others
        here = Path(name)
        (here / "secret").write_text("s3cret\n")
        text = world.configuration().replace("secret = s3cret", f"secret_file = {here}/secret")
        (here / "ami_kafka.conf").write_text(text.replace("@HERE@", name))
        here.chmod(0o711)
        (here / closed).chmod(0o600)
        asked = subprocess.run(
            [sys.executable, "-c", AS_NOBODY, "tap", "-c", str(here / "ami_kafka.conf")],
            capture_output=True, text=True, env=environment(), timeout=BOUND,
        )  # fmt: skip
    assert asked.returncode == os.EX_NOPERM, asked.stderr
    assert "run it as root (sudo)" in asked.stderr
    assert "Traceback" not in asked.stderr


def test_an_asterisk_that_is_away_at_first_is_said(world: World) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        world.daemon.configure(world.configuration(port=closed.getsockname()[1]))
        with tapping(world) as tap:
            assert tap.process.wait(BOUND) == os.EX_UNAVAILABLE
            assert "refuses connections: is Asterisk running" in tap.said

"""What the running daemon says about itself: `amikafka status`, `amikafka top`, the metrics, /healthz."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.support.daemon import PROJECT
from tests.support.terminal import Terminal
from tests.support.waiting import wait_for
from tests.support.world import BOUND, World, event


def command(world: World, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "amikafka_tail", *arguments, "-c", str(world.daemon.configuration)]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(PROJECT), "AMIKAFKA_LOAD_PLUGINS": ""}


def amikafka(world: World, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command beside the daemon."""
    return subprocess.run(
        command(world, *arguments),
        capture_output=True,
        text=True,
        timeout=BOUND,
        env=environment(),
        check=False,
    )


def state(world: World) -> dict[str, Any]:
    """Return what `status --json` says."""
    values: dict[str, Any] = json.loads(amikafka(world, "status", "--json").stdout)
    return values


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def get(port: int, path: str) -> tuple[int, str]:
    """Fetch a page; return its status and its text."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=BOUND) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def value(text: str, name: str, **labels: str) -> float:
    """Return the value of one sample of an exposition."""
    samples = [each for family in text_string_to_metric_families(text) for each in family.samples]
    (found,) = [each.value for each in samples if each.name == name and each.labels == labels]
    return found


def test_a_daemon_that_is_well(world: World) -> None:
    world.start()
    world.carry(b"".join(event(number) for number in range(100)))
    shown = amikafka(world, "status")
    assert shown.returncode == 0, shown.stdout + shown.stderr
    lines = shown.stdout.splitlines()
    assert lines[2:5] == ["State    all is well", "Lost     nothing", "To do    nothing"]
    assert "delivered 100" in shown.stdout
    assert "Numbered 100" in shown.stdout
    assert max(map(len, lines)) <= 80
    assert len(lines) <= 24
    values = state(world)
    assert values["events"]["read"] == values["events"]["sent"] == values["events"]["delivered"] == 100
    assert values["events"]["kinds"] == [["Numbered", "call", 100]]
    assert values["lag"] == {"bytes": 0, "events": 0, "seconds": 0.0}
    assert values["source"]["asterisk_version"] == world.asterisk.manners.asterisk_version
    assert values["journal"]["hours_left"] > 0
    assert values["pid"] == world.daemon.process.pid  # type: ignore[union-attr]


def test_a_kafka_that_is_away(world: World) -> None:
    world.daemon.configure(world.configuration(brokers=f"127.0.0.1:{free_port()}"))
    world.start()
    data = b"".join(event(number) for number in range(50))
    world.asterisk.send(data)
    world.wait_until_recorded(event(49))

    def told() -> bool:
        return amikafka(world, "status").returncode == 1

    wait_for(told, BOUND, "exit code 1", interval=1.0)  # each look is a process
    said = " ".join(amikafka(world, "status").stdout.split())
    assert "State PROBLEM: Kafka accepts no messages: " in said
    assert "Lost nothing" in said
    assert "then all events are sent automatically" in said
    assert "Connection refused" in said, "the last warnings are there"
    values = state(world)
    assert values["lag"]["events"] == 50
    assert values["lag"]["bytes"] >= len(data)
    assert 5 < values["lag"]["seconds"] < 2 * BOUND
    assert values["kafka"]["healthy"] is False
    world.daemon.configure(world.configuration())
    world.daemon.signal(signal.SIGHUP)
    assert world.numbers(50) == list(range(50))
    world.daemon.wait_for(lambda: state(world)["events"]["delivered"] == 50, BOUND, "all is delivered")
    values = state(world)
    assert (values["events"]["read"], values["kafka"]["rewinds"]) == (100, 1)
    assert "read 100 (some more than once)" in " ".join(amikafka(world, "status").stdout.split())


def test_an_asterisk_that_is_away(world: World) -> None:
    world.start()
    world.asterisk.refuse()
    world.asterisk.close()
    world.daemon.wait_for(lambda: amikafka(world, "status").returncode == 1, BOUND, "exit code 1")
    said = " ".join(amikafka(world, "status").stdout.split())
    assert "PROBLEM: no events are coming in: " in said
    assert "amikafka doctor" in said


def test_no_daemon(world: World) -> None:
    asked = amikafka(world, "status")
    assert asked.returncode == os.EX_UNAVAILABLE
    assert "the daemon is not running" in asked.stderr
    world.start()
    world.daemon.stop()
    world.asterisk.send(b"")
    asked = amikafka(world, "status")
    assert asked.returncode == os.EX_UNAVAILABLE
    assert "systemctl start amikafka" in asked.stderr
    assert "Traceback" not in asked.stderr
    asked = amikafka(world, "status", "--json")
    assert "not running" in json.loads(asked.stdout)["problem"]


def test_no_daemon_where_there_is_no_configuration_either(tmp_path: Path) -> None:
    options = ["status", "-c", str(tmp_path / "nowhere.conf"), "--socket", str(tmp_path / "nobody.sock")]
    asked = subprocess.run(
        [sys.executable, "-m", "amikafka_tail", *options],
        capture_output=True,
        text=True,
        timeout=BOUND,
        env=environment(),
        check=False,
    )
    assert asked.returncode == os.EX_UNAVAILABLE
    assert f"amikafka check -c {tmp_path}/nowhere.conf" in asked.stderr
    assert "systemctl start amikafka" in asked.stderr


def test_what_a_daemon_left_behind_is_said(world: World) -> None:
    world.daemon.configure(world.configuration(brokers=f"127.0.0.1:{free_port()}"))
    world.start()
    world.asterisk.send(b"".join(event(number) for number in range(50)))
    world.wait_until_recorded(event(49))
    world.daemon.kill()
    asked = amikafka(world, "status")
    assert asked.returncode == os.EX_UNAVAILABLE
    assert "not delivered yet; they will be after the next start" in asked.stderr


def test_a_daemon_that_hangs(world: World) -> None:
    world.start()
    world.daemon.signal(signal.SIGSTOP)
    try:
        asked = amikafka(world, "status")
    finally:
        world.daemon.signal(signal.SIGCONT)
    assert asked.returncode == os.EX_UNAVAILABLE
    assert "the daemon does not answer" in asked.stderr


def test_only_root_and_the_group_may_ask(world: World) -> None:
    world.start()
    path = world.daemon.directory / "journal" / "status.sock"
    world.daemon.wait_for(path.exists, BOUND, "the socket")
    mode = path.stat().st_mode
    assert stat.S_ISSOCK(mode)
    assert stat.S_IMODE(mode) == 0o660
    assert stat.S_IMODE(path.parent.stat().st_mode) & 0o007 == 0
    world.daemon.stop()
    assert not path.exists()


def test_the_runtime_directory_is_where_the_socket_is(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime = tmp_path / "run"
    runtime.mkdir()
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(runtime))
    world.start()
    world.daemon.wait_for((runtime / "status.sock").exists, BOUND, "the socket")
    monkeypatch.delenv("RUNTIME_DIRECTORY")
    assert amikafka(world, "status", "--socket", str(runtime / "status.sock")).returncode == 0


def test_top_needs_a_terminal(world: World) -> None:
    asked = amikafka(world, "top")
    assert asked.returncode == os.EX_USAGE
    assert "top needs a terminal" in asked.stderr


def test_top_shows_the_events_as_they_come_and_ends_with_q(world: World) -> None:
    world.start()
    with Terminal(command(world, "top", "--interval", "0.3"), environment()) as terminal:
        terminal.wait_for("all is well")
        assert "\x1b[?1049h" in terminal.raw, "it has a screen of its own"
        world.asterisk.send(b"".join(event(number) for number in range(100)))
        terminal.wait_for("Numbered")
        terminal.wait_for("100")
        terminal.press("q")
        assert terminal.wait_for_exit() == 0
        assert "\x1b[?1049l" in terminal.raw, "the screen of before is back"
    assert "Traceback" not in terminal.text


def test_top_goes_on_while_the_daemon_does_not_run(world: World) -> None:
    with Terminal(command(world, "top", "--interval", "0.3"), environment()) as terminal:
        terminal.wait_for("the daemon is not running")
        world.start()
        terminal.wait_for("all is well")
        world.daemon.stop()
        terminal.press("\x03")
        assert terminal.wait_for_exit() in (0, 130)
    assert "Traceback" not in terminal.text


def with_metrics(world: World, **changes: object) -> int:
    """Give the daemon a port for its metrics; return it."""
    port = free_port()
    lines = f"\n[metrics]\nlisten = 127.0.0.1:{port}\nmax_lag = 10\n"
    world.daemon.configure(world.configuration(**changes) + lines)
    return port


def test_metrics(world: World) -> None:
    port = with_metrics(world)
    world.start()
    world.carry(b"".join(event(number) for number in range(100)))
    status, text = get(port, "/metrics")
    assert status == 200
    assert value(text, "amikafka_messages_delivered_total") == 100
    assert value(text, "amikafka_messages_by_event_total", event="Numbered", category="call") == 100
    assert value(text, "amikafka_lag_seconds") == 0
    assert value(text, "amikafka_source_up", source="manager") == 1
    assert value(text, "amikafka_events_lost_total", reason="journal_full") == 0
    assert value(text, "process_resident_memory_bytes") > 1e6
    families = {each.name: each for each in text_string_to_metric_families(text)}
    assert all(each.documentation for name, each in families.items() if name.startswith("amikafka_"))
    assert get(port, "/healthz") == (200, "ok\n")
    assert get(port, "/else")[0] == 404


def test_librdkafka_s_own_figures(world: World) -> None:
    port = with_metrics(world)
    world.start()
    world.carry(event(1))
    world.daemon.wait_for(
        lambda: "amikafka_broker_round_trip_seconds{" in get(port, "/metrics")[1], BOUND, "statistics"
    )
    _, text = get(port, "/metrics")
    brokers = state(world)["kafka"]["brokers"]
    assert brokers
    for broker in brokers:
        assert value(text, "amikafka_broker_up", broker=broker["name"]) in (0, 1)
        assert value(text, "amikafka_broker_retries_total", broker=broker["name"]) >= 0
    assert value(text, "amikafka_partition_leader", partition="0") > 0
    assert sum(broker["state"] == "UP" for broker in brokers) >= 1


def test_health_is_red_when_the_lag_is_too_long_and_green_again(world: World) -> None:
    port = with_metrics(world, brokers=f"127.0.0.1:{free_port()}")
    world.start()
    world.asterisk.send(event(1))
    world.wait_until_recorded(event(1))
    assert get(port, "/healthz")[0] == 200, "a moment is no problem yet"
    world.daemon.wait_for(lambda: get(port, "/healthz")[0] == 503, BOUND, "503")
    assert "s behind (more than [metrics] max_lag = 10)" in get(port, "/healthz")[1]
    lines = f"\n[metrics]\nlisten = 127.0.0.1:{port}\nmax_lag = 10\n"
    world.daemon.configure(world.configuration() + lines)
    world.daemon.signal(signal.SIGHUP)
    world.daemon.wait_for(lambda: get(port, "/healthz")[0] == 200, BOUND, "200")


def test_a_reload_begins_and_ends_to_serve_metrics(world: World) -> None:
    world.start()
    port = with_metrics(world)
    world.daemon.signal(signal.SIGHUP)
    world.daemon.wait_for_log("configuration reloaded")
    assert get(port, "/healthz")[0] == 200
    world.daemon.configure(world.configuration())
    before = len(world.daemon.log)
    world.daemon.signal(signal.SIGHUP)
    world.daemon.wait_for_log("configuration reloaded", after=before)
    with pytest.raises(urllib.error.URLError):
        get(port, "/healthz")


def test_another_journal_is_not_spoken_of_before_the_restart_that_it_takes(world: World) -> None:
    port = with_metrics(world)
    world.start()
    path = world.daemon.configuration
    other = "directory = /not/there\nmax_bytes = 99m"
    path.write_text(re.sub("directory = .*\nmax_bytes = .*", other, path.read_text()))
    world.daemon.signal(signal.SIGHUP)
    world.daemon.wait_for_log(r"\[journal\]: the changes need a restart to take effect")
    world.daemon.wait_for_log("configuration reloaded")
    status, text = get(port, "/metrics")
    assert status == 200
    assert value(text, "amikafka_journal_max_bytes") == 256 << 20
    assert world.daemon.running


def test_a_port_that_is_taken_costs_no_event(world: World) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        lines = f"\n[metrics]\nlisten = 127.0.0.1:{taken.getsockname()[1]}\n"
        world.daemon.configure(world.configuration() + lines)
        world.start()
        world.carry(event(1))
    assert "no metrics are served" in world.daemon.log

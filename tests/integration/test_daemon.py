"""The whole daemon as a process, between a stand-in for Asterisk and librdkafka's mock broker."""

from __future__ import annotations

import contextlib
import json
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.daemon import MEGABYTE, Daemon
from tests.support.waiting import wait_for
from tests.support.world import BOUND, World, event

# The main job.


def test_events_arrive_whole_and_in_order_with_their_key_and_headers(world: World) -> None:
    world.start()
    for number in range(200):
        world.asterisk.send(event(number, "Name: Zoë"))
    found = world.messages(200)
    assert [json.loads(each.value)["Number"] for each in found] == [str(number) for number in range(200)]
    first = found[0]
    assert first.key == b"Numbered"
    assert first.value.decode() == (
        '{"Event":"Numbered","EntityID":"00:11:22:33:44:55","SystemName":"pbx-01",'
        '"Privilege":"call,all","Number":"0","Name":"Zoë"}'
    )
    headers = dict(first.headers)
    assert abs(int(headers.pop("timestamp")) - first.timestamp_ms // 1000) <= 1
    assert headers == {
        "entity_id": b"00:11:22:33:44:55",
        "system_name": b"pbx-01",
        "asterisk_version": b"22.10.1",
        "event_type": b"Numbered",
        "event_category": b"call",
        "format": b"json",
        "hostname": b"vm",
    }


def test_it_goes_on_from_the_checkpoint_after_an_orderly_stop(world: World) -> None:
    world.start()
    world.asterisk.send(b"".join(event(number) for number in range(50)))
    world.wait_until_recorded(event(49))
    assert world.daemon.stop() == 0
    world.start()
    world.asterisk.send(b"".join(event(number) for number in range(50, 100)))
    assert world.numbers(100) == list(range(100))


def test_a_crash_loses_nothing_that_was_in_the_journal(world: World) -> None:
    world.start()
    world.asterisk.send(b"".join(event(number) for number in range(100)))
    world.wait_until_recorded(event(99))
    world.daemon.kill()
    world.start()
    world.asterisk.send(event(100))
    numbers = world.numbers(101)
    assert sorted(set(numbers)) == list(range(101))
    # What comes twice is what the checkpoint had not passed yet, in order.
    assert numbers[-1] == 100


def test_a_stop_delivers_first_and_stores_the_checkpoint(world: World) -> None:
    world.start()
    world.asterisk.send(b"".join(event(number) for number in range(5000)))
    world.wait_until_recorded(event(4999))
    assert world.daemon.stop() == 0
    assert len(world.numbers(5000)) == 5000
    assert world.checkpoint > 5000 * len(event(0))
    assert re.search(r"stopped: events=5000 lag_bytes=0", world.daemon.log)


@pytest.mark.parametrize("reason", ["disabled", "files"])
def test_a_connection_that_nobody_will_read_is_not_left_open(
    world: World, tmp_path: Path, reason: str
) -> None:
    world.daemon = Daemon(tmp_path / "stored", world.configuration(), hand_over=True)
    with contextlib.closing(world.daemon):
        world.start()
        world.daemon.stop()
        assert len(world.daemon.manager.alive()) == 3
        changed = world.configuration().replace(
            "[general]", "[general]\nenabled = no" if reason == "disabled" else "[general]\nsource = spool"
        )
        world.daemon.configure(f"{changed}\n[spool]\ndirectory = @HERE@\n")
        ready = len(world.daemon.manager.said("READY"))
        world.daemon.start()
        world.daemon.wait_for_word("READY", count=ready + 1)
        world.daemon.wait_for(lambda: not world.daemon.manager.store, BOUND, "an empty store")
        world.asterisk.wait_for_connections(0)


# What systemd is told.


def test_the_service_manager_hears_of_every_step(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "200000")
    world.start()
    world.daemon.wait_for_word("READY")
    assert len(world.daemon.wait_for_word("WATCHDOG", count=5)) >= 5
    world.daemon.wait_for(
        lambda: any("connected" in said for said in world.daemon.manager.said("STATUS")), BOUND, "STATUS"
    )
    world.daemon.signal(signal.SIGHUP)
    world.daemon.wait_for_word("READY", count=2)
    assert world.daemon.manager.said("RELOADING") == ["1"]
    assert int(world.daemon.manager.said("MONOTONIC_USEC")[0]) > 0
    assert world.daemon.stop() == 0
    assert world.daemon.manager.said("STOPPING") == ["1"]


# Reloading.


def test_a_reload_takes_another_topic_and_format_and_loses_nothing(world: World) -> None:
    world.start()
    world.asterisk.send(b"".join(event(number) for number in range(20)))
    world.messages(20)
    world.daemon.configure(world.configuration(topic=f"{world.topic}-2", format="ami"))
    world.daemon.signal(signal.SIGHUP)
    world.daemon.wait_for_log("configuration reloaded")
    world.asterisk.send(event(20))
    (after,) = world.messages(1, f"{world.topic}-2")
    assert after.value == b"EntityID: 00:11:22:33:44:55\r\nSystemName: pbx-01\r\n" + event(20)
    assert world.numbers(20) == list(range(20))
    assert world.asterisk.connections == 1


def test_reloads_that_switch_it_on_are_many_and_end_nothing(world: World) -> None:
    world.daemon.configure(world.configuration().replace("[general]", "[general]\nenabled = no"))
    world.daemon.start()
    world.daemon.wait_for_word("READY")
    world.daemon.configure(world.configuration())

    def connected() -> bool:
        assert world.daemon.running, world.daemon.tail()
        world.daemon.signal(signal.SIGHUP)
        return "connected: asterisk=" in world.daemon.log

    wait_for(connected, BOUND, "a connection", interval=0.002)
    world.asterisk.send(event(0))
    assert world.numbers(1) == [0]


def test_a_reload_does_not_switch_it_off_and_says_so(world: World) -> None:
    world.start()
    world.daemon.configure(world.configuration().replace("[general]", "[general]\nenabled = no"))
    world.daemon.signal(signal.SIGHUP)
    world.daemon.wait_for_log(r"\[general\] enabled = no needs a restart to take effect")
    world.daemon.wait_for_log("configuration reloaded")
    world.asterisk.send(event(0))
    assert world.numbers(1) == [0]


def test_a_wrong_configuration_is_refused_with_file_and_line_and_the_old_one_stays(world: World) -> None:
    world.start()
    world.daemon.configure(world.configuration() + "\n[kafka]\ntpoic = x\n")
    world.daemon.signal(signal.SIGHUP)
    world.daemon.wait_for_log(
        r'ami_kafka\.conf:\d+: \[kafka\] tpoic: unknown option \(did you mean "topic"\?\)'
    )
    world.daemon.wait_for_log("was not reloaded: the previous one stays in use")
    world.asterisk.send(event(0))
    assert world.numbers(1) == [0]


# Bad input.


@contextlib.contextmanager
def bounded(world: World, megabytes: int) -> Iterator[None]:
    """Fail where the daemon's peak memory passes a bound."""
    yield
    assert world.daemon.peak() < megabytes * MEGABYTE
    assert world.daemon.running


def test_something_else_than_asterisk_is_named_and_tried_again(world: World) -> None:
    world.asterisk.manners.banner = b"220 mail.example.org ESMTP\r\n"
    world.daemon.start()
    with bounded(world, 80):
        world.daemon.wait_for_log("this is not Asterisk's manager interface: it begins with b'220 mail")
        world.asterisk.manners.banner = b"Asterisk Call Manager/11.0.0\r\n"
        world.wait_until_connected()
        world.asterisk.send(event(0))
        assert world.numbers(1) == [0]


def test_a_server_that_says_nothing_is_named_and_tried_again(world: World) -> None:
    world.daemon.configure(world.configuration(timeout=2))
    world.asterisk.manners.silent = True
    world.daemon.start()
    world.daemon.wait_for_log(r"there was no greeting of a manager interface within 2 s")
    world.asterisk.manners.silent = False
    world.wait_until_connected()
    assert world.daemon.running


def test_a_wrong_password_is_explained_once_and_can_be_mended_meanwhile(world: World) -> None:
    world.asterisk.manners.secret = "another"
    world.daemon.start()
    world.daemon.wait_for_log(
        r"refuses the login of 'amikafka': Authentication failed\. Check in manager\.conf"
    )
    world.asterisk.manners.secret = "s3cret"
    world.wait_until_connected()
    assert world.daemon.log.count("refuses the login") == 1
    assert "s3cret" not in world.daemon.log


def test_garbage_between_events_goes_with_the_event_before_it_and_costs_no_event(world: World) -> None:
    """It cannot be told from the rest of a value with an empty line, which the module publishes whole."""
    world.start()
    garbage = bytes(range(1, 256)).replace(b"\r\n\r\n", b"")
    world.asterisk.send(event(0) + garbage + b"\r\n\r\n" + event(1))
    assert world.numbers(2) == [0, 1]
    world.daemon.wait_for_log("an event with an empty line inside a value was put together")
    assert world.dead_letters == []


def test_garbage_with_a_nul_between_events_is_set_aside_and_costs_no_event(world: World) -> None:
    world.start()
    garbage = b"\0" + bytes(range(1, 256)).replace(b"\r\n\r\n", b"")
    world.asterisk.send(event(0) + garbage + b"\r\n\r\n" + event(1))
    assert world.numbers(2) == [0, 1]
    (letter,) = world.dead_letters
    assert letter["reason"] == "not an AMI event"
    world.daemon.wait_for_log("set aside: not an AMI event: offset=")


def test_a_storm_in_the_log_is_counted_to_the_last(world: World) -> None:
    world.start()
    world.carry(b"garbage\r\n\r\n" * 500 + event(0))
    assert world.daemon.stop() == 0
    said = re.findall(
        r"set aside: not an AMI event: .*?(?:\(and (\d+) more like this in \d+ s\))?\n", world.daemon.log
    )
    assert len(said) == 11
    assert sum(1 + int(more or 0) for more in said) == 500


def test_a_line_of_100_mb_without_an_end_is_passed_over_in_bounded_memory(world: World) -> None:
    world.start()
    with bounded(world, 100):
        world.asterisk.send(event(0) + b"Event: Endless\r\nX: ")
        for _ in range(100):
            world.asterisk.send(b"x" * MEGABYTE)
        world.asterisk.send(b"\r\n\r\n" + event(1))
        assert world.numbers(2) == [0, 1]
    assert "passed over: an event longer than 4194304 bytes" in world.daemon.log


def test_an_event_that_a_lost_connection_cut_off_is_kept_and_merged_with_nothing(world: World) -> None:
    world.start()
    world.asterisk.send(event(0) + event(1)[:-10])
    world.wait_until_recorded(event(1)[:-10])
    world.asterisk.close()
    world.wait_until_connected()
    world.asterisk.send(event(2))
    assert world.numbers(2) == [0, 2]
    (letter,) = world.dead_letters
    assert letter["reason"] == "cut off by a lost connection"
    assert letter["event"].encode() == event(1)[:-10]
    world.daemon.wait_for_log(r"there was no connection for [\d.]+ s: events in that time are lost")


def test_an_asterisk_that_does_not_answer_a_ping_is_left_and_found_again(world: World) -> None:
    world.daemon.configure(world.configuration(timeout=2))
    world.asterisk.manners.answers_ping = False
    world.start()
    world.daemon.wait_for_log("Asterisk does not answer: nothing for")
    world.asterisk.manners.answers_ping = True
    world.wait_until_connected()
    world.asterisk.send(event(0))
    assert world.numbers(1) == [0]


def test_a_broker_that_is_not_there_costs_nothing_but_journal(world: World) -> None:
    world.daemon.configure(world.configuration(brokers="127.0.0.1:1"))
    with bounded(world, 100):
        world.start()
        for first in range(0, 20_000, 100):
            world.asterisk.send(b"".join(event(number) for number in range(first, first + 100)))
        world.wait_until_recorded(event(19_999))
        world.daemon.wait_for_log("Kafka: ")
        assert world.checkpoint < 100  # the answers of the login
    world.daemon.configure(world.configuration())
    world.daemon.signal(signal.SIGHUP)
    world.daemon.wait_for_log("configuration reloaded")
    assert world.numbers(20_000) == list(range(20_000))
    assert world.daemon.log.count("Connection refused") <= 2, "not every attempt"


def refused(world: World, expected: str) -> None:
    """Start the daemon; it must end with 78 and say what is expected."""
    world.daemon.start()
    assert world.daemon.wait_for_exit(BOUND) == 78
    assert re.search(expected, world.daemon.log), world.daemon.log
    assert "Traceback" not in world.daemon.log


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (
            lambda text: text.replace("[kafka]", "[kafak]"),
            r"conf:\d+: \[kafak\]: unknown section \(did you mean",
        ),
        (
            lambda text: text.replace("port = ", "port = x"),
            r'conf:\d+: \[manager\] port: "x\d+" is not a whole',
        ),
        (
            lambda text: text + "[kafka]\nrdkafka.nonsense = 1\n",
            r"conf:\d+: \[kafka\] rdkafka\.nonsense: .*nonsense",
        ),
        (lambda text: text + "[kafka]\nsasl_password_file = /no/such\n", r"/no/such: No such file"),
        (lambda text: text.replace("brokers = ", "connection = x ;"), r"kafka\.conf: there is no such file"),
        (lambda text: "#include /no/such.conf\n" + text, r"conf:1: .*no/such\.conf"),
    ],
)
def test_a_wrong_configuration_ends_with_78_and_its_line(
    world: World, change: Callable[[str], str], expected: str
) -> None:
    world.daemon.configure(change(world.configuration()))
    refused(world, expected)


def test_a_journal_directory_that_cannot_be_made_is_named(world: World) -> None:
    (world.daemon.directory / "journal").write_text("a file")
    world.daemon.start()
    assert world.daemon.wait_for_exit(BOUND) != 0
    assert re.search(r"/journal.*\[journal\] directory", world.daemon.log), world.daemon.log
    assert "Traceback" not in world.daemon.log


def test_two_daemons_do_not_share_a_journal(world: World, tmp_path: Path) -> None:
    world.start()
    text = world.configuration().replace("@HERE@", str(world.daemon.directory))
    other = Daemon(tmp_path / "other", text)
    try:
        other.start()
        assert other.wait_for_exit(BOUND) != 0
        assert "another amikafka is using this journal" in other.log
    finally:
        other.close()
    assert world.daemon.running


def test_its_files_are_for_its_user_and_group_alone(world: World, tmp_path: Path) -> None:
    careless = ("sh", "-c", 'umask 0; exec "$@"', "sh")
    text = world.configuration().replace("[kafka]", "[kafka]\nmessage_max_bytes = 1000")
    daemon = Daemon(tmp_path / "careless", text, prefix=careless)
    state = tmp_path / "careless" / "journal"
    try:
        daemon.start()
        daemon.wait_for_log("connected: asterisk=")
        world.asterisk.send(event(1, "X: " + "x" * 2000))
        for name in ("dead-letter.jsonl", "checkpoint.json"):
            daemon.wait_for((state / name).exists, BOUND, name)
        paths = [state, *state.rglob("*")]
        modes = {str(path.relative_to(tmp_path)): path.stat().st_mode & 0o7777 for path in paths}
        assert daemon.stop() == 0
    finally:
        daemon.close()
    assert len(modes) > 6
    # Whoever may read the files may ask for the status: connecting to a socket takes the right to write.
    assert modes.pop("careless/journal/status.sock") == 0o660
    wrong = {name: oct(mode) for name, mode in modes.items() if mode not in (0o640, 0o750)}
    assert wrong == {}


def test_it_leaves_no_core_dump() -> None:
    code = (
        "import ctypes; from amikafka_tail.daemon.core_dumps import disable_core_dumps; disable_core_dumps();"
        "raise SystemExit(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0))"  # PR_GET_DUMPABLE
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=BOUND, check=False).returncode == 0


def test_when_every_event_is_refused_it_holds_up_says_why_and_goes_on_when_that_is_mended(
    world: World,
) -> None:
    text = world.configuration()
    world.daemon.configure(text.replace("[kafka]", "[kafka]\nmessage_max_bytes = 1000"))
    world.start()
    for number in range(30):
        world.asterisk.send(event(number, "X: " + "x" * 2000))
    world.daemon.wait_for_log(r"held up by refusals: .*message_max_bytes.*next attempt in 2 s")
    few = world.dead_letters
    assert len(few) < 5
    world.daemon.configure(text)
    world.daemon.signal(signal.SIGHUP)
    assert set(world.numbers(30 - len(few))) >= set(range(len(few), 30))
    assert world.dead_letters == few

"""What the person on call is told."""

from __future__ import annotations

import json
from typing import Any

import pytest

from amikafka_tail.commands.status import screen
from amikafka_tail.daemon.status.snapshot import Snapshot, Unrecognized
from amikafka_tail.daemon.status.verdict import judge
from tests.unit.daemon.status.snapshots import WELL, changed

AWAY = {"state": "no broker is reachable", "healthy": False}
BEHIND = {"bytes": 5_000_000, "events": 10_000, "seconds": 7440.0}


def test_all_is_well() -> None:
    verdict = judge(WELL)
    assert verdict.healthy
    assert verdict.state == "all is well"
    assert not verdict.lost
    assert not verdict.advice


def test_advice_names_the_configuration_of_the_daemon() -> None:
    west = "/etc/asterisk/ami_kafka-west.conf"
    advice = judge(changed(kafka=AWAY, configuration=west)).advice
    assert f"amikafka doctor -c {west} shows the cause" in advice[0]


def test_a_kafka_that_has_acknowledged_nothing_yet_is_not_called_well() -> None:
    lag = {**BEHIND, "seconds": 3.0}
    verdict = judge(changed(kafka={"seconds_since_delivery": None, "in_flight": 3}, lag=lag))
    assert verdict.healthy
    assert (
        verdict.state == "Kafka has acknowledged nothing yet; 10,000 events are waiting, the oldest for 3.0 s"
    )
    first = changed(kafka={"seconds_since_delivery": None, "in_flight": 3}, lag={**BEHIND, "seconds": 0.5})
    assert judge(first).state == "all is well", "it takes a moment"
    assert judge(changed(kafka={"seconds_since_delivery": None, "in_flight": 0})).state == "all is well"


def test_the_screen_says_that_what_was_read_again_counts_again() -> None:
    assert "read 1,000, filtered" in " ".join(screen.status(WELL))
    said = " ".join(" ".join(screen.status(changed(kafka={"rewinds": 2}))).split())
    assert "read 1,000 (some more than once), filtered" in said


@pytest.mark.parametrize(
    ("events", "text"), [(0, "no event is waiting"), (1, "1 event is waiting, the oldest for")]
)
def test_kafka_is_away_and_hardly_anything_waits(events: int, text: str) -> None:
    assert f"no broker is reachable; {text}" in judge(changed(kafka=AWAY, lag={"events": events})).state


def test_kafka_is_away_and_the_journal_has_room() -> None:
    verdict = judge(changed(kafka=AWAY, lag=BEHIND))
    assert not verdict.healthy
    assert verdict.state == (
        "Kafka accepts no messages: no broker is reachable; 10,000 events are waiting, the oldest for"
        " 2 h 4 min"
    )
    assert verdict.advice[1] == "the journal has room for 4 d 14 h at the current rate"
    assert not verdict.lost


def test_kafka_is_away_and_the_journal_is_soon_full() -> None:
    verdict = judge(changed(kafka=AWAY, lag=BEHIND, journal={"hours_left": 0.5}))
    assert "the journal will be full in 30 min" in verdict.advice[1]


def test_kafka_is_away_and_the_disk_is_full_before_the_journal_is() -> None:
    # No event is given up then: the recorder waits, and so does Asterisk.
    verdict = judge(changed(kafka=AWAY, lag=BEHIND, journal={"hours_left": 0.5, "disk_free": 1_000_000}))
    assert "the disk of /var/lib/amikafka will be full in 30 min" in verdict.advice[1]
    assert "given up" not in verdict.advice[1]


def test_kafka_is_away_and_the_disk_is_full() -> None:
    full = {"state": "No space left on device", "healthy": False}
    verdict = judge(changed(kafka=AWAY, lag=BEHIND, source=full, journal={"hours_left": 0.0, "disk_free": 0}))
    assert "free space" in verdict.advice[0]
    assert "given up" not in " ".join(verdict.advice)


@pytest.mark.parametrize(
    ("source", "read", "up_ms", "silent"),
    [
        ("manager", 0, 90_000, True),
        ("manager", 0, 30_000, False),
        ("manager", 1, 90_000, False),
        ("eventlog", 0, 90_000, False),
    ],
)
def test_a_manager_user_who_is_sent_nothing_is_not_all_well(
    source: str, read: int, up_ms: int, silent: bool
) -> None:
    verdict = judge(changed(source={"name": source}, events={"read": read}, began_ms=WELL.at_ms - up_ms))
    assert verdict.healthy
    assert ("no event has arrived" in verdict.state) == silent
    assert ("amikafka doctor" in " ".join(verdict.advice)) == silent


def test_a_plugin_that_makes_events_wait_is_not_called_catching_up() -> None:
    verdict = judge(
        changed(
            held='plugin "avro" has to wait: no registry',
            lag={"bytes": 5000, "events": 10, "seconds": 3600.0},
            kafka={"state": "idle", "in_flight": 0},
        )
    )
    assert not verdict.healthy
    assert (
        verdict.state
        == 'plugin "avro" has to wait: no registry; 10 events are waiting, the oldest for 60 min'
    )
    assert verdict.advice == ["fix what the plugin is waiting for, then all events are sent automatically"]


def test_kafka_is_away_and_nothing_comes_in() -> None:
    verdict = judge(changed(kafka=AWAY, lag=BEHIND, journal={"hours_left": None}))
    assert "does not grow" in verdict.advice[1]


def test_kafka_is_away_and_the_source_has_files_of_its_own() -> None:
    verdict = judge(changed(kafka=AWAY, lag=BEHIND, journal=None, source={"name": "eventlog"}))
    assert "stop log rotation from deleting them" in verdict.advice[1]


@pytest.mark.parametrize(
    ("name", "state", "advice"),
    [
        ("manager", "127.0.0.1:5038: Connection refused", "amikafka doctor"),
        ("eventlog", "/var/log/asterisk/full: Permission denied", "amikafka doctor"),
        ("manager", "No space left on device", "free space on the disk of /var/lib/amikafka"),
    ],
)
def test_nothing_comes_in(name: str, state: str, advice: str) -> None:
    verdict = judge(changed(source={"name": name, "state": state, "healthy": False}))
    assert not verdict.healthy
    assert verdict.state == f"no events are coming in: {state}"
    assert advice in verdict.advice[0]


@pytest.mark.parametrize(
    ("events", "text"),
    [
        ({"delivered_per_second": 1050.0}, "about 10 s to go"),  # 50 a second come in
        ({"delivered_per_second": 40.0}, "delivering 40/s, no faster than new ones arrive"),
        ({"delivered_per_second": 0.0}, "catching up: 10,000 events behind"),
    ],
)
def test_a_backlog_is_being_delivered(events: dict[str, float], text: str) -> None:
    verdict = judge(changed(lag=BEHIND, events=events))
    assert verdict.healthy
    assert text in verdict.state


@pytest.mark.parametrize(
    ("losses", "text"),
    [
        ({"lost": 1}, "1 event dropped because the journal was full"),
        ({"torn": 2, "dead_letters": 2}, "2 events cut off by a lost connection"),
        ({"gaps": 3}, "3 events missing according to SequenceNumber"),
        ({"overlong": 4}, "4 events too long to read"),
        ({"dead_letters": 5}, "5 events moved to dead-letter.jsonl"),
        ({"forgotten_letters": 6}, "6 dead letters deleted to make room for newer ones"),
        (
            {"disconnections": 2, "disconnected_seconds": 90.0},
            "all events during 90 s without a connection to Asterisk (2 times)",
        ),
    ],
)
def test_every_kind_of_loss_is_said_and_is_no_alarm(losses: dict[str, Any], text: str) -> None:
    verdict = judge(changed(losses=losses))
    assert verdict.healthy
    assert verdict.lost == [text]


def test_what_was_set_aside_can_be_sent_again() -> None:
    assert "replay --from dead-letter" in " ".join(judge(changed(losses={"dead_letters": 1})).advice)


EVERYTHING = changed(
    kafka={**AWAY, "state": "x" * 300},
    lag=BEHIND,
    source={"healthy": False, "state": "\x1b[2Jevil", "system_name": "\x1b]0;evil\x07"},
    losses={"lost": 10**9, "torn": 1, "gaps": 2, "disconnections": 3, "dead_letters": 9},
    events={"kinds": [("\x1b[31mE", "call", 10**9)]},
)


@pytest.mark.parametrize("snapshot", [WELL, EVERYTHING], ids=["well", "everything"])
def test_the_screen_is_80_columns_wide_and_harmless(snapshot: Snapshot) -> None:
    lines = list(screen.status(snapshot))
    assert max(map(len, lines)) <= 80
    assert not any(ord(char) < 32 or 127 <= ord(char) < 160 for line in lines for char in line)


def test_the_screen_of_a_daemon_that_is_well() -> None:
    lines = list(screen.status(WELL))
    assert lines[:5] == [
        "amikafka 1.2.3, process 4711, up for 90 s",
        "",
        "State    all is well",
        "Lost     nothing",
        "To do    nothing",
    ]
    assert "source   manager: connected to 127.0.0.1:5038, Asterisk 22.10.1, pbx-01" in lines
    assert "lag      none" in lines
    assert lines[-1].endswith("warning: Kafka: something (3 times)")
    assert len(lines) <= 24


def test_why_nothing_comes_in_is_said_once() -> None:
    text = " ".join(screen.status(changed(source={"state": "Connection refused", "healthy": False}, said=[])))
    assert text.count("Connection refused") == 1
    assert "source   manager: no events are coming in, Asterisk 22.10.1, pbx-01" in text


def test_room_for_centuries_is_no_number() -> None:
    text = " ".join(screen.status(changed(journal={"hours_left": 1e7})))
    assert "room for more than a year" in text


def test_what_asterisk_itself_filters_by_is_said() -> None:
    filtered = changed(source={"pushed_filters": 3})
    assert "pbx-01, filtering by 3 eventfilter lines" in " ".join(" ".join(screen.status(filtered)).split())


def test_a_partition_without_a_leader_is_said() -> None:
    partition = WELL.kafka.partitions[0]
    leaderless = changed(kafka={"partitions": [partition, type(partition)(number=1, leader=-1, queued=0)]})
    assert "no leader: partition 1" in " ".join(" ".join(screen.status(leaderless)).split())


def test_a_snapshot_goes_through_json_and_back_also_from_a_newer_version() -> None:
    values = json.loads(json.dumps(EVERYTHING.to_json()))
    assert Snapshot.from_json(values) == EVERYTHING
    values["future"] = 1
    values["kafka"]["brokers"][0]["future"] = 1
    assert Snapshot.from_json(values) == EVERYTHING
    without = json.loads(json.dumps(changed(journal=None).to_json()))
    assert Snapshot.from_json(without).journal is None


SILENT = Unrecognized(path="/var/log/asterisk/full", lines=40_000, example="a line", ended=False)


def test_a_log_without_events_is_not_called_well_and_not_nothing_lost() -> None:
    state = "reading, 0 events in 40,000 lines: a line"
    snapshot = changed(source={"name": "eventlog", "state": state}, events={"read": 0}, unrecognized=[SILENT])
    verdict = judge(snapshot)
    assert not verdict.healthy
    assert verdict.state == f"no event is found in what is read: {state}"
    wanted = "perhaps what 40,000 lines of /var/log/asterisk/full say, in which no event was found: a line"
    assert verdict.lost == [wanted]
    assert "amikafka doctor" in verdict.advice[0]
    lines = list(screen.status(snapshot))
    assert not any(line.startswith("Lost     nothing") for line in lines)
    assert "0 events in 40,000 lines: a line" in " ".join(" ".join(lines).split())


def test_one_file_without_events_among_others_is_said_beside_what_is_well() -> None:
    more = Unrecognized(path="/b", lines=1, example="b", ended=True)
    verdict = judge(changed(unrecognized=[SILENT, more]))
    assert verdict.healthy
    assert verdict.lost == ["perhaps what 40,001 lines of 2 files say, in which no event was found: b"]

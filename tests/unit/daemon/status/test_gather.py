"""How the daemon sees itself, from stand-ins for what the main loop works with."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from amikafka_tail.daemon import logs
from amikafka_tail.daemon.status.gather import STUCK_SECONDS, Daemon, Gatherer
from amikafka_tail.daemon.status.main_loop_queries import MainLoopQueries, NoAnswerError
from amikafka_tail.daemon.status.snapshot import Snapshot
from amikafka_tail.daemon.status.statistics import Statistics
from amikafka_tail.daemon.status.verdict import judge
from amikafka_tail.delivery.ledger import Ledger
from amikafka_tail.model.counters import MAX_KINDS, Counters, KindCounts, Unrecognized
from tests.support.waiting import BOUND

STATISTICS = {
    "brokers": {
        "b1": {"name": "sasl_ssl://k1:9092/1", "nodeid": 1, "state": "UP", "outbuf_cnt": 1, "waitresp_cnt": 2,
               "tx": 50, "txretries": 3, "txerrs": 1, "rxerrs": 1, "req_timeouts": 4,
               "rtt": {"cnt": 5, "avg": 1500, "p99": 9000}},
        "boot": {"name": "k1:9092/bootstrap", "nodeid": -1, "state": "UP"},
        "b2": {"name": "k2:9092/2", "nodeid": 2, "state": "DOWN", "rtt": {"cnt": 0, "avg": 0, "p99": 0}},
    },
    "topics": {"t": {"partitions": {
        "0": {"partition": 0, "leader": 1, "msgq_cnt": 2, "xmit_msgq_cnt": 3},
        "-1": {"partition": -1, "leader": -1},
    }}},
}  # fmt: skip


class World:
    def __init__(self, directory: Path) -> None:
        self.now = 100.0
        self.counters = Counters()
        self.statistics = Statistics(lambda: self.now)
        self.gatherer = Gatherer(
            self.counters, self.statistics, clock=lambda: self.now, now=lambda: 1_790_000_000 + self.now
        )
        journal = SimpleNamespace(directory=directory, max_bytes=10_000)
        settings: Any = SimpleNamespace(
            path="x", format="json", topic="t", exactly_once=False, filters=[], source="manager",
            journal=journal, overrides=None,
        )  # fmt: skip
        self.intake: Any = SimpleNamespace(
            state="connected", healthy=True, peer="p", identity=None, pushed_filters=2, held=500, end=0,
            captured_ms=lambda _position: None,
        )  # fmt: skip
        self.pipeline: Any = SimpleNamespace(
            lag=0,
            ledger=Ledger(0),
            position=0,
            producer=[],
            problem=None,
            trouble=None,
            held=None,
            acknowledged=0,
        )
        self.daemon = Daemon(settings, self.intake, self.pipeline)

    def pass_time(self, seconds: float) -> None:
        for _ in range(round(seconds)):
            self.now += 1
            self.gatherer.look(self.daemon)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_a_kafka_that_does_nothing_is_idle_as_long_as_nothing_waits_for_it(world: World) -> None:
    world.pass_time(3600)
    assert world.gatherer.snapshot(world.daemon).kafka.state == "idle"
    world.pipeline.producer.append("message")
    world.pass_time(STUCK_SECONDS - 1)
    assert world.gatherer.snapshot(world.daemon).kafka.healthy
    world.pass_time(2)
    kafka = world.gatherer.snapshot(world.daemon).kafka
    assert (kafka.healthy, kafka.state) == (False, "nothing acknowledged for 11 s")
    world.counters.delivered += 1
    world.pass_time(1)
    kafka = world.gatherer.snapshot(world.daemon).kafka
    assert (kafka.healthy, kafka.state) == (True, "delivering")


def test_a_kafka_that_has_never_answered_delivers_nothing(world: World) -> None:
    world.pass_time(60)
    world.pipeline.producer.append("message")
    world.pass_time(STUCK_SECONDS - 1)
    kafka = world.gatherer.snapshot(world.daemon).kafka
    assert (kafka.healthy, kafka.state) == (True, "connecting, nothing acknowledged yet")
    world.counters.delivered += 1
    world.pass_time(1)
    assert world.gatherer.snapshot(world.daemon).kafka.state == "delivering"


def test_the_log_says_when_kafka_goes_and_when_it_comes(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.pass_time(60)
    world.pipeline.producer.append("message")
    world.pipeline.lag = 500
    world.pass_time(60)
    said = "Kafka has acknowledged nothing for 11 s: events are kept, nothing is lost: lag_bytes=500"
    assert caplog.messages == [said], "once"
    world.pipeline.lag = 9000
    world.counters.delivered += 1
    world.pipeline.producer.clear()
    world.pass_time(60)
    # Counted from when it should have: the moment that the message was sent.
    assert caplog.messages == [said, "Kafka acknowledges again after 61 s: lag_bytes=9000"]


def test_what_is_still_to_be_said_of_an_outage_stands_before_its_end(
    world: World, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[tuple[bool, int]] = []
    monkeypatch.setattr(
        logs, "tell_of_storms", lambda *, at_once: said.append((at_once, len(caplog.messages)))
    )
    world.pipeline.producer.append("message")
    world.pass_time(60)
    assert said == []
    world.counters.delivered += 1
    world.pass_time(1)
    assert said == [(True, 1)]
    assert "acknowledges again" in caplog.messages[1]


def test_a_kafka_that_refuses_is_told_of_by_the_pipeline_and_its_return_here(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.pipeline.trouble = "the topic does not exist"
    world.pass_time(40)
    assert caplog.messages == []
    world.pipeline.trouble = None
    world.counters.delivered += 1
    world.pass_time(1)
    assert caplog.messages == ["Kafka acknowledges again after 40 s: lag_bytes=0"]


def test_by_how_many_filters_asterisk_decides_comes_from_the_intake(world: World) -> None:
    assert world.gatherer.snapshot(world.daemon).source.pushed_filters == 2


def test_what_the_pipeline_says_of_kafka_comes_first(world: World) -> None:
    world.pipeline.trouble = "the topic does not exist"
    assert world.gatherer.snapshot(world.daemon).kafka.state == "the topic does not exist"
    world.pipeline.problem = "shut out"
    assert world.gatherer.snapshot(world.daemon).kafka.state == "shut out"


def test_which_plugin_makes_events_wait_comes_from_the_pipeline(world: World) -> None:
    assert world.gatherer.snapshot(world.daemon).held is None
    world.pipeline.held = "no registry"
    assert world.gatherer.snapshot(world.daemon).held == "no registry"


def test_brokers_of_which_none_is_up_are_a_problem(world: World) -> None:
    down = json.loads(json.dumps(STATISTICS))
    down["brokers"]["b1"]["state"] = "CONNECT"
    world.statistics.take(json.dumps(down))
    kafka = world.gatherer.snapshot(world.daemon).kafka
    assert (kafka.healthy, kafka.state) == (False, "no broker is reachable")


def test_the_statistics_of_librdkafka(world: World) -> None:
    assert world.gatherer.snapshot(world.daemon).kafka.statistics_age is None
    world.statistics.take(json.dumps(STATISTICS))
    world.now += 3
    kafka = world.gatherer.snapshot(world.daemon).kafka
    first, second = kafka.brokers
    assert (first.name, first.rtt_ms, first.rtt_p99_ms, first.queued) == ("k1:9092/1", 1.5, 9.0, 3)
    assert (first.retries, first.errors, first.timeouts) == (3, 2, 4)
    assert (second.name, second.state, second.rtt_ms) == ("k2:9092/2", "DOWN", None)
    (partition,) = kafka.partitions
    assert (partition.number, partition.leader, partition.queued) == (0, 1, 5)
    assert kafka.statistics_age == 3


def test_how_far_it_is_behind(world: World) -> None:
    receipt = world.pipeline.ledger.open(0, 1000)
    receipt.messages = 7
    world.pipeline.lag, world.pipeline.position, world.intake.end = 2000, 1000, 2000
    lag = world.gatherer.snapshot(world.daemon).lag
    assert (lag.bytes, lag.events) == (2000, 7 + 2)  # 500 bytes for an event as long as none was seen
    world.intake.captured_ms = lambda position: 1_790_000_000_000 + 40_000 if position == 0 else None
    assert world.gatherer.snapshot(world.daemon).lag.seconds == 60


def test_files_do_not_say_when_they_were_written_but_the_daemon_has_seen_them_grow(world: World) -> None:
    world.pass_time(20)
    world.intake.end, world.pipeline.lag = 100, 100
    world.pass_time(30)
    assert 25 <= world.gatherer.snapshot(world.daemon).lag.seconds <= 30


def test_how_long_the_journal_has_room(world: World) -> None:
    for _ in range(60):
        world.pass_time(1)
        world.intake.end += 10
    world.pipeline.lag = 400
    journal = world.gatherer.snapshot(world.daemon).journal
    assert journal is not None
    assert journal.bytes == 500
    assert journal.hours_left == pytest.approx(9600 / 10 / 3600, rel=0.1)
    world.intake.held = None
    assert world.gatherer.snapshot(world.daemon).journal is None


def test_names_that_a_dialplan_makes_up_are_counted_together_in_the_end() -> None:
    counts = KindCounts()
    for number in range(MAX_KINDS + 50):
        counts.of(b"E%d" % number, b"user")[0] += 1
    counts.of(b"E1", b"user")[0] += 1
    assert counts.most()[:2] == [("(other)", "", 50), ("E1", "user", 2)]
    assert len(counts.most()) == MAX_KINDS + 1


def test_who_asks_waits_for_the_main_loop() -> None:
    woken = threading.Event()
    asking: MainLoopQueries[int] = MainLoopQueries(woken.set)
    answers: list[int] = []
    threads = [threading.Thread(target=lambda: answers.append(asking.ask(BOUND))) for _ in range(3)]
    for thread in threads:
        thread.start()
    assert woken.wait(BOUND)
    until = time.monotonic() + BOUND
    while len(answers) < 3 and time.monotonic() < until:
        asking.answer(lambda: 5)
        time.sleep(0.01)
    for thread in threads:
        thread.join(BOUND)
    assert answers == [5, 5, 5]


def test_a_main_loop_that_hangs_is_said() -> None:
    asking: MainLoopQueries[int] = MainLoopQueries(lambda: None)
    with pytest.raises(NoAnswerError, match=r"has not answered within 0\.01 s"):
        asking.ask(0.01)


def test_what_is_read_and_holds_no_event_stands_in_the_state(world: World) -> None:
    world.intake.state = "reading"
    seen = world.counters.unrecognized
    seen["/a", 1] = Unrecognized("/a", 40_000, "a line", ended=False)
    snapshot = world.gatherer.snapshot(world.daemon)
    assert snapshot.source.state == "reading, 0 events in 40,000 lines: a line"
    assert Snapshot.from_json(json.loads(json.dumps(snapshot.to_json()))) == snapshot
    seen["/b", 2] = Unrecognized("/b", 1, "another", ended=False)
    seen["/c", 3] = Unrecognized("/c", 7, "left", ended=True)
    snapshot = world.gatherer.snapshot(world.daemon)
    assert snapshot.source.state == "reading, 0 events in 40,001 lines of 2 files: another"
    assert [each.path for each in snapshot.unrecognized] == ["/a", "/b", "/c"]
    world.intake.state, world.intake.healthy = "/a: cannot be read", False
    assert world.gatherer.snapshot(world.daemon).source.state == "/a: cannot be read"


def of_partitions(*partitions: dict[str, int], state: str = "UP", retries: int = 0) -> str:
    """Make statistics of two brokers; the second leads what it leads."""
    brokers = {
        "b1": {"name": "k1:9092/1", "nodeid": 1, "state": "UP"},
        "b2": {"name": "k2:9092/2", "nodeid": 2, "state": state, "txretries": retries},
    }
    made = {str(each["partition"]): each for each in partitions}
    return json.dumps({"brokers": brokers, "topics": {"t": {"partitions": made}}})


def partition(number: int, leader: int, msgs: int, waiting: int, in_flight: int = 0) -> dict[str, int]:
    return {
        "partition": number,
        "leader": leader,
        "msgs": msgs,
        "xmit_msgq_cnt": waiting,
        "msgs_inflt": in_flight,
    }


def with_a_stuck_partition(world: World, leader: int = 2, **more: Any) -> None:
    """Let a minute pass in which one partition goes on and the other does not."""
    world.pipeline.producer.append("message")
    for number in range(12):
        good = partition(0, 1, 100 + 10 * number, 3)
        world.statistics.take(of_partitions(good, partition(1, leader, 50, 18, 2), **more))
        world.pipeline.acknowledged += 10
        world.pass_time(5)


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({"state": "CONNECT"}, "its leader k2:9092/2 cannot be reached (CONNECT)"),
        ({"retries": 40}, "its leader k2:9092/2 answers and refuses for now (40 repeated requests)"),
        ({"retries": 40}, "min.insync.replicas"),
        ({"leader": -1}, "it has no leader"),
    ],
)
def test_a_stuck_partition_is_named_with_its_broker(
    world: World, caplog: pytest.LogCaptureFixture, more: dict[str, Any], expected: str
) -> None:
    with_a_stuck_partition(world, **more)
    kafka = world.gatherer.snapshot(world.daemon).kafka
    assert not kafka.healthy
    assert kafka.is_partial
    assert kafka.state.startswith("partition 1 has accepted nothing for ")
    assert expected in kafka.state
    assert "20 messages wait for it, 1 partition not stuck" in kafka.state
    stuck = {each.number: each.stuck_seconds for each in kafka.partitions}
    assert stuck[0] == 0
    assert 55 <= stuck[1] <= 60
    said = [each for each in caplog.messages if "partition" in each]
    assert len(said) == 1, "once"
    assert said[0].startswith("Kafka accepts only a part of the messages: topic=t: partition 1 ")
    assert not any("acknowledged nothing" in each for each in caplog.messages), "it acknowledges the others"
    assert (
        "Kafka accepts only a part of the messages: partition 1 "
        in judge(world.gatherer.snapshot(world.daemon)).state
    )
    world.statistics.take(of_partitions(partition(0, 1, 300, 0), partition(1, 2, 80, 1)))
    world.pass_time(5)
    assert world.gatherer.snapshot(world.daemon).kafka.healthy
    assert caplog.messages[-1] == "Kafka accepts messages on every partition again: topic=t"


def test_a_partition_is_as_stuck_for_a_fresh_producer(world: World) -> None:
    with_a_stuck_partition(world)
    world.statistics.take(of_partitions(partition(0, 1, 5, 0), partition(1, 2, 20, 20)))
    world.pipeline.acknowledged = 5
    world.pass_time(5)
    kafka = world.gatherer.snapshot(world.daemon).kafka
    assert [each.stuck_seconds > 55 for each in kafka.partitions] == [False, True]


def test_partitions_for_which_nothing_waits_are_not_stuck(world: World) -> None:
    world.pipeline.producer.append("message")
    for _ in range(12):
        world.statistics.take(of_partitions(partition(0, 1, 100, 0), partition(1, 2, 50, 0)))
        world.pipeline.acknowledged += 1
        world.pass_time(5)
    kafka = world.gatherer.snapshot(world.daemon).kafka
    assert [each.stuck_seconds for each in kafka.partitions] == [0, 0]
    assert kafka.healthy

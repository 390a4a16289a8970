"""The exposition, by Prometheus' own rules for names (prometheus.io/docs/practices/naming)."""

from __future__ import annotations

import re

import pytest
from prometheus_client.parser import text_string_to_metric_families

from amikafka_tail.daemon.status.http_server import unhealthy
from amikafka_tail.daemon.status.prometheus import metrics, render
from tests.unit.daemon.status.snapshots import WELL, changed


def test_every_metric_has_a_help_text_and_a_name_by_the_conventions() -> None:
    for metric in metrics(WELL):
        assert re.fullmatch(r"amikafka_[a-z0-9_]+", metric.name), metric.name
        assert len(metric.documentation) > 10, metric.name
        assert not metric.documentation.endswith("."), metric.name
        assert metric.type in ("gauge", "counter")
        assert not re.search(r"_(ms|millis|kb|percent|hours|minutes)(_|$)", metric.name), metric.name


def test_the_text_can_be_read_back() -> None:
    kind, body = render(WELL, "")
    assert kind.startswith("text/plain")
    families = {each.name: each for each in text_string_to_metric_families(body.decode())}
    for metric in metrics(WELL):
        name = metric.name if metric.type == "gauge" else f"{metric.name}_total"
        assert metric.name in families or name in families
    broker = families["amikafka_broker_round_trip_seconds"].samples[0]
    assert (broker.labels, broker.value) == ({"broker": "kafka-1:9092/1"}, 0.0015)
    assert families["amikafka_journal_time_left_seconds"].samples[0].value == 110 * 3600


def test_the_process_is_told_of_also_where_proc_is_no_more_than_the_processes() -> None:
    _, body = render(WELL, "")
    values = {
        sample.name: sample.value
        for family in text_string_to_metric_families(body.decode())
        for sample in family.samples
        if sample.name.startswith("process_")
    }
    assert values["process_resident_memory_bytes"] == WELL.resident_bytes
    assert values["process_start_time_seconds"] == WELL.began_ms / 1000
    assert values["process_cpu_seconds_total"] > 0
    assert values["process_open_fds"] > 2


def test_names_of_events_may_be_anything() -> None:
    odd = changed(events={"kinds": [('a"b\\c\nd', "", 5)]})
    _, body = render(odd, "")
    families = {each.name: each for each in text_string_to_metric_families(body.decode())}
    found = families.get("amikafka_messages_by_event") or families["amikafka_messages_by_event_total"]
    assert found.samples[0].labels["event"] == 'a"b\\c\nd'


def test_openmetrics_is_served_to_who_asks_for_it() -> None:
    kind, body = render(WELL, "application/openmetrics-text; version=1.0.0")
    assert kind.startswith("application/openmetrics-text")
    assert body.endswith(b"# EOF\n")


@pytest.mark.parametrize(
    ("parts", "reasons"),
    [
        ({}, 0),
        ({"lag": {"bytes": 1, "events": 1, "seconds": 10.0}}, 0),
        ({"lag": {"bytes": 1, "events": 1, "seconds": 10.1}}, 1),
        ({"source": {"healthy": False, "state": "Connection refused"}}, 1),
        ({"source": {"healthy": False}, "lag": {"seconds": 99.0}}, 2),
        ({"kafka": {"healthy": False}}, 0),
    ],
)
def test_health(parts: dict[str, object], reasons: int) -> None:
    assert len(unhealthy(changed(**parts), 10.0)) == reasons

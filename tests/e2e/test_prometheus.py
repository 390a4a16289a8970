"""The dashboard and the alerts of examples/, in a real Prometheus that scrapes a real daemon."""

from __future__ import annotations

import re
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from ami import Flood
from asterisk import Asterisk
from conftest import Daemons, or_skip
from kafka import Kafka
from machine import free_port
from prometheus import CONFIGURATION, SCRAPE_SECONDS, Prometheus, promtool

from tests.support.examples import DASHBOARD, EXAMPLES, expressions
from tests.support.waiting import wait_for

pytestmark = pytest.mark.timeout(300)
# What a daemon that is well has no series of.
MAY_BE_EMPTY = re.compile(r"amikafka_plugin_failures_total|^ALERTS|^changes\(")
SCRAPES = 12
"""Enough for librdkafka's statistics, which come every five seconds."""
VALUES = {
    "$__rate_interval": "5s",
    "$__range": "1m",
    "$job": ".+",
    "$instance": ".+",
}


def in_place(expression: str) -> str:
    """Return an expression with Grafana's variables as Grafana puts them in."""
    for name, value in VALUES.items():
        expression = expression.replace(name, value)
    assert "$" not in expression
    return expression


class Scraped:
    """A daemon under load and the Prometheus that watches it."""

    def __init__(self, directory: Path, daemons: Daemons, topic: str) -> None:
        self.address = f"127.0.0.1:{free_port()}"
        self.daemon = daemons(topic, metrics=f"listen = {self.address}", journal="max_bytes = 2g")
        self.prometheus = Prometheus(directory / "prometheus", self.address)

    def text(self) -> str:
        """Return what the daemon exposes, as it is scraped."""
        with urllib.request.urlopen(f"http://{self.address}/metrics", timeout=20) as answer:
            return str(answer.read().decode())

    def firing(self) -> dict[str, dict[str, str]]:
        """Return the annotations of the alerts that fire, by name."""
        return {
            alert["labels"]["alertname"]: alert["annotations"]
            for alert in self.prometheus.ask("alerts")["alerts"]
            if alert["state"] == "firing"
        }


@pytest.fixture
def scraped(
    tmp_path: Path, asterisk: Asterisk, kafka: Kafka, topic: str, daemon: Daemons
) -> Iterator[Scraped]:
    """One that has been scraped for a while, under load."""
    made = Scraped(tmp_path, daemon, topic)
    made.daemon.start()
    made.daemon.wait_for_log("connected: asterisk=")
    try:
        or_skip(made.prometheus.start)
        with asterisk.driver() as driver, Flood(driver, 200, "scraped"):
            wait_for(
                lambda: (
                    (found := made.prometheus.query("count_over_time(amikafka_broker_up[5m])"))
                    and max(float(each["value"][1]) for each in found) >= SCRAPES
                ),
                60,
                "some scrapes with librdkafka's statistics",
                SCRAPE_SECONDS,
            )
            yield made
    finally:
        made.prometheus.stop()


def test_promtool_accepts_what_is_shipped_and_its_tests_pass() -> None:
    directory = EXAMPLES / "prometheus"
    for arguments in (
        ("check", "config", CONFIGURATION),
        ("check", "rules", directory / "amikafka-alerts.yml"),
        ("test", "rules", directory / "amikafka-alerts-test.yml"),
    ):
        status, said = or_skip(lambda given=arguments: promtool(*given))
        assert status == 0, said
        assert "SUCCESS" in said
        assert "FAILED" not in said


def test_all_of_it_is_evaluated_by_a_real_prometheus(scraped: Scraped) -> None:
    prometheus = scraped.prometheus
    status, said = promtool("check", "metrics", text=scraped.text())
    assert (status, said) == (0, ""), "names, types and help texts by the conventions"
    evaluated = 0
    for panel, expression, legend in expressions():
        found = prometheus.query(in_place(expression))
        evaluated += 1
        if MAY_BE_EMPTY.search(expression):
            continue
        assert found, f"{panel['title']}: {expression}"
        for series in found:
            assert series["value"][1] != "NaN", expression
            for label in re.findall(r"\{\{(\w+)\}\}", legend):
                assert series["metric"].get(label), f"{panel['title']}: {label}"
    print(f"{evaluated} expressions")
    for variable in DASHBOARD["templating"]["list"][1:]:
        metric, label = re.findall(r"label_values\((\w+).*, (\w+)\)", variable["definition"])[0]
        assert prometheus.ask(f"label/{label}/values", **{"match[]": metric})
    # And what is shown is what is: of 200 events a second, 100 at the very least.
    (rate,) = prometheus.query("rate(amikafka_messages_delivered_total[5s])")
    assert float(rate["value"][1]) > 100
    named = prometheus.query("topk(1, sum by (event, category) (amikafka_messages_by_event_total))")
    assert named[0]["metric"] == {"event": "UserEvent", "category": "user"}


def test_no_alert_fires_where_all_is_well_and_one_does_where_it_is_not(
    scraped: Scraped, kafka: Kafka
) -> None:
    rules = scraped.prometheus.rules()
    assert len(rules) > 10
    for rule in rules:
        assert (rule["health"], rule.get("lastError", "")) == ("ok", ""), rule["name"]
    assert scraped.firing() == {}
    kafka.stop()
    try:
        wait_for(lambda: "AmikafkaKafkaDown" in scraped.firing(), 60, "the alert on Kafka", 0.5)
        others = {"AmikafkaPartitionWithoutLeader", "AmikafkaBrokerTimeouts"}
        assert set(scraped.firing()) - others == {"AmikafkaKafkaDown"}
        assert scraped.firing()["AmikafkaKafkaDown"]["summary"] == (
            f"Kafka accepts no messages from {scraped.address}"
        )
    finally:
        kafka.start()
    wait_for(lambda: "AmikafkaKafkaDown" not in scraped.firing(), 60, "the alert to end", 0.5)
    scraped.daemon.kill()
    wait_for(lambda: set(scraped.firing()) == {"AmikafkaDown"}, 30, "the alert on the daemon", 0.5)

"""The Grafana dashboard and the Prometheus rules ask for what the daemon exposes, and Grafana can show it.

tests/e2e/test_prometheus.py has a real Prometheus evaluate all of it.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from amikafka_tail.daemon.status.prometheus import metrics, process_metrics
from amikafka_tail.daemon.status.snapshot import Unrecognized
from tests.support.examples import DASHBOARD, EXAMPLES, RULES, Panel, expressions, panels
from tests.unit.daemon.status.snapshots import WELL

TARGET = {"job", "instance"}
"""Labels that Prometheus adds to everything that it scrapes."""
NOT_OURS = {"up", "ALERTS"}
GRID = 24
BUILT_IN = {"__rate_interval", "__range", "__interval"}


def exposed() -> dict[str, set[str]]:
    """Every metric by its name in a query, with its labels."""
    silent = Unrecognized(path="/var/log/asterisk/full", lines=3, example="a line", ended=False)
    snapshot = dataclasses.replace(WELL, plugin_failures={"redact": 1}, unrecognized=[silent])
    found: dict[str, set[str]] = {}
    for metric in (*metrics(snapshot), *process_metrics(snapshot)):
        assert metric.samples, f"{metric.name}: the snapshot is not full"
        for sample in metric.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found


def alerts() -> Iterator[tuple[str, str, str]]:
    """Yield name, expression and annotations of each rule; promtool reads the YAML in earnest."""
    for rule in RULES.split("- alert: ")[1:]:
        expression = re.search(r"expr: (?:>-)?(.*?)\n +(?:for|labels):", rule, re.DOTALL)
        assert expression is not None
        yield rule.split("\n")[0], " ".join(expression[1].split()), rule.partition("annotations:")[2]


ALERTS = list(alerts())
ASKED = [*((f"{panel['title']}: {text}", text, legend) for panel, text, legend in expressions()), *ALERTS]


@pytest.mark.parametrize(("text", "shown"), [each[1:] for each in ASKED], ids=[each[0] for each in ASKED])
def test_what_is_asked_for_is_exposed_with_these_labels(text: str, shown: str) -> None:
    known = exposed()
    names = set(re.findall(r"\b(?:amikafka|process)_\w+\b|\bup\b|\bALERTS\b", text))
    assert names
    assert names - NOT_OURS <= set(known)
    for name, selector in re.findall(r"\b(\w+)\{(.*?)\}", text):
        if name not in NOT_OURS:
            assert set(re.findall(r"(\w+)=~?", selector)) <= known[name] | TARGET
    labels = TARGET.union(*(known.get(name, set()) for name in names))
    if "ALERTS" in names:
        labels |= {"alertname", "severity"}
    grouped = {
        label.strip() for group in re.findall(r"\b(?:by|on) \((.*?)\)", text) for label in group.split(",")
    }
    assert grouped <= labels
    if by := re.search(r"sum by \((.*?)\)", text):  # what is not in it is gone
        labels = {label.strip() for label in by[1].split(",")}
    assert set(re.findall(r"\{\{ *(?:\$labels\.)?([a-z]+) *\}\}", shown)) <= labels


def test_every_metric_of_ours_is_looked_at() -> None:
    asked = " ".join(text for _, text, _ in ASKED)
    ours = {name for name in exposed() if name.startswith("amikafka_")}
    assert {name for name in ours if not re.search(rf"\b{name}\b", asked)} == set()


def test_every_alert_has_a_severity_and_says_what_to_do() -> None:
    names = [name for name, _, _ in ALERTS]
    assert len(names) == len(set(names)) > 10
    for name, _, said in ALERTS:
        assert re.fullmatch("Amikafka[A-Z][A-Za-z]+", name)
        assert "$labels.instance" in said, name
        description = said.partition("description:")[2]
        assert len(description.split()) > 15, name
    assert len(re.findall(r"severity: (critical|warning)\n", RULES)) == len(names)


def test_every_alert_is_tried() -> None:
    tests = (EXAMPLES / "prometheus" / "amikafka-alerts-test.yml").read_text()
    assert {name for name, _, _ in ALERTS if name not in tests} == set()


def test_panels_lie_beside_each_other_below_their_row() -> None:
    taken: dict[tuple[int, int], str] = {}
    for panel in panels():
        place = panel["gridPos"]
        assert 0 <= place["x"] < place["x"] + place["w"] <= GRID
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                assert (x, y) not in taken, f"{panel['title']} lies on {taken[x, y]}"
                taken[x, y] = panel["title"]
    assert len({panel["id"] for panel in panels()}) == len(list(panels()))
    order = [(panel["gridPos"]["y"], panel["gridPos"]["x"]) for panel in panels()]
    assert order == sorted(order)
    assert next(panels())["type"] == "row"


SHOWN = [panel for panel in panels() if panel["type"] != "row"]


@pytest.mark.parametrize("panel", SHOWN, ids=[f"{panel['id']} {panel['title']}" for panel in SHOWN])
def test_a_panel_has_all_that_grafana_needs(panel: Panel) -> None:
    source = {"type": "prometheus", "uid": "${datasource}"}
    assert panel["type"] in ("stat", "timeseries", "table")
    assert panel["datasource"] == source
    assert panel["title"]
    assert panel["description"].endswith(".")
    assert panel["fieldConfig"]["defaults"]["unit"]
    targets = panel["targets"]
    assert targets
    assert len({target["refId"] for target in targets}) == len(targets)
    for target in targets:
        assert target["datasource"] == source
        assert target["instant"] is not target["range"]
        assert target["format"] == ("table" if panel["type"] == "table" else "time_series")
        assert target["legendFormat"] or panel["type"] == "table"
        if "$__range]" in target["expr"]:
            assert target["instant"], "the whole time shown is one value"
    thresholds = panel["fieldConfig"]["defaults"].get("thresholds")
    if panel["type"] == "stat":
        assert thresholds
    if thresholds:
        first, *others = thresholds["steps"]
        assert first["value"] is None
        assert [step["value"] for step in others] == sorted(step["value"] for step in others)


def test_counters_are_asked_for_as_rates_or_increases() -> None:
    for name, text, _ in ASKED:
        # What a daemon counted before its first scrape is the exception.
        bare = re.sub(r"or \(\w+_total > 0 and on \(job, instance\) time\(\) - amikafka_start", "", text)
        assert not re.search(r"(?<!rate\()(?<!increase\()\b\w+_total\b", bare), name


def test_every_variable_is_one() -> None:
    variables: list[dict[str, Any]] = DASHBOARD["templating"]["list"]
    names = [variable["name"] for variable in variables]
    assert names == ["datasource", "job", "instance"], "in the order in which one asks for the other"
    assert variables[0]["type"] == "datasource"
    assert variables[0]["query"] == "prometheus"
    text = json.dumps(DASHBOARD)
    assert set(re.findall(r"\$\{?(\w+)\}?", text)) - BUILT_IN <= {*names, "__all"}
    for variable in variables[1:]:
        assert variable["query"]["query"] == variable["definition"]
        found = re.fullmatch(r"label_values\((amikafka_\w+)(?:\{.*\})?, (\w+)\)", variable["definition"])
        assert found is not None
        assert found[1] in exposed()
        assert found[2] in TARGET


def test_it_can_be_imported_beside_others() -> None:
    assert DASHBOARD["id"] is None, "Grafana gives it one"
    assert DASHBOARD["uid"] == "amikafka"
    assert DASHBOARD["title"] == "amikafka"
    assert DASHBOARD["schemaVersion"] >= 36
    assert "localhost" not in json.dumps(DASHBOARD)


def test_they_are_in_the_source_distribution_and_in_the_package() -> None:
    assert '"/examples"' in (EXAMPLES.parent / "pyproject.toml").read_text()
    packaged = EXAMPLES.parent / "packaging" / "debian" / "amikafka.examples"
    assert packaged.read_text() == "examples/*\n"

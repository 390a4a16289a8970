"""What examples/ asks Prometheus for."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from tests.support.daemon import PROJECT

Panel = dict[str, Any]
EXAMPLES = PROJECT / "examples"
RULES = (EXAMPLES / "prometheus" / "amikafka-alerts.yml").read_text()
DASHBOARD: dict[str, Any] = json.loads((EXAMPLES / "grafana" / "amikafka.json").read_text())


def panels() -> Iterator[Panel]:
    """Yield every panel, rows included."""
    yield from DASHBOARD["panels"]


def expressions() -> Iterator[tuple[Panel, str, str]]:
    """Yield every expression of the dashboard, with where it is from and what is shown of its labels."""
    for panel in panels():
        for target in panel.get("targets", []):
            yield panel, target["expr"], target["legendFormat"]
    for annotation in DASHBOARD["annotations"]["list"]:
        yield {"title": annotation["name"]}, annotation["expr"], annotation["textFormat"]

"""Keeps the results: as JSON, in the page that shows them, and as charts."""

from __future__ import annotations

import json
import platform
import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import charts, targets
from benchmarks.figures import Figure, Table, loaded
from benchmarks.subjects import ROOT, distribution

PAGE = ROOT / "docs" / "performance.md"
PLACE = ROOT / "docs" / "performance"
"""Results, and charts."""
_SECTION = re.compile(r"(<!-- figures: ([\w-]+) -->\n).*?(<!-- end -->)", re.DOTALL)
LATENCY_TARGET_MS = 15


def machine() -> str:
    """Say in one line what is measured on."""
    model = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    cores = len(re.findall(r"^processor\s*:", Path("/proc/cpuinfo").read_text(), re.MULTILINE))
    name = model[1] if model else platform.machine()
    return f"{cores} cores ({name}), {distribution()}, Linux {platform.release()}"


def save(place: Path, part: str, tables: Sequence[Table], subjects: Sequence[str], *, seconds: float) -> None:
    """Put the tables of one part beside those that are there."""
    path = place / "results.json"
    place.mkdir(parents=True, exist_ok=True)
    results = json.loads(path.read_text()) if path.exists() else {}
    results[part] = {
        "date": time.strftime("%Y-%m-%d"),
        "machine": machine(),
        "subjects": list(subjects),
        "seconds": round(seconds),
        "tables": [table.saved() for table in tables],
    }
    path.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n")


def write(place: Path, page: Path) -> None:
    """Write the page's tables and the charts anew from what is kept."""
    results = json.loads((place / "results.json").read_text())
    tables = {
        table["name"]: (loaded(table), result) for result in results.values() for table in result["tables"]
    }
    if page.exists():
        page.write_text(_SECTION.sub(lambda match: _section(match, tables), page.read_text()))
    if "headline" in tables:
        (place / "headline.svg").write_text(_headline(tables["headline"][0]))
    if "latency" in tables:
        (place / "latency.svg").write_text(_latency(tables["latency"][0]))


def _section(match: re.Match[str], tables: Mapping[str, tuple[Table, Mapping[str, Any]]]) -> str:
    begin, name, end = match.groups()
    if name == "subjects":
        _, result = next(iter(tables.values()))
        lines = [
            f"Measured on {result['machine']}, {result['date']}:",
            "",
            *map("- {}".format, result["subjects"]),
        ]
        return begin + "\n".join([*lines, "", end])
    if name == "targets":
        return begin + targets.table({name: table for name, (table, _) in tables.items()}).markdown() + end
    if name not in tables:
        return match[0]
    return begin + tables[name][0].markdown() + end


def _headline(table: Table) -> str:
    rows = [row for row in table.rows if isinstance(row[3], Figure)]
    panels = []
    for heading, column in (("events per second: more is better", 3), ("CPU per event: less is better", 4)):
        panels.append((heading, [charts.Bar(row[0], *row[column]) for row in rows]))
    return charts.bars(
        "The whole pipeline, beside a C loop that does the module's work", panels, "the C loop = 1"
    )


def _latency(table: Table) -> str:
    panels = []
    for name in dict.fromkeys(row[0] for row in table.rows):
        rows = [row for row in table.rows if row[0] == name]
        series = [
            (share, [(row[1], row[2 + index].median) for row in rows])
            for index, share in enumerate(("p50", "p99", "p99.9"))
        ]
        panels.append((name, series))
    return charts.lines(
        "From sent by Asterisk to acknowledged by Kafka, linger 5 ms", panels, LATENCY_TARGET_MS
    )

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from benchmarks import charts, report, targets
from benchmarks.figures import Figure, Table, by_turns, figure, loaded, percentile, ratio


def table(name: str = "headline", *rows: list[object]) -> Table:
    return Table(name, "A title", ("", "a", "b"), ("", ".0f", ".2f"), "A note.", list(rows))


def headline(ratio: float, cpu: float) -> Table:
    rows: list[list[object]] = [
        ["C reference", 1, 1, "-", "-", "-"],
        ["Debian 12", 1, 1, Figure(ratio, 1, 2), Figure(cpu, 0, 1), 40],
        ["confluent-kafka 9", 1, 1, Figure(ratio, 1, 2), Figure(cpu, 0, 1), 70],
    ]
    return Table("headline", "", [""] * 6, [""] * 6, "", rows)


def test_a_figure_is_a_median_with_its_range() -> None:
    assert figure([3, 1, 2]) == (2, 1, 3)
    assert table("t", ["x", Figure(1234.5, 1000, 2000), 0.5]).cells() == [
        ["x", "1234 (1000 to 2000)", "0.50"]
    ]
    assert table("t", ["x", Figure(7, 7, 7), "-"]).cells() == [["x", "7", "-"]]


def test_a_ratio_is_taken_turn_by_turn() -> None:
    assert ratio([10, 40], [10, 20]) == (1.5, 1, 2)


def test_ways_are_run_by_turns_and_each_other_turn_backwards() -> None:
    order: list[str] = []

    def way(name: str) -> tuple[float]:
        order.append(name)
        return (len(order),)

    found = by_turns({"a": lambda: way("a"), "b": lambda: way("b")}, 3)
    assert order == ["a", "b", "b", "a", "a", "b"]
    assert found == {"a": [(1,), (4,), (5,)], "b": [(2,), (3,), (6,)]}


def test_percentiles() -> None:
    values = list(range(1, 1001))
    assert [percentile(values, share) for share in (0.5, 0.99, 0.999, 1)] == [500, 990, 999, 1000]
    assert percentile([5], 0.999) == 5


def test_a_table_is_the_same_after_it_was_saved() -> None:
    one = table("t", ["x", Figure(1, 0, 2), 0.5])
    again = loaded(json.loads(json.dumps(one.saved())))
    assert again.markdown() == one.markdown()
    assert again.text() == one.text()


def test_targets_are_met_or_missed() -> None:
    judged = targets.table({"headline": headline(1.2, 0.9)}).markdown()
    assert (
        "| events/s, to the C reference: at least 1.3, with the newest 1.1 | 1.20 **missed** | 1.20 met |"
        in judged
    )
    assert "| CPU per event, to the C reference: at most 0.8 | 0.90 **missed** | 0.90 **missed** |" in judged
    assert "| memory at any load, MB: under 60 | 40 met | 70 **missed** |" in judged
    assert "1.30 met" in targets.table({"headline": headline(1.3, 0.8)}).markdown()


def test_a_part_changes_its_own_tables_alone(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "Before\n\n<!-- figures: a -->\n<!-- end -->\n\n<!-- figures: b -->\nold\n<!-- end -->\nAfter\n"
    )
    report.save(tmp_path, "one", [table("a", ["x", 1, 2])], ["Debian 12: of now"], seconds=1)
    report.write(tmp_path, page)
    text = page.read_text()
    assert "| x | 1 | 2.00 |" in text
    assert "\nold\n" in text
    report.save(tmp_path, "two", [table("b", ["y", 3, 4])], ["Debian 12: of now"], seconds=1)
    report.write(tmp_path, page)
    report.write(tmp_path, page)
    text = page.read_text()
    assert text.count("| x | 1 | 2.00 |") == text.count("| y | 3 | 4.00 |") == 1
    assert "old" not in text
    assert text.startswith("Before\n")
    assert text.endswith("\nAfter\n")


def test_charts_are_svg_with_a_dark_side() -> None:
    bar = charts.Bar("a < b", 0.9, 0.8, 1.3)
    line = [("p50", [(100, 5.0), (1000, 9.0)]), ("p99", [(100, 20.0), (1000, 400.0)])]
    for drawn in (charts.bars("t", [("h", [bar])], "1"), charts.lines("t", [("h", line)], 15)):
        assert ET.fromstring(drawn).tag == "{http://www.w3.org/2000/svg}svg"
        assert "prefers-color-scheme: dark" in drawn
        assert "nan" not in drawn


@pytest.mark.skipif(not report.PLACE.exists(), reason="nothing has been measured")
def test_the_page_shows_what_was_measured(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(report.PAGE.read_text())
    place = tmp_path / "place"
    place.mkdir()
    (place / "results.json").write_text((report.PLACE / "results.json").read_text())
    report.write(place, page)
    assert page.read_text() == report.PAGE.read_text()
    for chart in place.glob("*.svg"):
        assert chart.read_text() == (report.PLACE / chart.name).read_text()

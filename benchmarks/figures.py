"""Figures and what is made of them: medians with their spread, ratios, tables."""

from __future__ import annotations

import math
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple, TypeVar

R = TypeVar("R", bound=tuple[float, ...])


class Figure(NamedTuple):
    """A median, with the least and the most of the runs."""

    median: float
    least: float
    most: float


def figure(values: Sequence[float]) -> Figure:
    return Figure(statistics.median(values), min(values), max(values))


def ratio(ours: Sequence[float], others: Sequence[float]) -> Figure:
    """Return how values of runs by turns compare: each with the other one's of its own turn."""
    return figure([one / other for one, other in zip(ours, others, strict=True)])


def percentile(sorted_values: Sequence[float], share: float) -> float:
    """Return the value that `share` of the values do not exceed."""
    return sorted_values[min(len(sorted_values) - 1, math.ceil(len(sorted_values) * share) - 1)]


def by_turns(
    ways: Mapping[str, Callable[[], R]], turns: int, *, show: Callable[[str, R], None] | None = None
) -> dict[str, list[R]]:
    """Run every way once a turn, the next turn in the other direction; return what each gave.

    Each measures the same minutes of the machine.
    """
    found: dict[str, list[R]] = {name: [] for name in ways}
    for turn in range(turns):
        for name in list(ways) if turn % 2 == 0 else reversed(list(ways)):
            found[name].append(ways[name]())
            if show:
                show(name, found[name][-1])
    return found


@dataclass
class Table:
    """One table of the report. A cell is a text, a number or a `Figure`."""

    name: str
    """What it is called in the files; a page shows it where this name stands."""
    title: str
    columns: Sequence[str]
    formats: Sequence[str]
    """For each column how a number is written: `.0f`; a Figure as its median and its range."""
    note: str = ""
    rows: list[list[Any]] = field(default_factory=list)

    def add(self, *cells: object) -> None:
        self.rows.append(list(cells))

    def cells(self) -> list[list[str]]:
        return [
            [_written(cell, form) for cell, form in zip(row, self.formats, strict=True)] for row in self.rows
        ]

    def text(self) -> str:
        """Return it for a terminal."""
        rows = [list(self.columns), *self.cells()]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = [
            "  ".join(
                cell.ljust(width) if index == 0 else cell.rjust(width)
                for index, (cell, width) in enumerate(zip(row, widths, strict=True))
            )
            for row in rows
        ]
        lines.insert(1, "-" * len(lines[0]))
        return "\n".join([self.title, *lines, *([self.note] if self.note else [])])

    def markdown(self) -> str:
        """Return it for a page."""
        lines = [
            "| " + " | ".join(self.columns) + " |",
            "|---" + "|---:" * (len(self.columns) - 1) + "|",
            *("| " + " | ".join(row) + " |" for row in self.cells()),
        ]
        head = [f"**{self.title}.**", ""] if self.title else []
        return "\n".join([*head, *lines, "", *([self.note, ""] if self.note else [])])

    def saved(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return asdict(self)


def loaded(saved: Mapping[str, Any]) -> Table:
    """Return a table that was saved."""
    rows = [[Figure(*cell) if isinstance(cell, list) else cell for cell in row] for row in saved["rows"]]
    return Table(**{**saved, "rows": rows})


def _written(cell: object, form: str) -> str:
    if isinstance(cell, Figure):
        median, least, most = (_number(value, form) for value in cell)
        return median if least == most else f"{median} ({least} to {most})"
    return _number(cell, form) if isinstance(cell, (int, float)) else str(cell)


def _number(value: float, form: str) -> str:
    return f"{value:{form}}" if form else str(value)


def say(text: str) -> None:
    """Print what is going on, at once."""
    print(text, file=sys.stderr, flush=True)

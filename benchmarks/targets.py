"""The targets, and whether the figures meet them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from benchmarks.figures import Figure, Table

Tables = Mapping[str, Table]
Find = Callable[[Tables, str], "float | None"]
OTHERS = ("C reference", "kcat -P")


@dataclass(frozen=True, kw_only=True)
class Target:
    """What a subject's figure has to be: at least, or less than."""

    text: str
    find: Find
    form: str = ".2f"
    least: float | None = None
    newest_least: float | None = None
    """`least` for another interpreter than the distribution's."""
    below: float | None = None

    def judged(self, found: float, *, is_newest: bool) -> str:
        least = self.newest_least if is_newest and self.newest_least else self.least
        met = found >= least if least is not None else found < (self.below or 0)
        return f"{found:{self.form}} {'met' if met else '**missed**'}"


def _cell(table: str, column: int, row: str = "{}") -> Find:
    """Make what finds a figure by the name of a row, in which `{}` is the subject."""

    def find(tables: Tables, subject: str) -> float | None:
        rows = tables[table].rows if table in tables else []
        return next((_median(cells[column]) for cells in rows if cells[0] == row.format(subject)), None)

    return find


def _of_subject(table: str, row: str) -> Find:
    """Make what finds a figure by the name of a row, in the subject's own column."""

    def find(tables: Tables, subject: str) -> float | None:
        if table not in tables or subject not in tables[table].columns:
            return None
        column = list(tables[table].columns).index(subject)
        return next((_median(cells[column]) for cells in tables[table].rows if cells[0] == row), None)

    return find


def _median(cell: object) -> float | None:
    if isinstance(cell, Figure):
        return cell.median
    return cell if isinstance(cell, (int, float)) else None


def _legacy(tables: Tables, subject: str) -> float | None:
    """Return what legacy filters cost, to what Asterisk's own way costs over the same events."""
    ours = _of_subject("stages", "filters: 10 legacy")(tables, subject)
    rows = tables["stages"].rows if "stages" in tables else []
    theirs = next((_median(cells[1]) for cells in rows if "Asterisk" in cells[0]), None)
    return ours / theirs if ours and theirs else None


def _worst_p99(tables: Tables, subject: str) -> float | None:
    rows = tables["latency"].rows if "latency" in tables else []
    found = [_median(cells[3]) for cells in rows if cells[0] == subject and cells[1] <= 10_000]
    return max(filter(None, found), default=None)


def _most_memory(tables: Tables, subject: str) -> float | None:
    found = [_cell("headline", 5)(tables, subject), _cell("catch-up", 3)(tables, subject)]
    if "memory" in tables:
        found += [_of_subject("memory", cells[0])(tables, subject) for cells in tables["memory"].rows]
    return max(filter(None, found), default=None)


TARGETS = (
    Target(
        text="events/s, to the C reference: at least 1.3, with the newest 1.1",
        find=_cell("headline", 3),
        least=1.3,
        newest_least=1.1,
    ),
    Target(text="CPU per event, to the C reference: at most 0.8", find=_cell("headline", 4), below=0.805),
    Target(
        text="CPU with ten advanced filters for one name each, to none: under 1.15",
        find=_cell("filters", 4, "{}: 10 advanced, each for one name"),
        below=1.15,
    ),
    Target(
        text="the same with five that look at every event: under 1.15",
        find=_cell("filters", 4, "{}: 10 advanced, five for every event"),
        below=1.15,
    ),
    Target(text="ten legacy filters, to Asterisk's own: no slower", find=_legacy, below=1.005),
    Target(
        text="catching up, events/s: at least 120,000", find=_cell("catch-up", 1), form=",.0f", least=120_000
    ),
    Target(text="p99 up to 10,000 events/s, ms: under 15", find=_worst_p99, form=".1f", below=15),
    Target(text="memory at any load, MB: under 60", find=_most_memory, form=".0f", below=60),
    Target(text="idle, % of a core: under 0.2", find=_cell("idle", 1), form=".3f", below=0.2),
    Target(text="start to READY, s: under 0.5", find=_cell("start", 1), below=0.5),
    Target(
        text="flooded Asterisk on its own core, events/s: within 5 % of a listener's",
        find=_cell("flood-own-core", 3, "amikafka, {}"),
        least=0.95,
    ),
    Target(
        text="flooded Asterisk on its own core, its CPU: within 5 %",
        find=_cell("flood-own-core", 4, "amikafka, {}"),
        below=1.05,
    ),
    Target(text="50 calls/s, Asterisk's CPU: within 5 %", find=_cell("calls", 4, "amikafka, {}"), below=1.05),
    Target(
        text="exactly_once, events/s to at_least_once: a third",
        find=_cell("delivery", 2, "exactly_once, {}"),
        least=1 / 3,
    ),
)


def table(tables: Tables) -> Table:
    """Hold the figures against the targets."""
    names = (
        [row[0] for row in tables["headline"].rows if row[0] not in OTHERS] if "headline" in tables else []
    )
    made = Table("targets", "", ("target", *names), ("",) * (len(names) + 1))
    for target in TARGETS:
        found = [target.find(tables, name) for name in names]
        if any(each is not None for each in found):
            cells = [
                "-" if each is None else target.judged(each, is_newest=not name.startswith(names[0]))
                for each, name in zip(found, names, strict=True)
            ]
            made.add(target.text, *cells)
    return made

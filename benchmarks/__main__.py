"""Measures, prints tables, and keeps them: see README.md.

python -m benchmarks [PART...] [--quick] [--python PATH]... [--kafka mock|real]
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks import (
    catch_up,
    delivery,
    eventlog,
    footprint,
    latency,
    pbx,
    profile,
    report,
    stages,
    subjects,
    throughput,
)
from benchmarks.figures import Table, say
from benchmarks.harness import real_kafka
from benchmarks.plan import Plan

PARTS: dict[str, Callable[[Plan], list[Table]]] = {
    "stages": stages.run,
    "profile": profile.run,
    "headline": throughput.headline,
    "variants": throughput.variants,
    "catch-up": catch_up.run,
    "footprint": footprint.run,
    "latency": latency.run,
    "delivery": delivery.run,
    "eventlog": eventlog.run,
    "pbx": pbx.run,
}
TRIED = subjects.ROOT / "build" / "bench"
"""Where results are kept that are not for the page."""


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; all of them if none is named"
    )
    parser.add_argument(
        "--quick", action="store_true", help="small numbers, to see that it works: no figures"
    )
    parser.add_argument(
        "--python", action="append", default=[], type=Path, help="an interpreter to measure with"
    )
    parser.add_argument("--kafka", choices=("mock", "real"), default="mock")
    parser.add_argument("--write", action="store_true", help="measure nothing: write page and charts anew")
    options = parser.parse_args()
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"there is no part {', '.join(sorted(unknown))}: there are {', '.join(PARTS)}")
    place, page = (report.PLACE, report.PAGE) if not options.quick else (TRIED, TRIED / "performance.md")
    if not options.write:
        with tempfile.TemporaryDirectory(prefix="amikafka-bench-", dir="/var/tmp") as name:
            _measure(options, Path(name), place, page)
    else:
        report.write(place, page)
    print(f"kept in {place}")


def _measure(options: argparse.Namespace, directory: Path, place: Path, page: Path) -> None:
    # What it has started ends with it.
    signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit(1))
    print(f"{report.machine()}, load {os.getloadavg()[0]:.1f}")
    found = subjects.find(options.python, directory)
    with contextlib.ExitStack() as stack:
        plan = Plan(
            subjects=found,
            directory=directory,
            turns=1 if options.quick else 3,
            headline_turns=1 if options.quick else 5,
            scale=0.05 if options.quick else 1,
            rounds=2 if options.quick else 3,
            kafka=stack.enter_context(real_kafka()) if options.kafka == "real" else None,
        )
        described = [
            f"{each.name}: {subjects.describe(each.python)[0]}" for each in found if not each.speedups
        ]
        # What is measured otherwise than the rest has tables of its own.
        suffix = with_what = ""
        if options.kafka == "real":
            suffix, with_what = "-real", ", to a real Kafka"
        if options.python:
            suffix, with_what = f"{suffix}-pythons", f"{with_what}, with other interpreters"
        for part in options.parts or PARTS:
            begun = time.monotonic()
            tables = PARTS[part](plan)
            for table in tables:
                table.name += suffix
                table.title += with_what
            say(f"{part}: {time.monotonic() - begun:.0f} s")
            for table in tables:
                print(f"\n{table.text()}", flush=True)
            if tables:
                report.save(place, part + suffix, tables, described, seconds=time.monotonic() - begun)
                report.write(place, page)


if __name__ == "__main__":
    main()

"""Runs a campaign of faults and prints what came of each: `make faults SEED=1 MINUTES=10`."""

from __future__ import annotations

import argparse
import contextlib
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TextIO

from inflict import CLUSTER, FAULTS
from stage import Broken, Outcome, Stage

BOUND = 100.0
"""Seconds after the end of a fault within which all has to have arrived."""
HEAD = "| fault | raised | not recorded | again | set aside | gaps | caught up after |"


def faults_of(options: argparse.Namespace) -> list[str]:
    """Return the names to choose from."""
    names = options.only.split(",") if options.only else list(FAULTS)
    unknown = [name for name in names if name not in FAULTS]
    if unknown:
        raise SystemExit(f"no such fault: {', '.join(unknown)}; there are: {', '.join(FAULTS)}")
    return [name for name in names if options.nodes > 1 or name not in CLUSTER]


def chosen(options: argparse.Namespace, stage: Stage) -> Iterator[str]:
    """Yield each fault once in a random order, then at random as long as there is time."""
    names = faults_of(options)
    end = time.monotonic() + options.minutes * 60
    each_once = names if options.in_order else stage.chance.sample(names, len(names))
    for name in each_once:
        if time.monotonic() < end or not options.minutes:
            yield name
    while time.monotonic() < end:
        yield stage.chance.choice(names)


def row(outcome: Outcome) -> str:
    """Return a line of the table."""
    cells = (
        outcome.fault,
        outcome.raised,
        outcome.not_recorded,
        outcome.again,
        outcome.set_aside,
        outcome.gaps,
        f"{outcome.seconds:.1f} s",
    )
    return "| " + " | ".join(map(str, cells)) + " |"


def run(options: argparse.Namespace, directory: Path, out: TextIO) -> bool:
    """Run the campaign; return whether every promise was kept."""

    def say(text: str) -> None:
        print(text, file=out, flush=True)

    delivery = "exactly_once" if options.exactly_once else "at_least_once"
    say(f"seed={options.seed} nodes={options.nodes} rate={options.rate:g} delivery={delivery}")
    stage = Stage(
        directory,
        nodes=options.nodes,
        exactly_once=options.exactly_once,
        rate=options.rate,
        seed=options.seed,
    )
    begin = time.monotonic()
    memory = stage.daemon.resident() / 1e6
    try:
        say(HEAD + "\n|" + " --- |" * (HEAD.count("|") - 1))
        for name in chosen(options, stage):
            started = time.monotonic()
            outcome = stage.go_through(name, FAULTS[name], BOUND)
            say(row(outcome))
            if options.every:
                stage.let_pass(max(0.0, started + options.every - time.monotonic()))
        stage.load.stop()
        stage.catch_up()
        seconds = time.monotonic() - begin
        arrived = stage.arrivals.arrived
        say(
            f"\n{seconds:.0f} s: raised {stage.load.sent}, recorded {stage.recorded.distinct},"
            f" arrived {arrived.distinct}, again {stage.again}, missing {len(stage.missing())},"
            f" gap events {len(stage.arrivals.gaps)}, resident {memory:.0f} MB at the start and"
            f" {stage.daemon.resident() / 1e6:.0f} MB at the end"
        )
    except Broken as error:
        say(f"\nBROKEN: {error}")
        return False
    finally:
        stage.close()
    return True


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=0, help="0: each fault once")
    parser.add_argument("--nodes", type=int, default=3, help="brokers")
    parser.add_argument("--rate", type=float, default=500, help="events per second")
    parser.add_argument("--every", type=float, default=0, help="seconds from one fault to the next, at least")
    parser.add_argument("--exactly-once", action="store_true")
    parser.add_argument("--only", default="", help="names of faults, separated by commas")
    parser.add_argument("--in-order", action="store_true", help="each as it is named, before any at random")
    parser.add_argument("--keep", action="store_true", help="keep the directory of it all")
    options = parser.parse_args(arguments)
    with contextlib.ExitStack() as stack:
        directory = Path(tempfile.mkdtemp(prefix="amikafka-faults-"))
        if not options.keep:
            stack.callback(shutil.rmtree, directory, ignore_errors=True)
        print(f"directory={directory}")
        return 0 if run(options, directory, sys.stdout) else 1


if __name__ == "__main__":
    sys.exit(main())

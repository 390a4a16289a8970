"""Whether work leaves anything behind: memory, or references to what it works with."""

from __future__ import annotations

import gc
import sys
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager

from tests.support.daemon import PROJECT

MOST_BYTES = 4000
"""What the interpreter itself may keep: free lists, caches of code that has run often."""
OURS = [tracemalloc.Filter(True, f"{PROJECT}/{part}/*") for part in ("amikafka_tail", "plugins", "tests")]
"""Where it is asked for, in C or not: other threads, such as pytest's own, ask for memory meanwhile."""


@contextmanager
def nothing_left(*held: object) -> Iterator[None]:
    """See that the work inside keeps no memory and takes no reference to `held`. Let it run once before."""
    gc.collect()  # what others have left behind may hold some of it
    counts = [sys.getrefcount(each) for each in held]
    tracemalloc.start()
    try:
        yield
        gc.collect()
        left = tracemalloc.take_snapshot().filter_traces(OURS)
    finally:
        tracemalloc.stop()
    largest = left.statistics("lineno")[:5]
    assert sum(trace.size for trace in left.traces) < MOST_BYTES, largest
    assert [sys.getrefcount(each) for each in held] == counts

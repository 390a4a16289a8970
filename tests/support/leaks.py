"""Whether work leaves anything behind: memory, or references to what it works with."""

from __future__ import annotations

import gc
import sys
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager

MOST_BYTES = 4000
"""What the interpreter itself may keep: free lists, caches of code that has run often."""


@contextmanager
def nothing_left(*held: object) -> Iterator[None]:
    """See that the work inside keeps no memory and takes no reference to `held`. Let it run once before."""
    gc.collect()  # what others have left behind may hold some of it
    counts = [sys.getrefcount(each) for each in held]
    tracemalloc.start()
    try:
        gc.collect()
        before = tracemalloc.get_traced_memory()[0]
        yield
        gc.collect()
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert grown < MOST_BYTES
    assert [sys.getrefcount(each) for each in held] == counts

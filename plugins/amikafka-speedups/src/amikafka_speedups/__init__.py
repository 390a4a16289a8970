"""What amikafka does for every event, in C: the `eventfilter` lines, the envelope and the format `json`.

amikafka uses it where it is installed. Its own functions in Python are the definition of all three: they
decide the same and give the same bytes, and what is not an ordinary event is left to them.
"""

from amikafka_speedups._native import Envelope, EventFilter, JsonRenderer

__all__ = ["VERSION", "Envelope", "EventFilter", "JsonRenderer"]

__version__ = "0.1.0"
VERSION = 2
"""Of what is between amikafka and this package and of what both do: see amikafka_tail/speedups.py."""

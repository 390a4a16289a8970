"""What amikafka does for every event, in C: its object, `eventfilter`, the envelope, the format `json`.

amikafka uses it where it is installed. Its own functions in Python are the definition of all of it: they
decide the same and give the same bytes, and what is not an ordinary event is left to them.
"""

from amikafka_speedups._native import Envelope, EventFilter, JsonRenderer, plain_events

__all__ = ["VERSION", "Envelope", "EventFilter", "JsonRenderer", "plain_events"]

__version__ = "0.1.0"
VERSION = 3
"""Of what is between amikafka and this package and of what both do: see amikafka_tail/model/speedups.py."""

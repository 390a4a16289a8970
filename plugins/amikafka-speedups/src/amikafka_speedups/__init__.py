"""The per-event work of amikafka in C: event objects, `eventfilter`, the envelope, the format `json`.

amikafka uses this package if it is installed. amikafka's own Python functions define the behaviour: they make
the same decisions and give the same bytes, and they handle every unusual event.
"""

from amikafka_speedups._native import Envelope, EventFilter, JsonRenderer, plain_events

__all__ = ["VERSION", "Envelope", "EventFilter", "JsonRenderer", "plain_events"]

__version__ = "0.1.0"
VERSION = 4
"""Version of the interface and the behaviour: see amikafka_tail/model/speedups.py."""

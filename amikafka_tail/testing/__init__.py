"""Tools for a plugin's own tests: events, a run through the whole pipeline, and contract suites.

A contract suite is one line in a test module. It checks what the host relies on:

    TestContract = testing.format_contract("shout", loud=True)

These names do not change within a major version of the API. Nothing here imports pytest.
"""

from amikafka_tail.delivery.printer import Message
from amikafka_tail.testing.contracts import filter_contract, format_contract
from amikafka_tail.testing.events import ASTERISK, context, event, odd_events, random_events, recorded_events
from amikafka_tail.testing.publishing import Published, publish
from amikafka_tail.testing.source_contracts import Read, live_source_contract, read_source, source_contract

__all__ = [
    "ASTERISK",
    "Message",
    "Published",
    "Read",
    "context",
    "event",
    "filter_contract",
    "format_contract",
    "live_source_contract",
    "odd_events",
    "publish",
    "random_events",
    "read_source",
    "recorded_events",
    "source_contract",
]

"""The built-in filter `eventfilter`: applies the `eventfilter` lines with Asterisk's semantics."""

from __future__ import annotations

from amikafka_tail.ami.eventfilter import Check, EventFilterOptions, event_filter
from amikafka_tail.plugins.hookspecs import API_VERSION, Register, hookimpl

AMIKAFKA_API = API_VERSION


def eventfilter(options: EventFilterOptions) -> Check:
    """Make the filter. Raises `ValueError` for a line that Asterisk refuses."""
    return event_filter(options.lines)


@hookimpl
def register_filters(register: Register) -> None:
    """Register the filter."""
    register("eventfilter", EventFilterOptions, eventfilter)

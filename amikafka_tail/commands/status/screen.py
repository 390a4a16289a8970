"""What `amikafka status` prints: one screen of 80 columns."""

from __future__ import annotations

import textwrap
import time
from collections.abc import Iterator

from amikafka_tail.daemon.logs import printable
from amikafka_tail.daemon.status.snapshot import Snapshot
from amikafka_tail.daemon.status.verdict import Verdict, judge
from amikafka_tail.model.humanize import counted, rate, room, size, span

WIDTH = 80
LABEL = 9
MOST_KINDS = 5
MOST_SAID = 3


def status(snapshot: Snapshot, width: int = WIDTH) -> Iterator[str]:
    """Yield the lines."""
    verdict = judge(snapshot)
    yield from summary(snapshot, verdict, width)
    if kinds := snapshot.events.kinds[:MOST_KINDS]:
        named = ", ".join(f"{printable(name)} {count:,}" for name, _, count in kinds)
        more = len(snapshot.events.kinds) - len(kinds)
        yield from _labelled("mostly", named + (f", and {more} more" if more else ""), width)
    yield from said(snapshot, width)


def summary(snapshot: Snapshot, verdict: Verdict, width: int = WIDTH) -> Iterator[str]:
    """Yield the verdict and the state of each part."""
    up = span((snapshot.at_ms - snapshot.began_ms) / 1000)
    yield f"amikafka {snapshot.version}, process {snapshot.pid}, up for {up}"
    yield ""
    yield from _labelled("State", ("" if verdict.healthy else "PROBLEM: ") + printable(verdict.state), width)
    yield from _labelled("Lost", "; ".join(verdict.lost) or "nothing", width)
    yield from _labelled("To do", "; ".join(verdict.advice) or "nothing", width)
    yield ""
    yield from _labelled("source", _source(snapshot), width)
    yield from _labelled("kafka", _kafka(snapshot), width)
    lag = snapshot.lag
    text = f"{counted(lag.events, 'event')}, {size(lag.bytes)}, {span(lag.seconds)}" if lag.bytes else "none"
    yield from _labelled("lag", text, width)
    events = snapshot.events
    again = " (some more than once)" if snapshot.kafka.rewinds else ""
    yield from _labelled(
        "events",
        f"in {rate(events.read_per_second)}, out {rate(events.delivered_per_second)};"
        f" read {events.read:,}{again}, filtered {events.filtered:,}, delivered {events.delivered:,}",
        width,
    )
    if (journal := snapshot.journal) is not None:
        left = f"; room for {room(journal.hours_left)}" if journal.hours_left is not None else ""
        text = f"{size(journal.bytes)} of {size(journal.max_bytes)}, {size(journal.disk_free)} free{left}"
        yield from _labelled("journal", text, width)


def said(snapshot: Snapshot, width: int = WIDTH, most: int = MOST_SAID) -> Iterator[str]:
    """Yield the last warnings and errors."""
    if not snapshot.said:
        return
    yield ""
    for each in snapshot.said[-most:]:
        when = time.strftime("%d.%m. %H:%M:%S" if _is_old(snapshot, each.at_ms) else "%H:%M:%S",
                             time.localtime(each.at_ms / 1000))  # fmt: skip
        times = f" ({each.count} times)" if each.count > 1 else ""
        yield from _wrapped(f"{when} {each.level}: ", printable(each.text) + times, width)


def _is_old(snapshot: Snapshot, at_ms: int) -> bool:
    return snapshot.at_ms - at_ms > 12 * 3600 * 1000


def _source(snapshot: Snapshot) -> str:
    source = snapshot.source
    # The first lines have the full state.
    text = f"{source.name}: {printable(source.state) if source.healthy else 'no events are coming in'}"
    if source.peer and source.healthy:
        text += f" to {source.peer}"
    if source.asterisk_version:
        text += f", Asterisk {printable(source.asterisk_version)}"
    if source.system_name:
        text += f", {printable(source.system_name)}"
    if source.pushed_filters:
        text += f", filtering by {counted(source.pushed_filters, 'eventfilter line')}"
    return text


def _kafka(snapshot: Snapshot) -> str:
    kafka = snapshot.kafka
    unhealthy = "accepts only a part of the messages" if kafka.is_partial else "accepts no messages"
    text = f"{kafka.state if kafka.healthy else unhealthy} ({snapshot.topic})"
    if kafka.brokers:
        up = sum(broker.state == "UP" for broker in kafka.brokers)
        text += f"; {up} of {counted(len(kafka.brokers), 'broker')} connected"
        times = [broker.rtt_ms for broker in kafka.brokers if broker.rtt_ms is not None]
        if times:
            text += f", {max(times):.1f} ms"
    leaderless = [each.number for each in kafka.partitions if each.leader < 0]
    if leaderless:
        text += f"; no leader: partition {', '.join(map(str, leaderless))}"
    return f"{text}; {counted(kafka.in_flight, 'message')} in flight"


def _labelled(label: str, text: str, width: int) -> Iterator[str]:
    return _wrapped(f"{label:<{LABEL}}", text, width)


def _wrapped(label: str, text: str, width: int) -> Iterator[str]:
    lines = textwrap.wrap(text, max(20, width - LABEL), break_on_hyphens=False)
    if len(label) > LABEL:
        lines = textwrap.wrap(text, width, initial_indent=label, subsequent_indent=" " * LABEL,
                              break_on_hyphens=False)  # fmt: skip
        yield from lines
        return
    for number, line in enumerate(lines or [""]):
        yield (label if not number else " " * LABEL) + line

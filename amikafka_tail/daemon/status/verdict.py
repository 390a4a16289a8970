"""The three answers that matter at night: how is it, is anything lost, what is to be done."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from amikafka_tail.daemon.status.snapshot import Losses, Snapshot
from amikafka_tail.model.advice import for_configuration
from amikafka_tail.model.humanize import counted, room, span

BEHIND_SECONDS = 30.0
"""A lag that is worth a word."""
FIRST_SECONDS = 2.0
"""How long after the start the first acknowledgement may take before it is worth a word."""
LITTLE_HOURS = 4.0
"""A journal that is full so soon, with Kafka away, has to be looked after."""
SILENT_SECONDS = 60.0
"""A manager connection on which not one event has come for so long is worth a word."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Sentences; `healthy` says whether somebody should read them now."""

    healthy: bool
    state: str
    lost: list[str]
    """What is missing on the topic; empty where nothing is."""
    advice: list[str]


def judge(snapshot: Snapshot) -> Verdict:
    """Return the verdict on how the daemon is."""
    source, kafka, lag = snapshot.source, snapshot.kafka, snapshot.lag
    lost = losses(snapshot.losses)
    advice: list[str] = []
    states: list[str] = []
    healthy = source.healthy and kafka.healthy and not snapshot.held
    if not source.healthy:
        states.append(f"nothing comes in: {source.state}")
        advice.append(_advice_on_source(snapshot))
    elif _is_silent(snapshot):
        states.append("well, but not one event has come yet")
        advice.append("make a call; if none comes, see what the manager user may read: amikafka doctor")
    if not kafka.healthy:
        states.append(f"Kafka takes nothing: {kafka.state}; {_waiting(snapshot)}")
        advice += _advice_on_kafka(snapshot)
    elif snapshot.held:
        states.append(f"{snapshot.held}; {_waiting(snapshot)}")
        advice.append("mend what the plugin waits for, then everything is sent by itself")
    elif kafka.in_flight and kafka.seconds_since_delivery is None and lag.seconds > FIRST_SECONDS:
        states.append(f"Kafka has acknowledged nothing yet; {_waiting(snapshot)}")
    elif lag.seconds > BEHIND_SECONDS:
        states.append(_catching_up(snapshot))
    if snapshot.losses.lost:
        advice.append("give the journal more room: [journal] max_bytes")
    if snapshot.losses.dead_letters:
        advice.append(
            "see why events were set aside: dead-letter.jsonl in the journal's directory;"
            " amikafka replay --from dead-letter sends them once the cause is mended"
        )
    configuration = Path(snapshot.configuration)
    return Verdict(
        healthy=healthy,
        state="; ".join(states) or "all is well",
        lost=lost,
        advice=[for_configuration(each, configuration) for each in advice],
    )


def losses(counts: Losses) -> list[str]:
    """Return what is missing on the topic, each in words."""
    found = [
        (counts.lost, "given up because the journal was full"),
        (counts.torn, "cut off by a lost connection"),
        (counts.gaps, "missing in the log, by their numbers"),
        (counts.overlong, "too long to be read"),
    ]
    said = [f"{counted(number, 'event')} {what}" for number, what in found if number]
    if counts.disconnections:
        said.append(
            f"what Asterisk did in {span(counts.disconnected_seconds)} without a connection"
            f" ({counted(counts.disconnections, 'time')})"
        )
    if aside := counts.dead_letters - counts.torn:
        said.append(f"{counted(aside, 'event')} set aside in dead-letter.jsonl")
    if counts.forgotten_letters:
        said.append(f"{counted(counts.forgotten_letters, 'dead letter')} that had to make room for others")
    return said


def _waiting(snapshot: Snapshot) -> str:
    lag = snapshot.lag
    if not lag.events:
        return "no event waits"
    number = "1 event waits" if lag.events == 1 else f"{counted(lag.events, 'event')} wait"
    return f"{number}, the oldest for {span(lag.seconds)}"


def _catching_up(snapshot: Snapshot) -> str:
    lag, out = snapshot.lag, snapshot.events.delivered_per_second
    text = f"catching up: {counted(lag.events, 'event')} behind"
    if not out:
        return text
    coming = snapshot.journal.bytes_per_second * lag.events / lag.bytes if snapshot.journal else 0.0
    if out <= coming:
        return f"{text}, delivering {out:,.0f}/s while as many come"
    return f"{text}, about {span(lag.events / (out - coming))} to go"


def _is_silent(snapshot: Snapshot) -> bool:
    """Tell whether the manager user may be one without rights: Asterisk logs him in and sends nothing."""
    up = (snapshot.at_ms - snapshot.began_ms) / 1000
    return snapshot.source.name == "manager" and not snapshot.events.read and up > SILENT_SECONDS


def _advice_on_source(snapshot: Snapshot) -> str:
    if "No space left" in snapshot.source.state and snapshot.journal is not None:
        return f"free some space on the disk of {snapshot.journal.directory}"
    if snapshot.source.name == "manager":
        return "see that Asterisk runs and lets amikafka log in: amikafka doctor"
    return "see that what it reads is there: amikafka doctor"


def _advice_on_kafka(snapshot: Snapshot) -> list[str]:
    journal = snapshot.journal
    said = ["mend Kafka, then everything is sent by itself: amikafka doctor says what is wrong"]
    if journal is None:
        said.append("keep the files that are not delivered: let no rotation delete them")
    elif not snapshot.source.healthy or journal.hours_left is None:
        said.append("nothing comes in at present: the journal does not grow")
    elif journal.hours_left < LITTLE_HOURS and journal.disk_free < journal.max_bytes - snapshot.lag.bytes:
        said.append(
            f"the disk of {journal.directory} is full in {span(journal.hours_left * 3600)}, then nothing more"
            " comes in: free some space"
        )
    elif journal.hours_left < LITTLE_HOURS:
        said.append(
            f"the journal is full in {span(journal.hours_left * 3600)}, then its oldest events are given up:"
            " [journal] max_bytes, and room on the disk"
        )
    else:
        said.append(f"the journal has room for {room(journal.hours_left)} at the present rate")
    return said

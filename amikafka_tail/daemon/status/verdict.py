"""The three answers that matter at night: what is the state, is anything lost, what to do."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from amikafka_tail.daemon.status.snapshot import Losses, Snapshot
from amikafka_tail.model.advice import for_configuration
from amikafka_tail.model.humanize import counted, room, span

BEHIND_SECONDS = 30.0
"""A longer lag is reported."""
FIRST_SECONDS = 2.0
"""If the first acknowledgement takes longer than this after the start, that is reported."""
LITTLE_HOURS = 4.0
"""If Kafka is unavailable and the journal will be full sooner than this, somebody has to act."""
SILENT_SECONDS = 60.0
"""If no event at all has arrived on a manager connection for this long, that is reported."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The verdict in words. `healthy` is false if a person has to act."""

    healthy: bool
    state: str
    lost: list[str]
    """What is missing from the topic; empty if nothing is."""
    advice: list[str]


def judge(snapshot: Snapshot) -> Verdict:
    """Return the verdict on a snapshot."""
    source, kafka, lag = snapshot.source, snapshot.kafka, snapshot.lag
    lost = losses(snapshot.losses) + unrecognized(snapshot)
    advice: list[str] = []
    states: list[str] = []
    healthy = source.healthy and kafka.healthy and not snapshot.held
    if not source.healthy:
        states.append(f"no events are coming in: {source.state}")
        advice.append(_advice_on_source(snapshot))
    elif _is_silent(snapshot):
        states.append("connected, but no event has arrived yet")
        advice.append(
            "make a test call, and if no event arrives, check what the manager user may read: amikafka doctor"
        )
    elif snapshot.unrecognized and not snapshot.events.read:
        healthy = False
        states.append(f"no event is found in what is read: {source.state}")
    if snapshot.unrecognized:
        advice.append("see why there are no events in the files: amikafka doctor")
    if not kafka.healthy:
        accepts = "only a part of the messages" if kafka.is_partial else "no messages"
        states.append(f"Kafka accepts {accepts}: {kafka.state}; {_waiting(snapshot)}")
        advice += _advice_on_kafka(snapshot)
    elif snapshot.held:
        states.append(f"{snapshot.held}; {_waiting(snapshot)}")
        advice.append("fix what the plugin is waiting for, then all events are sent automatically")
    elif kafka.in_flight and kafka.seconds_since_delivery is None and lag.seconds > FIRST_SECONDS:
        states.append(f"Kafka has acknowledged nothing yet; {_waiting(snapshot)}")
    elif lag.seconds > BEHIND_SECONDS:
        states.append(_catching_up(snapshot))
    if snapshot.losses.lost:
        advice.append("increase [journal] max_bytes")
    if snapshot.losses.dead_letters:
        advice.append(
            "read the reasons in dead-letter.jsonl (in the journal's directory), fix the cause, then send the"
            " events: amikafka replay --from dead-letter"
        )
    configuration = Path(snapshot.configuration)
    return Verdict(
        healthy=healthy,
        state="; ".join(states) or "all is well",
        lost=lost,
        advice=[for_configuration(each, configuration) for each in advice],
    )


def losses(counts: Losses) -> list[str]:
    """Return what is missing from the topic, one phrase for each cause."""
    found = [
        (counts.lost, "dropped because the journal was full"),
        (counts.torn, "cut off by a lost connection"),
        (counts.gaps, "missing according to SequenceNumber"),
        (counts.overlong, "too long to read"),
    ]
    said = [f"{counted(number, 'event')} {what}" for number, what in found if number]
    if counts.disconnections:
        said.append(
            f"all events during {span(counts.disconnected_seconds)} without a connection to Asterisk"
            f" ({counted(counts.disconnections, 'time')})"
        )
    if aside := counts.dead_letters - counts.torn:
        said.append(f"{counted(aside, 'event')} moved to dead-letter.jsonl")
    if counts.forgotten_letters:
        said.append(f"{counted(counts.forgotten_letters, 'dead letter')} deleted to make room for newer ones")
    return said


def unrecognized(snapshot: Snapshot) -> list[str]:
    """Return what may be missing because no event was found in it, in words."""
    files = snapshot.unrecognized
    if not files:
        return []
    lines = counted(sum(each.lines for each in files), "line")
    where = files[-1].path if len(files) == 1 else counted(len(files), "file")
    return [f"perhaps what {lines} of {where} say, in which no event was found: {files[-1].example}"]


def _waiting(snapshot: Snapshot) -> str:
    lag = snapshot.lag
    if not lag.events:
        return "no event is waiting"
    number = "1 event is waiting" if lag.events == 1 else f"{counted(lag.events, 'event')} are waiting"
    return f"{number}, the oldest for {span(lag.seconds)}"


def _catching_up(snapshot: Snapshot) -> str:
    lag, out = snapshot.lag, snapshot.events.delivered_per_second
    text = f"catching up: {counted(lag.events, 'event')} behind"
    if not out:
        return text
    coming = snapshot.journal.bytes_per_second * lag.events / lag.bytes if snapshot.journal else 0.0
    if out <= coming:
        return f"{text}, delivering {out:,.0f}/s, no faster than new ones arrive"
    return f"{text}, about {span(lag.events / (out - coming))} to go"


def _is_silent(snapshot: Snapshot) -> bool:
    """Return whether the manager user may lack read rights: Asterisk accepts the login and sends nothing."""
    up = (snapshot.at_ms - snapshot.began_ms) / 1000
    return snapshot.source.name == "manager" and not snapshot.events.read and up > SILENT_SECONDS


def _advice_on_source(snapshot: Snapshot) -> str:
    if "No space left" in snapshot.source.state and snapshot.journal is not None:
        return f"free space on the disk of {snapshot.journal.directory}"
    if snapshot.source.name == "manager":
        return "check that Asterisk is running and accepts the login: amikafka doctor"
    return "check that its files exist and are readable: amikafka doctor"


def _advice_on_kafka(snapshot: Snapshot) -> list[str]:
    journal = snapshot.journal
    said = ["fix Kafka, then all events are sent automatically (amikafka doctor shows the cause)"]
    if journal is None:
        said.append("keep the files that are not delivered yet: stop log rotation from deleting them")
    elif not snapshot.source.healthy or journal.hours_left is None:
        said.append("no events are coming in, so the journal does not grow")
    elif journal.hours_left < LITTLE_HOURS and journal.disk_free < journal.max_bytes - snapshot.lag.bytes:
        said.append(
            f"the disk of {journal.directory} will be full in {span(journal.hours_left * 3600)}, and"
            " recording will then stop: free space"
        )
    elif journal.hours_left < LITTLE_HOURS:
        said.append(
            f"the journal will be full in {span(journal.hours_left * 3600)}, and its oldest events will"
            " then be dropped: increase [journal] max_bytes, and free disk space"
        )
    else:
        said.append(f"the journal has room for {room(journal.hours_left)} at the current rate")
    return said

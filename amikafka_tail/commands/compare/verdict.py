"""The verdict of a comparison: whether the module can be switched off, and if not, what to look at."""

from __future__ import annotations

from typing import NamedTuple

from amikafka_tail.commands.compare.copies import OTHER, Side
from amikafka_tail.commands.compare.report import Report
from amikafka_tail.model.humanize import counted, span

FEW = 100
BEHIND_MS = 10_000
WHOSE: dict[Side, str] = {"module": "the module's topic", "ours": "amikafka's topic"}


class Verdict(NamedTuple):
    """Whether every event agrees, the verdict in words, and what to do."""

    agrees: bool
    text: str
    advice: list[str]


def judge(report: Report) -> Verdict:
    """Return the verdict."""
    total = report.total
    if not total.compared:
        return _of_nothing(report)
    advice: list[str] = []
    if total.wrong:
        parts = [
            f"{counted(total.differ, 'event')} of {total.compared:,} with differences"
            if total.differ
            else "",
            f"{total.only_module:,} only on the module's topic" if total.only_module else "",
            f"{total.only_ours:,} only on amikafka's" if total.only_ours else "",
        ]
        text = f"Not every event agrees: {', '.join(filter(None, parts))}."
        if total.differ:
            advice.append(
                "the differences are above, with both values; please report what you cannot explain"
            )
        advice += [*_of_alone(report, "module"), *_of_alone(report, "ours")]
    elif behind := _behind(report):
        text = "Every event on both topics agrees, but one topic is behind the other."
        advice.append(behind)
    else:
        text = f"{counted(total.compared, 'event')} compared, all agree: the module can be switched off."
        if total.known:
            text = text.replace(" agree:", f" agree, {total.known:,} of them with known differences:")
        if total.compared < FEW:
            advice.append(
                "that is a small sample: compare for longer, or during calls: --for 10m, --since 1h"
            )
        return Verdict(agrees=True, text=text, advice=advice)
    if report.given_up_early:
        advice.append(
            f"{counted(report.given_up_early, 'message')} given up early because too many were waiting:"
            " compare again when amikafka status shows no lag"
        )
    return Verdict(agrees=False, text=text, advice=advice)


def _of_nothing(report: Report) -> Verdict:
    """Return the verdict if no event has both copies."""
    module, ours = report.sides["module"], report.sides["ours"]
    if not module.messages and not ours.messages:
        text = "No messages on either topic: nothing was compared."
        advice = ["make a test call, or compare for longer: --for 10m, --since 1h"]
    elif not ours.messages:
        text = "No messages on amikafka's topic: nothing was compared."
        advice = ["check that amikafka is running and publishes there: amikafka status, amikafka doctor"]
    elif not module.messages:
        text = "No messages on the module's topic: nothing was compared."
        advice = [
            "check that the module is loaded (asterisk -rx 'module show like app_ami_kafka'), and name its"
            " topic with --module-topic"
        ]
    elif not module.entities & ours.entities:
        text = "No event is on both topics: they come from different Asterisks."
        advice = [
            f"the module's events are from {_named(module.entities)}, amikafka's from"
            f" {_named(ours.entities)}:"
            " check [general] entity_id, and where the messages come from"
        ]
    else:
        text = "No event is on both topics: nothing was compared."
        advice = ["check that both topics are the right ones, and that amikafka has no lag: amikafka status"]
    return Verdict(agrees=False, text=text, advice=advice)


def _named(entities: set[str], most: int = 3) -> str:
    names = sorted(entities)
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _of_alone(report: Report, side: Side) -> list[str]:
    """Return what to do about the events that only one topic has."""
    one, other = report.sides[side], report.sides[OTHER[side]]
    if one.alone_from_ms is None:
        return []
    advice = []
    if other.last_ms is not None and one.alone_from_ms > other.last_ms:
        advice.append(
            f"all events that are only on {WHOSE[side]} are newer than the last one on {WHOSE[OTHER[side]]}:"
            f" {_behind(report, least_ms=0)}"
        )
    elif side == "module":
        advice.append(
            "check what amikafka has lost (amikafka status), what its manager user may not read (amikafka"
            " doctor), and the eventfilter lines of both configurations"
        )
    else:
        advice.append(
            "the module drops events while its queue is full (see Asterisk's log), and its eventfilter lines"
            " may let fewer events pass than amikafka's"
        )
    if one.alike:
        whose = WHOSE[side]
        advice.append(
            f"{one.alike:,} of the events only on {whose} equal another event in every field: they were"
            " probably sent twice; timestampevents = yes in manager.conf makes that certain"
        )
    return advice


def _behind(report: Report, least_ms: int = BEHIND_MS) -> str:
    """Return which topic is behind, empty if neither is."""
    module, ours = report.sides["module"], report.sides["ours"]
    if module.last_ms is None or ours.last_ms is None:
        return ""
    ahead = module.last_ms - ours.last_ms
    if ahead > least_ms and (module.aside["after"] or least_ms == 0):
        return (
            f"amikafka's topic is {span(ahead / 1000)} behind, or has ended: see amikafka status, and compare"
            " again when there is no lag"
        )
    if -ahead > least_ms and (ours.aside["after"] or least_ms == 0):
        return f"the module's topic is {span(-ahead / 1000)} behind, or has ended: see Asterisk's log"
    return ""

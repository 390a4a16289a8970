"""The last word of a comparison: may the module be switched off, and if not, what is to be looked at."""

from __future__ import annotations

from typing import NamedTuple

from amikafka_tail.commands.compare.copies import OTHER, Side
from amikafka_tail.commands.compare.report import Report
from amikafka_tail.model.humanize import counted, span

FEW = 100
BEHIND_MS = 10_000
WHOSE: dict[Side, str] = {"module": "the module's topic", "ours": "ours"}


class Verdict(NamedTuple):
    """Whether every event agrees, in words, and what to do."""

    agrees: bool
    text: str
    advice: list[str]


def judge(report: Report) -> Verdict:
    """Return the last word."""
    total = report.total
    if not total.compared:
        return _of_nothing(report)
    advice: list[str] = []
    if total.wrong:
        parts = [
            f"{counted(total.differ, 'event')} of {total.compared:,} with differences"
            if total.differ
            else "",
            f"{total.only_module:,} only in the module's topic" if total.only_module else "",
            f"{total.only_ours:,} only in ours" if total.only_ours else "",
        ]
        text = f"Not every event agrees: {', '.join(filter(None, parts))}."
        if total.differ:
            advice.append(
                "what differs is above, with both values; what you cannot explain is worth a bug report"
            )
        advice += [*_of_alone(report, "module"), *_of_alone(report, "ours")]
    elif behind := _behind(report):
        text = "Every event that both topics have agrees, but they do not end together."
        advice.append(behind)
    else:
        text = f"Every one of {counted(total.compared, 'event')} agrees: the module can be switched off."
        if total.known:
            text = text.replace(" agrees:", f" agrees, {total.known:,} but for known differences:")
        if total.compared < FEW:
            advice.append("that is few: compare for longer, or while calls are made: --for 10m, --since 1h")
        return Verdict(agrees=True, text=text, advice=advice)
    if report.given_up_early:
        advice.append(
            f"{counted(report.given_up_early, 'message')} could not be waited for any longer, as too many"
            " waited: compare again when amikafka status says that there is no lag"
        )
    return Verdict(agrees=False, text=text, advice=advice)


def _of_nothing(report: Report) -> Verdict:
    """Return the word for no event with two copies."""
    module, ours = report.sides["module"], report.sides["ours"]
    if not module.messages and not ours.messages:
        text = "Nothing came on either topic: nothing is proven."
        advice = ["make a call, or compare for longer: --for 10m, --since 1h"]
    elif not ours.messages:
        text = "Nothing came on ours: nothing is proven."
        advice = ["see that amikafka runs and publishes there: amikafka status, amikafka doctor"]
    elif not module.messages:
        text = "Nothing came on the module's topic: nothing is proven."
        advice = [
            "see that the module is loaded and which topic it has: asterisk -rx 'module show like"
            " app_ami_kafka', --module-topic"
        ]
    elif not module.entities & ours.entities:
        text = "No event is on both topics: they are of different Asterisks."
        advice = [
            f"the module's are of {_named(module.entities)}, ours of {_named(ours.entities)}: see [general]"
            " entity_id, and where the messages come from"
        ]
    else:
        text = "No event is on both topics: nothing is proven."
        advice = ["see that both topics are the right ones, and that amikafka has no lag: amikafka status"]
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
            f"what is only in {WHOSE[side]} is all later than the last of {WHOSE[OTHER[side]]}:"
            f" {_behind(report, least_ms=0)}"
        )
    elif side == "module":
        advice.append(
            "see what amikafka has lost (amikafka status), what its manager user may not read (amikafka"
            " doctor), and the eventfilter lines of both configurations"
        )
    else:
        advice.append(
            "the module drops events while its queue is full (see Asterisk's log), and its eventfilter lines"
            " may let less pass than amikafka's"
        )
    if one.alike:
        whose = "the module's" if side == "module" else "ours"
        advice.append(
            f"{one.alike:,} of those only in {whose} are like another event in every field: probably sent"
            " twice; with timestampevents = yes in manager.conf that can be told"
        )
    return advice


def _behind(report: Report, least_ms: int = BEHIND_MS) -> str:
    """Say which topic ends earlier, empty where they end together."""
    module, ours = report.sides["module"], report.sides["ours"]
    if module.last_ms is None or ours.last_ms is None:
        return ""
    ahead = module.last_ms - ours.last_ms
    if ahead > least_ms and (module.aside["after"] or least_ms == 0):
        return (
            f"ours is {span(ahead / 1000)} behind, or has ended: see amikafka status, and compare again when"
            " there is no lag"
        )
    if -ahead > least_ms and (ours.aside["after"] or least_ms == 0):
        return f"the module's topic is {span(-ahead / 1000)} behind, or has ended: see Asterisk's log"
    return ""

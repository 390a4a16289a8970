"""The report as a person reads it, and its last word."""

from __future__ import annotations

import json

import pytest

from amikafka_tail.commands.compare import screen
from amikafka_tail.commands.compare.copies import Side
from amikafka_tail.commands.compare.judge import Expected
from amikafka_tail.commands.compare.pairing import Comparison
from amikafka_tail.commands.compare.report import Report
from amikafka_tail.commands.compare.screen import Names
from amikafka_tail.commands.compare.verdict import Verdict, judge
from amikafka_tail.kafka.topic_reader import Message
from tests.support.module import event, module_message, our_message
from tests.unit.commands.compare.test_pairing import (
    BEGIN,
    BEGIN_S,
    FROM_THE_START,
    altered,
    at,
    compared,
    hangup,
    module,
    ours,
)

NAMES = Names("asterisk_ami", "asterisk_ami_trial", "k1:9092")


def printed(report: Report, width: int = 80) -> str:
    return "\n".join(screen.lines(report, judge(report), NAMES, width))


def flat(report: Report) -> str:
    return " ".join(printed(report).split())


def many(count: int) -> tuple[list[Message], list[Message]]:
    return [module(number) for number in range(5, 5 + count)], [
        ours(number) for number in range(5, 5 + count)
    ]


def test_every_event_agrees() -> None:
    report = compared(*many(200))
    assert judge(report) == Verdict(
        agrees=True, text="200 events compared, all agree: the module can be switched off.", advice=[]
    )
    lines = printed(report).splitlines()
    assert lines[0] == "asterisk_ami (module) and asterisk_ami_trial (amikafka), on k1:9092"
    assert "Hangup                              200        0        0         0         0" in lines
    assert "all                                 200        0        0         0         0" in lines
    assert "200 events with the same value byte for byte" in lines
    assert max(map(len, lines)) <= 80


def test_few_events_are_said_to_be_few() -> None:
    verdict = judge(compared(*many(3)))
    assert verdict.agrees
    assert "that is a small sample" in verdict.advice[0]


def test_known_differences_do_not_keep_anybody_from_switching_the_module_off() -> None:
    of_module, of_ours = many(200)
    of_module.append(module(500, b"CallerIDName: Zo\xeb"))
    of_ours.append(ours(500, b"CallerIDName: Zo\xeb"))
    report = compared(of_module, of_ours)
    verdict = judge(report)
    assert verdict.text == (
        "201 events compared, all agree, 1 of them with known differences: the module can be switched off."
    )
    text = flat(report)
    assert "1 a value that is not UTF-8: the module drops the whole header, amikafka reads it as" in text
    assert 'CallerIDName module (none) amikafka "Zoë"' in text


def test_a_difference_is_shown_with_its_place_and_both_values() -> None:
    of_module, of_ours = many(10)
    of_ours[3] = altered(of_ours[3])._replace(partition=2, offset=1234)
    report = compared(of_module, of_ours)
    text = flat(report)
    assert "Differences (each with partition:offset) 1 Cause Hangup, 2026-11-2" in text
    assert "module 0:0, amikafka 2:1234" in text
    assert 'Cause module "16" amikafka "17"' in text
    verdict = judge(report)
    assert not verdict.agrees
    assert verdict.text == "Not every event agrees: 1 event of 10 with differences."


def test_an_event_of_one_topic_is_shown_with_its_value() -> None:
    of_module, of_ours = many(10)
    del of_ours[3]
    text = flat(compared(of_module, of_ours))
    assert "Only on the module's topic: 1 event (each with partition:offset) Hangup, " in text
    assert '"Channel":"PJSIP/8"' in text.replace(" ", "")
    assert "Not every event agrees: 1 only on the module's topic." in text
    assert "what its manager user may not read (amikafka doctor)" in text
    of_module, of_ours = many(10)
    del of_module[3]
    text = flat(compared(of_module, of_ours))
    assert "Not every event agrees: 1 only on amikafka's." in text
    assert "the module drops events while its queue is full" in text


def test_more_than_can_be_shown_is_counted() -> None:
    of_module, of_ours = many(40)
    text = flat(
        compared([*of_module, *(module(number) for number in range(1000, 1050))], [*of_ours, ours(2000)])
    )
    assert "Only on the module's topic: 50 events" in text
    assert "and 40 more" in text


def test_a_daemon_that_has_ended_is_not_many_differences() -> None:
    of_module, of_ours = many(40)
    verdict = judge(compared(of_module, of_ours[:10]))
    assert verdict.text == "Not every event agrees: 30 only on the module's topic."
    assert verdict.advice == [
        "all events that are only on the module's topic are newer than the last one on amikafka's topic:"
        " amikafka's topic is 30 s behind, or has ended: see amikafka status, and compare again when there is"
        " no lag"
    ]
    verdict = judge(compared(of_module[:10], of_ours))
    assert "the module's topic is 30 s behind, or has ended" in verdict.advice[0]


@pytest.mark.parametrize(
    ("behind", "whose"), [("ours", "amikafka's topic is"), ("module", "the module's topic is")]
)
def test_what_was_interrupted_and_does_not_end_together_is_no_proof(behind: Side, whose: str) -> None:
    comparison = Comparison(Expected(), FROM_THE_START)
    for side, message in (("module", module(5)), ("ours", ours(5))):
        comparison.add(side, message)  # type: ignore[arg-type]
    ahead: Side = "module" if behind == "ours" else "ours"
    comparison.add(ahead, (module if ahead == "module" else ours)(60))
    comparison.reached(ahead, at(60))
    comparison.reached(behind, at(5))
    verdict = judge(comparison.finish(interrupted=True))
    assert not verdict.agrees
    assert verdict.text == "Every event on both topics agrees, but one topic is behind the other."
    assert verdict.advice[0].startswith(f"{whose} 55 s behind, or has ended")


def test_what_may_have_been_sent_twice_is_said_to_be_so() -> None:
    verdict = judge(compared([module(5, stamped=False)], [ours(5, stamped=False)] * 3))
    assert "2 of the events only on amikafka's topic equal another event in every field" in verdict.advice[-1]


def test_messages_that_could_not_wait_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("amikafka_tail.commands.compare.pairing.MOST_WAITING", 10)
    of_module, of_ours = many(30)
    verdict = judge(compared(of_module, of_ours[-10:]))
    assert "20 messages given up early" in verdict.advice[-1]


def test_nothing_is_no_proof() -> None:
    for of_module, of_ours, text in (
        ([], [], "No messages on either topic"),
        ([module(5)], [], "No messages on amikafka's topic"),
        ([], [ours(5)], "No messages on the module's topic"),
        ([module(5)], [ours(50)], "No event is on both topics: nothing was compared."),
    ):
        report = compared(of_module, of_ours)
        verdict = judge(report)
        assert not verdict.agrees
        assert verdict.text.startswith(text)
        assert verdict.advice
        assert text in flat(report)


def test_topics_of_different_asterisks_are_told() -> None:
    elsewhere = ours(50)._replace(headers=[("entity_id", b"other")])
    verdict = judge(compared([module(5)], [elsewhere]))
    assert verdict.text == "No event is on both topics: they come from different Asterisks."
    assert "the module's events are from 00:11:22:33:44:55, amikafka's from other" in verdict.advice[0]


def test_what_is_left_aside_is_told() -> None:
    begins: dict[Side, int | None] = {"module": BEGIN, "ours": None}
    elsewhere = module(25)._replace(headers=[("entity_id", b"other")])
    report = compared([module(3), module(20), elsewhere], [ours(20), ours(20)], begins=begins)
    text = flat(report)
    assert "Not compared module: 1 message older than the first message of the other topic" in text
    assert "module: 1 message of an Asterisk that the other topic has nothing from" in text
    assert "amikafka: 1 message sent again" in text


def test_what_a_message_carries_does_nothing_to_a_terminal() -> None:
    evil = "\x1b[2J\x9b31m\x07\r"
    raw = hangup(6, f"Evil: {evil}x", f"{evil}: x")
    of_module = [module(5), module_message(raw, at(6)), module(7, f"Evil: {evil}")]
    named = our_message(event("A", stamp=BEGIN_S + 8), at(8))
    named = named._replace(headers=[("event_type", f"{evil}\nall   1,000".encode())])
    wide = our_message(event("B", stamp=BEGIN_S + 9), at(9))
    wide = wide._replace(value=(evil * 2000).encode())
    report = compared(of_module, [ours(5), ours(6), named, wide])
    text = printed(report)
    assert all(char.isprintable() or char == "\n" for char in text)
    assert "\\x1b[2J" in text
    assert len(text) < 8000
    assert sum(line.startswith("all") for line in text.splitlines()) == 1


def test_names_without_end_fill_no_screen() -> None:
    messages = [module_message(event(f"E{number}", stamp=BEGIN_S + 5), at(5)) for number in range(100)]
    text = printed(compared(messages, messages))
    assert "and 60 other events" in text
    assert len(text.splitlines()) < 60


def test_the_report_for_programs_has_all_of_it() -> None:
    of_module, of_ours = many(20)
    of_ours[3] = altered(of_ours[3])
    del of_ours[7]
    of_module.append(module(500, b"CallerIDName: Zo\xeb"))
    of_ours.append(ours(500, b"CallerIDName: Zo\xeb"))
    values = json.loads(json.dumps(compared(of_module, of_ours).to_json()))
    assert values["total"] == {
        "agree": 18, "known": 1, "differ": 1, "only_module": 1, "only_ours": 0, "byte_for_byte": 18,
    }  # fmt: skip
    assert values["events"] == {
        "Hangup": {each: values["total"][each] for each in values["events"]["Hangup"]}
    }
    (difference,) = values["differences"]
    assert difference["in"] == ["Cause"]
    assert difference["examples"][0]["differences"] == [
        {"where": "Cause", "module": "16", "ours": "17", "known": ""}
    ]
    assert difference["examples"][0]["module"] == {"partition": 0, "offset": 0}
    (known,) = values["known_differences"]
    assert (known["kind"], known["events"]) == ("not-utf-8", 1)
    assert values["module"]["messages"] == 21
    assert '"PJSIP/12"' in values["module"]["only_here"][0]["value"]
    assert values["ours"]["left_aside"] == {"before": 0, "after": 0, "elsewhere": 0}

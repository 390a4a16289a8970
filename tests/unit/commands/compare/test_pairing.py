"""How the two copies of an event find each other, and what is said of one that is alone."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from amikafka_tail.commands import test_record
from amikafka_tail.commands.compare import pairing
from amikafka_tail.commands.compare.copies import Side
from amikafka_tail.commands.compare.judge import Difference, Expected
from amikafka_tail.commands.compare.pairing import Comparison
from amikafka_tail.commands.compare.report import Counts, Report
from amikafka_tail.kafka.topic_reader import Message
from amikafka_tail.model.gaps import gap
from tests.support.module import PBX, event, module_message, our_message

BEGIN_S = 1_795_426_000
BEGIN = BEGIN_S * 1000
FROM_THE_START: dict[Side, int | None] = {"module": BEGIN, "ours": BEGIN}


def hangup(number: int, *lines: str | bytes, stamped: bool = True) -> bytes:
    """Return the event that happened `number` seconds after the beginning."""
    return event(
        "Hangup",
        f"Channel: PJSIP/{number}",
        f"Uniqueid: pbx-{number}",
        f"Linkedid: pbx-{number}",
        "Context: lab",
        "Exten: 100",
        "Priority: 1",
        "Cause: 16",
        *lines,
        stamp=BEGIN_S + number if stamped else None,
    )


def at(number: float) -> int:
    return BEGIN + int(number * 1000)


def module(number: int, *lines: str | bytes, stamped: bool = True) -> Message:
    return module_message(hangup(number, *lines, stamped=stamped), at(number) + 5)


def ours(number: int, *lines: str | bytes, stamped: bool = True) -> Message:
    return our_message(hangup(number, *lines, stamped=stamped), at(number))


def altered(message: Message, before: bytes = b'"16"', after: bytes = b'"17"') -> Message:
    assert before in message.value
    return message._replace(value=message.value.replace(before, after))


def compared(
    of_module: Sequence[Message],
    of_ours: Sequence[Message],
    expected: Expected | None = None,
    begins: dict[Side, int | None] | None = None,
) -> Report:
    """Feed one side and then the other; return the report."""
    comparison = Comparison(expected or Expected(), begins or FROM_THE_START)
    for message in of_module:
        comparison.add("module", message)
    for message in of_ours:
        comparison.add("ours", message)
    return comparison.finish()


@pytest.mark.parametrize("stamped", [True, False])
def test_copies_find_each_other_in_any_order(stamped: bool) -> None:
    numbers = [5, 6, 7, 8]
    report = compared(
        [module(number, stamped=stamped) for number in numbers],
        [ours(number, stamped=stamped) for number in reversed(numbers)],
    )
    assert report.events == {"Hangup": Counts(agree=4)}
    assert report.identical == 4


def test_what_agrees_is_forgotten_at_once() -> None:
    comparison = Comparison(Expected(), FROM_THE_START)
    comparison.add("module", module(5))
    assert comparison.waiting == 1
    comparison.add("ours", ours(5))
    assert comparison.waiting == 0


def test_an_event_that_one_topic_lacks_is_told_with_its_place() -> None:
    lacking = module(6)._replace(partition=2, offset=77)
    report = compared([module(5), lacking, module(7)], [ours(5), ours(7)])
    assert report.total == Counts(agree=2, only_module=1)
    (example,) = report.sides["module"].alone
    assert (example.name, example.module, example.ours) == ("Hangup", (2, 77), None)
    assert '"Channel":"PJSIP/6"' in example.value
    report = compared([module(5)], [ours(5), ours(6)])
    assert report.total == Counts(agree=1, only_ours=1)


@pytest.mark.parametrize("stamped", [True, False])
def test_an_event_with_another_value_is_one_that_differs(stamped: bool) -> None:
    report = compared(
        [module(number, stamped=stamped) for number in (5, 6, 7)],
        [ours(5, stamped=stamped), altered(ours(6, stamped=stamped)), ours(7, stamped=stamped)],
    )
    assert report.total == Counts(agree=2, differ=1)
    ((names, group),) = report.differences.items()
    assert names == ("Cause",)
    assert group.examples[0].differences == [Difference("Cause", "16", "17")]


def test_an_event_with_another_timestamp_is_one_that_differs() -> None:
    report = compared([module(5)], [altered(ours(5), b"1795426005.000000", b"1795426005.000001")])
    assert list(report.differences) == [("Timestamp",)]


def test_two_events_that_are_alike_are_not_one_that_differs() -> None:
    """One is lost on each topic; they have the same name and most of the values."""
    report = compared([module(5), module(6)], [ours(5), ours(7)])
    assert report.total == Counts(agree=1, only_module=1, only_ours=1)
    report = compared([module(6, stamped=False)], [ours(7, stamped=False)])
    assert report.total == Counts(only_module=1, only_ours=1)


def test_the_copy_that_differs_goes_to_the_event_that_it_is_most_like() -> None:
    report = compared(
        [module(6, stamped=False), module(5, stamped=False)],
        [altered(ours(5, stamped=False))],
    )
    assert report.total == Counts(differ=1, only_module=1)
    assert '"PJSIP/6"' in report.sides["module"].alone[0].value


def test_known_differences_are_counted_by_kind() -> None:
    lines = ["Empty:", b"CallerIDName: Zo\xeb"]
    report = compared([module(5, *lines), module(6)], [ours(5, *lines), ours(6)])
    assert report.total == Counts(agree=1, known=1)
    assert {kind: group.events for kind, group in report.known.items()} == {"no-separator": 1, "not-utf-8": 1}
    assert report.differences == {}


@pytest.mark.parametrize("stamped", [True, False])
def test_a_known_difference_does_not_make_others_wait(stamped: bool) -> None:
    lines = ["Empty:", b"CallerIDName: Zo\xeb"]
    comparison = Comparison(Expected(), FROM_THE_START)
    comparison.add("module", module(5, *lines, stamped=stamped))
    comparison.add("ours", ours(5, *lines, stamped=stamped))
    assert comparison.waiting == 0
    assert comparison.report.total == Counts(known=1)


def test_what_is_sent_again_is_counted_and_is_no_difference() -> None:
    report = compared([module(5)], [ours(5), ours(5), ours(5)])
    assert report.total == Counts(agree=1)
    assert report.sides["ours"].sent_again == 2
    report = compared([module(5), module(5)], [ours(5)])
    assert report.total == Counts(agree=1)
    assert report.sides["module"].sent_again == 1


def test_what_differs_and_is_sent_again_is_one_difference() -> None:
    report = compared([module(5)], [altered(ours(5)), altered(ours(5))])
    assert report.total == Counts(differ=1)
    assert report.sides["ours"].sent_again == 1


def test_without_a_time_of_asterisks_only_an_id_tells_what_is_sent_again() -> None:
    twice = [ours(5, stamped=False), ours(5, stamped=False)]
    report = compared([module(5, stamped=False)], twice)
    assert report.total == Counts(agree=1, only_ours=1)
    assert report.sides["ours"].alike == 1
    with_id = [each._replace(headers=[*each.headers, ("event_id", b"e/1/2")]) for each in twice]
    report = compared([module(5, stamped=False)], with_id)
    assert report.total == Counts(known=1)
    assert report.sides["ours"].sent_again == 1


def test_two_events_that_are_the_same_in_all_are_two() -> None:
    report = compared([module(5, stamped=False)] * 2, [ours(5, stamped=False)] * 2)
    assert report.total == Counts(agree=2)


def test_what_happened_before_the_other_topic_is_read_is_left_aside() -> None:
    begins: dict[Side, int | None] = {"module": BEGIN, "ours": at(5)}
    report = compared([module(1), module(6), module(8)], [ours(8)], begins=begins)
    assert report.sides["module"].aside["before"] == 2, "6 is within the edge"
    assert report.total == Counts(agree=1)


def test_a_topic_that_has_just_been_made_begins_with_its_first_message() -> None:
    begins: dict[Side, int | None] = {"module": BEGIN, "ours": None}
    report = compared([module(3), module(20), module(25)], [ours(20)], begins=begins)
    assert report.sides["module"].aside["before"] == 1
    assert report.total == Counts(agree=1, only_module=1)


def test_the_events_of_another_asterisk_are_left_aside() -> None:
    elsewhere = module_message(hangup(6).replace(b"PJSIP", b"SIP"), at(6))
    elsewhere = elsewhere._replace(
        value=elsewhere.value.replace(PBX.entity_id.encode(), b"other"),
        headers=[("entity_id", b"other"), *elsewhere.headers[1:]],
    )
    report = compared([module(5), elsewhere], [ours(5)])
    assert report.sides["module"].aside["elsewhere"] == 1
    assert report.total == Counts(agree=1)


def test_an_entity_id_that_is_wrong_is_a_difference_and_not_another_asterisk() -> None:
    wrong = ours(5)
    wrong = wrong._replace(
        value=wrong.value.replace(PBX.entity_id.encode(), b"other"),
        headers=[("entity_id", b"other"), *wrong.headers[1:]],
    )
    report = compared([module(5)], [wrong])
    assert list(report.differences) == [("EntityID", "header entity_id")]


def test_amikafkas_own_events_are_known() -> None:
    missing = our_message(gap("Disconnected", 0, at(6), Seconds=1.5).raw, at(6))
    tried = our_message(event(test_record.NAME, stamp=BEGIN_S + 7), at(7))
    report = compared([module(5)], [ours(5), missing, tried])
    assert report.total == Counts(agree=1, known=2)
    assert report.known["own-event"].events == 2


def test_a_copy_is_given_up_when_the_other_topic_is_a_minute_further() -> None:
    comparison = Comparison(Expected(), FROM_THE_START)
    comparison.add("module", module(5))
    comparison.reached("ours", at(64))
    assert comparison.waiting == 1
    comparison.reached("ours", at(66))
    assert comparison.waiting == 0
    assert comparison.report.total == Counts(only_module=1)


def test_copies_that_differ_are_paired_when_they_are_given_up() -> None:
    comparison = Comparison(Expected(), FROM_THE_START)
    comparison.add("module", module(5))
    comparison.add("ours", altered(ours(5)))
    comparison.reached("ours", at(66))
    assert comparison.waiting == 0
    assert comparison.report.total == Counts(differ=1)


def test_what_is_late_is_a_twin_and_nothing_else() -> None:
    comparison = Comparison(Expected(), FROM_THE_START)
    for number in (5, 6, 8):
        comparison.add("module", module(number))
    comparison.add("ours", ours(5), is_late=True)
    comparison.add("ours", altered(ours(6)), is_late=True)
    comparison.add("ours", ours(7), is_late=True)
    comparison.add("module", module(7), is_late=True)
    comparison.add("ours", ours(9), is_late=True)
    assert comparison.waiting == 2
    report = comparison.finish()
    assert report.total == Counts(agree=1, differ=1, only_module=1)
    assert report.sides["ours"].messages == 0, "none was there in time"


def test_where_reading_was_interrupted_the_newest_are_left_aside() -> None:
    comparison = Comparison(Expected(), FROM_THE_START)
    for number in (5, 10, 30):
        comparison.add("module", module(number))
    comparison.add("ours", ours(5))
    comparison.add("ours", ours(20))
    comparison.reached("module", at(30))
    comparison.reached("ours", at(20))
    report = comparison.finish(interrupted=True)
    assert report.total == Counts(agree=1, only_module=1)
    assert report.sides["module"].aside["after"] == 1
    assert report.sides["ours"].aside["after"] == 1


def test_only_so_many_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pairing, "MOST_WAITING", 10)
    comparison = Comparison(Expected(), FROM_THE_START)
    for number in range(5, 25):
        comparison.add("module", module(number))
    assert comparison.waiting == 10
    assert comparison.report.given_up_early == 10
    assert comparison.report.total == Counts(only_module=10)


def test_only_so_much_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pairing, "MOST_REMEMBERED", 4)
    report = compared([module(5), module(6), module(7)], [ours(5), ours(6), ours(7), ours(7), ours(5)])
    assert report.sides["ours"].sent_again == 1, "the other one is forgotten"
    assert report.total == Counts(agree=3, only_ours=1)


def test_names_without_end_are_counted_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("amikafka_tail.commands.compare.report.MOST_NAMES", 3)
    messages = [module_message(event(f"E{number}", stamp=BEGIN_S + 5), at(5)) for number in range(6)]
    report = compared(messages, messages)
    assert len(report.events) == 4
    assert report.events["(others)"].agree == 3


def test_ways_to_differ_without_end_are_counted_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("amikafka_tail.commands.compare.report.MOST_GROUPS", 2)
    of_ours = [ours(number, f"X{number}: 1") for number in range(5, 10)]
    report = compared([module(number) for number in range(5, 10)], of_ours)
    assert report.total.differ == 5
    assert {names: group.events for names, group in report.differences.items()} == {
        ("X5",): 1,
        ("X6",): 1,
        ("(others)",): 3,
    }


def test_the_name_of_the_trial_record_is_that_of_the_command() -> None:
    assert pairing.TEST == test_record.NAME

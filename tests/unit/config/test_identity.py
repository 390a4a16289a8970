import ctypes
import re
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amikafka_tail.config import local
from amikafka_tail.config.dialect import parse
from amikafka_tail.config.identity import (
    LocalFacts,
    Overrides,
    normalized_entity_id,
    of_asterisk_conf,
    resolve,
)
from amikafka_tail.model.identity import Identity
from tests.support.fuzzing import many

PARTS = st.tuples(
    st.sampled_from(["", "", "", "", " ", "\t ", "+", "-", "0x", "g"]),
    st.sampled_from(["0", "5", "a", "F", "00", "7f", "Ab", "Ff", "", "x", "123"]),
).map("".join)
"""Of entity ids: right ones, and others."""
ASTERISK_CONF = Path(__file__).parents[2] / "data" / "field" / "ami" / "asterisk-conf"

FACTS = LocalFacts(entity_id="", system_name="from-file", hostname="host", mac_address="02:00:00:00:00:01")


def test_what_the_connection_says_counts_more_than_the_file() -> None:
    assert resolve(FACTS, asterisk_version="22", system_name="pbx-01") == Identity(
        entity_id="02:00:00:00:00:01", system_name="pbx-01", asterisk_version="22", hostname="host"
    )


def test_what_nobody_says_is_taken_from_the_machine() -> None:
    assert resolve(FACTS) == Identity(
        entity_id="02:00:00:00:00:01", system_name="from-file", asterisk_version="unknown", hostname="host"
    )


def test_the_entity_id_of_asterisk_conf_counts_more_than_the_mac_address() -> None:
    assert (
        resolve(LocalFacts(entity_id="00:11:22:33:44:55", mac_address="x")).entity_id == "00:11:22:33:44:55"
    )


def test_overrides_replace_what_they_name() -> None:
    overridden = Overrides(system_name="other", hostname="h").apply(resolve(FACTS))
    assert (overridden.system_name, overridden.hostname, overridden.entity_id) == (
        "other",
        "h",
        "02:00:00:00:00:01",
    )


def test_an_empty_override_takes_the_name_away() -> None:
    assert Overrides(system_name="").apply(resolve(FACTS)).system_name == ""


def test_asterisk_conf_is_read(tmp_path: Path) -> None:
    (tmp_path / "asterisk.conf").write_text(
        "[directories](!)\n[options]\nentityid = 00:11:22:33:44:55\nsystemname = pbx-01 ; ours\n"
    )
    facts = local.facts(tmp_path)
    assert (facts.entity_id, facts.system_name) == ("00:11:22:33:44:55", "pbx-01")
    assert facts.hostname


def test_a_machine_without_asterisk_conf_still_has_facts(tmp_path: Path) -> None:
    assert local.facts(tmp_path).system_name == ""


def test_the_mac_address_is_one_or_there_is_none() -> None:
    assert re.fullmatch(r"([0-9a-f]{2}(:[0-9a-f]{2}){5})?", local.mac_address())


# As a running Asterisk 22.10.1 has it ("core show settings").


@pytest.mark.parametrize(
    ("name", "entity_id", "system_name", "remarks"),
    [
        ("upper-case-eid", "00:50:56:ab:cd:ef", "pbx-01", 0),
        ("options-twice", "00:00:5e:00:53:01", "first", 0),
        ("invalid-eid", "", "pbx-03", 1),
    ],
)
def test_asterisk_conf_is_read_as_the_running_asterisk_reads_it(
    tmp_path: Path, name: str, entity_id: str, system_name: str, remarks: int
) -> None:
    shutil.copy(ASTERISK_CONF / f"{name}.conf", tmp_path / "asterisk.conf")
    facts = local.facts(tmp_path)
    assert (facts.entity_id, facts.system_name, len(facts.remarks)) == (entity_id, system_name, remarks)


@pytest.mark.parametrize(
    ("text", "normalized"),
    [
        ("0:50:56:A:B:C", "00:50:56:0a:0b:0c"),
        ("00:50:56:ab:cd:ef", "00:50:56:ab:cd:ef"),
        (" 1: 2:\t3:4:5:6", "01:02:03:04:05:06"),
        ("1:2:3:4:5:6 and more", "01:02:03:04:05:06"),
        ("1:2:3:4:5:678", "01:02:03:04:05:67"),
        ("+a:-1:3:4:5:6", "0a:ff:03:04:05:06"),
        ("1:2:3:4:5", None),
        ("1:2:3:4:5:", None),
        ("1:2:3:4:5:g", None),
        ("1 :2:3:4:5:6", None),
        ("123:2:3:4:5:6", None),
        ("1-2-3-4-5-6", None),
        ("0x:0X:3:4:5:6", "00:00:03:04:05:06"),
        ("pbx1", None),
        ("", None),
        ("\u0661:2:3:4:5:6", None),
    ],
)
def test_an_entity_id_is_written_as_asterisk_writes_it(text: str, normalized: str | None) -> None:
    assert normalized_entity_id(text) == normalized


@many(300)
@given(st.lists(PARTS, min_size=5, max_size=7).map(":".join))
def test_an_entity_id_is_what_the_c_library_reads(text: str) -> None:
    """The oracle is sscanf itself, which Asterisk calls."""
    numbers = [ctypes.c_uint() for _ in range(6)]
    found = ctypes.CDLL(None).sscanf(
        text.encode(), b"%2x:%2x:%2x:%2x:%2x:%2x", *(ctypes.byref(number) for number in numbers)
    )
    expected = ":".join(f"{number.value & 0xFF:02x}" for number in numbers) if found == 6 else None
    assert normalized_entity_id(text) == expected


def facts_of(text: str) -> LocalFacts:
    document = parse(Path("asterisk.conf"), lambda _path: text, lambda _pattern: [])
    return of_asterisk_conf(document, "vm")


def test_an_invalid_entity_id_is_told_with_what_counts_instead() -> None:
    (alone,) = facts_of("[options]\nEntityID = pbx1\n").remarks
    assert str(alone) == (
        'asterisk.conf:2: [options] EntityID: "pbx1" is no entity id such as 00:50:56:0a:0b:0c: as in'
        " Asterisk, the MAC address counts"
    )
    after_another = facts_of("[options]\nentityid = 1:2:3:4:5:6\nentityid = pbx1\n")
    assert after_another.entity_id == "01:02:03:04:05:06"
    assert after_another.remarks[0].message.endswith("as in Asterisk, 01:02:03:04:05:06 counts")


@pytest.mark.parametrize(
    ("lines", "name"),
    [
        ("SystemName = a\nsystemname = b\n", "b"),
        ("systemname = a\nautosystemname = yes\n", "vm"),
        ("autosystemname = YES\nsystemname = a\n", "a"),
        ("autosystemname = no\n", ""),
        ("autosystemname = maybe\n", ""),
        ("systemname = a\n[options]\nsystemname = b\n", "a"),
        ("systemname = a\n[options](+)\nsystemname = b\n", "b"),
    ],
)
def test_the_system_name_is_the_last_that_is_said(lines: str, name: str) -> None:
    assert facts_of(f"[files]\nsystemname = x\n[OPTIONS]\n{lines}").system_name == name


def test_of_a_file_that_asterisk_does_not_take_up_nothing_counts() -> None:
    found = facts_of("[options]\nsystemname = a\nentityid = 1:2:3:4:5:6\n[broken\n")
    assert (found.entity_id, found.system_name, found.hostname) == ("", "", "vm")
    assert [str(each) for each in found.remarks] == ['asterisk.conf:4: [broken]: no closing "]"']
    (told,) = facts_of('[options]\nsystemname = a\n#include "gone*"\n').remarks
    assert told.line == 3

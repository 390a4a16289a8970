import re
from pathlib import Path

from amikafka_tail.config import local
from amikafka_tail.config.identity import LocalFacts, Overrides, resolve
from amikafka_tail.model.identity import Identity

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

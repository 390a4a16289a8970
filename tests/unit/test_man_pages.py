"""The manual pages tell of every command and of every option that there is."""

from __future__ import annotations

import argparse
import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from amikafka_tail import __version__, cli
from amikafka_tail.config import kafka_conf, settings
from amikafka_tail.plugins import loader

MAN = Path(__file__).parents[2] / "docs" / "man"
COMPLETION = MAN.parents[1] / "packaging" / "debian" / "amikafka.bash-completion"


def text_of(name: str) -> str:
    """A page's text without its macros' names and escapes."""
    return re.sub(r"\\f[A-Z]", "", (MAN / name).read_text().replace("\\-", "-"))


def parsers() -> Iterator[tuple[str, argparse.ArgumentParser]]:
    def below(parser: argparse.ArgumentParser) -> Iterator[tuple[str, argparse.ArgumentParser]]:
        for action in parser._actions:
            if isinstance(action, argparse._SubParsersAction):
                for name, found in action.choices.items():
                    yield name, found
                    yield from below(found)

    yield from below(cli._parser())


def options() -> Iterator[str]:
    for made in (
        settings.GeneralSettings,
        settings.KafkaSettings,
        settings.JournalSettings,
        settings.MetricsSettings,
    ):
        yield from (field.name for field in dataclasses.fields(made))
    yield from kafka_conf.PRODUCER_OPTIONS
    yield kafka_conf.PASSWORD_FILE
    for registration in loader.load(""):
        if registration.name != settings.FILTER:
            yield from (field.name for field in dataclasses.fields(registration.options))


@pytest.mark.parametrize("name", sorted({name for name, _ in parsers()}))
def test_every_command_is_in_the_manual_and_completed(name: str) -> None:
    assert re.search(
        rf"\.B ((amikafka|kafka|topic) )?{name}\b|\[\s*{name}\b|\.B {name}$",
        text_of("amikafka.8"),
        re.MULTILINE,
    )
    assert name in COMPLETION.read_text()


def test_every_option_of_a_command_is_in_the_manual_and_completed() -> None:
    manual, completion = text_of("amikafka.8"), COMPLETION.read_text()
    for _, parser in parsers():
        for action in parser._actions:
            for option in action.option_strings:
                if option not in ("-h", "--help"):
                    assert option in manual or option == "--quiet"
                    assert option in completion or not option.startswith("--")


@pytest.mark.parametrize("option", sorted(set(options())))
def test_every_option_of_the_configuration_is_in_the_manual_and_in_the_example(option: str) -> None:
    assert re.search(rf"\b{option}\b", text_of("ami_kafka.conf.5"))
    example = (MAN.parents[1] / "etc" / "ami_kafka.conf").read_text()
    assert re.search(rf"^;?{option} =", example, re.MULTILINE)


def test_the_pages_are_of_this_version() -> None:
    for page in MAN.iterdir():
        assert f'"amikafka {__version__}"' in page.read_text()

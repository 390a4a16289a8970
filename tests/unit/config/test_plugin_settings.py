"""What the configuration says of plugins: which are used, in which order, with which options."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from amikafka_tail.config import settings
from amikafka_tail.config.settings import Settings
from amikafka_tail.delivery import build
from amikafka_tail.intake import build_source
from amikafka_tail.model.errors import ConfigError, PluginError
from amikafka_tail.plugins import loader
from amikafka_tail.plugins.registry import Origin, Registration, Registry

MANAGER = "[manager]\nhost = 127.0.0.1\nusername = u\nsecret = s\n"


@dataclass(frozen=True, kw_only=True)
class ColourOptions:
    colour: str = "red"


@dataclass(frozen=True, kw_only=True)
class NeedyOptions:
    url: str


def refuse(_options: Any, *_more: Any) -> Any:
    raise ValueError("this colour is out of stock")


def registered(kind: str, name: str, options: type, factory: Any) -> Registration:
    origin = Origin(distribution="amikafka-more", version="1.0", entry_point="more")
    return Registration(kind=kind, name=name, options=options, factory=factory, origin=origin)


MORE = [
    registered("filter", "paint", ColourOptions, lambda options: lambda event: True),
    registered("filter", "refusing", ColourOptions, refuse),
    registered("filter", "nothing", ColourOptions, lambda options: None),
    registered("format", "needy", NeedyOptions, lambda options, context: lambda event: event.raw),
    registered("source", "odd", ColourOptions, lambda options: "a source"),
]
REGISTRY = Registry(
    MappingProxyType({each.name: each for each in [*loader.load(""), *MORE]}),
)


@pytest.fixture
def load(tmp_path: Path) -> Any:
    def load(general: str = "", rest: str = "", **toml: str) -> Settings:
        file = tmp_path / "ami_kafka.conf"
        file.write_text(f"[general]\n{general}\n[kafka]\nbrokers = b:9092\n{MANAGER}{rest}")
        if toml:
            (tmp_path / "ami_kafka.d").mkdir()
        for name, text in toml.items():
            (tmp_path / "ami_kafka.d" / f"{name}.toml").write_text(text)
        return settings.load(file, REGISTRY)

    return load


@pytest.fixture
def problems(load: Any, tmp_path: Path) -> Any:
    def problems(*arguments: str, **toml: str) -> list[str]:
        with pytest.raises(ConfigError) as raised:
            load(*arguments, **toml)
        return [str(problem).replace(f"{tmp_path}/", "") for problem in raised.value.problems]

    return problems


def names(loaded: Settings) -> list[str]:
    return [name for name, _ in loaded.filters]


def test_filters_come_in_the_order_in_which_they_are_named(load: Any) -> None:
    assert names(load("filters = paint, eventfilter\neventfilter = A")) == ["paint", "eventfilter"]
    assert names(load("filters = eventfilter, paint\neventfilter = A")) == ["eventfilter", "paint"]


def test_eventfilter_lines_count_first_where_the_list_does_not_name_it(load: Any) -> None:
    assert names(load("filters = paint\neventfilter = A")) == ["eventfilter", "paint"]
    assert names(load("eventfilter = A")) == ["eventfilter"]
    assert names(load("")) == []


def test_a_filter_that_does_not_exist_is_named_with_the_nearest(problems: Any) -> None:
    assert problems("filters = pant, eventfilter") == [
        'ami_kafka.conf:2: [general] filters: "pant": unknown filter (did you mean "paint"?);'
        " there are: eventfilter, paint, refusing, nothing"
    ]


def test_a_filter_that_is_named_twice(problems: Any) -> None:
    assert problems("filters = paint, paint") == [
        'ami_kafka.conf:2: [general] filters: "paint" is named twice'
    ]


def test_options_come_from_the_section_or_from_the_file_of_the_plugin(load: Any) -> None:
    assert dict(load("filters = paint", "[paint]\ncolour = blue\n").filters)["paint"].colour == "blue"
    loaded = load("filters = paint", paint='colour = "green"')
    assert dict(loaded.filters)["paint"].colour == "green"


def test_a_wrong_option_of_a_plugin_is_an_error_even_if_it_is_not_used(problems: Any) -> None:
    assert problems("", "[paint]\ncolor = blue\n", needy="uri = 1") == [
        'ami_kafka.conf:10: [paint] color: unknown option (did you mean "colour"?)',
        'ami_kafka.d/needy.toml:1: uri: unknown option (did you mean "url"?)',
    ]


def test_a_file_of_no_plugin_is_named_with_the_nearest(problems: Any) -> None:
    assert problems(pain="x = 1") == [
        'ami_kafka.d/pain.toml: unknown plugin (did you mean "paint"?):'
        " the name of the file is that of a plugin"
    ]


def test_a_file_that_is_no_toml_is_named_with_the_line(problems: Any) -> None:
    (said,) = problems(paint="colour = \n")
    assert said.startswith("ami_kafka.d/paint.toml:1: is not TOML: ")


def test_other_files_beside_it_are_left_alone(load: Any, tmp_path: Path) -> None:
    (tmp_path / "ami_kafka.d").mkdir()
    for name in ("paint.toml.dpkg-old", "paint.toml~", ".paint.toml.swp", ".hidden.toml", "README"):
        (tmp_path / "ami_kafka.d" / name).write_text("= =")
    assert load().filters == []


def test_a_file_that_is_not_utf_8(tmp_path: Path, problems: Any) -> None:
    (tmp_path / "ami_kafka.d").mkdir()
    (tmp_path / "ami_kafka.d" / "paint.toml").write_bytes(b'colour = "\xff"')
    assert problems() == ["ami_kafka.d/paint.toml: is not UTF-8"]


def test_an_option_that_has_to_be_set_is_missed_only_where_the_plugin_is_used(
    load: Any, problems: Any
) -> None:
    assert load().format == "json"
    assert problems("format = needy") == ["ami_kafka.conf: [needy] url: is not set and has no default"]


def test_a_filter_with_options_that_is_not_used_is_remarked(load: Any) -> None:
    assert load("", "[paint]\ncolour = blue\n").remarks == [
        "the filter paint has options but is not used: filters of [general] does not name it"
    ]
    assert load("filters = paint", "[paint]\ncolour = blue\n").remarks == []


def test_options_that_a_factory_refuses_are_an_error_of_the_configuration(load: Any) -> None:
    with pytest.raises(ConfigError, match=r"\[refusing\]: this colour is out of stock"):
        build.messages(load("filters = refusing"), REGISTRY)


def test_a_factory_that_makes_nothing_to_call_names_its_distribution(load: Any) -> None:
    with pytest.raises(PluginError, match=r'^amikafka-more 1\.0: .* "nothing" returned NoneType'):
        build.messages(load("filters = nothing"), REGISTRY)


def test_a_source_that_is_none_names_its_distribution(load: Any) -> None:
    with pytest.raises(PluginError, match=r'^amikafka-more 1\.0: the source "odd" is neither'):
        build_source.source(load("source = odd"), REGISTRY)


@pytest.mark.parametrize(
    ("order", "count"), [("paint, eventfilter", 0), ("eventfilter, paint", 2), ("paint", 2)]
)
def test_lines_that_look_at_what_another_filter_has_changed_are_not_for_asterisk(
    load: Any, order: str, count: int
) -> None:
    lines = "eventfilter = A\neventfilter = !B"
    loaded = load(f"filters = {order}\n{lines}", "push_filters = yes\n")
    assert len(loaded.pushed) == count
    said = "push_filters has no effect: the filter paint is asked before eventfilter"
    assert [remark.startswith(said) for remark in loaded.remarks] == ([] if count else [True])

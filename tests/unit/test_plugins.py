from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent

import pytest

from amikafka_tail import __version__, plugins
from amikafka_tail.errors import PluginError
from amikafka_tail.formats.json import JsonOptions, json_format

BUILT_INS = [
    ("source", "manager"),
    ("source", "eventlog"),
    ("source", "spool"),
    ("filter", "eventfilter"),
    ("format", "json"),
    ("format", "ami"),
]
GOOD = """
    from dataclasses import dataclass
    from amikafka_tail.api import hookimpl

    @dataclass(frozen=True, kw_only=True)
    class Options:
        schema: str = ""

    def make(options, identity):
        return lambda event: event.raw

    @hookimpl
    def register_formats(register):
        register("%s", Options, make)
"""
Install = Callable[..., Path]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Install distributions of one module each, as pip would lay them out."""
    modules: list[str] = []

    def make(
        name: str,
        module: str,
        code: str,
        *,
        version: str = "1.2",
        entry: str | None = None,
        group: str = "amikafka",
    ) -> Path:
        site = tmp_path / f"site-{len(modules)}"
        info = site / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir(parents=True)
        (site / f"{module}.py").write_text(dedent(code))
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        (info / "entry_points.txt").write_text(f"[{group}]\n{entry or module} = {module}\n")
        monkeypatch.syspath_prepend(str(site))
        modules.append(module)
        return site

    yield make
    for module in modules:
        sys.modules.pop(module, None)


def registered(registry: plugins.Registry) -> list[tuple[str, str]]:
    return [(registration.kind, registration.name) for registration in registry]


def test_the_built_ins_take_the_plugins_way() -> None:
    registry = plugins.load("")
    assert registered(registry) == BUILT_INS
    for registration in registry:
        assert (registration.distribution, registration.version) == ("amikafka-tail", __version__)


def test_what_is_registered_is_found_by_kind_and_name() -> None:
    found = plugins.load("").get("format", "json")
    assert (found.options, found.factory) == (JsonOptions, json_format)


def test_a_name_that_nobody_registered_is_an_error_that_says_what_there_is() -> None:
    registry = plugins.load("")
    with pytest.raises(PluginError, match=r'no format is called "avro" \(there are: json, ami\)'):
        registry.get("format", "avro")
    with pytest.raises(PluginError, match=r'no filter is called "json" \(there are: eventfilter\)'):
        registry.get("filter", "json")


def test_an_installed_plugin_comes_after_the_built_ins(
    install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    install("amikafka-avro", "fake_avro", GOOD % "avro")
    monkeypatch.delenv("AMIKAFKA_LOAD_PLUGINS", raising=False)
    registry = plugins.load()
    assert registered(registry)[: len(BUILT_INS)] == BUILT_INS
    found = registry.get("format", "avro")
    assert (found.distribution, found.version) == ("amikafka-avro", "1.2")
    assert found.options(schema="x").schema == "x"


def test_an_empty_variable_loads_the_built_ins_alone(
    install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    install("amikafka-avro", "fake_avro", GOOD % "avro")
    monkeypatch.setenv("AMIKAFKA_LOAD_PLUGINS", "")
    assert registered(plugins.load()) == BUILT_INS


def test_the_variable_names_entry_points(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    install("amikafka-one", "fake_one", GOOD % "one", entry="first")
    install("amikafka-two", "fake_two", GOOD % "two", entry="second")
    install("amikafka-three", "fake_three", GOOD % "three", entry="third")
    monkeypatch.setenv("AMIKAFKA_LOAD_PLUGINS", " first , third,")
    assert set(registered(plugins.load())) == {*BUILT_INS, ("format", "one"), ("format", "three")}


def test_a_plugin_that_is_not_wanted_is_not_even_imported(install: Install) -> None:
    install("amikafka-broken", "fake_broken", "raise RuntimeError('imported')")
    assert registered(plugins.load("")) == BUILT_INS
    assert "fake_broken" not in sys.modules


def test_entry_points_of_other_groups_are_left_alone(
    install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    install("other-thing", "fake_other", "raise RuntimeError('imported')", group="pytest12")
    monkeypatch.setenv("AMIKAFKA_LOAD_PLUGINS", "fake_other")
    assert registered(plugins.load()) == BUILT_INS


def test_a_plugin_may_register_several_things_of_several_kinds(install: Install) -> None:
    code = """
        from dataclasses import dataclass
        from amikafka_tail.api import hookimpl

        @dataclass(frozen=True, kw_only=True)
        class Options:
            pass

        class Plugin:
            @hookimpl
            def register_sources(self, register):
                register("queue", Options, lambda options: None)

            @hookimpl
            def register_filters(self, register):
                register("queue", Options, lambda options: lambda event: True)
                register("night", Options, lambda options: lambda event: True)

        plugin = Plugin()
    """
    site = install("amikafka-many", "fake_many", code, entry="many")
    entry_points = next(site.glob("*.dist-info")) / "entry_points.txt"
    entry_points.write_text("[amikafka]\nmany = fake_many:plugin\n")
    registry = plugins.load("many")
    assert registered(registry)[len(BUILT_INS) :] == [
        ("source", "queue"),
        ("filter", "queue"),
        ("filter", "night"),
    ]
    assert registry.names("filter") == ["eventfilter", "queue", "night"]


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("raise RuntimeError('no license')", "RuntimeError: no license"),
        ("def", "SyntaxError"),
    ],
)
def test_an_import_that_fails_names_the_distribution(install: Install, code: str, reason: str) -> None:
    install("amikafka-broken", "fake_broken", code)
    with pytest.raises(PluginError, match=rf"^amikafka-broken 1\.2: cannot be imported: {reason}"):
        plugins.load("fake_broken")


def test_an_entry_point_that_names_nothing_names_the_distribution(install: Install) -> None:
    site = install("amikafka-empty", "fake_empty", "")
    entry_points = next(site.glob("*.dist-info")) / "entry_points.txt"
    entry_points.write_text("[amikafka]\nfake_empty = fake_empty:plugin\n")
    with pytest.raises(PluginError, match=r"^amikafka-empty 1\.2: .*plugin"):
        plugins.load("fake_empty")


def test_a_misspelt_hook_names_the_distribution_and_the_hook(install: Install) -> None:
    code = """
        from amikafka_tail.api import hookimpl

        @hookimpl
        def register_format(register):
            pass
    """
    install("amikafka-typo", "fake_typo", code)
    with pytest.raises(PluginError, match=r"^amikafka-typo 1\.2: .*register_format\b"):
        plugins.load("fake_typo")


def test_a_hook_with_a_misspelt_argument_names_the_distribution(install: Install) -> None:
    code = """
        from amikafka_tail.api import hookimpl

        @hookimpl
        def register_formats(registre):
            pass
    """
    install("amikafka-typo", "fake_typo", code)
    with pytest.raises(PluginError, match=r"(?s)^amikafka-typo 1\.2: .*registre"):
        plugins.load("fake_typo")


def test_a_name_of_a_built_in_is_taken(install: Install) -> None:
    install("amikafka-twin", "fake_twin", GOOD % "json")
    with pytest.raises(
        PluginError, match=r'^amikafka-twin 1\.2: the format name "json" is taken by amikafka-tail'
    ):
        plugins.load("fake_twin")


def test_two_plugins_cannot_have_one_name(install: Install) -> None:
    install("amikafka-one", "fake_one", GOOD % "avro")
    install("amikafka-two", "fake_two", GOOD % "avro")
    with pytest.raises(
        PluginError, match=r'^amikafka-(one|two) 1\.2: the format name "avro" is taken by amikafka-(one|two)'
    ):
        plugins.load("fake_one,fake_two")


@pytest.mark.parametrize("options", ["dict", "None", "type('Options', (), {})"])
def test_options_that_are_no_dataclass_name_the_distribution(install: Install, options: str) -> None:
    code = f"""
        from amikafka_tail.api import hookimpl

        @hookimpl
        def register_filters(register):
            register("mine", {options}, lambda options: lambda event: True)
    """
    install("amikafka-loose", "fake_loose", code)
    with pytest.raises(
        PluginError, match=r'^amikafka-loose 1\.2: options of filter "mine" are not a dataclass'
    ):
        plugins.load("fake_loose")


def test_a_hook_that_fails_names_the_distribution(install: Install) -> None:
    code = """
        from amikafka_tail.api import hookimpl

        @hookimpl
        def register_sources(register):
            raise KeyError("HOME")
    """
    install("amikafka-failing", "fake_failing", code)
    with pytest.raises(PluginError, match=r"^amikafka-failing 1\.2: KeyError: 'HOME'"):
        plugins.load("fake_failing")


def test_of_a_distribution_that_is_installed_twice_the_first_counts(install: Install) -> None:
    # Debian's own package, and a newer one from pip in front of it.
    install("amikafka-avro", "fake_avro", GOOD % "old", version="1.0")
    install("amikafka-avro", "fake_avro", GOOD % "avro", version="2.0")
    registry = plugins.load("fake_avro")
    assert registered(registry)[len(BUILT_INS) :] == [("format", "avro")]
    assert registry.get("format", "avro").version == "2.0"


def test_a_path_that_is_searched_twice_gives_a_plugin_once(
    install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = install("amikafka-avro", "fake_avro", GOOD % "avro")
    monkeypatch.setattr(sys, "path", [*sys.path, str(site)])
    assert registered(plugins.load("fake_avro"))[len(BUILT_INS) :] == [("format", "avro")]


def test_loading_again_gives_the_same_and_disturbs_nothing(install: Install) -> None:
    install("amikafka-avro", "fake_avro", GOOD % "avro")
    first = registered(plugins.load("fake_avro"))
    assert registered(plugins.load("fake_avro")) == first

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent

import pytest

from amikafka_tail import __version__
from amikafka_tail.formats.json import JsonOptions, json_format
from amikafka_tail.model.errors import PluginError
from amikafka_tail.plugins import loader

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
        api: str = 'AMIKAFKA_API = "1.0"',
    ) -> Path:
        site = tmp_path / f"site-{len(modules)}"
        info = site / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir(parents=True)
        (site / f"{module}.py").write_text(f"{dedent(code)}\n{api}\n")
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        (info / "entry_points.txt").write_text(f"[{group}]\n{entry or module} = {module}\n")
        monkeypatch.syspath_prepend(str(site))
        modules.append(module)
        return site

    yield make
    for module in modules:
        sys.modules.pop(module, None)


def registered(registry: loader.Registry) -> list[tuple[str, str]]:
    return [(registration.kind, registration.name) for registration in registry]


def test_the_built_ins_take_the_plugins_way() -> None:
    registry = loader.load("")
    assert registered(registry) == BUILT_INS
    for registration in registry:
        origin = registration.origin
        assert (origin.distribution, origin.version) == ("amikafka-tail", __version__)


def test_what_is_registered_is_found_by_kind_and_name() -> None:
    found = loader.load("").get("format", "json")
    assert (found.options, found.factory) == (JsonOptions, json_format)


def test_a_name_that_nobody_registered_is_an_error_that_says_what_there_is() -> None:
    registry = loader.load("")
    with pytest.raises(PluginError, match=r'there is no format "avro" \(known are: json, ami\)'):
        registry.get("format", "avro")
    with pytest.raises(PluginError, match=r'there is no filter "json" \(known are: eventfilter\)'):
        registry.get("filter", "json")


def test_an_installed_plugin_comes_after_the_built_ins(
    install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    install("amikafka-avro", "fake_avro", GOOD % "avro")
    monkeypatch.delenv("AMIKAFKA_LOAD_PLUGINS", raising=False)
    registry = loader.load()
    assert registered(registry)[: len(BUILT_INS)] == BUILT_INS
    found = registry.get("format", "avro")
    assert (found.origin.distribution, found.origin.version) == ("amikafka-avro", "1.2")
    assert found.options(schema="x").schema == "x"


def test_an_empty_variable_loads_the_built_ins_alone(
    install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    install("amikafka-avro", "fake_avro", GOOD % "avro")
    monkeypatch.setenv("AMIKAFKA_LOAD_PLUGINS", "")
    assert registered(loader.load()) == BUILT_INS


def test_the_variable_names_entry_points(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    install("amikafka-one", "fake_one", GOOD % "one", entry="first")
    install("amikafka-two", "fake_two", GOOD % "two", entry="second")
    install("amikafka-three", "fake_three", GOOD % "three", entry="third")
    monkeypatch.setenv("AMIKAFKA_LOAD_PLUGINS", " first , third,")
    assert set(registered(loader.load())) == {*BUILT_INS, ("format", "one"), ("format", "three")}


def test_a_plugin_that_is_not_wanted_is_not_even_imported(install: Install) -> None:
    install("amikafka-broken", "fake_broken", "raise RuntimeError('imported')")
    assert registered(loader.load("")) == BUILT_INS
    assert "fake_broken" not in sys.modules


def test_entry_points_of_other_groups_are_left_alone(
    install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    install("other-thing", "fake_other", "raise RuntimeError('imported')", group="pytest12")
    monkeypatch.delenv("AMIKAFKA_LOAD_PLUGINS", raising=False)
    assert all(each.origin.distribution != "other-thing" for each in loader.discover()[0])
    monkeypatch.setenv("AMIKAFKA_LOAD_PLUGINS", "")
    assert registered(loader.load()) == BUILT_INS


def test_a_plugin_may_register_several_things_of_several_kinds(install: Install) -> None:
    code = """
        from dataclasses import dataclass
        from amikafka_tail.api import hookimpl

        @dataclass(frozen=True, kw_only=True)
        class Options:
            pass

        class Plugin:
            AMIKAFKA_API = "1.0"

            @hookimpl
            def register_sources(self, register):
                register("queue", Options, lambda options: None)

            @hookimpl
            def register_filters(self, register):
                register("day", Options, lambda options: lambda event: True)
                register("night", Options, lambda options: lambda event: True)

        plugin = Plugin()
    """
    site = install("amikafka-many", "fake_many", code, entry="many")
    entry_points = next(site.glob("*.dist-info")) / "entry_points.txt"
    entry_points.write_text("[amikafka]\nmany = fake_many:plugin\n")
    registry = loader.load("many")
    assert registered(registry)[len(BUILT_INS) :] == [
        ("source", "queue"),
        ("filter", "day"),
        ("filter", "night"),
    ]
    assert registry.names("filter") == ["eventfilter", "day", "night"]


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("import no_such_module", "No module named 'no_such_module': are its dependencies installed"),
        ("raise RuntimeError('no license')", "RuntimeError: no license"),
        ("def", "SyntaxError"),
    ],
)
def test_an_import_that_fails_names_the_distribution(install: Install, code: str, reason: str) -> None:
    install("amikafka-broken", "fake_broken", code)
    with pytest.raises(PluginError, match=rf"^amikafka-broken 1\.2: cannot be imported: {reason}"):
        loader.load("fake_broken")


def test_an_entry_point_that_names_nothing_names_the_distribution(install: Install) -> None:
    site = install("amikafka-empty", "fake_empty", "")
    entry_points = next(site.glob("*.dist-info")) / "entry_points.txt"
    entry_points.write_text("[amikafka]\nfake_empty = fake_empty:plugin\n")
    with pytest.raises(PluginError, match=r"^amikafka-empty 1\.2: .*plugin"):
        loader.load("fake_empty")


def test_a_misspelt_hook_names_the_distribution_and_the_hook(install: Install) -> None:
    code = """
        from amikafka_tail.api import hookimpl

        @hookimpl
        def register_format(register):
            pass
    """
    install("amikafka-typo", "fake_typo", code)
    with pytest.raises(PluginError, match=r"^amikafka-typo 1\.2: .*register_format\b"):
        loader.load("fake_typo")


def test_a_hook_with_a_misspelt_argument_names_the_distribution(install: Install) -> None:
    code = """
        from amikafka_tail.api import hookimpl

        @hookimpl
        def register_formats(registre):
            pass
    """
    install("amikafka-typo", "fake_typo", code)
    with pytest.raises(PluginError, match=r"(?s)^amikafka-typo 1\.2: .*registre"):
        loader.load("fake_typo")


def test_a_name_of_a_built_in_is_taken(install: Install) -> None:
    install("amikafka-twin", "fake_twin", GOOD % "json")
    with pytest.raises(
        PluginError,
        match=r'^amikafka-twin 1\.2: the format name "json" is taken by a format of amikafka-tail 0',
    ):
        loader.load("fake_twin")


def test_two_plugins_cannot_have_one_name(install: Install) -> None:
    install("amikafka-one", "fake_one", GOOD % "avro")
    install("amikafka-two", "fake_two", GOOD % "avro")
    with pytest.raises(
        PluginError,
        match=r'^amikafka-(one|two) 1\.2: the format name "avro" is taken by a format of amikafka-(one|two)',
    ):
        loader.load("fake_one,fake_two")


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
        PluginError, match=r'^amikafka-loose 1\.2: the options of the filter "mine" are not a dataclass'
    ):
        loader.load("fake_loose")


def test_a_hook_that_fails_names_the_distribution(install: Install) -> None:
    code = """
        from amikafka_tail.api import hookimpl

        @hookimpl
        def register_sources(register):
            raise KeyError("HOME")
    """
    install("amikafka-failing", "fake_failing", code)
    with pytest.raises(PluginError, match=r"^amikafka-failing 1\.2: register_sources: KeyError: 'HOME'"):
        loader.load("fake_failing")


def test_of_a_distribution_that_is_installed_twice_the_first_counts(install: Install) -> None:
    # Debian's own package, and a newer one from pip in front of it.
    install("amikafka-avro", "fake_avro", GOOD % "old", version="1.0")
    install("amikafka-avro", "fake_avro", GOOD % "avro", version="2.0")
    registry = loader.load("fake_avro")
    assert registered(registry)[len(BUILT_INS) :] == [("format", "avro")]
    assert registry.get("format", "avro").origin.version == "2.0"


def test_a_path_that_is_searched_twice_gives_a_plugin_once(
    install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = install("amikafka-avro", "fake_avro", GOOD % "avro")
    monkeypatch.setattr(sys, "path", [*sys.path, str(site)])
    assert registered(loader.load("fake_avro"))[len(BUILT_INS) :] == [("format", "avro")]


def test_loading_again_gives_the_same_and_disturbs_nothing(install: Install) -> None:
    install("amikafka-avro", "fake_avro", GOOD % "avro")
    first = registered(loader.load("fake_avro"))
    assert registered(loader.load("fake_avro")) == first


OPTIONS = """
    from dataclasses import dataclass, field
    from pathlib import Path
    from typing import Literal
    from amikafka_tail.api import hookimpl

    @dataclass(frozen=True, kw_only=True)
    class Options:
        %s

    @hookimpl
    def register_filters(register):
        register("mine", Options, lambda options: lambda event: True)
"""


@pytest.mark.parametrize(
    ("option", "reason"),
    [
        ("size: complex = 1j", "have size of the type <class 'complex'>: allowed are str, int"),
        ("size: list[str] = field(default_factory=list)", r"have size of the type list\[str\]"),
        ("size: int | str = 1", r"have size of the type int \| str"),
        ("size: Literal[1, 2] = 1", "have size of the type typing.Literal"),
        ("size: 'Undefined' = 1", "have a type that is not defined: name 'Undefined'"),
        ('size: int = field(default=1, metadata={"unit": "miles"})', 'have size with the unit "miles"'),
    ],
)
def test_options_of_a_type_that_no_configuration_can_say(install: Install, option: str, reason: str) -> None:
    install("amikafka-odd", "fake_odd", OPTIONS % option)
    with pytest.raises(PluginError, match=rf'^amikafka-odd 1\.2: the options of the filter "mine" {reason}'):
        loader.load("fake_odd")


def test_options_that_can_change(install: Install) -> None:
    install("amikafka-odd", "fake_odd", (OPTIONS % "size: int = 1").replace("frozen=True, ", ""))
    with pytest.raises(PluginError, match="are not frozen"):
        loader.load("fake_odd")


def test_options_of_every_type_that_there_is(install: Install) -> None:
    option = "a: str = ''; b: int | None = None; c: float = 0; d: bool = False; e: Path = Path('/'); "
    option += "f: Literal['x', 'y'] = 'x'; g: tuple[str, ...] = ()"
    install("amikafka-odd", "fake_odd", OPTIONS % option)
    assert ("filter", "mine") in registered(loader.load("fake_odd"))


@pytest.mark.parametrize(
    ("api", "reason"),
    [
        ("", 'does not declare the API version it needs, such as AMIKAFKA_API = "1.0"'),
        ("AMIKAFKA_API = 1", 'AMIKAFKA_API = 1 is not a version such as "1.0"'),
        ('AMIKAFKA_API = "1"', "AMIKAFKA_API = '1' is not a version"),
        ('AMIKAFKA_API = "1.1"', "needs plugin API 1.1, amikafka .* offers 1.0: upgrade amikafka"),
        ('AMIKAFKA_API = "2.0"', "needs plugin API 2.0, amikafka .* offers 1.0: upgrade amikafka"),
        ('AMIKAFKA_API = "0.9"', "needs plugin API 0.9, amikafka .* offers 1.0: upgrade the plugin"),
    ],
)
def test_a_plugin_for_another_api_is_refused_in_words(install: Install, api: str, reason: str) -> None:
    install("amikafka-avro", "fake_avro", GOOD % "avro", api=api)
    with pytest.raises(PluginError, match=rf"^amikafka-avro 1\.2: {reason}"):
        loader.load("fake_avro")


def test_a_plugin_that_registers_nothing_has_forgotten_something(install: Install) -> None:
    install("amikafka-avro", "fake_avro", (GOOD % "avro").replace("@hookimpl", ""))
    with pytest.raises(PluginError, match=r"registers nothing: are its hooks marked with hookimpl"):
        loader.load("fake_avro")


@pytest.mark.parametrize("name", ["", "Avro", "a b", "general", "kafka", "journal", "9"])
def test_a_name_that_no_section_can_have(install: Install, name: str) -> None:
    install("amikafka-avro", "fake_avro", GOOD % name)
    with pytest.raises(
        PluginError, match=rf"^amikafka-avro 1\.2: the format name .{name}. (may contain only|is reserved)"
    ):
        loader.load("fake_avro")


def test_a_name_is_taken_whatever_the_kind(install: Install) -> None:
    install("amikafka-avro", "fake_avro", GOOD % "eventfilter")
    with pytest.raises(PluginError, match='the format name "eventfilter" is taken by a filter of'):
        loader.load("fake_avro")


def test_everything_that_is_wrong_is_said_and_the_way_out(install: Install) -> None:
    install("amikafka-one", "fake_one", "import no_such_module")
    install("amikafka-two", "fake_two", GOOD % "json")
    install("amikafka-three", "fake_three", GOOD % "three")
    with pytest.raises(PluginError) as caught:
        loader.load("fake_one,fake_two,fake_three")
    text = str(caught.value)
    assert "amikafka-one 1.2: cannot be imported" in text
    assert "amikafka-two 1.2: the format name" in text
    assert "AMIKAFKA_LOAD_PLUGINS lists the plugins to load" in text
    registry, problems = loader.discover("fake_one,fake_two,fake_three")
    assert ("format", "three") in registered(registry)
    assert len(problems) == 2


def test_of_a_plugin_that_fails_half_way_nothing_is_left(install: Install) -> None:
    code = GOOD % "half" + '\n        register("json", Options, make)\n'
    install("amikafka-half", "fake_half", code)
    registry, problems = loader.discover("fake_half")
    assert registered(registry) == BUILT_INS
    assert len(problems) == 1


def test_a_plugin_that_is_wanted_and_not_installed_is_an_error(install: Install) -> None:
    install("amikafka-avro", "fake_avro", GOOD % "avro")
    with pytest.raises(PluginError, match=r'"fake_avor": unknown plugin \(did you mean "fake_avro"\?\)'):
        loader.load("fake_avor")


def test_a_factory_that_fails_names_the_distribution(install: Install) -> None:
    install(
        "amikafka-avro", "fake_avro", (GOOD % "avro").replace("return lambda", "options.x; return lambda")
    )
    with pytest.raises(PluginError, match=r'^amikafka-avro 1.2: the format "avro" cannot be created: Attr'):
        registration = loader.load("fake_avro").get("format", "avro")
        registration.make(registration.options(), None)

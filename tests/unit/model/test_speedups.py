"""Whether amikafka_speedups is used, and what is said about it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from amikafka_tail import cli
from amikafka_tail.commands.doctor import machine
from amikafka_tail.model import speedups
from amikafka_tail.model.speedups import VERSION, Speedups, find
from amikafka_tail.plugins import loader

Install = Callable[[str], None]
PACKAGE = "amikafka_speedups"
OLDER = "VERSION = 0\n"


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Lets a package of this text be the one that is installed."""
    for name in [name for name in sys.modules if name.partition(".")[0] == PACKAGE]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(speedups, "found", lambda: find({}))

    def install(text: str) -> None:
        (tmp_path / f"{PACKAGE}.py").write_text(text)

    yield install
    sys.modules.pop(PACKAGE, None)


def absent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [])
    monkeypatch.setattr(sys, "meta_path", [each for each in sys.meta_path if "editable" not in repr(each)])


def test_it_is_used_where_it_is_installed(install: Install) -> None:
    install(f'VERSION = {VERSION}\n__version__ = "1.2"\n')
    found = find({})
    assert isinstance(found.package, ModuleType)
    assert (found.used, str(found), found.advice) == ("yes", "yes, 1.2", "")
    assert speedups.native() is found.package


def test_it_can_be_switched_off(install: Install) -> None:
    install(f"VERSION = {VERSION}\n")
    assert find({"AMIKAFKA_SPEEDUPS": "yes"}).package is not None
    found = find({"AMIKAFKA_SPEEDUPS": "no"})
    assert (found.package, str(found), found.advice) == (None, "no, AMIKAFKA_SPEEDUPS=no", "")


def test_where_it_is_not_installed_nobody_is_bothered(
    install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    absent(monkeypatch)
    assert find({}) == Speedups(reason="amikafka-speedups is not installed")


@pytest.mark.parametrize("text", [OLDER, f"VERSION = {VERSION + 1}\n", "", "VERSION = None\n"])
def test_one_that_is_for_another_amikafka_is_not_used_and_the_way_out_is_said(
    install: Install, text: str
) -> None:
    install(text)
    found = find({})
    assert (found.package, found.used) == (None, "no")
    assert "does not match this amikafka" in found.reason
    assert found.advice == "upgrade amikafka and amikafka-speedups together"


@pytest.mark.parametrize(
    "text",
    ["import no_such_module\n", "from os import no_such_name\n", "raise ImportError('undefined symbol')\n"],
)
def test_one_that_cannot_be_loaded_is_not_used_and_the_way_out_is_said(install: Install, text: str) -> None:
    install(text)
    found = find({})
    assert found.package is None
    assert "cannot be loaded: " in found.reason
    assert found.advice == "reinstall amikafka-speedups"


def test_the_version_and_the_plugins_tell_whether_it_is_used(
    install: Install, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    install(f'VERSION = {VERSION}\n__version__ = "1.2"\n')
    with pytest.raises(SystemExit):
        cli.main(["--version"])
    assert capsys.readouterr().out.endswith(", speedups yes)\n")
    assert cli.main(["plugins"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "speedups: yes, 1.2"
    absent(monkeypatch)
    sys.modules.pop(PACKAGE, None)
    with pytest.raises(SystemExit):
        cli.main(["--version"])
    assert capsys.readouterr().out.endswith(", speedups no)\n")


def test_the_doctor_tells_whether_it_is_used_and_warns_of_one_that_cannot_be(install: Install) -> None:
    install(f'VERSION = {VERSION}\n__version__ = "1.2"\n')
    (found,) = machine.look_at_software(loader.load(""), [])
    assert found.level == "ok"
    assert "; speedups: yes, 1.2" in found.text
    install(OLDER)
    sys.modules.pop(PACKAGE)
    warning, found = machine.look_at_software(loader.load(""), [])
    assert (warning.level, warning.advice) == ("warning", "upgrade amikafka and amikafka-speedups together")
    assert "; speedups: no, amikafka-speedups does not match this amikafka" in found.text

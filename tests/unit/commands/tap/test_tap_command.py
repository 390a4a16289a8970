"""The command as far as it goes without an Asterisk."""

from __future__ import annotations

import io
import os
import socket
from pathlib import Path

import pytest

from amikafka_tail.cli import main
from amikafka_tail.commands.tap import command


@pytest.fixture(autouse=True)
def built_ins_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AMIKAFKA_LOAD_PLUGINS", "")


@pytest.fixture
def configuration(tmp_path: Path) -> Path:
    path = tmp_path / "ami_kafka.conf"
    path.write_text("[manager]\nhost = 127.0.0.1\nport = 9\nsecret = hush\n")
    return path


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("when", "environment", "terminal", "expected"),
    [
        ("auto", {}, True, True),
        ("auto", {}, False, False),
        ("auto", {"NO_COLOR": "1"}, True, False),
        ("auto", {"NO_COLOR": ""}, True, True),
        ("auto", {"TERM": "dumb"}, True, False),
        ("always", {"NO_COLOR": "1"}, False, True),
        ("never", {}, True, False),
    ],
)
def test_colour(when: str, environment: dict[str, str], *, terminal: bool, expected: bool) -> None:
    assert command.in_colour(when, Terminal() if terminal else io.StringIO(), environment) is expected


@pytest.mark.parametrize("number", ["0", "-1", "x", "1.5"])
def test_a_count_is_a_number(number: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["tap", "-n", number])
    assert ended.value.code == 2
    assert f'"{number}" is not a number of 1 or more' in capsys.readouterr().err


def test_a_wrong_filter_is_named(configuration: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tap", "-c", str(configuration), "eventfilter(nam(Hangup))="]) == os.EX_USAGE
    said = capsys.readouterr().err
    assert 'amikafka: the filter "eventfilter(nam(Hangup))=": unknown option' in said


def test_no_asterisk_is_said(configuration: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        configuration.write_text(f"[manager]\nhost = 127.0.0.1\nport = {port}\nsecret = hush\n")
        assert main(["tap", "-c", str(configuration)]) == os.EX_UNAVAILABLE
    assert f"127.0.0.1:{port}: refuses connections: is Asterisk running" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("general", "own", "refused"),
    [
        ("allowmultiplelogin = no\n", "", True),
        ("", "allowmultiplelogin = no\n", True),
        ("allowmultiplelogin = no\n", "allowmultiplelogin = yes\n", False),
        ("allowmultiplelogin = yes\n", "allowmultiplelogin = no\n", True),
        ("", "", False),
    ],
)
def test_tap_does_not_take_the_only_session_that_the_daemon_may_have(
    configuration: Path, capsys: pytest.CaptureFixture[str], general: str, own: str, *, refused: bool
) -> None:
    manager = configuration.parent / "manager.conf"
    manager.write_text(f"[general]\n{general}[amikafka]\nsecret = hush\n{own}")
    code = main(["tap", "-c", str(configuration)])
    said = capsys.readouterr().err
    assert code == (os.EX_NOPERM if refused else os.EX_UNAVAILABLE), said
    if refused:
        assert "the manager user amikafka may have only one session" in said
        assert f"set allowmultiplelogin = yes in the user's section of {manager}" in said


def test_a_spool_cannot_be_watched(configuration: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spool = configuration.parent / "spool"
    spool.mkdir()
    (spool / "a.ami").write_bytes(b"Event: Hangup\r\n\r\n")
    configuration.write_text(f"[general]\nsource = spool\n[spool]\ndirectory = {spool}\n")
    assert main(["tap", "-c", str(configuration)]) == os.EX_USAGE
    said = capsys.readouterr().err
    assert "tap does not work with the source spool: only the daemon may take its files" in said
    assert f"amikafka replay -c {configuration} --from eventlog --to - FILE" in said
    assert [path.name for path in spool.iterdir()] == ["a.ami"]


def test_a_log_that_is_not_there_is_said(configuration: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = configuration.parent / "full"
    configuration.write_text(f"[general]\nsource = eventlog\n[eventlog]\npath = {log}, /nowhere/*\n")
    assert main(["tap", "-c", str(configuration)]) == os.EX_NOINPUT
    said = capsys.readouterr().err
    assert f"amikafka: {log}: is not there yet\n" in said
    assert "amikafka: /nowhere/*: is not there yet\n" in said


def test_a_wrong_configuration_is_said_as_by_check(
    configuration: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    configuration.write_text("[kafka]\ntpoic = x\n")
    assert main(["tap", "-c", str(configuration)]) == os.EX_CONFIG
    said = capsys.readouterr().err
    assert 'tpoic: unknown option (did you mean "topic"?)' in said
    assert "sudo" not in said

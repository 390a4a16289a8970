from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from amikafka_tail.daemon.reloads import Reloads, ask
from amikafka_tail.model.errors import ReloadFailed, UsageError
from tests.support.waiting import BOUND


@pytest.fixture
def environment(tmp_path: Path) -> Iterator[dict[str, str]]:
    """As systemd gives it to the daemon and to the command; the daemon is this process."""
    asked = signal.signal(signal.SIGHUP, lambda _number, _frame: None)
    yield {"RUNTIME_DIRECTORY": str(tmp_path), "MAINPID": str(os.getpid())}
    signal.signal(signal.SIGHUP, asked)


def answer(environment: dict[str, str], problems: list[str]) -> None:
    """Be the daemon, when the signal has come."""
    reloads = Reloads(environment)
    signal.signal(
        signal.SIGHUP, lambda _number, _frame: threading.Thread(target=reloads.done, args=(problems,)).start()
    )


def test_it_waits_until_the_daemon_has_answered(environment: dict[str, str]) -> None:
    for _ in range(3):
        answer(environment, [])
        ask(environment, seconds=BOUND)


def test_what_is_wrong_comes_back(environment: dict[str, str]) -> None:
    answer(environment, ["x.conf:3: [kafka] tpoic: unknown option", "another"])
    with pytest.raises(ReloadFailed) as caught:
        ask(environment, seconds=BOUND)
    assert str(caught.value).splitlines() == [
        "x.conf:3: [kafka] tpoic: unknown option",
        "another",
        "the previous configuration stays in use",
    ]
    assert caught.value.exit_code == os.EX_CONFIG


def test_an_older_answer_is_none(environment: dict[str, str]) -> None:
    Reloads(environment).done(["old"])
    with pytest.raises(ReloadFailed, match="has not answered within 0 s"):
        ask(environment, seconds=0.2)


def test_a_daemon_that_is_gone_is_said(environment: dict[str, str]) -> None:
    with pytest.raises(ReloadFailed, match="the daemon has stopped"):
        ask({**environment, "MAINPID": str(2**22 - 1)}, seconds=1)


@pytest.mark.parametrize("missing", ["RUNTIME_DIRECTORY", "MAINPID"])
def test_a_person_is_told_which_command_is_meant(environment: dict[str, str], missing: str) -> None:
    del environment[missing]
    with pytest.raises(UsageError, match="systemctl reload amikafka"):
        ask(environment)


def test_without_a_runtime_directory_nobody_asks(tmp_path: Path) -> None:
    Reloads({}).done(["nobody hears"])
    assert list(tmp_path.iterdir()) == []


def test_a_directory_that_cannot_be_written_to_stops_nothing() -> None:
    Reloads({"RUNTIME_DIRECTORY": "/nowhere/at/all"}).done([])

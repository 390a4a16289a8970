from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from amikafka_tail.intake.watch import Watch
from tests.support.waiting import BOUND


@pytest.fixture
def woken() -> threading.Event:
    return threading.Event()


@pytest.fixture
def watch(woken: threading.Event) -> Iterator[Watch]:
    made = Watch(woken.set)
    yield made
    made.close()


def test_what_happens_in_a_directory_wakes_once(watch: Watch, woken: threading.Event, tmp_path: Path) -> None:
    assert watch.arm({tmp_path})
    (tmp_path / "a").write_text("x")
    assert woken.wait(BOUND)
    assert watch.fired


def test_it_can_be_armed_again(watch: Watch, woken: threading.Event, tmp_path: Path) -> None:
    for number in range(3):
        assert watch.arm({tmp_path})
        assert not watch.fired
        woken.clear()
        (tmp_path / str(number)).write_text("x")
        assert woken.wait(BOUND)


def test_a_directory_that_comes_back_is_watched(
    watch: Watch, woken: threading.Event, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    gone = tmp_path / "gone"
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(20):
        assert not watch.arm({tmp_path, gone})
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    assert caplog.messages == []
    gone.mkdir()
    assert watch.arm({tmp_path, gone})
    (gone / "a").write_text("x")
    assert woken.wait(BOUND)


def test_a_kernel_without_a_watch_left_is_not_asked_again_and_again(
    watch: Watch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    attempts = []

    def refuse(*_arguments: object, **_more: object) -> None:
        attempts.append(None)
        raise OSError(28, "inotify watch limit reached")

    monkeypatch.setattr(watch._observer, "schedule", refuse)
    for _ in range(20):
        assert not watch.arm({tmp_path})
    assert len(attempts) == 1  # in Debian's watchdog each leaves descriptors behind
    assert caplog.messages == ["no inotify, looking now and then instead: inotify watch limit reached"]


def test_a_directory_that_is_gone_is_looked_at_now_and_then(watch: Watch, tmp_path: Path) -> None:
    assert not watch.arm({tmp_path / "gone"})

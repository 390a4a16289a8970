"""What `amikafka compare` says before it reads anything: which topics, and what cannot be compared."""

from __future__ import annotations

import os
import socket
from functools import partial
from pathlib import Path

import pytest

from amikafka_tail.cli import main
from amikafka_tail.commands.compare import command
from amikafka_tail.kafka.cluster import Cluster

BROKERS = "brokers = 127.0.0.1:1\n"


@pytest.fixture(autouse=True)
def built_ins_only(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AMIKAFKA_LOAD_PLUGINS", "")
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def etc(tmp_path: Path) -> Path:
    """Where both configurations are: the module's, and that of the trial."""
    (tmp_path / "ami_kafka.conf").write_text(f"[kafka]\n{BROKERS}topic = calls\n")
    (tmp_path / "ami_kafka-trial.conf").write_text(f"[kafka]\n{BROKERS}topic = calls_trial\n")
    return tmp_path


@pytest.fixture
def nobody(monkeypatch: pytest.MonkeyPatch) -> int:
    """A port where nobody listens, which is known after a second."""
    monkeypatch.setattr(command, "Cluster", partial(Cluster, seconds=1.0))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def compare(etc: Path, *arguments: str, name: str = "ami_kafka-trial.conf") -> int:
    return main(["compare", "-c", str(etc / name), *arguments])


@pytest.mark.parametrize(
    "arguments",
    [["--topic", "calls"], ["--module-topic", "calls_trial"], ["--topic", "x", "--module-topic", "x"]],
)
def test_one_topic_cannot_be_compared_with_itself(
    etc: Path, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert compare(etc, *arguments) == os.EX_USAGE
    assert "on one topic the two publishers cannot be told apart" in capsys.readouterr().err


def test_with_the_modules_own_file_it_says_how_to_have_two_topics(
    etc: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (etc / "ami_kafka-trial.conf").unlink()
    assert compare(etc, name="ami_kafka.conf") == os.EX_USAGE
    said = capsys.readouterr().err
    assert 'both topics are "calls"' in said
    assert f"cp -p {etc}/ami_kafka.conf {etc}/ami_kafka-trial.conf" in said
    assert "[kafka] topic = calls_trial" in said
    assert "systemctl start amikafka@trial" in said


def test_with_the_modules_own_file_it_says_which_other_one_there_is(
    etc: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert compare(etc, name="ami_kafka.conf") == os.EX_USAGE
    assert f"amikafka compare -c {etc}/ami_kafka-trial.conf" in capsys.readouterr().err


def test_without_the_modules_file_its_topic_must_be_named(
    etc: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (etc / "ami_kafka.conf").unlink()
    assert compare(etc) == os.EX_USAGE
    assert f"{etc}/ami_kafka.conf does not exist: name the module's topic" in capsys.readouterr().err


def test_a_format_that_the_module_does_not_have_cannot_be_compared(
    tmp_path: Path, etc: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("amikafka_cloudevents")
    monkeypatch.setenv("AMIKAFKA_LOAD_PLUGINS", "cloudevents")
    (etc / "ami_kafka-trial.conf").write_text(
        f"[general]\nformat = cloudevents\n[kafka]\n{BROKERS}topic = calls_trial\n"
    )
    assert compare(etc) == os.EX_USAGE
    assert "format = cloudevents cannot be compared" in capsys.readouterr().err


def test_what_makes_a_comparison_difficult_is_said_at_once(
    etc: Path, nobody: int, capsys: pytest.CaptureFixture[str]
) -> None:
    (etc / "ami_kafka.conf").write_text(
        f"[general]\neventfilter = !Event: VarSet\n[kafka]\n{BROKERS}topic = calls\n"
    )
    (etc / "ami_kafka-trial.conf").write_text(f"[kafka]\nbrokers = 127.0.0.1:{nobody}\ntopic = calls_trial\n")
    assert compare(etc) == os.EX_UNAVAILABLE
    said = capsys.readouterr().err
    assert "both topics are read from the latter" in said
    assert "the eventfilter lines of" in said
    assert "no broker can be reached" in said
    assert "check that Kafka is running" in said


def test_the_same_filters_are_no_reason_to_say_anything(
    etc: Path, nobody: int, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, topic in (("ami_kafka", "calls"), ("ami_kafka-trial", "calls_trial")):
        (etc / f"{name}.conf").write_text(
            f"[general]\neventfilter = !Event: VarSet\n"
            f"[kafka]\nbrokers = 127.0.0.1:{nobody}\ntopic = {topic}\n"
        )
    assert compare(etc) == os.EX_UNAVAILABLE
    assert "eventfilter" not in capsys.readouterr().err


@pytest.mark.parametrize("text", ["", "1x", "-1", "1 h", "x"])
def test_a_time_that_is_none(etc: Path, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        compare(etc, f"--for={text}")
    assert f'"{text}" is not a time such as 90s, 10m or 2h' in capsys.readouterr().err


def test_a_wrong_configuration_is_an_error_as_everywhere(
    etc: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (etc / "ami_kafka.conf").write_text("[kafka]\ntpoic = calls\n")
    assert compare(etc) == os.EX_CONFIG
    assert 'did you mean "topic"?' in capsys.readouterr().err

"""The commands as a person types them: what is printed, and the exit code."""

from __future__ import annotations

import gzip
import io
import json
import os
import re
import sys
from base64 import b64decode
from collections import Counter
from pathlib import Path

import pytest

from amikafka_tail import __version__, cli
from amikafka_tail.ami.framing import MAX_BLOCK
from amikafka_tail.cli import main
from amikafka_tail.config import service_user
from amikafka_tail.config.service_user import ServiceUser
from amikafka_tail.delivery import checking
from amikafka_tail.journal.dead_letters import DeadLetters
from amikafka_tail.model.counters import Counters
from amikafka_tail.model.identity import Identity
from amikafka_tail.plugins import loader
from amikafka_tail.sources.files import FilesReader

DATA = Path(__file__).parents[1] / "data"
CAPTURES, LOGS = DATA / "captures", DATA / "debuglog"
NOBODY = Identity(entity_id="x", system_name="", asterisk_version="", hostname="vm")
GOOD = "[kafka]\nbrokers = k1:9092\ntopic = events\n[manager]\nhost = 127.0.0.1\nsecret = hush\n"
EVENTLOG = "[general]\nsource = eventlog\n[kafka]\nbrokers = k1:9092\n"
EVENT = b"Event: Hangup\r\nPrivilege: call,all\r\nTimestamp: 1795426158.220602\r\nCause: 16\r\n\r\n"


@pytest.fixture(autouse=True)
def built_ins_only(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AMIKAFKA_LOAD_PLUGINS", "")
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def configuration(tmp_path: Path) -> Path:
    path = tmp_path / "ami_kafka.conf"
    path.write_text(GOOD)
    return path


@pytest.fixture
def identified(tmp_path: Path) -> Path:
    """A configuration in which nothing comes from this machine."""
    path = tmp_path / "identified.conf"
    path.write_text(
        "[general]\nentity_id = pbx\nsystem_name = pbx-01\nasterisk_version = 22\nhostname = vm\n"
        "[kafka]\nbrokers = k1:9092\n"
    )
    return path


def test_check_says_what_a_right_configuration_amounts_to(
    configuration: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", "-c", str(configuration)]) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"{configuration}: no problem found\n")
    assert "topic     events (key: event)" in out
    assert "brokers   k1:9092" in out
    assert "hush" not in out


def test_check_names_every_problem_with_its_line(
    configuration: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    configuration.write_text(GOOD + "[kafka]\ntpoic = x\n[general]\nformat = xml\n[kafak]\n")
    assert main(["check", "-c", str(configuration)]) == os.EX_CONFIG
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.splitlines() == [
        f'amikafka: {configuration}:8: [kafka] tpoic: unknown option (did you mean "topic"?)',
        f'amikafka: {configuration}:10: [general] format: "xml": unknown format; there are: json, ami',
        f'amikafka: {configuration}:11: [kafak]: unknown section (did you mean "kafka"?)',
    ]


def test_of_a_file_that_is_none_only_the_beginning_is_told(
    configuration: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    configuration.write_text("x\n" * 1000)
    assert main(["check", "-c", str(configuration)]) == os.EX_CONFIG
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == cli.MOST_LINES + 1
    assert re.fullmatch(r"amikafka: \.\.\. and \d+ more", lines[-1])


def test_resume_needs_log_files(identified: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay", "-c", str(identified), "--resume", "note", "a.ami"]) == os.EX_USAGE
    assert "--resume needs --from eventlog" in capsys.readouterr().err


def test_check_finds_what_only_librdkafka_knows_to_be_wrong(
    configuration: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    configuration.write_text(GOOD + "[kafka]\nrdkafka.linger.msec = 5\n")
    assert main(["check", "-c", str(configuration)]) == os.EX_CONFIG
    assert f"{configuration}:8: [kafka] rdkafka.linger.msec: " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("log", "remark"),
    [
        (None, "is not there yet"),
        (
            b"[2026-11-23 09:30:23] NOTICE[1] a.c: hello\n",
            "has no events at its end: Asterisk writes them after",
        ),
        (b"[x] DEBUG[1] manager.c: Examining AMI event (1):\n" + EVENT + b"\n", "have no SequenceNumber"),
        ((LOGS / "plain.full").read_bytes(), ""),
    ],
)
def test_check_says_what_an_event_log_lacks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], log: bytes | None, remark: str
) -> None:
    if log is not None:
        (tmp_path / "full").write_bytes(log)
    configuration = tmp_path / "ami_kafka.conf"
    configuration.write_text(f"{EVENTLOG}[eventlog]\npath = {tmp_path}/full\n")
    assert main(["check", "-c", str(configuration)]) == 0
    out = capsys.readouterr().out
    assert ("note: " in out) == bool(remark)
    assert remark in out


@pytest.mark.parametrize("command", ["run", "check"])
def test_a_missing_configuration_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    gone = tmp_path / "gone.conf"
    assert main([command, "-c", str(gone)]) == os.EX_CONFIG
    assert capsys.readouterr().err == f"amikafka: {gone}: there is no such file; -c FILE names another\n"


def test_plugins_are_shown_with_where_they_come_from(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plugins"]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert rows[0] == ["KIND", "NAME", "VERSION", "FROM", "OPTIONS"]
    assert ["source", "manager", __version__, "built", "in"] in [row[:5] for row in rows]
    assert ["format", "ami", __version__, "built", "in", "-"] in rows
    assert ["format", "json", __version__, "built", "in", "duplicates", "fallback_encoding"] in rows


def test_what_cannot_be_loaded_is_said_beside_what_can(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AMIKAFKA_LOAD_PLUGINS", "no-such-plugin")
    assert main(["plugins"]) == os.EX_CONFIG
    shown = capsys.readouterr()
    assert "format  json" in shown.out
    assert shown.err.startswith('amikafka: AMIKAFKA_LOAD_PLUGINS: "no-such-plugin": unknown plugin')


def test_one_plugin_is_shown_with_each_of_its_options(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plugins", "show", "spool"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("source spool\nfrom built in, version")
    rows = [line.split() for line in out.splitlines()]
    assert ["after", "delete", "|", "archive", "delete"] in rows
    assert ["settle", "seconds", "2"] in rows
    assert "    What becomes of a file when Kafka has acknowledged every event in it." in out.splitlines()
    assert "At least 10ms, at most 1h." in " ".join(out.split())
    assert max(map(len, out.splitlines()[2:])) <= 80
    assert ["directory", "path", "/var/spool/amikafka"] in rows
    assert "[spool] of ami_kafka.conf" in out


def test_a_plugin_that_is_not_there_is_said_with_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plugins", "show", "jsno"]) == os.EX_USAGE
    assert 'did you mean "json"?' in capsys.readouterr().err


def test_the_version_names_the_libraries(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith(f"amikafka {__version__} (confluent-kafka ")


def test_replay_prints_one_object_a_message(
    identified: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.ami").write_bytes(EVENT)
    assert main(["replay", "-c", str(identified), "--to", "-", "a.ami"]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out) == {
        "topic": "asterisk_ami",
        "key": "Hangup",
        "headers": [
            ["entity_id", "pbx"],
            ["system_name", "pbx-01"],
            ["asterisk_version", "22"],
            ["event_type", "Hangup"],
            ["event_category", "call"],
            ["format", "json"],
            ["timestamp", "1795426158"],
            ["hostname", "vm"],
        ],
        "value": '{"Event":"Hangup","EntityID":"pbx","SystemName":"pbx-01","Privilege":"call,all",'
        '"Timestamp":"1795426158.220602","Cause":"16"}',
    }
    counts = "1 events read, 1 messages printed, 0 filtered, 0 set aside, 0 cut off, 0 too long"
    assert said.err == f"amikafka: {counts}\n"


def test_replay_prints_what_the_module_published(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = (CAPTURES / "calls-22.app_ami_kafka-json.jsonl").read_text()
    published = [json.loads(line) for line in text.split("\n") if line]
    identity = dict(published[0]["h"])
    names = ("entity_id", "system_name", "asterisk_version", "hostname")
    lines = [f"{name} = {identity[name]}" for name in names]
    (tmp_path / "module.conf").write_text("\n".join(["[general]", *lines, "[kafka]", "topic = t", ""]))
    assert main(["replay", "-c", "module.conf", "--to", "-", str(CAPTURES / "calls-22.ami")]) == 0
    ours = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    theirs = Counter(json.dumps([each["k"], each["h"], each["v"]]) for each in published)
    assert len(ours) == 1555
    assert not Counter(json.dumps([each["key"], each["headers"], each["value"]]) for each in ours) - theirs


def test_replay_of_a_log_in_any_form_gives_the_same_messages(
    identified: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "plain.full.gz").write_bytes(gzip.compress((LOGS / "plain.full").read_bytes(), 1))
    printed = []
    for path in (LOGS / "plain.full", LOGS / "plain.full.json", tmp_path / "plain.full.gz"):
        arguments = ["replay", "-c", str(identified), "--from", "eventlog", "--to", "-", str(path)]
        assert main(arguments) == 0
        printed.append(capsys.readouterr().out.splitlines())
    assert printed[0] == printed[1] == printed[2]
    assert len(printed[0]) == 727
    assert (
        main(["replay", "-c", str(identified), "--from", "eventlog", "--to", "-", str(LOGS / "plain.ami")])
        == 0
    )
    assert sorted(capsys.readouterr().out.splitlines()) == sorted(printed[0])


def test_a_replay_that_was_broken_off_goes_on(
    identified: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for number in range(3):
        (tmp_path / f"{number}.ami").write_bytes(
            b"Event: A\r\nN: %d\r\n\r\nEvent: B\r\nN: %d\r\n\r\n" % (number, number)
        )
    names = ["0.ami", "1.ami", "2.ami"]
    reader = FilesReader([Path(name) for name in names], counters=Counters(), identity=NOBODY)
    chunk = reader.read()
    assert chunk is not None
    place = reader.bookmark(chunk.end)
    reader.close()
    (tmp_path / "note").write_text(json.dumps(place))
    arguments = [
        "replay",
        "-c",
        str(identified),
        "--from",
        "eventlog",
        "--to",
        "-",
        "--resume",
        "note",
        *names,
    ]
    assert main(arguments) == 0
    assert len(capsys.readouterr().out.splitlines()) == 4
    assert not (tmp_path / "note").exists()


def test_a_note_of_other_files_is_refused(
    identified: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "a.ami").write_bytes(EVENT)
    (tmp_path / "note").write_text("[]")
    arguments = [
        "replay",
        "-c",
        str(identified),
        "--from",
        "eventlog",
        "--to",
        "-",
        "--resume",
        "note",
        "a.ami",
    ]
    assert main(arguments) == os.EX_NOINPUT
    assert "the note of where reading stood is damaged" in capsys.readouterr().err


def test_replay_prints_what_is_not_utf_8_as_base64(
    identified: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    identified.write_text(identified.read_text() + "[general](+)\nformat = ami\n")
    (tmp_path / "a.ami").write_bytes(b"Event: A\r\nName: Zo\xeb\r\n\r\n")
    assert main(["replay", "-c", str(identified), "--to", "-", "a.ami"]) == 0
    message = json.loads(capsys.readouterr().out)
    assert "value" not in message
    assert b64decode(message["value_base64"]).endswith(b"Event: A\r\nName: Zo\xeb\r\n\r\n")


def test_replay_needs_no_configuration_to_print(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli, "CONFIGURATION", tmp_path / "none.conf")
    (tmp_path / "a.ami").write_bytes(EVENT)
    assert main(["replay", "--to", "-", "a.ami"]) == 0
    assert json.loads(capsys.readouterr().out)["key"] == "Hangup"


def test_replay_reads_standard_input(
    identified: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    reading, writing = os.pipe()
    os.write(writing, EVENT)
    os.close(writing)
    with os.fdopen(reading) as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        assert main(["replay", "-c", str(identified), "--to", "-", "-"]) == 0
    assert json.loads(capsys.readouterr().out)["key"] == "Hangup"


def test_replay_says_with_its_exit_code_that_something_was_set_aside(
    identified: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.ami").write_bytes(b"nonsense\r\n\r\n" + EVENT + b"Event: B\r\nPrivil")
    arguments = ["replay", "-c", str(identified), "--to", "-", "--dead-letter", "dead.jsonl", "a.ami"]
    assert main(arguments) == os.EX_DATAERR
    assert "1 events read, 1 messages printed, 0 filtered, 2 set aside, 1 cut off" in capsys.readouterr().err
    letters = [json.loads(line) for line in (tmp_path / "dead.jsonl").read_text().splitlines()]
    assert [letter["event"] for letter in letters] == ["nonsense", "Event: B\r\nPrivil"]


FIELD = Path(__file__).parents[1] / "data" / "field"


@pytest.mark.parametrize("name", ["a16-lf-only.ami", "terminal.ami"])
def test_replay_mends_the_line_ends_of_a_stream_and_says_so(
    identified: Path, tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (FIELD / "a16-lf-only.ami").read_bytes()
    (tmp_path / name).write_bytes(text if name == "a16-lf-only.ami" else text.replace(b"\n", b"\r\r\n"))
    arguments = ["replay", "-c", str(identified), "--to", "-", str(tmp_path / name)]
    assert main(arguments) == 0
    said = capsys.readouterr()
    assert [json.loads(line)["key"] for line in said.out.splitlines()] == ["Newchannel", "Hangup"]
    assert "its lines do not end with CRLF" in said.err


def test_replay_names_the_option_for_a_log(identified: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("e01-old-marker-debug.log", "e10-docker-json.log", "old-16.28.full.json"):
        arguments = ["replay", "-c", str(identified), "--to", "-", str(FIELD / name)]
        assert main(arguments) == os.EX_NOINPUT
        assert "use --from eventlog" in capsys.readouterr().err


@pytest.mark.parametrize("source", ["ami", "eventlog"])
def test_replay_is_not_silent_about_a_file_without_events(
    identified: Path, tmp_path: Path, source: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "messages"
    path.write_bytes(b"[Nov 23 09:30:23] NOTICE[1] x.c: hello\n" * 3)
    dead = str(tmp_path / "dead.jsonl")
    arguments = [
        "replay",
        "-c",
        str(identified),
        "--from",
        source,
        "--to",
        "-",
        "--dead-letter",
        dead,
        str(path),
    ]
    assert main(arguments) == os.EX_DATAERR
    if source == "eventlog":
        said = capsys.readouterr().err
        assert "0 events in 3 lines, such as '[Nov 23 09:30:23] NOTICE[1] x.c: hello'" in said


def test_replay_obeys_the_section_of_the_log(
    identified: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = FIELD / "e07-date-6.log"
    path = tmp_path / "full"
    path.write_bytes(log.read_bytes().replace(b"call,all\r\n", b"call,all\r\nSequenceNumber: 7\r\n"))
    arguments = ["replay", "-c", str(identified), "--from", "eventlog", "--to", "-", str(path)]
    for options, has_number in (("dateformat = %D %T\n", False), ("keep_debug_headers = yes\n", True)):
        text = identified.read_text().partition("[eventlog]")[0]
        identified.write_text(f"{text}[eventlog]\n{options}")
        assert main(arguments) == 0
        said = capsys.readouterr()
        assert ("SequenceNumber" in said.out) == has_number
        assert ("cannot be read" in said.err) == has_number


@pytest.mark.parametrize("source", ["ami", "eventlog"])
def test_replay_says_with_its_exit_code_that_an_event_was_too_long(
    identified: Path, tmp_path: Path, source: str, capsys: pytest.CaptureFixture[str]
) -> None:
    long = b"Event: B\r\nLong: " + b"x" * (MAX_BLOCK + 1_000_000) + b"\r\n\r\n"
    (tmp_path / "a.ami").write_bytes(EVENT + long + EVENT)
    arguments = ["replay", "-c", str(identified), "--from", source, "--to", "-", "a.ami"]
    assert main(arguments) == os.EX_DATAERR
    said = capsys.readouterr().err
    assert f"passed over: an event longer than {MAX_BLOCK} bytes" in said
    assert "2 events read, 2 messages printed, 0 filtered, 0 set aside, 0 cut off, 1 too long" in said


def test_an_input_that_is_not_there_is_named(identified: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay", "-c", str(identified), "--to", "-", "gone.ami"]) == os.EX_NOINPUT
    assert capsys.readouterr().err == "amikafka: gone.ami: No such file or directory\n"


def test_a_reader_that_has_gone_ends_it_quietly(
    identified: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    class Gone(io.StringIO):
        def write(self, _text: str) -> int:
            raise BrokenPipeError

        def fileno(self) -> int:
            return os.open(os.devnull, os.O_WRONLY)

    (tmp_path / "a.ami").write_bytes(EVENT)
    monkeypatch.setattr(sys, "stdout", Gone())
    assert main(["replay", "-c", str(identified), "--to", "-", "a.ami"]) == 0
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (KeyboardInterrupt(), 130, ""),
        (
            OSError(28, "No space left on device", "/x"),
            os.EX_IOERR,
            "amikafka: /x: No space left on device\n",
        ),
        (RuntimeError("odd"), os.EX_SOFTWARE, "amikafka: internal error: RuntimeError: odd"),
    ],
)
def test_no_traceback_reaches_a_person(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: BaseException,
    code: int,
    said: str,
) -> None:
    def fail(*_arguments: object) -> None:
        raise error

    monkeypatch.setattr(cli.loader, "discover", fail)
    assert main(["plugins"]) == code
    err = capsys.readouterr().err
    assert err.startswith(said)
    assert "Traceback" not in err


def test_a_log_whose_name_is_not_utf_8_is_named_all_the_same(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / os.fsdecode(b"pbx\xff")).mkdir()
    (tmp_path / os.fsdecode(b"pbx\xff") / "full").touch()
    path = tmp_path / "ami_kafka.conf"
    path.write_text(f"{EVENTLOG}[eventlog]\npath = {tmp_path}/*/full\n")
    assert main(["check", "-c", str(path)]) == 0
    assert f"{tmp_path}/pbx\\udcff/full: has no events at its end" in capsys.readouterr().out


def test_check_says_nothing_when_told_to_be_quiet(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "ami_kafka.conf"
    path.write_text("[manager]\nhost = 127.0.0.1\nsecret = s\n[kafka]\nbrokers = 127.0.0.1:1\n")
    assert main(["check", "-q", "-c", str(path)]) == 0
    shown = capsys.readouterr()
    assert (shown.out, shown.err) == ("", "")
    path.write_text("[kafka]\ntpoic = x\n")
    assert main(["check", "-q", "-c", str(path)]) == os.EX_CONFIG
    assert "tpoic" in capsys.readouterr().err


def test_dead_letters_are_published_once_their_cause_is_mended(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    letters = DeadLetters(tmp_path / "letters.jsonl")
    letters.keep(b"Event: A\r\nX: 1", position=0, reason="too large", captured_ms=1_795_426_158_220)
    letters.keep(b"Event: B", position=20, reason="no schema", plugin="avro", captured_ms=1_795_426_159_000)
    letters.keep(b"Event: half of", position=40, reason="cut off", kind="torn")
    assert main(["replay", "--from", "dead-letter", "--to", "-", "letters.jsonl"]) == 0
    shown = capsys.readouterr()
    assert "letters.jsonl: 1 entries are not complete events and are skipped" in shown.err
    printed = [json.loads(line) for line in shown.out.splitlines()]
    assert [message["key"] for message in printed] == ["A", "B"]
    assert [dict(message["headers"])["timestamp"] for message in printed] == [
        "1795426158",
        "1795426159",
    ]


def test_a_dead_letter_file_is_never_read_and_written_at_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    DeadLetters(tmp_path / "dead-letter.jsonl").keep(b"Event: A", position=0, reason="x")
    assert main(["replay", "--from", "dead-letter", "--to", "-", "./dead-letter.jsonl"]) == os.EX_USAGE
    assert "move it away first" in capsys.readouterr().err


def test_what_is_no_dead_letter_file_is_named_with_its_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "x").write_text("Event: A\n")
    assert main(["replay", "--from", "dead-letter", "--to", "-", str(tmp_path / "x")]) == os.EX_NOINPUT
    assert f"{tmp_path}/x:1: is no line of a dead-letter file" in capsys.readouterr().err


# All that is wrong, in one run.


@pytest.fixture
def beside(tmp_path: Path) -> Path:
    """A directory with the files of an Asterisk that works."""
    (tmp_path / "manager.conf").write_text("[general]\nenabled = yes\n[amikafka]\nsecret = hush\n")
    return tmp_path


def checked(
    directory: Path, text: str, capsys: pytest.CaptureFixture[str], *more: str
) -> tuple[int, list[str], str]:
    """Return the exit code, what is told as wrong, and what is printed."""
    path = directory / "ami_kafka.conf"
    path.write_text(text)
    code = main(["check", *more, "-c", str(path)])
    told = capsys.readouterr()
    assert "Traceback" not in told.err
    lines = [line.removeprefix("amikafka: ").replace(f"{directory}/", "") for line in told.err.splitlines()]
    return code, lines, told.out.replace(f"{directory}/", "")


def test_check_tells_what_librdkafka_refuses_together_with_all_else(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = "[kafka]\nbrokers = k:1\nacks = many\ncompression_codec = lzma\nrdkafka.foo = 1\n"
    text += "message_max_bytes = 1\n"
    code, told, _ = checked(tmp_path, text, capsys)  # and no manager.conf
    assert code == os.EX_CONFIG
    assert [line.partition(": ")[0] for line in told] == [
        "ami_kafka.conf",
        "ami_kafka.conf:3",
        "ami_kafka.conf:4",
        "ami_kafka.conf:5",
        "ami_kafka.conf:6",
        "manager.conf",
    ]
    assert told[0].startswith("ami_kafka.conf: [manager]: no secret for the manager user amikafka")
    assert told[3] == 'ami_kafka.conf:5: [kafka] rdkafka.foo: No such configuration property: "foo"'


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "[manager]\nsecret_file = /nonexistent\n",
            "[manager] secret_file: /nonexistent: there is no such file",
        ),
        ("[manager]\ntls = yes\ntls_ca = /gone\n", "[manager] tls_ca: /gone: there is no such file"),
        ("[kafka](+)\nssl_ca_location = /gone\n", "[kafka] ssl_ca_location: /gone: there is no such file"),
        (
            "[json]\nfallback_encoding = utf-16\n",
            '[json]: fallback_encoding "utf-16" has characters of several bytes',
        ),
        ("[json]\nfallback_encoding = latin-0\n", '"latin-0" is not an encoding that Python knows'),
    ],
)
def test_check_tells_what_the_daemon_would_stumble_over(
    beside: Path, capsys: pytest.CaptureFixture[str], text: str, expected: str
) -> None:
    code, told, out = checked(beside, f"[kafka]\nbrokers = k:1\n{text}", capsys)
    assert (code, out) == (os.EX_CONFIG, "")
    (line,) = told
    assert line.startswith(f"ami_kafka.conf:{len(text.splitlines()) + 2}: ")
    assert expected in line


def test_what_keeps_asterisk_from_listening_is_wrong_but_keeps_no_daemon_from_running(
    beside: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (beside / "manager.conf").write_text(
        "[general]\nenabled = no\n[amikafka]\nsecret = x\n#include gone.conf\n"
    )
    expected = [
        'manager.conf:2: [general] enabled: "no" is not yes: nobody can log in.'
        " Set enabled = yes in the first [general], then: asterisk -rx 'manager reload'",
        'manager.conf:5: [amikafka]: #include "gone.conf": there is no such file: Asterisk does not take'
        " manager.conf up",
    ]
    text = "[kafka]\nbrokers = k:1\n"
    code, told, out = checked(beside, text, capsys)
    assert (code, told) == (os.EX_CONFIG, expected)
    assert "no problem found" not in out
    assert "brokers   k:1" in out
    code, told, out = checked(beside, text, capsys, "--quiet")
    assert (code, told, out) == (0, [f"warning: {each}" for each in expected], "")


def test_a_note_is_told_from_an_error(beside: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, told, _ = checked(beside, "[kafka]\nbrokers = k:1\nno equals\nacks = 2\n", capsys)
    assert code == os.EX_CONFIG
    assert told[0] == 'note: ami_kafka.conf:3: [kafka]: no "=" in this line'
    assert told[1].startswith('ami_kafka.conf:4: [kafka] acks: "2"')
    code, told, out = checked(beside, "[kafka]\nbrokers = k:1\nno equals\n", capsys)
    assert (code, told) == (0, [])
    assert 'note: ami_kafka.conf:3: [kafka]: no "=" in this line' in out


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[general]\nENABLED = no\n", "[general] enabled = no"),
        ("[kafka]\nTopic =\n", "[kafka] topic is empty"),
    ],
)
def test_check_says_that_nothing_is_going_to_be_done(
    beside: Path, capsys: pytest.CaptureFixture[str], text: str, reason: str
) -> None:
    code, told, out = checked(beside, f"{text}[kafka]\nbrokers = k:1\n", capsys)
    assert (code, told) == (0, [])
    assert f"enabled   no, nothing is done: {reason}" in out


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can ask for another user")
@pytest.mark.parametrize("command", ["check", "doctor"])
def test_for_root_a_file_that_the_service_cannot_read_is_wrong(
    beside: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    nobody = ServiceUser("nobody", 65534, 65534, [65534])
    monkeypatch.setattr(service_user, "service_user", lambda _path: nobody)
    path = beside / "ami_kafka.conf"
    path.write_text("[kafka]\nbrokers = k:1\nacks = 2\n")
    path.chmod(0o600)
    assert main([command, "-c", str(path)]) in (os.EX_CONFIG, 2)
    told = capsys.readouterr()
    text = " ".join((told.out + told.err).split())
    assert f"{path}: cannot be read by the user nobody" in text
    assert "acks:" in text
    assert "no problem found" not in text


@pytest.mark.skipif(os.geteuid() != 0, reason="root alone is asked for another user")
def test_the_daemon_looks_with_its_own_eyes(beside: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nobody = ServiceUser("nobody", 65534, 65534, [65534])
    monkeypatch.setattr(service_user, "service_user", lambda _path: nobody)
    path = beside / "ami_kafka.conf"
    path.write_text("[kafka]\nbrokers = k:1\n")
    path.chmod(0o600)
    assert checking.load(path, loader.load("")).properties["bootstrap.servers"] == "k:1"

"""Where a live intake goes on when Kafka says how far another process was."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from amikafka_tail.ami.framing import MAX_BLOCK
from amikafka_tail.config import settings
from amikafka_tail.delivery.transactions import Committed
from amikafka_tail.intake import build_source, files
from amikafka_tail.intake.intake import FileIntake, LiveIntake, load_checkpoint
from amikafka_tail.journal.checkpoint import Checkpoint, DamagedCheckpoint, store
from amikafka_tail.journal.journal import Journal
from amikafka_tail.model.counters import Counters
from amikafka_tail.model.errors import PluginError
from amikafka_tail.model.identity import Identity
from amikafka_tail.model.live_source import LiveSource
from amikafka_tail.model.replayable_source import ReplayableSource
from amikafka_tail.plugins import loader
from amikafka_tail.sources.spool import SpoolOptions, SpoolSource

END = b"\r\n\r\n"
NOBODY = Identity(entity_id="x", system_name="", asterisk_version="", hostname="vm")


class Never:
    """A source that nobody can connect to."""

    def connect(self) -> None:
        raise OSError


@pytest.fixture
def configured(tmp_path: Path) -> settings.Settings:
    path = tmp_path / "ami_kafka.conf"
    path.write_text(
        f"[general]\n[manager]\nsecret = x\nhost = h\n[journal]\ndirectory = {tmp_path / 'state'}\n"
    )
    return settings.load(path, loader.load())


@pytest.fixture
def intake(tmp_path: Path, configured: settings.Settings) -> Iterator[LiveIntake]:
    journal = Journal(tmp_path / "state" / "journal", segment_bytes=1 << 20, max_bytes=1 << 30)
    journal.append(b"Event: A" + END + b"Event: B" + END + b"Event: C cut sh", 0)
    journal.close()
    source = Never()
    assert isinstance(source, LiveSource)
    made = LiveIntake(source, configured, loader.load(), stored=None, counters=Counters(), wake=lambda: None)
    yield made
    made.close()


def names(intake: LiveIntake, committed: Checkpoint, more: bytes, *, is_own: bool = False) -> list[bytes]:
    """Record more, as it happens while Kafka is asked; return what is published from then on."""
    intake._journal.append(more, 0)
    reader = intake.resume(Committed(committed, is_own))
    assert reader is not None
    chunk = reader.read()
    return [] if chunk is None else [event.raw for event in chunk.events]  # type: ignore[union-attr]


def test_it_goes_on_at_the_committed_offset(intake: LiveIntake) -> None:
    committed = intake.checkpoint(len(b"Event: A" + END))
    assert names(intake, committed, b"ort" + END) == [b"Event: B", b"Event: C cut short"]


def test_the_offset_of_another_journal_says_nothing(intake: LiveIntake) -> None:
    assert intake.resume(Committed(Checkpoint(epoch="another", offset=12), is_own=False)) is None


def test_what_stands_where_the_journal_lost_its_end_is_not_taken_for_committed(
    intake: LiveIntake, caplog: pytest.LogCaptureFixture
) -> None:
    committed = intake.checkpoint(60)  # the journal ends at 39
    more = b"rest of another" + END + b"Event: D" + END + b"Event: E" + END
    assert names(intake, committed, more) == [b"Event: D", b"Event: E"]
    assert "the journal has lost its end" in caplog.text
    # As long as nothing is committed behind it, Kafka says the same again.
    assert intake.resume(Committed(committed, is_own=False)) is None


def test_what_this_process_has_committed_is_no_lost_end(
    intake: LiveIntake, caplog: pytest.LogCaptureFixture
) -> None:
    more = b"ort" + END + b"Event: D" + END
    after_c = 39 + len(b"ort" + END)
    assert names(intake, intake.checkpoint(after_c), more, is_own=True) == [b"Event: D"]
    assert not caplog.messages


def test_what_is_delivered_is_kept_until_the_checkpoint_says_so(intake: LiveIntake) -> None:
    intake._journal.append(b"ort" + END, 0)
    intake._journal.roll()
    delivered = intake.end
    intake._journal.append(b"Event: D" + END, 0)
    intake.release(delivered, stored=0)
    # Killed now: the next process begins at 0.
    chunks = iter(intake.reader_at(0).read, None)
    found = [event.raw for chunk in chunks for event in chunk.events]  # type: ignore[union-attr]
    assert found == [b"Event: A", b"Event: B", b"Event: C cut short", b"Event: D"]
    intake.release(delivered, stored=delivered)
    assert intake.held == len(b"Event: D" + END)


def test_a_full_disk_gets_what_is_delivered_before_the_checkpoint_says_so(intake: LiveIntake) -> None:
    intake._journal.append(b"ort" + END, 0)
    intake._journal.roll()
    delivered = intake.end
    intake._journal.append(b"Event: D" + END, 0)
    intake._recorder.disk_problem = "No space left on device"
    intake.release(delivered, stored=0)
    assert intake.held == len(b"Event: D" + END)


def test_what_is_missing_counts_once_though_a_reload_makes_it_be_read_again(intake: LiveIntake) -> None:
    intake._journal.append(END + b"x" * (MAX_BLOCK + 100_000) + END + b"Event: D" + END, 0)
    for _ in range(2):
        reader = intake.reader_at(0)
        while reader.read() is not None:
            pass
    assert intake._counters.overlong == 1


def test_a_damaged_checkpoint_stops_no_live_source(
    tmp_path: Path, configured: settings.Settings, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "state" / "checkpoint.json"
    path.parent.mkdir()
    path.write_text("{")
    assert load_checkpoint(configured, Never()) is None  # type: ignore[arg-type]
    assert not path.exists()
    assert path.with_name("checkpoint.json.damaged").read_text() == "{"
    assert "what the journal still has is sent again" in caplog.text
    store(path, Checkpoint(epoch="a", offset=7))
    assert load_checkpoint(configured, Never()) == Checkpoint(epoch="a", offset=7)  # type: ignore[arg-type]


def test_files_wait_until_somebody_has_looked_at_a_damaged_checkpoint(
    tmp_path: Path, configured: settings.Settings
) -> None:
    path = tmp_path / "state" / "checkpoint-manager.json"
    path.parent.mkdir()
    path.write_text("{")
    with pytest.raises(DamagedCheckpoint, match="move it away"):
        load_checkpoint(configured, SpoolSource(SpoolOptions(directory=tmp_path)))
    assert path.exists()


def configuration(directory: Path, text: str) -> settings.Settings:
    path = directory / "ami_kafka.conf"
    path.write_text(text.replace("[manager]", "[manager]\nsecret = x\nhost = h"))
    return settings.load(path, loader.load())


def test_a_connection_belongs_to_the_filters_that_it_was_made_with(tmp_path: Path) -> None:
    plain = "[general]\neventfilter = A\n[manager]\n"
    push = f"{plain}push_filters = yes\n"
    texts = [
        plain,
        push,
        push.replace("= A", "= B"),
        push.replace("eventfilter", "eventfilter(header(X),method(regex))"),
    ]
    keys = [build_source.source_key(configuration(tmp_path, text)) for text in texts]
    assert len(set(keys)) == 4
    moved = configuration(tmp_path, f"; another line before\n{push}")
    assert build_source.source_key(moved) == keys[1]
    assert moved.pushed == configuration(tmp_path, push).pushed
    # Where nothing is pushed, the lines are no matter of the connection.
    assert build_source.source_key(configuration(tmp_path, plain.replace("= A", "= B"))) == keys[0]


def test_a_source_that_could_not_be_made_is_made_with_the_next_reload(
    intake: LiveIntake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed = configuration(tmp_path, "[manager]\nport = 5040\n")
    with monkeypatch.context() as broken:
        broken.setattr(build_source, "source", lambda *_: (_ for _ in ()).throw(PluginError("not now")))
        with pytest.raises(PluginError):
            intake.reload(changed)
    replaced: list[str] = []
    monkeypatch.setattr(intake._recorder, "replace_source", lambda _source, key: replaced.append(key))
    intake.reload(changed)
    assert replaced == [build_source.source_key(changed)]


def test_what_other_threads_ask_needs_no_reader_that_the_main_loop_moves(tmp_path: Path) -> None:
    log = tmp_path / "full"
    log.write_bytes(b"Event: A" + END)
    settings = configuration(
        tmp_path,
        f"[general]\nsource = eventlog\n[eventlog]\npath = {log}\n[journal]\ndirectory = {tmp_path}\n",
    )
    source = build_source.source(settings, loader.load())
    assert isinstance(source, ReplayableSource)
    made = FileIntake(source, settings, loader.load(), stored=None, counters=Counters(), wake=lambda: None)
    assert made.reader_at(0).read() is not None
    made.finish()
    made.close()
    with pytest.raises(ValueError, match="closed file"):
        _ = made.end  # what another thread may see while the main loop goes on to the next file
    assert made.recorded == 0


def test_a_new_log_is_found_while_another_one_is_never_quiet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = f"[general]\nsource = eventlog\n[eventlog]\npath = {tmp_path}/*.log\n"
    settings = configuration(tmp_path, f"{text}[journal]\ndirectory = {tmp_path}\n")
    source = build_source.source(settings, loader.load())
    assert isinstance(source, ReplayableSource)
    now = 0.0
    monkeypatch.setattr(files.time, "monotonic", lambda: now)
    busy = tmp_path / "busy.log"
    busy.write_bytes(b"Event: A" + END)
    made = FileIntake(source, settings, loader.load(), stored=None, counters=Counters(), wake=lambda: None)
    reader = made.reader_at(0)
    found = set()
    for _ in range(20):
        now += 0.5
        made.collect()
        while (chunk := reader.read()) is not None:
            found |= {event.raw for event in chunk.events}  # type: ignore[union-attr]
        with busy.open("ab") as log:
            log.write(b"Event: A" + END)
        (tmp_path / "new.log").write_bytes(b"Event: B" + END)
    made.finish()
    made.close()
    assert found == {b"Event: A", b"Event: B"}


@pytest.mark.parametrize("is_own", [True, False])
def test_what_this_process_committed_is_gone_on_behind_without_a_new_reader(
    tmp_path: Path, *, is_own: bool
) -> None:
    log = tmp_path / "full"
    events = [b"Event: A\r\nNumber: %d" % number + END for number in range(3)]
    log.write_bytes(events[0])
    text = f"[general]\nsource = eventlog\n[eventlog]\npath = {log}\n[journal]\ndirectory = {tmp_path}\n"
    settings = configuration(tmp_path, text)
    source = build_source.source(settings, loader.load())
    assert isinstance(source, ReplayableSource)
    made = FileIntake(source, settings, loader.load(), stored=None, counters=Counters(), wake=lambda: None)
    before = made.reader_at(0)
    assert before.read() is not None
    committed = Committed(made.checkpoint(before.position), is_own)
    with log.open("ab") as file:
        file.write(events[1] + events[2])
    assert before.read() is not None
    made.collect()
    before.seek(0)
    after = made.resume(committed)
    assert after is not None
    assert (after is before) == is_own
    chunk = after.read()
    assert chunk is not None
    assert [(each.position, each.raw + END) for each in chunk.events] == [  # type: ignore[union-attr]
        (len(events[0]), events[1]),
        (len(events[0] + events[1]), events[2]),
    ]
    made.finish()
    made.close()

"""The same scenario on every version of Asterisk that a distribution has; see versions.py.

What the tests find is the table in docs/compatibility.md: `make compatibility` writes it anew.
"""

from __future__ import annotations

import os
import re
import socket
import sys
import time
from collections.abc import Iterator

import pytest
import recordings
from ami import line_value
from asterisk import Asterisk
from chroot import SUITES, Suite, asterisk_root, package_version
from compatibility import Table
from conftest import or_skip
from expected import name_of
from kafka import Kafka
from versions import ESCAPE, KINDS, LOGS, NOT_UTF8, SESSIONS, Scenario

pytestmark = pytest.mark.timeout(1800)  # a chroot may have to be made


@pytest.fixture(scope="module", params=SUITES, ids=[f"asterisk-{suite.asterisk}" for suite in SUITES])
def suite(request: pytest.FixtureRequest) -> Suite:
    return request.param


@pytest.fixture(scope="module")
def scenario(suite: Suite, broker: Kafka, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scenario]:
    """All that happened on one version of Asterisk."""
    root = or_skip(lambda: asterisk_root(suite), required=suite.required)
    broker.start()
    begin = time.monotonic()
    asterisk = Asterisk(root, f"versions-{os.getpid()}")
    made = Scenario(suite, asterisk, broker, tmp_path_factory.mktemp(suite.name))
    try:
        made.run(f"versions-{suite.name}")
        seconds = time.monotonic() - begin
        print(f"\nAsterisk {asterisk.origin.asterisk_version} took {seconds:.0f} s", file=sys.__stderr__)
        yield made
    finally:
        made.close()


@pytest.fixture(scope="module")
def table(scenario: Scenario, suite: Suite) -> Iterator[Table]:
    """The column of this version in docs/compatibility.md."""
    made = Table(suite.title, package_version(scenario.asterisk.root))
    yield made
    if os.environ.get("AMIKAFKA_E2E_RECORD") == "yes":
        # "18.10.0~dfsg+~cs6.10.40431411", as Debian builds it
        version = re.match(r"[\d.]+\d", scenario.asterisk.origin.asterisk_version)[0]
        made.record(version)
        recordings.keep(scenario, version)


def test_it_is_the_version_that_the_suite_is_known_for(scenario: Scenario, suite: Suite, table: Table):
    assert scenario.asterisk.origin.asterisk_version.startswith(f"{suite.asterisk}.")
    with socket.create_connection((scenario.asterisk.host, scenario.asterisk.port), timeout=10) as session:
        banner = session.recv(200)
    table["protocol"] = re.fullmatch(rb"Asterisk Call Manager/([\d.]+)\r\n", banner)[1].decode()


@pytest.mark.parametrize("feature", KINDS)
def test_every_event_is_in_kafka_once(scenario: Scenario, table: Table, feature: str):
    names = {name_of(event) for event in scenario.parts["plain"].seen}
    assert names >= set(KINDS[feature])
    assert scenario.difference("plain", "plain") == ""
    table[feature] = "yes"


def test_the_order_is_that_of_the_session(scenario: Scenario, table: Table):
    for way in SESSIONS:
        assert scenario.order_difference("plain", way) == ""
    table["order"] = "yes"


def test_odd_values_arrive_as_asterisk_sent_them(scenario: Scenario, table: Table):
    events = [event for event in scenario.parts["plain"].seen if b"\r\nUserEvent: Odd" in event]
    assert len(events) == 22
    for name, value in (*NOT_UTF8, ESCAPE):
        assert any(b"\r\n%s: %s\r\n" % (name.encode(), value) in event for event in events)
    for way in ("plain", "md5"):
        assert scenario.difference("plain", way) == ""
    table["odd"] = "yes"


def test_a_login_by_challenge(scenario: Scenario, table: Table):
    # Asterisk itself says what it was asked: with manager debug from the start on, since it was restarted.
    text = scenario.file_of("text log").replace(b"\r", b"")
    actions = [action.split(b"\n\n")[0] for action in text.split(b"Examining AMI action: -->\n")[1:]]
    logins = [action.splitlines() for action in actions if action.startswith(b"Action: Login\n")]
    assert b"Action: Challenge\nAuthType: MD5" in b"\n".join(actions)
    assert any(b"AuthType: MD5" in login for login in logins)
    assert any(b"AuthType: MD5" not in login for login in logins)
    for part in ("plain", "restarted"):
        assert scenario.difference(part, "md5") == ""
    table["md5"] = "yes"


def test_tls(scenario: Scenario, table: Table):
    assert scenario.difference("plain", "tls") == ""
    table["tls"] = "yes"


def test_filters_that_asterisk_is_asked_for(scenario: Scenario, table: Table):
    assert len(scenario.parts["plain"].events("pushed")) < 0.8 * len(scenario.parts["plain"].seen)
    assert scenario.difference("plain", "pushed") == ""
    said = re.search(r"Asterisk filters by (\d of \d) eventfilter lines", scenario.log_of("pushed"))
    table["push"] = f"{said[1]} lines"


def test_a_restart_of_asterisk(scenario: Scenario, table: Table):
    for way in SESSIONS:
        assert scenario.difference("restarted", way) == ""
        assert scenario.order_difference("restarted", way) == ""
        assert "there was no connection" in scenario.log_of(way)
    table["restart"] = "yes"


def test_manager_debug(scenario: Scenario, table: Table):
    assert all(line_value(event, "SequenceNumber") for event in scenario.parts["debug"].seen)
    for way in SESSIONS:
        assert scenario.difference("debug", way) == ""
    table["debug"] = "yes"


def test_no_loss_is_told_where_there_is_none(scenario: Scenario, table: Table):
    for way in SESSIONS:
        assert not re.search("lost_events=|did not come", scenario.log_before_restart[way])
    table["numbers"] = "yes"


@pytest.mark.parametrize("way", LOGS)
def test_the_debug_log_gives_the_same_messages(scenario: Scenario, table: Table, way: str):
    for part in ("debug", "restarted"):
        assert scenario.difference(part, way) == ""
        assert scenario.order_difference(part, way) == ""
    table[way.replace(" ", "_")] = "yes"


def test_the_marker_of_an_event_is_the_one_that_the_version_is_known_for(scenario: Scenario, table: Table):
    markers = set(re.findall(rb"Examining AMI event( \(\d+\))?: -->\r?\nEvent", scenario.file_of("text log")))
    has_hash = b"" not in markers
    assert len(markers) > 1 or not has_hash
    assert has_hash is (scenario.suite.asterisk == "22")
    table["marker"] = "`Examining AMI event (HASH):`" if has_hash else "`Examining AMI event:`"


def test_only_the_json_log_has_an_escape_character(scenario: Scenario, table: Table):
    def is_escape(raw: bytes) -> bool:
        return b"Escape" in raw

    escaped = [event for event in scenario.parts["bytes"].seen if is_escape(event)]
    assert len(escaped) == 1
    held = [record.value for record in scenario.parts["bytes"].held["text log"] if is_escape(record.value)]
    assert b'"Escape":"red, and plain"' in held[0]
    assert scenario.difference("bytes", "text log", is_escape) == ""
    assert scenario.difference("bytes", "json log", is_not_utf8) == ""
    table["escape"] = "`[json]` keeps it"


def test_only_the_text_log_has_bytes_that_are_not_utf8(scenario: Scenario, table: Table):
    lost = [event for event in scenario.parts["bytes"].seen if is_not_utf8(event)]
    assert len(lost) == len(NOT_UTF8) + 1
    text = scenario.file_of("json log")
    for event in scenario.parts["bytes"].seen:
        stamp = f"Timestamp: {line_value(event, 'Timestamp')}\\r".encode()
        assert (stamp in text) is (event not in lost)
    assert re.search(r"events are missing.* lost_events=\d", scenario.log_of("json log"))
    table["bytes"] = "text keeps them"


def is_not_utf8(raw: bytes) -> bool:
    try:
        raw.decode()
    except UnicodeDecodeError:
        return True
    return False

from __future__ import annotations

from amikafka_tail.formats.ami import AmiOptions, ami_format, register_formats
from amikafka_tail.model.event import Event
from amikafka_tail.model.identity import Identity
from tests.support.formats import context

PBX = Identity(entity_id="00:11:22:33:44:55", system_name="pbx-01", asterisk_version="22", hostname="vm")


def test_the_identity_stands_before_the_event_as_asterisk_sent_it() -> None:
    event = Event(b"Event: Hangup\r\nPrivilege: call,all\r\nSystemName: pbx-01\r\nCause: 16")
    assert ami_format(AmiOptions(), context(PBX))(event) == (
        b"EntityID: 00:11:22:33:44:55\r\nSystemName: pbx-01\r\n"
        b"Event: Hangup\r\nPrivilege: call,all\r\nSystemName: pbx-01\r\nCause: 16\r\n\r\n"
    )


def test_without_a_system_name_the_line_is_left_out() -> None:
    nameless = Identity(entity_id="aa", system_name="", asterisk_version="22", hostname="vm")
    assert ami_format(AmiOptions(), context(nameless))(Event(b"Event: Reload")) == (
        b"EntityID: aa\r\nEvent: Reload\r\n\r\n"
    )


def test_every_byte_of_the_event_is_kept() -> None:
    raw = b"Event: A\r\nX: " + bytes(set(range(256)) - {10, 13}) + b"\r\nempty:\nno colon\r\nX: again"
    assert ami_format(AmiOptions(), context(PBX))(Event(raw)).endswith(
        b"SystemName: pbx-01\r\n" + raw + b"\r\n\r\n"
    )


def test_a_forged_identity_comes_after_the_true_one() -> None:
    event = Event(b"Event: UserEvent\r\nPrivilege: user,all\r\nEntityID: evil\r\nSystemName: evil")
    lines = ami_format(AmiOptions(), context(PBX))(event).split(b"\r\n")
    assert lines[:2] == [b"EntityID: 00:11:22:33:44:55", b"SystemName: pbx-01"]
    assert lines.index(b"EntityID: evil") > 1


def test_an_identity_beyond_ascii_is_utf_8() -> None:
    identity = Identity(entity_id="aa", system_name="zürich", asterisk_version="22", hostname="vm")
    assert "SystemName: zürich\r\n".encode() in ami_format(AmiOptions(), context(identity))(
        Event(b"Event: A")
    )


def test_the_format_is_registered_as_ami() -> None:
    registered = []
    register_formats(register=lambda *arguments: registered.append(arguments))
    assert registered == [("ami", AmiOptions, ami_format)]

"""Root sees everything; the service's user does not."""

import os
import stat
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from amikafka_tail.config import service_user
from amikafka_tail.config.files import closed_to
from amikafka_tail.config.service_user import ServiceUser, closed, missing, unreadable
from amikafka_tail.model.errors import Problem

CONFIGURATION = Path("/etc/asterisk/ami_kafka.conf")
NOBODY = ServiceUser("nobody", 65534, 65534, [65534])
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can ask for another user")


@pytest.fixture
def open_directory() -> Iterator[Path]:
    """A directory that everybody may enter; pytest's own are closed."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as name:
        directory = Path(name)
        directory.chmod(0o755)
        yield directory


def made(directory: Path, name: str, mode: int, group: int = 0) -> Path:
    file = directory / name
    file.write_text("x\n")
    if os.geteuid() == 0:
        os.chown(file, 0, group)
    file.chmod(mode)
    return file


@as_root
@pytest.mark.parametrize(
    ("mode", "group", "is_readable"),
    [
        (0o644, 0, True),
        (0o640, 65534, True),
        (0o604, 0, True),
        (0o640, 0, False),
        (0o600, 65534, False),
        (0o000, 65534, False),
        (0o004, 65534, False),  # of a member of the group the bits of the group count
    ],
)
def test_a_file_is_readable_if_its_owner_group_and_mode_say_so(
    open_directory: Path, mode: int, group: int, is_readable: bool
) -> None:
    file = made(open_directory, "file", mode, group)
    found = closed(NOBODY, [file])
    assert found == (
        {}
        if is_readable
        else {
            file: "cannot be read by the user nobody: owned by root:"
            f"{'nogroup' if group else 'root'}, mode {mode:04o}; chgrp it to a group that nobody"
            f" is in, and chmod g+r"
        }
    )


@as_root
def test_the_supplementary_groups_count(open_directory: Path) -> None:
    file = made(open_directory, "file", 0o640, 4711)
    assert closed(NOBODY, [file])
    assert not closed(ServiceUser("nobody", 65534, 65534, [65534, 4711]), [file])


@as_root
def test_a_directory_on_the_way_is_named(open_directory: Path) -> None:
    (open_directory / "closed").mkdir(mode=0o700)
    file = made(open_directory / "closed", "file", 0o644)
    expected = (
        f"cannot be read by the user nobody: the directory {open_directory}/closed is closed to it;"
        f" chmod o+x {open_directory}/closed"
    )
    link = open_directory / "link"
    link.symlink_to(file)
    assert closed(NOBODY, [file, link]) == {file: expected, link: expected}


@as_root
def test_a_directory_has_to_be_listed_and_entered(open_directory: Path) -> None:
    for mode in (0o755, 0o754, 0o751, 0o750):
        (open_directory / f"{mode:o}").mkdir()
        (open_directory / f"{mode:o}").chmod(mode)
    found = closed(NOBODY, sorted(open_directory.iterdir()))
    assert [path.name for path in found] == ["750", "751", "754"]
    assert found[open_directory / "750"].endswith("chgrp it to a group that nobody is in, and chmod g+rx")


@as_root
def test_a_relative_path_is_that_of_this_process(
    open_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(open_directory)
    made(open_directory, "good", 0o644)
    made(open_directory, "it's $(bad)\n", 0o600)
    assert list(closed(NOBODY, [Path("good"), Path("it's $(bad)\n")])) == [Path("it's $(bad)\n")]


@as_root
def test_asking_changes_no_right_of_this_process(open_directory: Path) -> None:
    before = (os.getresuid(), os.getresgid(), os.getgroups())
    closed(NOBODY, [made(open_directory, "file", 0o600)])
    assert (os.getresuid(), os.getresgid(), os.getgroups()) == before


@as_root
def test_for_root_what_the_service_cannot_read_is_told_at_its_place(
    open_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service_user, "service_user", lambda _path: NOBODY)
    own = made(open_directory, "own.conf", 0o600)
    named = made(open_directory, "named", 0o600)
    fine = made(open_directory, "fine", 0o644)
    place = Problem(message="", file=own, line=7, section="manager", key="secret_file")
    files = {own: Problem(message="", file=own), named: place, fine: place, open_directory / "gone": place}
    reason = (
        "cannot be read by the user nobody: owned by root:root, mode 0600; chgrp it to a group that nobody"
    )
    assert [str(each) for each in unreadable(CONFIGURATION, files)] == [
        f"{own}:7: [manager] secret_file: {open_directory}/gone: there is no such file",
        f"{own}: {reason} is in, and chmod g+r",
        f"{own}:7: [manager] secret_file: {named}: {reason} is in, and chmod g+r",
    ]


@pytest.mark.parametrize("user", [None, ServiceUser("root", 0, 0, [0])])
def test_where_there_is_no_other_user_root_sees_for_itself(
    open_directory: Path, monkeypatch: pytest.MonkeyPatch, user: ServiceUser | None
) -> None:
    monkeypatch.setattr(service_user, "service_user", lambda _path: user)
    file = made(open_directory, "file", 0o400)
    assert unreadable(CONFIGURATION, {file: Problem(message="", file=file)}) == []


def test_a_user_other_than_root_asks_for_nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(service_user, "service_user", lambda _path: pytest.fail("asked"))
    assert unreadable(CONFIGURATION, {Path("/etc/passwd"): Problem(message="")}) == []


def test_a_file_that_is_missing_is_told_at_its_place(tmp_path: Path) -> None:
    place = Problem(message="", file=CONFIGURATION, line=3, key="tls_ca")
    files = {tmp_path / "gone": place, tmp_path: place, Path(sys.executable): place}
    assert [str(each) for each in missing(CONFIGURATION, files)] == [
        f"{CONFIGURATION}:3: tls_ca: {tmp_path}/gone: there is no such file"
    ]


def test_a_file_that_says_so_itself_is_not_told_again(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    assert missing(CONFIGURATION, {gone: Problem(message="", file=gone)}) == []


def test_a_credential_is_there_only_while_the_service_runs() -> None:
    file = Path("/run/credentials/amikafka.service/manager")
    assert missing(CONFIGURATION, {file: Problem(message="", file=CONFIGURATION)}) == []


def test_a_path_that_nobody_can_look_at_is_told_as_such(tmp_path: Path) -> None:
    assert closed_to("nobody", tmp_path / "gone") == (
        "cannot be read by the user nobody: a directory on the way is closed to it"
    )


# Whom the service runs as.


def systemctl(directory: Path, output: str, code: int = 0) -> None:
    script = directory / "systemctl"
    script.write_text(f'#!/bin/sh\necho "$@" > {directory}/asked\ncat <<"END"\n{output}\nEND\nexit {code}\n')
    script.chmod(script.stat().st_mode | stat.S_IXUSR)


@pytest.fixture
def systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A systemd that says what a test wants."""
    monkeypatch.setattr(service_user, "SYSTEMD", tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    return tmp_path


def test_the_unit_says_whom_the_service_runs_as(systemd: Path) -> None:
    systemctl(
        systemd, "LoadState=loaded\nUser=nobody\nGroup=daemon\nSupplementaryGroups=adm 4711 nosuchgroup"
    )
    user = service_user.service_user(CONFIGURATION)
    assert user is not None
    assert (user.name, user.uid, user.gid) == ("nobody", 65534, 1)
    assert {1, 4, 4711} <= {*user.groups}
    assert (systemd / "asked").read_text().split()[-1] == "amikafka.service"


def test_the_unit_of_an_instance_is_asked_for_its_file(systemd: Path) -> None:
    systemctl(systemd, "LoadState=loaded\nUser=nobody")
    user = service_user.service_user(Path("/etc/asterisk/ami_kafka-berlin.conf"))
    assert user is not None
    assert (user.gid, user.groups) == (65534, [65534])
    assert (systemd / "asked").read_text().split()[-1] == "amikafka@berlin.service"


@pytest.mark.parametrize(
    ("output", "code"),
    [("LoadState=not-found\nUser=", 0), ("nonsense", 0), ("LoadState=loaded\nUser=daemon", 1)],
)
def test_without_a_unit_it_is_the_packages_user(
    systemd: Path, monkeypatch: pytest.MonkeyPatch, output: str, code: int
) -> None:
    monkeypatch.setattr(service_user, "USER", "nobody")
    systemctl(systemd, output, code)
    user = service_user.service_user(CONFIGURATION)
    assert user is not None
    assert user.name == "nobody"


def test_without_systemd_it_is_the_packages_user(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(service_user, "SYSTEMD", tmp_path / "gone")
    monkeypatch.setattr(service_user, "USER", "nosuchuser")
    assert service_user.service_user(CONFIGURATION) is None
    monkeypatch.setattr(service_user, "USER", "daemon")
    user = service_user.service_user(CONFIGURATION)
    assert user is not None
    assert user.name == "daemon"


@pytest.mark.parametrize("name", ["", "nosuchuser"])
def test_a_unit_without_a_user_of_its_own_is_roots(systemd: Path, name: str) -> None:
    systemctl(systemd, f"LoadState=loaded\nUser={name}")
    assert service_user.service_user(CONFIGURATION) is None


def test_the_packages_user_is_the_units() -> None:
    units = Path(__file__).parents[3] / "packaging" / "debian"
    for unit in ("amikafka.service", "amikafka@.service"):
        assert f"\nUser={service_user.USER}\n" in (units / unit).read_text()

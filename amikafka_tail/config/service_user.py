"""Whom the service runs as, and which files that user cannot read: what root does not see by itself."""

from __future__ import annotations

import dataclasses
import grp
import os
import pwd
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from amikafka_tail.config.files import closed_to, why_unreadable
from amikafka_tail.model.errors import Problem

USER = "amikafka"
"""Whom the package's units name."""
SYSTEMD = Path("/run/systemd/system")
CREDENTIALS = "/run/credentials/"
"""What is below is there only while the unit runs."""
SECONDS = 10.0
# One line for each argument: 0 where it may be used. A directory has to be entered, too.
_TEST = 'for each do [ -r "$each" ] && { [ ! -d "$each" ] || [ -x "$each" ]; }; echo $?; done'
_TEST_WAY = 'for each do [ -x "$each" ]; echo $?; done'


class ServiceUser(NamedTuple):
    """A user with all its groups."""

    name: str
    uid: int
    gid: int
    groups: Sequence[int]


def service_user(configuration: Path) -> ServiceUser | None:
    """Return whom the service with a configuration runs as, `None` where there is no such user.

    Blocks for at most ten seconds: systemd is asked, for the sake of its drop-ins.
    """
    _, _, instance = configuration.stem.partition("-")
    unit = _unit(f"amikafka@{instance}.service" if instance else "amikafka.service")
    name = unit.get("User", "") if unit.get("LoadState") == "loaded" else USER
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        return None
    gid = _group(unit.get("Group", ""), entry.pw_gid)
    more = [_group(each, gid) for each in unit.get("SupplementaryGroups", "").split()]
    groups = sorted({*os.getgrouplist(name, gid), *more})
    return ServiceUser(name, entry.pw_uid, gid, groups)


def missing(_configuration: Path, files: Mapping[Path, Problem]) -> list[Problem]:
    """Return which of the files this user cannot read, each at the place that names it.

    A file whose place it is itself was read already, and its trouble is known.
    """
    problems = []
    for file, place in files.items():
        try:
            _open(file)
        except OSError as error:
            is_later = isinstance(error, FileNotFoundError) and str(file).startswith(CREDENTIALS)
            if place.file != file and not is_later:
                problems.append(dataclasses.replace(place, message=f"{file}: {why_unreadable(file, error)}"))
    return problems


def unreadable(configuration: Path, files: Mapping[Path, Problem]) -> list[Problem]:
    """Return which of the files this user or the service cannot read, each at the place that names it.

    Root asks the kernel as the service's user; the rights of this process stay as they are.
    """
    problems = missing(configuration, files)
    user = service_user(configuration) if os.geteuid() == 0 else None
    if user is not None and user.uid != 0:
        for file, reason in closed(user, [file for file in files if file.exists()]).items():
            place = files[file]
            message = reason if place.file == file else f"{file}: {reason}"
            problems.append(dataclasses.replace(place, message=message))
    return problems


def _open(file: Path) -> None:
    if file.is_dir():
        next(file.iterdir(), None)
    else:
        file.open("rb").close()


def closed(user: ServiceUser, files: Sequence[Path]) -> dict[Path, str]:
    """Return for each file that a user cannot read why. Only root may ask."""
    found = {}
    for file in _refused(user, _TEST, files):
        on_the_way = [*reversed(file.absolute().parents), *reversed(file.resolve().parents)]
        way = next(iter(_refused(user, _TEST_WAY, on_the_way)), None)
        found[file] = closed_to(user.name, file) if way is None else _closed_way(user.name, way)
    return found


def _closed_way(user: str, directory: Path) -> str:
    return (
        f"cannot be read by the user {user}: the directory {directory} is closed to it; chmod o+x {directory}"
    )


def _refused(user: ServiceUser, script: str, paths: Iterable[Path]) -> list[Path]:
    """Return the paths that a test says no to when the user makes it."""
    paths = list(dict.fromkeys(paths))
    tested = subprocess.run(
        ["/bin/sh", "-c", script, "sh", *(path.absolute() for path in paths)],
        user=user.uid,
        group=user.gid,
        extra_groups=list(user.groups),
        cwd="/",
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=SECONDS,
        check=True,
    )
    return [path for path, code in zip(paths, tested.stdout.split(), strict=True) if code != b"0"]


def _unit(name: str) -> dict[str, str]:
    """Return what systemd says of a unit; nothing where it does not run."""
    if not SYSTEMD.is_dir():
        return {}
    properties = "--property=LoadState,User,Group,SupplementaryGroups"
    try:
        asked = subprocess.run(
            ["systemctl", "show", properties, name],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=SECONDS,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return {}
    lines = asked.stdout.decode("utf-8", "replace").splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line)


def _group(name: str, default: int) -> int:
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        return int(name) if name.isdigit() else default

"""`packaging/release` in a repository of its own that has what is here."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from amikafka_tail import __version__
from tests.support.daemon import PROJECT
from tests.support.waiting import BOUND

NEXT = "99.1.0"
PLUGINS = ("avro", "cloudevents", "queuelog", "redact")
WHEELS = ["amikafka_tail", *(f"amikafka_{name}" for name in PLUGINS)]
# The version may stand there as an example.
EXAMPLES = {"CHANGELOG.md", "docs/operations.md", "docs/plugins.md", "packaging/debian/changelog"}
# A plugin that the template makes, or a test's own, has a version of its own.
OTHERS = ("amikafka_tail/data/template/", "docs/performance", "tests/")


class Repository:
    """A clone in which releases may be made. `tools` comes first in its PATH."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "clone"
        self.tools = directory / "tools"
        self.tools.mkdir()
        self.tool("dpkg-checkbuilddeps", "echo unmet: debhelper >&2; exit 1")
        listed = subprocess.run(
            ["git", "-C", str(PROJECT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            capture_output=True, text=True, check=True, timeout=BOUND,
        )  # fmt: skip
        for name in filter(None, listed.stdout.split("\0")):
            if (PROJECT / name).is_file():  # and not deleted, nor a link to a directory
                (self.path / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(PROJECT / name, self.path / name)
        changelog = self.path / "CHANGELOG.md"
        text, count = re.subn(
            r"## Unreleased\n.*?(?=^## )",
            "## Unreleased\n\n### Added\n- A thing.\n\n",
            changelog.read_text(),
            flags=re.M | re.S,
        )
        assert count == 1
        changelog.write_text(text)
        self.git("init", "--quiet", "--initial-branch", "main")
        self.git("config", "user.name", "A Maintainer")
        self.git("config", "user.email", "maintainer@example.org")
        self.commit()

    def tool(self, name: str, script: str) -> None:
        (self.tools / name).write_text(f"#!/bin/sh\n{script}\n")
        (self.tools / name).chmod(0o755)

    def git(self, *arguments: str) -> str:
        done = subprocess.run(
            ["git", *arguments],
            cwd=self.path,
            env=self._environment(),
            capture_output=True,
            text=True,
            timeout=BOUND,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def commit(self) -> None:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", "A change")

    def release(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "packaging/release", *arguments],
            cwd=self.path, env=self._environment(), capture_output=True, text=True, timeout=4 * BOUND,
        )  # fmt: skip

    def state(self) -> tuple[str, str, str]:
        return self.git("rev-parse", "HEAD"), self.git("tag"), self.git("status", "--porcelain")

    def _environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
        return {**kept, "GIT_CONFIG_GLOBAL": os.devnull, "PATH": f"{self.tools}:{os.environ['PATH']}"}


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    if not (PROJECT / ".git").exists() or shutil.which("git") is None:
        pytest.skip("this is no git repository")
    return Repository(tmp_path)


def refused(repository: Repository, version: str, expected: str) -> None:
    before = repository.state()
    done = repository.release(version)
    assert done.returncode == 1
    assert expected in done.stderr
    assert "Traceback" not in done.stderr
    assert repository.state() == before
    assert not (repository.path / "dist").exists()


@pytest.mark.timeout(600)
def test_a_dry_run_builds_all_and_changes_nothing_that_git_knows(repository: Repository) -> None:
    before = repository.state()
    done = repository.release(NEXT, "--dry-run")
    assert done.returncode == 0, done.stderr
    assert "Debian packages are left out: unmet: debhelper" in done.stdout
    assert repository.state() == before
    made = repository.path / "dist" / NEXT
    names = {path.name for path in made.iterdir()}
    (native,) = {name for name in names if name.startswith("amikafka_speedups") and name.endswith(".whl")}
    assert re.fullmatch(rf"amikafka_speedups-{NEXT}-cp3\d+-cp3\d+-linux_\w+\.whl", native)
    assert names == {
        native,
        "SHA256SUMS",
        f"amikafka_tail-{NEXT}.tar.gz",
        f"amikafka_speedups-{NEXT}.tar.gz",
        *(f"{name}-{NEXT}-py3-none-any.whl" for name in WHEELS),
    }
    for path in made.glob("*.whl"):
        with zipfile.ZipFile(path) as wheel:
            (metadata,) = [name for name in wheel.namelist() if name.endswith("/METADATA")]
            assert f"\nVersion: {NEXT}\n" in wheel.read(metadata).decode()
    subprocess.run(["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=made, check=True, timeout=BOUND)
    assert len((made / "SHA256SUMS").read_text().splitlines()) == len(names) - 1


@pytest.mark.timeout(600)
def test_a_release_is_a_commit_a_tag_and_all_packages(repository: Repository) -> None:
    """Debian's tools are stand-ins; that they build what is tagged is what counts."""
    repository.tool("dpkg-checkbuilddeps", "exit 0")
    (repository.path / "packaging" / "build-deb").write_text(
        '#!/bin/sh\nmkdir -p "$1" && git describe --exact-match HEAD > "$1/amikafka.deb"\n'
    )
    repository.commit()
    before, _, _ = repository.state()
    done = repository.release(NEXT)
    assert done.returncode == 0, done.stderr
    head, tags, changes = repository.state()
    assert (tags, changes) == (f"v{NEXT}", "")
    assert repository.git("rev-parse", "HEAD^", f"v{NEXT}^{{commit}}").split() == [before, head]
    assert repository.git("cat-file", "-t", f"v{NEXT}") == "tag"
    assert (repository.path / "dist" / NEXT / "deb" / "amikafka.deb").read_text() == f"v{NEXT}\n"
    assert re.search(
        r"^[0-9a-f]{64}  deb/amikafka.deb$",
        (repository.path / "dist" / NEXT / "SHA256SUMS").read_text(),
        re.M,
    )
    text = (repository.path / "CHANGELOG.md").read_text()
    assert re.search(
        rf"^## Unreleased\n\n## {NEXT} - \d{{4}}-\d\d-\d\d\n\n### Added\n- A thing.\n", text, re.M
    )
    debian = (repository.path / "packaging" / "debian" / "changelog").read_text()
    assert re.match(
        rf"amikafka \({NEXT}-1\) unstable; .*\n\n  \* .+\n\n -- .+ <.+>  \w{{3}}, \d.+\n\n"
        rf"amikafka \({__version__}-1\)",
        debian,
    )
    left = repository.git("grep", "--name-only", "--fixed-strings", __version__).splitlines()
    assert {name for name in left if not name.startswith(OTHERS)} <= EXAMPLES, "the old version is still said"
    refused_again = repository.release(NEXT)
    assert refused_again.returncode == 1
    assert f"version {NEXT} exists already" in refused_again.stderr
    refused_next = repository.release("99.2.0")
    assert 'CHANGELOG.md has no entry under "## Unreleased"' in refused_next.stderr


def test_what_cannot_be_released_is_refused(repository: Repository) -> None:
    for version in (
        "",
        "1",
        "1.2",
        "v1.2.3",
        "1.2.3rc1",
        "1.2.3.4",
        "01.2.3",
        "1.2.x",
        "1.2.3\n",
        "--",
        "१.२.३",
    ):
        done = repository.release("--", version)
        assert done.returncode == 1, version
        assert "is no version" in done.stderr
    refused(repository, __version__, f"version {__version__} exists already")
    refused(repository, "0.0.9", "is not newer than the current version")
    repository.git("tag", f"v{NEXT}")
    refused(repository, NEXT, f"version {NEXT} exists already")
    repository.git("tag", "--delete", f"v{NEXT}")
    for name in ("README.md", "new-file"):
        before = (repository.path / name).read_text() if (repository.path / name).exists() else None
        (repository.path / name).write_text("changed")
        done = repository.release(NEXT)
        assert (done.returncode, name in done.stderr) == (1, True)
        assert "changes that are not committed" in done.stderr
        if before is None:
            (repository.path / name).unlink()
        else:
            (repository.path / name).write_text(before)


@pytest.mark.parametrize("nothing", ["", "\n### Added\n\n### Fixed\n", "\nSoon.\n"])
def test_a_changelog_without_entries_is_refused(repository: Repository, nothing: str) -> None:
    changelog = repository.path / "CHANGELOG.md"
    text = changelog.read_text().replace("\n### Added\n- A thing.\n", nothing)
    changelog.write_text(text)
    repository.commit()
    refused(repository, NEXT, "has no entry")


def test_a_build_that_fails_leaves_neither_commit_nor_tag(repository: Repository) -> None:
    (repository.path / "plugins" / "amikafka-avro" / "pyproject.toml").write_text(
        f'[project]\nversion = "{__version__}"\n'
    )
    repository.commit()
    before = repository.state()
    done = repository.release(NEXT)
    assert done.returncode == 1
    assert "failed:" in done.stderr
    assert repository.state() == before

"""The packages under a real systemd: installed by apt from a signed repository, run, broken, purged.

The tests of one machine follow one another.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from ami import Driver, Flood
from asterisk import Asterisk
from booted import Booted
from conftest import or_skip
from debian import SUITES, Build, base_root, copy_of
from flow import numbers, wait_for_numbers
from kafka import Kafka, TopicReader
from machine import cache

from amikafka_tail import __version__
from tests.support.waiting import wait_for

pytestmark = pytest.mark.timeout(600)
UNIT = "amikafka"
CONFIGURATION = "/etc/asterisk/ami_kafka.conf"
PLUGINS = ("amikafka-avro", "amikafka-cloudevents", "amikafka-queuelog", "amikafka-redact")
SPEEDUPS = "amikafka-speedups"
NEWER = "0.2.0-1"
RATE = 200
# What apt and dpkg keep of any package, and what runs while we look.
NOT_OURS = (
    "/boot.log",
    *("/dev", "/mnt", "/proc", "/root", "/run", "/srv", "/sys", "/tmp"),
    *("/var/cache", "/var/log", "/var/lib/apt", "/var/lib/dpkg", "/var/lib/python", "/var/lib/systemd"),
    *(f"/etc/{name}-" for name in ("group", "gshadow", "passwd", "shadow", "subgid", "subuid")),
)


@pytest.fixture(scope="module", params=SUITES)
def build(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Build:
    suite = request.param
    return or_skip(lambda: Build(suite, tmp_path_factory.mktemp(suite)))


@pytest.fixture(scope="module")
def packages(build: Build) -> list[Path]:
    """The binary packages, built with their tests."""
    return build.make(check=True)


@pytest.fixture(scope="module")
def machine(build: Build, packages: list[Path]) -> Iterator[Booted]:
    """A fresh Debian that runs and knows the repository."""
    suite = build.root.name.split("-")[1]
    root = copy_of(base_root(suite), cache() / f"run-{suite}-{os.getpid()}")
    repository = build.repository(packages)
    shutil.copytree(repository, root / "srv/apt")
    shutil.copy(repository / "amikafka-archive-keyring.gpg", root / "usr/share/keyrings/")
    shutil.copy(repository / "amikafka.sources", root / "etc/apt/sources.list.d/")
    made = Booted(root)
    try:
        or_skip(made.start)
        made.run("apt-get", "-q", "update")
        yield made
    finally:
        made.remove()


@pytest.fixture(scope="module")
def newer(machine: Booted, build: Build, packages: list[Path]) -> list[str]:
    """The same packages as a newer version, where the machine finds them."""
    made = build.newer(packages, NEWER)
    for package in made:
        shutil.copy(package, machine.file("/srv"))
    return [f"/srv/{package.name}" for package in made]


class World:
    """A machine, the Asterisk that its daemon listens to, and the topic that it publishes to."""

    def __init__(self, machine: Booted, asterisk: Asterisk, kafka: Kafka, topic: str, suite: str) -> None:
        self.machine = machine
        self.asterisk = asterisk
        self.kafka = kafka
        self.topic = topic
        self.suite = suite
        self.has_asterisk = suite == "sid"
        self.before: set[str] = set()

    def driver(self) -> Driver:
        """Return a session that makes things happen: in sid in the machine's own Asterisk."""
        return Driver(5038, "e2e", "e2e-secret") if self.has_asterisk else self.asterisk.driver()

    def configure(self, change: Callable[[str], str]) -> None:
        """Edit the configuration in its place, as an administrator does."""
        file = self.machine.file(CONFIGURATION)
        file.write_text(change(file.read_text()))

    def received(self, series: str, flood: Flood, reader: TopicReader) -> None:
        """See that every event of a flood is in Kafka."""
        wait_for_numbers(reader, range(flood.sent), series, 90)
        reader.catch_up()
        found = numbers(reader.records, series)
        print(f"{self.suite}: {series}: {flood.sent} events, {len(found) - flood.sent} of them twice")
        assert set(found) == set(range(flood.sent))


@pytest.fixture(scope="module")
def world(machine: Booted, build: Build, asterisk: Asterisk, broker: Kafka) -> World:
    broker.start()
    suite = build.root.name.split("-")[1]
    return World(machine, asterisk, broker, broker.create_topic(f"debian-{suite}"), suite)


def files_of(machine: Booted) -> set[str]:
    """Return every file, with mode and owner, that is not apt's own."""
    prune = " -o ".join(f"-path {path}" for path in NOT_OURS)
    listed = machine.run(
        "sh", "-c", rf"find / -xdev \( {prune} -o -name __pycache__ \) -prune -o -printf '%p %M %u:%g\n'"
    )
    return set(listed.splitlines())


def active(world: World) -> bool:
    return world.machine.show(UNIT, "ActiveState") == "active"


def wait_until_active(world: World) -> None:
    wait_for(lambda: active(world), 60, "the daemon to be active")
    wait_for(lambda: world.machine.show(UNIT, "StatusText").startswith("connected"), 60, "it to be connected")


def test_the_build_gives_the_same_bytes_again_and_lintian_finds_nothing(
    build: Build, packages: list[Path]
) -> None:
    said = build.lintian()
    print(said, *(f"{package.name}: {package.stat().st_size} bytes" for package in packages), sep="\n")
    assert not re.search(r"^[EW]: ", said, re.MULTILINE), said
    first = {package.name: package.read_bytes() for package in packages}
    built_for = build.architecture()
    assert set(first) == {
        *(f"{name}_{__version__}-1_all.deb" for name in (UNIT, *PLUGINS)),
        f"{SPEEDUPS}_{__version__}-1_{built_for}.deb",
    }
    again = {package.name: package.read_bytes() for package in build.make(check=False)}
    assert [name for name in first if first[name] != again[name]] == []


def test_apt_install_makes_all_that_is_needed_and_starts_nothing(world: World) -> None:
    machine = world.machine
    # What it and its tests depend on is there already, so that what is counted below is ours alone.
    machine.run("apt-get", "-qy", "install", UNIT, "python3-all", *PLUGINS)
    machine.run("apt-get", "-qy", "purge", UNIT, SPEEDUPS, *PLUGINS)
    world.before = files_of(machine)
    started = time.monotonic()
    said = machine.run("apt-get", "-qy", "install", UNIT)
    print(f"{world.suite}: apt install took {time.monotonic() - started:.1f} s")
    assert "rror" not in said
    assert "arning" not in said.replace("debconf: warning", "")
    assert machine.run("stat", "-c", "%A %U:%G", CONFIGURATION).strip() == "-rw-r----- root:amikafka"
    assert (
        machine.run("stat", "-c", "%A %U:%G", "/var/lib/amikafka").strip() == "drwxr-x--- amikafka:amikafka"
    )
    assert machine.run("systemctl", "is-enabled", UNIT).strip() == "enabled"
    assert machine.run("systemctl", "is-active", UNIT, check=False).strip() == "inactive"
    # It comes by itself, as it is recommended.
    assert machine.run("dpkg-query", "-W", "-f", "${db:Status-Status}", SPEEDUPS) == "installed"
    assert machine.run("amikafka", "--version").endswith("speedups yes)\n")
    machine.run("apt-get", "-qy", "install", "--no-install-recommends", *PLUGINS)
    shown = machine.run("amikafka", "plugins")
    for name in ("avro", "cloudevents", "queuelog", "redact"):
        assert re.search(rf"^\w+ +{name} +{re.escape(__version__)} +amikafka-{name} ", shown, re.MULTILINE)
    machine.run("sh", "-c", "man --version >/dev/null 2>&1 || true; zcat /usr/share/man/man8/amikafka.8.gz")
    machine.run("bash", "-n", "/usr/share/bash-completion/completions/amikafka")


def test_an_asterisk_that_is_installed_later_is_joined(world: World) -> None:
    machine = world.machine
    assert machine.run("id", "-nG", UNIT).split() == [UNIT]
    assert not machine.file("/etc/asterisk/manager.d").exists()
    if not world.has_asterisk:
        return  # Debian has an asterisk package in sid alone
    machine.run("apt-get", "-qy", "install", "--no-install-recommends", "asterisk", timeout=500)
    assert "asterisk" in machine.run("id", "-nG", UNIT).split()
    ours = "/etc/asterisk/manager.d/amikafka.conf"
    assert machine.run("stat", "-c", "%A %U:%G", ours).strip() == "-rw-r----- root:asterisk"
    text = machine.file(ours).read_text()
    for line in (
        "read = all",
        "write = reporting",
        "permit = 127.0.0.1/255.255.255.255",
        "writetimeout = 60000",
    ):
        assert f"\n{line}\n" in text
    user = "[e2e]\nsecret = e2e-secret\nread = all\nwrite = all\npermit = 127.0.0.1/255.255.255.255\n"
    machine.file("/etc/asterisk/manager.d/e2e.conf").write_text(user)
    machine.run("chmod", "0644", "/etc/asterisk/manager.d/e2e.conf")
    wait_for(lambda: machine.show("asterisk", "ActiveState") == "active", 60, "Asterisk")
    machine.run("asterisk", "-rx", "manager reload")
    for priority, step in enumerate(("Answer,", "Wait,1", "Hangup,"), 1):
        machine.run("asterisk", "-rx", f"dialplan add extension 100,{priority},{step} into lab")


def entries(machine: Booted, *matches: str) -> list[dict[str, str]]:
    """Return entries of the unit's log with all their fields."""
    listed = machine.run("journalctl", "-u", UNIT, "--no-pager", "-q", "-o", "json", *matches)
    return [json.loads(line) for line in listed.splitlines()]


def test_systemctl_start_is_all_there_is(world: World) -> None:
    machine = world.machine

    def change(text: str) -> str:
        text = text.replace("brokers = localhost:9092", f"brokers = {world.kafka.bootstrap}")
        text = text.replace(";topic = asterisk_ami", f"topic = {world.topic}")
        if world.has_asterisk:
            return text  # the manager user is the package's
        return text.replace(";port = 5038 ", f"host = 127.0.0.1\nport = {world.asterisk.port} ").replace(
            ";secret = secret", f"username = {world.asterisk.user}\nsecret = {world.asterisk.secret}"
        )

    world.configure(change)
    machine.run("systemctl", "start", UNIT)
    wait_until_active(world)
    assert re.search(r"^.*amikafka 0\.1\.0 .* speedups=yes\b", machine.journal(), re.MULTILINE)
    with world.driver() as driver, world.kafka.reader(world.topic) as reader:
        driver.calls(10, 10, ["100"])
        driver.marker("calls")
        found = reader.wait_for_record(lambda record: b"E2eMarker" in record.value, 30, "the marker")
        assert found is not None
        names = [record.key for record in reader.records]
    print(f"{world.suite}: {len(names)} events of 10 calls")
    assert names.count(b"Hangup") >= 10
    headers = dict(reader.records[0].headers)
    assert headers["format"] == b"json"
    assert headers["asterisk_version"] not in (b"", b"unknown")
    assert machine.file("/var/lib/amikafka/journal").is_dir()
    # Priorities reach the journal, and our own warnings would be seen there.
    assert machine.run("journalctl", "-u", UNIT, "-p", "warning", "--no-pager", "-o", "cat", "-q") == ""
    (connected,) = entries(machine, "LOGGER=amikafka.connection")
    assert connected["MESSAGE"].startswith("connected: asterisk=127.0.0.1:")
    assert connected["AMIKAFKA_ASTERISK"].startswith("127.0.0.1:")
    assert connected["AMIKAFKA_VERSION"] == headers["asterisk_version"].decode()
    assert (connected["_TRANSPORT"], connected["SYSLOG_IDENTIFIER"]) == ("journal", UNIT)


def test_a_reload_counts_and_a_wrong_one_is_refused_with_file_and_line(world: World) -> None:
    machine = world.machine
    pid = machine.show(UNIT, "MainPID")
    world.configure(lambda text: text.replace(";log_level = info ", "log_level = debug "))
    machine.run("systemctl", "reload", UNIT)
    assert "configuration reloaded" in machine.journal()
    for level, more in (("warning", 0), ("info", 1)):
        before = machine.journal().count("configuration reloaded")
        world.configure(
            lambda text, level=level: re.sub("log_level = [a-z]+ ", f"log_level = {level} ", text)
        )
        machine.run("systemctl", "reload", UNIT)
        assert machine.journal().count("configuration reloaded") == before + more, "the new level counts"
    good = machine.file(CONFIGURATION).read_text()
    world.configure(lambda text: text.replace("[kafka]\n", "[kafka]\ntpoic = x\n"))
    line = machine.file(CONFIGURATION).read_text().splitlines().index("tpoic = x") + 1
    status, _ = machine.status_of("systemctl", "reload", UNIT)
    assert status != 0
    log = machine.run("journalctl", "-u", UNIT, "-p", "err", "--no-pager", "-o", "cat")
    assert f'{CONFIGURATION}:{line}: [kafka] tpoic: unknown option (did you mean "topic"?)' in log
    assert (machine.show(UNIT, "MainPID"), active(world)) == (pid, True)
    with world.driver() as driver, world.kafka.reader(world.topic) as reader:
        driver.marker("after-the-wrong-one")
        reader.wait_for_record(lambda record: b"after-the-wrong-one" in record.value, 30, "an event")
    machine.file(CONFIGURATION).write_text(good)
    machine.run("systemctl", "reload", UNIT)


def test_kills_restarts_and_an_upgrade_under_load_lose_nothing(world: World, newer: list[str]) -> None:
    machine = world.machine
    with world.kafka.reader(world.topic) as reader:
        with world.driver() as driver, Flood(driver, RATE, "killed") as flood:
            for _ in range(4):
                time.sleep(1)
                machine.run("systemctl", "kill", "--signal", "KILL", UNIT)
                wait_until_active(world)
        world.received("killed", flood, reader)
        with world.driver() as driver, Flood(driver, RATE, "restarted") as flood:
            for _ in range(3):
                time.sleep(1)
                machine.run("systemctl", "restart", UNIT)
            wait_until_active(world)
        world.received("restarted", flood, reader)
        keep = ("-o", "Dpkg::Options::=--force-confold")
        with world.driver() as driver, Flood(driver, RATE, "upgraded") as flood:
            time.sleep(1)
            machine.run("apt-get", "-qy", "install", *keep, *newer)
            wait_until_active(world)
            time.sleep(1)
        world.received("upgraded", flood, reader)
    assert machine.run("dpkg-query", "-W", "-f", "${Version}", UNIT) == NEWER
    text = machine.file(CONFIGURATION).read_text()
    assert f"topic = {world.topic}" in text
    assert "; newer" not in text
    assert machine.run("stat", "-c", "%A %U:%G", CONFIGURATION).strip() == "-rw-r----- root:amikafka"
    assert "there was no connection" not in machine.journal()


def test_the_watchdog_restarts_a_daemon_that_hangs(world: World) -> None:
    machine = world.machine
    directory = machine.file("/etc/systemd/system/amikafka.service.d")
    directory.mkdir()
    (directory / "watchdog.conf").write_text("[Service]\nWatchdogSec=3\n")
    machine.run("systemctl", "daemon-reload")
    machine.run("systemctl", "restart", UNIT)
    wait_until_active(world)
    pid = machine.show(UNIT, "MainPID")
    machine.run("systemctl", "kill", "--signal", "STOP", UNIT)
    wait_for(lambda: machine.show(UNIT, "MainPID") not in (pid, "0"), 40, "another process")
    wait_until_active(world)
    shutil.rmtree(directory)
    machine.run("systemctl", "daemon-reload")
    machine.run("systemctl", "restart", UNIT)


def test_the_unit_is_hardened(world: World) -> None:
    machine = world.machine
    said = machine.run("systemd-analyze", "security", "--no-pager", UNIT)
    overall = re.search(r"Overall exposure level for \S+: ([\d.]+)", said)
    assert overall is not None, said
    print(f"{world.suite}: systemd-analyze security: {overall[1]}")
    assert float(overall[1]) <= 2.0
    verified = machine.run("systemd-analyze", "verify", "--man=no", f"/usr/lib/systemd/system/{UNIT}.service")
    assert [line for line in verified.splitlines() if "amikafka" in line] == []


def test_another_instance_has_a_configuration_and_a_journal_of_its_own(world: World) -> None:
    machine = world.machine
    topic = world.kafka.create_topic(f"{world.topic}-other")
    text = machine.file(CONFIGURATION).read_text().replace(f"topic = {world.topic}", f"topic = {topic}")
    other = "/etc/asterisk/ami_kafka-other.conf"
    machine.file(other).write_text(text)
    machine.run("chown", "root:amikafka", other)
    machine.run("chmod", "0640", other)
    machine.run("systemctl", "start", "amikafka@other")
    wait_for(
        lambda: machine.show("amikafka@other", "StatusText").startswith("connected"), 40, "the other one"
    )
    with world.driver() as driver, world.kafka.reader(topic) as reader:
        driver.marker("of-the-other")
        reader.wait_for_record(lambda record: b"of-the-other" in record.value, 30, "its event")
    assert machine.file("/var/lib/amikafka/other/journal").is_dir()
    machine.run("systemctl", "stop", "amikafka@other")
    machine.file(other).unlink()


def test_the_packages_own_tests_pass(world: World, build: Build) -> None:
    machine = world.machine
    shutil.copytree(build.source / "packaging/debian/tests", machine.file("/srv/tests"), dirs_exist_ok=True)
    good = machine.file(CONFIGURATION).read_bytes()
    shipped = build.source / "etc/ami_kafka.conf"
    machine.file(CONFIGURATION).write_bytes(shipped.read_bytes())
    machine.run("systemctl", "stop", UNIT)
    try:
        machine.run("sh", "/srv/tests/commands", timeout=120)
        machine.run("sh", "/srv/tests/speedups", timeout=120)
        status, said = machine.status_of("sh", "-x", "/srv/tests/daemon", timeout=120)
        received = machine.run("cat", "/tmp/received", check=False)
        assert status == 0, f"{said}\n{received}\n{machine.journal()[-2000:]}"
    finally:
        machine.file(CONFIGURATION).write_bytes(good)
        machine.run("rm", "-rf", "/var/spool/amikafka")


@pytest.mark.usefixtures("newer")
def test_remove_keeps_what_is_there_and_purge_takes_it_all(world: World) -> None:
    machine = world.machine
    machine.run("apt-get", "-qy", "remove", UNIT)
    assert machine.run("systemctl", "is-active", UNIT, check=False).strip() == "inactive"
    assert machine.file(CONFIGURATION).exists()
    checkpoint = machine.file("/var/lib/amikafka/checkpoint.json")
    offset = json.loads(checkpoint.read_text())["offset"]
    machine.run("apt-get", "-qy", "install", "--no-install-recommends", f"/srv/{UNIT}_{NEWER}_all.deb")
    assert f"topic = {world.topic}" in machine.file(CONFIGURATION).read_text()
    machine.run("systemctl", "start", UNIT)
    wait_until_active(world)
    machine.run("systemctl", "stop", UNIT)
    assert json.loads(checkpoint.read_text())["offset"] >= offset
    machine.run("apt-get", "-qy", "purge", UNIT, SPEEDUPS, *PLUGINS)
    assert machine.status_of("getent", "passwd", UNIT)[0] != 0
    if world.has_asterisk:
        assert not machine.file("/etc/asterisk/manager.d/amikafka.conf").exists()
        see_that_a_manager_user_is_made_and_none_overwritten(machine)
        assert machine.file("/etc/asterisk/manager.d/e2e.conf").exists()
        machine.file("/etc/asterisk/manager.d/e2e.conf").unlink()
        machine.run("apt-get", "-qy", "purge", "--autoremove", "asterisk", "asterisk-*")
        left = {
            line for line in files_of(machine) - world.before if "amikafka" in line or "ami_kafka" in line
        }
    else:
        left = files_of(machine) ^ world.before
    assert left == set()


def see_that_a_manager_user_is_made_and_none_overwritten(machine: Booted) -> None:
    """Install and purge beside an Asterisk that runs, without and with a user of that name."""
    package = f"/srv/{UNIT}_{NEWER}_all.deb"
    install = ("apt-get", "-qy", "install", "--no-install-recommends", package)
    machine.run(*install)
    shown = machine.run("asterisk", "-rx", f"manager show user {UNIT}")
    assert re.search(r"read perm: .*all", shown), shown
    machine.run("apt-get", "-qy", "purge", UNIT)
    assert "There is no manager called" in machine.run("asterisk", "-rx", f"manager show user {UNIT}")
    for place in ("amikafka.conf", "others.conf"):
        file = machine.file(f"/etc/asterisk/manager.d/{place}")
        file.write_text("[amikafka]\nsecret = of-the-administrator\nread = call\n")
        for command in (install, ("apt-get", "-qy", "purge", UNIT)):
            machine.run(*command)
            assert "of-the-administrator" in file.read_text()
            assert len(list(file.parent.glob("*.conf"))) == 3  # with README.conf and e2e.conf
        file.unlink()

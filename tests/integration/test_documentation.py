"""The documentation: no dead link, no command and no configuration that does not work, nothing made up."""

from __future__ import annotations

import argparse
import contextlib
import gzip
import importlib.metadata
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml
from prometheus_client.core import CounterMetricFamily

from amikafka_tail import cli
from amikafka_tail.config import dialect, settings
from amikafka_tail.daemon.status import prometheus
from amikafka_tail.model.errors import ConfigError
from amikafka_tail.plugins import loader
from tests.support.markdown import (
    GUIDES,
    PAGES,
    PROJECT,
    Block,
    anchors,
    blocks,
    commands,
    links,
    prose,
)
from tests.support.waiting import BOUND
from tests.unit.daemon.status.snapshots import WELL

OPERATIONS = PROJECT / "docs" / "operations.md"
CONTAINER = PROJECT / "examples" / "container"
OTHER_FILES = {"amikafka", "modules", "Unit", "Service", "Install"}
"""Sections that are not of ami_kafka.conf: of manager.conf, of modules.conf, of units."""


def names(pages: list[Path]) -> list[str]:
    return [str(page.relative_to(PROJECT)) for page in pages]


def found(*languages: str) -> list[Block]:
    return [block for page in GUIDES for block in blocks(page, *languages)]


@pytest.mark.parametrize("page", PAGES, ids=names(PAGES))
def test_no_link_is_dead(page: Path) -> None:
    dead = []
    for link in links(page):
        if "://" in link:
            parts = urlsplit(link)
            if parts.scheme not in ("http", "https") or "." not in (parts.hostname or ""):
                dead.append(link)
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            dead.append(link)
    assert dead == []


def test_every_page_can_be_found() -> None:
    """Each is in the table of the first page, or a decision."""
    named = {(PROJECT / "docs" / link).resolve() for link in links(PROJECT / "docs" / "index.md")}
    missing = [page for page in PROJECT.glob("docs/*.md") if page.name != "index.md" and page not in named]
    assert names(missing) == []


# Commands


def typed() -> Iterator[tuple[str, str]]:
    """Yield each command line of amikafka in a block, with where it stands."""
    for block in found("", "console", "sh"):
        for line in commands(block):
            for part in re.split(r"&&|\|(?!\|)", line):
                words = re.sub(r".*\b(?:docker(?: compose -f \S+)?|kubectl) exec \S+(?: --)? ", "", part)
                words = re.sub(r".*\bdocker run .* amikafka (?=\w)", "amikafka ", words)
                if words.strip().startswith(("amikafka ", "/opt/amikafka/bin/amikafka ")):
                    yield words.strip(), str(block)


@pytest.mark.parametrize(("line", "where"), sorted(set(typed())))
def test_every_command_line_is_one(line: str, where: str) -> None:
    arguments = shlex.split(line, comments=True)[1:]
    with contextlib.redirect_stderr(None):
        try:
            cli._parser().parse_args(arguments)
        except SystemExit as end:
            pytest.fail(f"{where}: {line}: exit code {end.code}")


def test_command_lines_are_found() -> None:
    lines = {line for line, _ in typed()}
    assert len(lines) > 15
    assert "amikafka topic create --partitions 6 --retention 7d" in lines


def test_every_command_that_is_named_is_one() -> None:
    """In the text: `amikafka COMMAND`, and its options as far as they are named."""
    wrong = []
    for page in GUIDES:
        for said in re.findall(r"`amikafka ([a-z][^`]*)`", prose(page)):
            parser = cli._parser()
            for word in re.sub(r"[\[\]]|\\\|.*", "", said).split():
                choices = subcommands(parser)
                if word in choices:
                    parser = choices[word]
                elif choices and word.islower() and not word.startswith("-"):
                    wrong.append(f"{page.name}: amikafka {said}")
                elif word.startswith("-") and word != "-" and word not in parser._option_string_actions:
                    wrong.append(f"{page.name}: amikafka {said}: {word}")
    assert wrong == []


def subcommands(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            return action.choices
    return {}


# Configuration


def configurations() -> list[Block]:
    """Return the blocks that are of ami_kafka.conf."""
    ours = []
    for block in found("ini"):
        sections = set(re.findall(r"^\[(\w+)\]", block.text, re.MULTILINE))
        of_another = re.match(r"; (\S+\.conf)", block.text)
        if not of_another and not sections & OTHER_FILES:
            ours.append(block)
    return ours


@pytest.mark.parametrize("block", configurations(), ids=str)
def test_every_configuration_is_right(block: Block, tmp_path: Path) -> None:
    load(block.text, tmp_path)


def load(text: str, directory: Path) -> settings.Settings:
    """Read a configuration as `amikafka check` does, where the files are that it names."""
    (directory / "secret").write_text("s3cret\n")
    (directory / "kafka.conf").write_text("[my-kafka]\ntype = connection\nbrokers = k1:9092\n")
    (directory / "ami_kafka.conf").write_text("[kafka]\nconnection = my-kafka\n")
    file = directory / "example.conf"
    file.write_text(re.sub(r"(sasl_password_file = )\S+", rf"\1{directory}/secret", text))
    try:
        return settings.load(file, loader.load(), need_source=False)
    except ConfigError as error:
        pytest.fail("\n".join(map(str, error.problems)))


def test_the_second_topic_of_a_migration_is_all_that_differs(tmp_path: Path) -> None:
    (block,) = [each for each in configurations() if "#include" in each.text]
    loaded = load(block.text, tmp_path)
    assert loaded.topic == "asterisk_ami_new"
    assert loaded.properties["bootstrap.servers"] == "k1:9092", "that of the included file"


def test_the_manager_user_is_found_where_freepbx_has_it(tmp_path: Path) -> None:
    script = next(
        block.text for block in blocks(PROJECT / "docs" / "freepbx.md", "") if "<<EOT" in block.text
    )
    user = script.partition("<<EOT\n")[2].partition("EOT\n")[0].replace("$secret", "s3cret")
    (tmp_path / "manager.conf").write_text(
        "[general]\nenabled = yes\nport = 5038\nbindaddr = 0.0.0.0\n"
        "#include manager_additional.conf\n#include manager_custom.conf\n"
    )
    (tmp_path / "manager_additional.conf").write_text("")
    (tmp_path / "manager_custom.conf").write_text(user)
    file = tmp_path / "ami_kafka.conf"
    file.write_text("[general]\n")
    options = settings.load(file, loader.load()).source_options
    assert (options.username, options.secret) == ("amikafka", "s3cret")
    assert (options.host, options.port) == ("127.0.0.1", 5038)


def test_configurations_are_found() -> None:
    assert len(configurations()) > 10


@pytest.mark.parametrize("block", [block for block in found("ini") if block not in configurations()], ids=str)
def test_what_is_of_another_file_can_be_read(block: Block) -> None:
    if "Service" in block.text:
        assert all(re.match(r"\[\w+\]$|\w+=|#|$", line) for line in block.text.splitlines())
        return
    text = re.sub(r"^\[(\w+)\]\(\+\)", r"[\1]\n[\1](+)", block.text, flags=re.MULTILINE)
    text = f"[logfiles]\n{text}"  # of logger.conf lines are shown without their section
    document = dialect.parse(Path("other.conf"), lambda _path: text, lambda _pattern: [])
    assert document.problems == []
    assert any(section.lines for section in document.sections)


@pytest.mark.parametrize("block", found("json"), ids=str)
def test_every_json_is_json(block: Block) -> None:
    for text in block.text.strip().split("\n}\n{") if block.text.startswith("{\n") else [block.text]:
        json.loads(text)


# Operations


def test_every_metric_that_is_named_is_one() -> None:
    real = {
        f"{metric.name}_total" if isinstance(metric, CounterMetricFamily) else metric.name
        for metric in prometheus.metrics(WELL)
    }
    for page in GUIDES:
        named = set(re.findall(r"\bamikafka_[a-z_]+\b", page.read_text())) - {"amikafka_tail"}
        named -= {f"amikafka_{plugin}" for plugin in ("avro", "cloudevents", "queuelog", "redact", "line")}
        assert named - real == set(), page.name


def test_every_alert_is_explained_and_no_other() -> None:
    rules = (PROJECT / "examples" / "prometheus" / "amikafka-alerts.yml").read_text()
    shipped = set(re.findall(r"^\s*-? *alert: (\w+)$", rules, re.MULTILINE))
    assert shipped
    section = OPERATIONS.read_text().partition("\n## The alerts\n")[2].partition("\n## ")[0]
    assert set(re.findall(r"^\| `(\w+)`", section, re.MULTILINE)) == shipped


def test_the_sizes_of_the_journal_are_right() -> None:
    section = OPERATIONS.read_text().partition("\n## Sizing the journal\n")[2].partition("\n## ")[0]
    rows = [row.strip("| ").split(" | ") for row in section.splitlines() if re.match(r"\| [\d,]+ \|", row)]
    assert len(rows) == 5
    for row in rows:
        rate, hour, day, lasts, weekend = (float(cell.replace(",", "").split()[0]) for cell in row)
        per_second = rate * 500
        assert hour == pytest.approx(per_second * 3600 / 1e6)
        assert day == pytest.approx(per_second * 86400 / 1e9, rel=0.03)
        assert lasts == pytest.approx((10 << 30) / per_second / 3600, rel=0.03)
        assert weekend == pytest.approx(per_second * 60 * 3600 / 1e9, rel=0.03)


def test_the_mean_size_of_an_event_is_as_the_guide_says() -> None:
    recording = gzip.decompress((PROJECT / "amikafka_tail" / "data" / "demo.ami.gz").read_bytes())
    mean = len(recording) / recording.count(b"\r\n\r\n")
    assert mean + 16 == pytest.approx(500, rel=0.15), "16 bytes note when it came"


def test_every_exit_code_of_the_manual_that_a_daemon_has_is_explained() -> None:
    section = OPERATIONS.read_text().partition("\n## It does not start\n")[2].partition("\n## ")[0]
    explained = set(map(int, re.findall(r"^\| (\d+) \|", section, re.MULTILINE)))
    manual = (PROJECT / "docs" / "man" / "amikafka.8").read_text().partition(".SH EXIT STATUS")[2]
    assert explained <= set(map(int, re.findall(r"^(\d+)$", manual, re.MULTILINE)))
    assert {os.EX_CONFIG, os.EX_CANTCREAT, os.EX_SOFTWARE} <= explained


# Examples


def test_the_container_s_configuration_is_right(tmp_path: Path) -> None:
    loaded = load((CONTAINER / "ami_kafka.conf").read_text(), tmp_path)
    assert loaded.overrides.entity_id, "in a container it must be set"


def test_the_files_for_compose_and_kubernetes_fit_the_image(tmp_path: Path) -> None:
    compose = yaml.safe_load((CONTAINER / "compose.yaml").read_text())
    (service,) = compose["services"].values()
    assert (CONTAINER / service["build"]["context"] / service["build"]["dockerfile"]).exists()
    assert {each["source"] for each in service["secrets"]} == set(compose["secrets"])
    volumes = [volume.partition(":")[0] for volume in service["volumes"] if not volume.startswith("./")]
    assert set(volumes) == set(compose["volumes"])

    configuration, stateful = yaml.safe_load_all((CONTAINER / "kubernetes.yaml").read_text())
    (tmp_path / "k8s").mkdir()
    loaded = load(configuration["data"]["ami_kafka.conf"], tmp_path / "k8s")
    pod = stateful["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert mounts["journal"] == str(loaded.journal.directory)
    assert str(loaded.source_options.secret_file).startswith(mounts["secrets"] + "/")
    (claim,) = stateful["spec"]["volumeClaimTemplates"]
    assert int(claim["spec"]["resources"]["requests"]["storage"].removesuffix("Gi")) << 30 > (
        loaded.journal.max_bytes + (128 << 20)
    )
    (port,) = container["ports"]
    assert loaded.metrics.address == ("0.0.0.0", port["containerPort"])
    assert container["livenessProbe"]["httpGet"]["path"] == "/metrics"
    assert container["readinessProbe"]["httpGet"]["path"] == "/healthz"
    instructions = (CONTAINER / "Dockerfile").read_text()
    assert f"--uid {pod['securityContext']['runAsUser']} " in instructions


@pytest.mark.timeout(600)
def test_what_the_dockerfile_copies_can_be_installed(tmp_path: Path) -> None:
    """The essence of its RUN: nothing that pip needs is left out of the COPY lines."""
    instructions = (CONTAINER / "Dockerfile").read_text()
    for line in re.findall(r"^COPY (.+)$", instructions, re.MULTILINE):
        *sources, to = line.split()
        for source in sources:
            target = tmp_path / "src" / (Path(source).name if to == "./" else to)
            target.parent.mkdir(exist_ok=True)
            copy = shutil.copytree if (PROJECT / source).is_dir() else shutil.copy
            copy(PROJECT / source, target)
    (wanted,) = re.findall(r"^RUN pip install --no-cache-dir '(.+)'$", instructions, re.MULTILINE)
    extras = set(wanted.removeprefix(".[").removesuffix("]").split(","))
    assert extras <= set(importlib.metadata.metadata("amikafka-tail").get_all("Provides-Extra") or [])
    place = tmp_path / "installed"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(place), "."]
    subprocess.run(pip, cwd=tmp_path / "src", check=True, timeout=400)
    demo = [sys.executable, "-m", "amikafka_tail", "demo", "--events", "3", "--rate", "0"]
    environment = {**os.environ, "PYTHONPATH": str(place), "AMIKAFKA_LOAD_PLUGINS": ""}
    done = subprocess.run(
        demo, cwd=place, env=environment, capture_output=True, text=True, timeout=BOUND, check=True
    )
    assert "3 events read, 3 sent, 3 received" in done.stdout

"""A real Prometheus, with the configuration and the rules of examples/, made quick."""

from __future__ import annotations

import json
import re
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

from machine import free_port, need_program

from tests.support.examples import EXAMPLES, RULES
from tests.support.waiting import wait_for

PACKAGE = "prometheus"
SCRAPE_SECONDS = 0.5
CONFIGURATION = EXAMPLES / "prometheus" / "prometheus.yml"


def promtool(*arguments: str | Path, text: str | None = None) -> tuple[int, str]:
    """Run it; return its exit status and what it printed."""
    done = subprocess.run(
        [need_program("promtool", PACKAGE), *map(str, arguments)],
        input=text,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
    )
    return done.returncode, done.stdout


class Prometheus:
    """Scrapes one daemon. An alert that waits for minutes waits for a second here."""

    def __init__(self, directory: Path, target: str) -> None:
        directory.mkdir()
        self._directory = directory
        self._address = f"127.0.0.1:{free_port()}"
        self._process: subprocess.Popen[bytes] | None = None
        text = re.sub(
            r"_interval: \d+s", f"_interval: {round(SCRAPE_SECONDS * 1000)}ms", CONFIGURATION.read_text()
        )
        assert "127.0.0.1:9768" in text
        (directory / "prometheus.yml").write_text(text.replace("- 127.0.0.1:9768", f"- {target}"))
        (directory / "amikafka-alerts.yml").write_text(re.sub(r"for: \d+m", "for: 1s", RULES))

    def start(self) -> Prometheus:
        """Start it and wait until it serves."""
        with (self._directory / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [
                    need_program("prometheus", PACKAGE),
                    f"--config.file={self._directory / 'prometheus.yml'}",
                    f"--storage.tsdb.path={self._directory / 'data'}",
                    f"--web.listen-address={self._address}",
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        wait_for(self._is_ready, 30, "Prometheus to be ready")
        return self

    def _is_ready(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self._directory / "log").read_text()[-2000:]
        try:
            with urllib.request.urlopen(f"http://{self._address}/-/ready", timeout=5) as answer:
                return answer.status == 200
        except OSError:
            return False

    def ask(self, path: str, **parameters: str) -> Any:
        """Return what its HTTP API answers. Raises `AssertionError` with its error."""
        url = f"http://{self._address}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(url, timeout=20) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            with error:
                raise AssertionError(f"{parameters}: {json.load(error)['error']}") from None

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Return the series of an expression at present: `metric` has the labels, `value` the value."""
        found: list[dict[str, Any]] = self.ask("query", query=expression)["result"]
        return found

    def rules(self) -> list[dict[str, Any]]:
        """Return the rules as they were evaluated last."""
        (group,) = self.ask("rules")["groups"]
        found: list[dict[str, Any]] = group["rules"]
        return found

    def stop(self) -> None:
        """End it."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

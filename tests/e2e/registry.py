"""A real schema registry: Apicurio on loopback, its schemas in memory, from what Maven fetches once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import urllib.error
import urllib.request
from pathlib import Path

from machine import fetched, free_port, need_program

from tests.support.waiting import wait_for

JAVA_OPTIONS = ("-Xmx320m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData")
MAIN = "io.quarkus.runner.GeneratedMain"
API = "/apis/ccompat/v7"
"""Where it speaks Confluent's API."""


def registry_files() -> Path:
    """Return the directory with the registry's jars, fetched now if it is not there."""
    return fetched("registry")


class Registry:
    """A registry that can be stopped and started again, empty then."""

    def __init__(self, files: Path, directory: Path) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}{API}"
        self.log = directory / "registry.log"
        self._files = files
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it serves."""
        (runner,) = self._files.glob("*-runner.jar")
        environment = {**os.environ, "QUARKUS_HTTP_HOST": "127.0.0.1", "QUARKUS_HTTP_PORT": str(self.port)}
        java = need_program("java", "default-jre-headless")
        with self.log.open("ab") as out:
            self._process = subprocess.Popen(
                [java, *JAVA_OPTIONS, "-cp", f"{runner}:{self._files}/lib/*", MAIN],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
        wait_for(self._serves, 60, f"the registry to serve, see {self.log}", 0.2)

    def stop(self) -> None:
        """End it."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
            self._process = None

    def refuse_incompatible(self) -> None:
        """Let it refuse schemas that readers of the one before could not read."""
        body = json.dumps({"compatibility": "BACKWARD"}).encode()
        headers = {"Content-Type": "application/vnd.schemaregistry.v1+json"}
        request = urllib.request.Request(f"{self.url}/config", data=body, method="PUT", headers=headers)
        with urllib.request.urlopen(request, timeout=10) as answer:
            assert answer.status == 200

    def subjects(self) -> list[str]:
        """Return what is registered."""
        with urllib.request.urlopen(f"{self.url}/subjects", timeout=10) as answer:
            return sorted(json.load(answer))

    def _serves(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, f"it ended: {self.log.read_text(errors='replace')[-2000:]}"
        try:
            self.subjects()
        except (urllib.error.URLError, OSError):
            return False
        return True

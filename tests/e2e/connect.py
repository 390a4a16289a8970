"""The real Kafka Connect: a standalone worker on loopback, from what Maven fetches once."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

from kafka import JAVA_OPTIONS, LOG4J
from machine import alone, cache, free_port, need_program, run_logged

POM = Path(__file__).with_name("connect-pom.xml")
MAIN = "org.apache.kafka.connect.cli.ConnectStandalone"


def connect_jars() -> Path:
    """Return the directory with Connect's jars, fetched now if it is not there."""
    need_program("java", "default-jre-headless")
    version = re.search(r"<kafka.version>(.+?)<", POM.read_text())
    assert version is not None
    jars = cache() / f"connect-{version[1]}"
    with alone("connect"):
        if not jars.exists():
            maven = need_program("mvn", "maven")
            making = jars.with_name(f"{jars.name}.making")
            shutil.rmtree(making, ignore_errors=True)
            command = [maven, "-q", "-B", "-f", str(POM), "dependency:copy-dependencies"]
            run_logged([*command, f"-DoutputDirectory={making}"], cache() / "connect.log", 900)
            making.rename(jars)
    return jars


class Worker:
    """A worker with one connector. `worker` and `connector` are the text of their files."""

    def __init__(self, jars: Path, directory: Path, bootstrap: str, worker: str, connector: str) -> None:
        directory.mkdir()
        self.log = directory / "connect.log"
        (directory / "log4j2.properties").write_text(LOG4J)
        (directory / "worker.properties").write_text(
            f"bootstrap.servers={bootstrap}\n"
            f"offset.storage.file.filename={directory}/offsets\n"
            f"listeners=http://127.0.0.1:{free_port()}\n"
            "consumer.auto.offset.reset=earliest\n" + worker
        )
        (directory / "connector.properties").write_text(connector)
        self._command = [
            need_program("java", "default-jre-headless"),
            *JAVA_OPTIONS,
            f"-Dlog4j2.configurationFile={directory}/log4j2.properties",
            *("-cp", f"{jars}/*", MAIN),
            *(f"{directory}/worker.properties", f"{directory}/connector.properties"),
        ]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it. Returns at once."""
        with self.log.open("wb") as out:
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True
            )

    @property
    def running(self) -> bool:
        """Whether its process is there."""
        return self._process is not None and self._process.poll() is None

    def stop(self) -> None:
        """End it."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

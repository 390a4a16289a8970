"""The real Kafka Connect: a standalone worker on loopback, from what Maven fetches once."""

from __future__ import annotations

import subprocess
from pathlib import Path

from kafka import JAVA_OPTIONS, LOG4J
from machine import fetched, free_port, need_program

MAIN = "org.apache.kafka.connect.cli.ConnectStandalone"


def connect_jars() -> Path:
    """Return the directory with Connect's jars, fetched now if it is not there."""
    return fetched("connect")


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

"""The daemon's status socket and metrics, driven by the main loop."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from amikafka_tail.config.settings import Settings
from amikafka_tail.daemon.status.gather import Daemon, Gatherer
from amikafka_tail.daemon.status.http_server import MetricsServer
from amikafka_tail.daemon.status.main_loop_queries import MainLoopQueries
from amikafka_tail.daemon.status.server import NAME, StatusServer, runtime_directory
from amikafka_tail.daemon.status.snapshot import Snapshot
from amikafka_tail.daemon.status.statistics import Statistics
from amikafka_tail.model.counters import Counters

LOOK_SECONDS = 1.0


class Endpoints:
    """The endpoints of one daemon. `wake` ends the main loop's wait; `environment` locates the socket."""

    def __init__(
        self,
        settings: Settings,
        counters: Counters,
        *,
        wake: Callable[[], None],
        environment: Mapping[str, str],
    ) -> None:
        self.statistics = Statistics()
        self._queries: MainLoopQueries[Snapshot] = MainLoopQueries(wake)
        self._gatherer = Gatherer(counters, self.statistics)
        directory = runtime_directory(environment) or settings.journal.directory
        self._server = StatusServer(directory / NAME, self._queries.ask)
        self._options = settings.metrics
        self._metrics: MetricsServer | None = None
        self._next_look = 0.0

    def start(self) -> None:
        """Start the servers."""
        self._server.start()
        self._listen()

    def reload(self, settings: Settings) -> None:
        """Serve metrics at the address in the new settings."""
        if settings.metrics != self._options:
            self._options = settings.metrics
            if self._metrics is not None:
                self._metrics.stop()
                self._metrics = None
            self._listen()

    def tick(self, daemon: Daemon) -> None:
        """Sample the state and answer queries. Called by the main loop every round."""
        self._queries.answer(lambda: self._gatherer.snapshot(daemon))
        now = time.monotonic()
        if now >= self._next_look:
            self._next_look = now + LOOK_SECONDS
            self._gatherer.look(daemon)

    def stop(self) -> None:
        """Stop the servers."""
        self._server.stop()
        if self._metrics is not None:
            self._metrics.stop()

    def _listen(self) -> None:
        if self._options.listen:
            self._metrics = MetricsServer(self._options, self._queries.ask)
            self._metrics.start()

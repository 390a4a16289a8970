"""Serves metrics and a health check over HTTP, for Prometheus and load balancers."""

from __future__ import annotations

import importlib.util
import logging
import socket
import socketserver
import threading
from collections.abc import Callable, Iterable
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from amikafka_tail.config.settings import MetricsSettings
from amikafka_tail.daemon.status.main_loop_queries import NoAnswerError
from amikafka_tail.daemon.status.snapshot import Snapshot

ANSWER_SECONDS = 10.0
"""How long the main loop may take to answer."""
REQUEST_SECONDS = 10.0
"""How long a client may take to send its request."""
TEXT = "text/plain; charset=utf-8"

log = logging.getLogger("amikafka.metrics")


def is_available() -> bool:
    """Return whether prometheus_client is installed."""
    return importlib.util.find_spec("prometheus_client") is not None


def unhealthy(snapshot: Snapshot, most_lag: float) -> list[str]:
    """Return why the daemon is not healthy, empty if it is. `most_lag` is in seconds."""
    reasons = []
    if snapshot.lag.seconds > most_lag:
        reasons.append(
            f"{snapshot.lag.seconds:.0f} s behind (more than [metrics] max_lag = {most_lag:g}): Kafka:"
            f" {snapshot.kafka.state}"
        )
    if not snapshot.source.healthy:
        reasons.append(f"source {snapshot.source.name}: {snapshot.source.state}")
    return reasons


class _Server(socketserver.ThreadingMixIn, WSGIServer):
    daemon_threads = True

    def server_bind(self) -> None:
        # Not HTTPServer's method, which does a DNS lookup.
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])
        self.setup_environ()

    def handle_error(self, request: object, client_address: object) -> None:
        """Log nothing: a client has disconnected."""


class _Server6(_Server):
    address_family = socket.AF_INET6


class _Handler(WSGIRequestHandler):
    timeout = REQUEST_SECONDS

    def log_message(self, format: str, *arguments: object) -> None:
        """Log nothing for each scrape."""


class MetricsServer:
    """Serves `/metrics` and `/healthz`. An unusable address is only a warning."""

    def __init__(self, options: MetricsSettings, ask: Callable[[float], Snapshot]) -> None:
        self._options = options
        self._ask = ask
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start listening."""
        host, port = self._options.address
        kind = _Server6 if ":" in host else _Server
        try:
            self._server = kind((host, port), _Handler)
        except OSError as error:
            log.warning(
                "[metrics] listen = %s cannot be used: %s: no metrics are served",
                self._options.listen,
                error.strerror or error,
            )
            return
        self._server.set_app(self._application)
        self._thread = threading.Thread(target=self._server.serve_forever, name="metrics", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop the server."""
        if self._server is not None and self._thread is not None:
            self._server.shutdown()
            self._thread.join(2)
            self._server.server_close()

    def _application(self, environ: dict[str, Any], start_response: Callable[..., object]) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "/")
        if path not in ("/metrics", "/healthz"):
            start_response("404 Not Found", [("Content-Type", TEXT)])
            return [b"Not found. Available: /metrics and /healthz.\n"]
        try:
            snapshot = self._ask(ANSWER_SECONDS)
        except NoAnswerError as error:
            start_response("503 Service Unavailable", [("Content-Type", TEXT)])
            return [f"{error}\n".encode()]
        if path == "/healthz":
            reasons = unhealthy(snapshot, self._options.max_lag)
            start_response("503 Service Unavailable" if reasons else "200 OK", [("Content-Type", TEXT)])
            return ["".join(f"{reason}\n" for reason in reasons or ["ok"]).encode()]
        from amikafka_tail.daemon.status import prometheus  # noqa: PLC0415 - it may not be installed

        kind, body = prometheus.render(snapshot, environ.get("HTTP_ACCEPT", ""))
        start_response("200 OK", [("Content-Type", kind)])
        return [body]

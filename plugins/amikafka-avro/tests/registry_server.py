"""A schema registry in a thread: what the documented REST API says of registering and looking up."""

from __future__ import annotations

import base64
import json
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any
from urllib.parse import unquote


class RegistryServer:
    """Runs while it is entered. A test may change how it behaves between two requests."""

    def __init__(self, port: int = 0, tls: ssl.SSLContext | None = None) -> None:
        self.schemas: list[str] = []
        self.subjects: dict[str, list[int]] = {}
        self.requests: list[str] = []
        self.credentials: str | None = None
        """`user:password` that is asked for."""
        self.refusal: tuple[int, bytes] | None = None
        """What every request is answered with instead."""
        self.release = threading.Event()
        """Requests wait for it."""
        self.release.set()
        self._server = ThreadingHTTPServer(("127.0.0.1", port), self._handler())
        self.port = self._server.server_address[1]
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)

    def __enter__(self) -> RegistryServer:
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release.set()
        self._server.shutdown()
        self._server.server_close()

    def answer(self, method: str, path: list[str], body: Any) -> tuple[int, Any]:
        match (method, path):
            case ("POST", ["subjects", subject, "versions"]):
                return 200, {"id": self._register(subject, body["schema"])}
            case ("POST", ["subjects", subject]):
                return self._look_up(subject, body["schema"])
            case ("GET", ["schemas", "ids", number]) if 0 < int(number) <= len(self.schemas):
                return 200, {"schema": self.schemas[int(number) - 1]}
            case ("GET", ["schemas", "ids", _]):
                return 404, {"error_code": 40403, "message": "Schema not found"}
            case ("GET", ["subjects"]):
                return 200, sorted(self.subjects)
        return 404, {"error_code": 404, "message": "HTTP 404 Not Found"}

    def _register(self, subject: str, schema: str) -> int:
        if schema not in self.schemas:
            self.schemas.append(schema)
        number = self.schemas.index(schema) + 1
        versions = self.subjects.setdefault(subject, [])
        if number not in versions:
            versions.append(number)
        return number

    def _look_up(self, subject: str, schema: str) -> tuple[int, Any]:
        if subject not in self.subjects:
            return 404, {"error_code": 40401, "message": f"Subject '{subject}' not found."}
        number = self.schemas.index(schema) + 1 if schema in self.schemas else 0
        if number not in self.subjects[subject]:
            return 404, {"error_code": 40403, "message": "Schema not found"}
        version = self.subjects[subject].index(number) + 1
        return 200, {"subject": subject, "id": number, "version": version, "schema": schema}

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._serve("GET")

            def do_POST(self) -> None:
                self._serve("POST")

            def _serve(self, method: str) -> None:
                server.requests.append(f"{method} {self.path}")
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                server.release.wait(10)
                wanted = server.credentials and base64.b64encode(server.credentials.encode()).decode()
                if server.refusal is not None:
                    status, data = server.refusal
                elif wanted and self.headers.get("Authorization") != f"Basic {wanted}":
                    status, data = 401, b'{"error_code":401,"message":"Unauthorized"}'
                else:
                    path = [unquote(part) for part in self.path.partition("?")[0].strip("/").split("/")]
                    status, made = server.answer(method, path, json.loads(body or b"null"))
                    data = json.dumps(made).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/vnd.schemaregistry.v1+json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, format: str, *arguments: Any) -> None:
                pass

        return Handler

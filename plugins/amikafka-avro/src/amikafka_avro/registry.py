"""A client for schema registries with Confluent's REST API (also Apicurio, Karapace, Redpanda).

Requests run in a thread of their own, so that nothing else waits for them.
"""

from __future__ import annotations

import base64
import functools
import json
import ssl
import threading
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from amikafka_tail.api import TryLater

CONTENT_TYPE = "application/vnd.schemaregistry.v1+json"
MAX_ANSWER = 1024 * 1024
Key = tuple[str, str]


@dataclass(frozen=True, kw_only=True)
class Connection:
    """The address of a registry and how to log in."""

    urls: tuple[str, ...]
    register: bool
    """Whether to register a schema that the registry does not have, or only look it up."""
    username: str = ""
    password: str = field(default="", repr=False)
    tls_ca: Path | None = None
    tls_certificate: Path | None = None
    tls_key: Path | None = None
    tls_verify: bool = True
    timeout: float = 5.0


class Registry:
    """Returns the ids of schemas. Each is requested once in the life of the process."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._lock = threading.Lock()
        self._ids: dict[Key, int] = {}
        self._queries: set[Key] = set()
        self._problems: dict[Key, str] = {}
        self._tls: ssl.SSLContext | None = None

    def id_of(self, subject: str, schema: str) -> int:
        """Return the id of a schema. Never blocks: raises `TryLater` until the registry has answered."""
        key = (subject, schema)
        found = self._ids.get(key)
        if found is not None:
            return found
        with self._lock:
            if key not in self._queries:
                self._queries.add(key)
                threading.Thread(target=self._ask, args=(key,), name="schema-registry", daemon=True).start()
            problem = self._problems.get(key)
        raise TryLater(problem or f"waiting for the schema registry to return the id of {subject}")

    def _ask(self, key: Key) -> None:
        """Query one server after the other until one answers."""
        problems = []
        for url in self._connection.urls:
            try:
                found = self._post(url, key)
            except urllib.error.HTTPError as error:
                problems.append(f"{url}: {_explain(error, key[0])}")
            except urllib.error.URLError as error:
                problems.append(f"{url}: {error.reason}")
            except Exception as error:
                problems.append(f"{url}: {type(error).__name__}: {error}")
            else:
                with self._lock:
                    self._ids[key] = found
                    self._problems.pop(key, None)
                    self._queries.discard(key)
                return
        with self._lock:
            self._problems[key] = f"schema registry: {'; '.join(problems)}"
            self._queries.discard(key)

    def _post(self, url: str, key: Key) -> int:
        subject, schema = key
        path = f"/subjects/{urllib.parse.quote(subject, safe='')}"
        if self._connection.register:
            path += "/versions"
        request = urllib.request.Request(
            url.rstrip("/") + path,
            data=json.dumps({"schema": schema}).encode(),
            headers={"Content-Type": CONTENT_TYPE, "Accept": f"{CONTENT_TYPE}, application/json"},
        )
        if self._connection.username:
            pair = f"{self._connection.username}:{self._connection.password}".encode()
            request.add_header("Authorization", f"Basic {base64.b64encode(pair).decode()}")
        with urllib.request.urlopen(
            request, timeout=self._connection.timeout, context=self._context(url)
        ) as answer:
            found: Any = json.loads(answer.read(MAX_ANSWER))["id"]
        if not isinstance(found, int) or not 0 <= found < 1 << 32:
            raise ValueError(f"the id {found!r} is not a 32-bit number")
        return found

    def _context(self, url: str) -> ssl.SSLContext | None:
        if not url.startswith("https:"):
            return None
        if self._tls is None:
            self._tls = tls_context(self._connection)
        return self._tls


def tls_context(connection: Connection) -> ssl.SSLContext:
    """Return the TLS context. Raises `OSError` for unusable files."""
    context = ssl.create_default_context(cafile=connection.tls_ca)
    if not connection.tls_verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if connection.tls_certificate is not None:
        context.load_cert_chain(connection.tls_certificate, connection.tls_key)
    return context


@functools.lru_cache(maxsize=16)
def shared(connection: Connection) -> Registry:
    """Return the one registry of a connection; its ids are shared by every Asterisk and reload."""
    return Registry(connection)


def _explain(error: urllib.error.HTTPError, subject: str) -> str:
    """Return what an error response means, and what to do about it."""
    try:
        said = json.loads(error.read(MAX_ANSWER))["message"]
    except Exception:  # not every server and proxy follows the API
        said = error.reason
    remedy = {
        401: ": check username and password in [avro]",
        403: ": check that this user may write to the subject",
        404: f": the schema is not registered under {subject}: register it, or set register = yes",
        409: f": it is not compatible with {subject}: change the schema, or the subject's compatibility rule",
    }.get(error.code, "")
    return f"{error.code} {said}{remedy}"

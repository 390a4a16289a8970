"""A schema registry: Confluent's REST API, which Apicurio, Karapace and Redpanda speak too.

It is asked from a thread of its own, so that nothing else waits for it.
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
    """Where a registry is and how to get in."""

    urls: tuple[str, ...]
    register: bool
    """Whether a schema that the registry does not have is registered, or only looked up."""
    username: str = ""
    password: str = field(default="", repr=False)
    tls_ca: Path | None = None
    tls_certificate: Path | None = None
    tls_key: Path | None = None
    tls_verify: bool = True
    timeout: float = 5.0


class Registry:
    """Gives the ids of schemas. Each is asked for once in the life of the process."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._lock = threading.Lock()
        self._ids: dict[Key, int] = {}
        self._queries: set[Key] = set()
        self._problems: dict[Key, str] = {}
        self._tls: ssl.SSLContext | None = None

    def id_of(self, subject: str, schema: str) -> int:
        """Return the id of a schema. Never waits: raises `TryLater` while the registry is asked for it."""
        key = (subject, schema)
        found = self._ids.get(key)
        if found is not None:
            return found
        with self._lock:
            if key not in self._queries:
                self._queries.add(key)
                threading.Thread(target=self._ask, args=(key,), name="schema-registry", daemon=True).start()
            problem = self._problems.get(key)
        raise TryLater(problem or f"the schema registry is asked for the id of {subject}")

    def _ask(self, key: Key) -> None:
        """Ask one server after the other until one answers."""
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
            raise ValueError(f"the id {found!r} is no number of 32 bits")
        return found

    def _context(self, url: str) -> ssl.SSLContext | None:
        if not url.startswith("https:"):
            return None
        if self._tls is None:
            self._tls = tls_context(self._connection)
        return self._tls


def tls_context(connection: Connection) -> ssl.SSLContext:
    """Return how to speak TLS. Raises `OSError` for files that cannot be used."""
    context = ssl.create_default_context(cafile=connection.tls_ca)
    if not connection.tls_verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if connection.tls_certificate is not None:
        context.load_cert_chain(connection.tls_certificate, connection.tls_key)
    return context


@functools.lru_cache(maxsize=16)
def shared(connection: Connection) -> Registry:
    """Return the one registry of a connection: what it has told counts for every Asterisk and reload."""
    return Registry(connection)


def _explain(error: urllib.error.HTTPError, subject: str) -> str:
    """Say what an answer means, and what to do about it."""
    try:
        said = json.loads(error.read(MAX_ANSWER))["message"]
    except Exception:  # not every server and proxy answers as the API says
        said = error.reason
    way_out = {
        401: ": username and password of [avro]",
        403: ": may this user write to the subject?",
        404: f": is the schema registered under {subject}? register = yes does it",
        409: f": it is not compatible with what {subject} has: change the schema, or the subject's rule",
    }.get(error.code, "")
    return f"{error.code} {said}{way_out}"

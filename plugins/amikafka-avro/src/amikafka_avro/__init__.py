"""The `avro` format: Avro's binary encoding, with or without a schema registry."""

from __future__ import annotations

import json
import ssl
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from amikafka_avro import records
from amikafka_avro.encoding import Encode, encoder
from amikafka_avro.registry import Connection, Registry, shared, tls_context
from amikafka_tail.api import Event, FormatContext, Payload, Register, hookimpl

AMIKAFKA_API = "1.0"

MAGIC = 0
"""The first byte of Confluent's wire format; the schema's id follows in four bytes."""


@dataclass(frozen=True, kw_only=True)
class AvroOptions:
    """Options of the section `[avro]`."""

    registry: tuple[str, ...] = ()
    """URLs of the schema registry, tried in order. Empty: plain Avro without an id in front."""
    subject: Literal["topic", "record", "topic_record"] = "topic"
    """The subject of a schema: `<topic>-value`, `<record's name>` or `<topic>-<record's name>`."""
    register: bool = True
    """Whether to register a schema that the registry does not have; no: only look it up."""
    schemas: Path | None = None
    """A directory with a schema for each event that gets its own record type, such as `Hangup.avsc`."""
    username: str = ""
    """User for HTTP basic authentication at the registry; empty: no authentication."""
    password: str = field(default="", repr=False)
    """The password of `username`."""
    password_file: Path | None = None
    """A file with that password, for example a systemd credential."""
    tls_ca: Path | None = None
    """CA certificates to trust instead of the system's."""
    tls_certificate: Path | None = None
    """The client certificate, with its key if there is no `tls_key`."""
    tls_key: Path | None = None
    """The key of `tls_certificate`, if it is in a separate file."""
    tls_verify: bool = True
    """Whether to verify the registry's certificate and host name."""
    timeout: float = field(default=5.0, metadata={"unit": "seconds", "minimum": 0.1, "maximum": 60})
    """How long one server may take to answer."""

    def __post_init__(self) -> None:
        for url in self.registry:
            parts = urlsplit(url)
            if parts.scheme not in ("http", "https") or not parts.hostname:
                raise ValueError(f'registry "{url}" is not a URL such as http://localhost:8081')
        if self.password and self.password_file:
            raise ValueError("both password and password_file are set")
        if (self.password or self.password_file) and not self.username:
            raise ValueError("password without username")
        if self.tls_key and not self.tls_certificate:
            raise ValueError("tls_key without tls_certificate")
        if self.registry and self.schemas and self.subject == "topic":
            raise ValueError(
                "schemas defines several record types, but subject = topic allows only one:"
                " set subject = record or topic_record"
            )


class _Type:
    """The messages of one record type."""

    def __init__(
        self,
        schema: dict[str, Any],
        record_of: Callable[[Event], records.Record],
        options: AvroOptions,
        topic: str,
        registry: Registry | None,
    ) -> None:
        self._encode: Encode = encoder(schema)
        self._record_of = record_of
        self._registry = registry
        self._text = json.dumps(schema)
        name = records.full_name(schema)
        self._subject = {"topic": f"{topic}-value", "record": name, "topic_record": f"{topic}-{name}"}[
            options.subject
        ]
        # Without a registry, this header tells a consumer which schema it is.
        self._headers = (("avro_schema", name.encode()),)
        self._prefix: bytes | None = None

    def render(self, event: Event) -> bytes | Payload:
        """Return the message of an event. Raises `TryLater` until the schema's id is known."""
        if self._registry is None:
            return Payload(self._encode(self._record_of(event)), self._headers)
        if self._prefix is None:
            self._prefix = struct.pack(">bI", MAGIC, self._registry.id_of(self._subject, self._text))
        return self._prefix + self._encode(self._record_of(event))


def avro(options: AvroOptions, context: FormatContext) -> Callable[[Event], bytes | Payload]:
    """Avro: one generic record for all events, or your own record types; with or without a registry."""
    registry = _registry(options) if options.registry else None
    own = {} if options.schemas is None else records.load(options.schemas)
    types: dict[str, _Type] = {}
    for name, schema in own.items():
        record_of = records.typed(schema, context.identity)
        try:
            types[name] = _Type(schema, record_of, options, context.topic, registry)
        except ValueError as error:
            raise ValueError(f"{options.schemas}/{name}{records.SUFFIX}: {error}") from error
    generic = _Type(records.GENERIC, records.generic(context.identity), options, context.topic, registry)
    if not types:
        return generic.render
    by_name = {name.encode(): each.render for name, each in types.items()}

    def render(event: Event) -> bytes | Payload:
        return by_name.get(event.name_bytes, generic.render)(event)

    return render


def _registry(options: AvroOptions) -> Registry:
    password = options.password
    if options.password_file is not None:
        try:
            password = options.password_file.read_text(encoding="utf-8").rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            raise ValueError(f"password_file {options.password_file}: {error}") from error
    connection = Connection(
        urls=options.registry,
        register=options.register,
        username=options.username,
        password=password,
        tls_ca=options.tls_ca,
        tls_certificate=options.tls_certificate,
        tls_key=options.tls_key,
        tls_verify=options.tls_verify,
        timeout=options.timeout,
    )
    try:
        tls_context(connection)
    except (OSError, ssl.SSLError) as error:
        raise ValueError(f"tls_ca, tls_certificate or tls_key cannot be used: {error}") from error
    return shared(connection)


@hookimpl
def register_formats(register: Register) -> None:
    """Register the format."""
    register("avro", AvroOptions, avro)

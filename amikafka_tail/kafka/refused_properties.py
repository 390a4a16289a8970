"""All that librdkafka does not take, which itself says one thing at a time, and that in riddles."""

from __future__ import annotations

import dataclasses
import logging
import os
import re
from collections.abc import Mapping
from pathlib import Path

from amikafka_tail.config.kafka_conf import KafkaProperties
from amikafka_tail.kafka.producer import Producer, RefusedProperties
from amikafka_tail.model.errors import Problem

KEY, KEY_PASSWORD = "ssl.key.location", "ssl.key.password"
CERTIFICATE = "ssl.certificate.location"
# How librdkafka calls what may be set by another name.
_ALIASES = {
    "acks": "request.required.acks",
    "bootstrap.servers": "metadata.broker.list",
    "compression.type": "compression.codec",
    "linger.ms": "queue.buffering.max.ms",
    "max.in.flight": "max.in.flight.requests.per.connection",
    "retries": "message.send.max.retries",
    "sasl.mechanism": "sasl.mechanisms",
    "delivery.timeout.ms": "message.timeout.ms",
}
_PROPERTY = re.compile(r"""[Cc]onfiguration property:? "([^"]*)\"""")
_QUOTED = re.compile(r"`([a-z0-9._]+)`")
_FAILED = re.compile(r"\b(ssl\.[a-z.]+) failed:")
_ENCRYPTED = re.compile(rb"-----BEGIN ENCRYPTED PRIVATE KEY-----|^Proc-Type: 4,ENCRYPTED", re.MULTILINE)
_MOST_OF_A_KEY = 1 << 20


def refused_properties(found: KafkaProperties) -> list[Problem]:
    """Return what is wrong with each property. A producer is made, again without what was refused.

    Blocks for as long as it takes to read the files that the properties name.
    """
    values = dict(found.values)
    problems: list[Problem] = []
    while True:
        try:
            # A logger that says nothing: what librdkafka logs of it comes as the error, too.
            _make(values)
        except RefusedProperties as error:
            name = _meant(error.text, values)
            place = found.places.get(name, Problem(message=""))
            if not _names_no_file(error.text, name, values):
                problems.append(dataclasses.replace(place, message=_in_words(error.text, name, values)))
            if values.pop(name, None) is None:
                return problems
            if name.startswith("sasl."):
                values.pop("security.protocol", None)  # what else is wrong can be seen without it
            continue
        return problems


def _make(values: Mapping[str, str]) -> None:
    silent = logging.Logger("amikafka.silent", logging.CRITICAL + 1)
    Producer(values, logger=silent, on_error=lambda _text: None).discard()


def _meant(text: str, values: Mapping[str, str]) -> str:
    """Return the property that a text of librdkafka's is about, as it was set; empty where none is."""
    named: list[str] = [*_FAILED.findall(text), *_PROPERTY.findall(text), *_QUOTED.findall(text)]
    if "SASL mechanism" in text:
        named.append("sasl.mechanisms")
    if "Private key check failed" in text:
        named.append(KEY)
    for name in named:
        for each in (name, *(alias for alias, of in _ALIASES.items() if of == name), _ALIASES.get(name, "")):
            if each in values:
                return each
    return ""


def _names_no_file(text: str, name: str, values: Mapping[str, str]) -> bool:
    """Tell whether a file cannot be read, of which others say why (config/service_user.py)."""
    return bool(_FAILED.search(text)) and not os.access(values.get(name, ""), os.R_OK)


def _in_words(text: str, name: str, values: Mapping[str, str]) -> str:
    text = text.removeprefix("Failed to create producer: ")
    if name == KEY:
        return _of_key(text, Path(values[KEY]), has_password=bool(values.get(KEY_PASSWORD)), values=values)
    if _FAILED.search(text):
        return f"{values[name]}: is not what OpenSSL can read as PEM ({text})"
    return text if name else f"the Kafka settings are refused: {text}"


def _of_key(text: str, file: Path, *, has_password: bool, values: Mapping[str, str]) -> str:
    if "mismatch" in text:
        return f"{file}: is not the key of the certificate {values.get(CERTIFICATE, '')}"
    if "no certificate assigned" in text:
        return f"{file}: there is no certificate for this key: set ssl_certificate_location"
    with file.open("rb") as opened:
        is_encrypted = bool(_ENCRYPTED.search(opened.read(_MOST_OF_A_KEY)))
    if is_encrypted and has_password:
        return f"{file}: is encrypted, and rdkafka.{KEY_PASSWORD} is not its password"
    if is_encrypted:
        return f"{file}: is encrypted: set rdkafka.{KEY_PASSWORD}, or name a key without a password"
    return f"{file}: is not a key that OpenSSL can read as PEM ({text})"

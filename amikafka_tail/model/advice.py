"""Advice on what to type: adapts commands to the configuration in use and to its service."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

CONFIGURATION = Path("/etc/asterisk/ami_kafka.conf")
"""The default, which commands use without `-c`."""
_COMMAND = re.compile(
    r"\bamikafka (check|compare|doctor|kafka send-test|kafka status|replay|status|tap|topic create)\b(?! -c)"
)
_SERVICE = re.compile(r"\b((?:systemctl \w+|journalctl -u) amikafka)\b(?!@)")


def instance_of(configuration: Path) -> str | None:
    """Return the service instance of a configuration: ami_kafka-west.conf belongs to amikafka@west."""
    found = re.fullmatch(r"ami_kafka-(.+)", configuration.stem)
    return found[1] if found else None


def for_configuration(text: str, configuration: Path) -> str:
    """Return advice with `-c FILE` and the service instance added to its commands, if needed."""
    if configuration == CONFIGURATION:
        return text
    named = f" -c {shlex.quote(str(configuration))}"
    text = _COMMAND.sub(lambda found: found[0] + named, text)
    instance = instance_of(configuration)
    return text if instance is None else _SERVICE.sub(lambda found: f"{found[0]}@{instance}", text)

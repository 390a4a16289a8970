"""What to type next: commands for the configuration that is meant, and for its service."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

CONFIGURATION = Path("/etc/asterisk/ami_kafka.conf")
"""The usual one, which no command has to be told."""
_COMMAND = re.compile(
    r"\bamikafka (check|compare|doctor|kafka send-test|kafka status|replay|status|tap|topic create)\b(?! -c)"
)
_SERVICE = re.compile(r"\b((?:systemctl \w+|journalctl -u) amikafka)\b(?!@)")


def instance_of(configuration: Path) -> str | None:
    """Return the instance of a configuration: ami_kafka-west.conf is that of amikafka@west."""
    found = re.fullmatch(r"ami_kafka-(.+)", configuration.stem)
    return found[1] if found else None


def for_configuration(text: str, configuration: Path) -> str:
    """Return advice with `-c FILE` behind its commands, and with the instance of the service, as needed."""
    if configuration == CONFIGURATION:
        return text
    named = f" -c {shlex.quote(str(configuration))}"
    text = _COMMAND.sub(lambda found: found[0] + named, text)
    instance = instance_of(configuration)
    return text if instance is None else _SERVICE.sub(lambda found: f"{found[0]}@{instance}", text)

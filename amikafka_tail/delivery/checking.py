"""What is asked of a configuration beyond its own words: librdkafka's answer, and the kernel's."""

from __future__ import annotations

from pathlib import Path

from amikafka_tail.config import service_user, settings
from amikafka_tail.config.settings import Inspection, Settings
from amikafka_tail.delivery import build
from amikafka_tail.kafka.refused_properties import refused_properties
from amikafka_tail.plugins.registry import Registry


def load(path: Path, registry: Registry) -> Settings:
    """Read the configuration and look at what it names. Raises `ConfigError` with everything that is wrong.

    Blocks while librdkafka reads the files of keys and, for root, while systemd is asked whom the service runs
    as.
    """
    inspection = Inspection(refused_properties, service_user.unreadable)
    return settings.load(path, registry, inspection=inspection)


def check(path: Path, registry: Registry) -> Settings:
    """Read the configuration as `load` does, and make all that the daemon makes of it."""
    checked = load(path, registry)
    build.try_producer(checked)
    build.messages(checked, registry)
    return checked

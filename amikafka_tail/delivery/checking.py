"""What is asked of a configuration beyond its own words: librdkafka's answer, and the kernel's."""

from __future__ import annotations

from pathlib import Path

from amikafka_tail.config import service_user, settings
from amikafka_tail.config.settings import Inspection, Settings
from amikafka_tail.delivery import build
from amikafka_tail.kafka.refused_properties import refused_properties
from amikafka_tail.plugins.registry import Registry


def load(path: Path, registry: Registry) -> Settings:
    """Read the configuration and look at what it names. Raises `ConfigError` with all that is wrong.

    Blocks while librdkafka reads the files of keys.
    """
    return settings.load(path, registry, inspection=Inspection(refused_properties, service_user.missing))


def check(path: Path, registry: Registry) -> Settings:
    """Read the configuration as `load` does, and make all that the daemon makes of it.

    For root it looks with the eyes of the service's user, too. Blocks while systemd is asked who that is.
    """
    inspection = Inspection(refused_properties, service_user.unreadable)
    checked = settings.load(path, registry, inspection=inspection)
    build.try_producer(checked)
    build.messages(checked, registry)
    return checked

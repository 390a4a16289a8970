"""What a plugin may use: these names stay as they are within a major version."""

from amikafka_tail.ami.event import Event, decode, split_line
from amikafka_tail.config.identity import Identity
from amikafka_tail.errors import AmikafkaError, LoginRefused, PluginError, SourceDisconnected
from amikafka_tail.hookspecs import Register, hookimpl
from amikafka_tail.sources.live import Connection, LiveSource

__all__ = [
    "AmikafkaError",
    "Connection",
    "Event",
    "Identity",
    "LiveSource",
    "LoginRefused",
    "PluginError",
    "Register",
    "SourceDisconnected",
    "decode",
    "hookimpl",
    "split_line",
]

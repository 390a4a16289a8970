"""The names that a plugin may use. They do not change within a major version of the API.

docs/plugins.md explains how to write a plugin. `amikafka_tail.plugins.hookspecs` has the hooks,
`amikafka_tail.testing` the tools for a plugin's own tests.
"""

from amikafka_tail.formats.json import JsonOptions, json_format
from amikafka_tail.model.counters import Counters
from amikafka_tail.model.errors import AmikafkaError, LoginRefused, PluginError, SourceDisconnected, TryLater
from amikafka_tail.model.event import Event, decode, split_line
from amikafka_tail.model.identity import Identity
from amikafka_tail.model.live_source import Connection, LiveSource, Resumable
from amikafka_tail.model.payload import FormatContext, Payload
from amikafka_tail.model.replayable_source import (
    Chunk,
    FollowingReader,
    Reader,
    ReplayableSource,
    Unpublishable,
)
from amikafka_tail.plugins.hookspecs import API_VERSION, Register, hookimpl
from amikafka_tail.sources.lines import LineEvent, LineLog, LineLogOptions

__all__ = [
    "API_VERSION",
    "AmikafkaError",
    "Chunk",
    "Connection",
    "Counters",
    "Event",
    "FollowingReader",
    "FormatContext",
    "Identity",
    "JsonOptions",
    "LineEvent",
    "LineLog",
    "LineLogOptions",
    "LiveSource",
    "LoginRefused",
    "Payload",
    "PluginError",
    "Reader",
    "Register",
    "ReplayableSource",
    "Resumable",
    "SourceDisconnected",
    "TryLater",
    "Unpublishable",
    "decode",
    "hookimpl",
    "json_format",
    "split_line",
]

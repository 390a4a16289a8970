"""What a plugin may use: these names stay as they are within a major version of the API.

docs/plugins.md says how to write one; `amikafka_tail.hookspecs` has the hooks, `amikafka_tail.testing` what a
plugin's own tests need.
"""

from amikafka_tail.ami.event import Event, decode, split_line
from amikafka_tail.config.identity import Identity
from amikafka_tail.errors import AmikafkaError, LoginRefused, PluginError, SourceDisconnected, TryLater
from amikafka_tail.formats.json import JsonOptions, json_format
from amikafka_tail.hookspecs import API_VERSION, Register, hookimpl
from amikafka_tail.metrics import Counters
from amikafka_tail.payload import FormatContext, Payload
from amikafka_tail.sources.lines import LineEvent, LineLog, LineLogOptions
from amikafka_tail.sources.live import Connection, LiveSource, Resumable
from amikafka_tail.sources.replayable import Chunk, FollowingReader, Reader, ReplayableSource, Unpublishable

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

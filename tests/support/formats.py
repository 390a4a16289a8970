from __future__ import annotations

from amikafka_tail.model.identity import Identity
from amikafka_tail.model.payload import FormatContext


def context(identity: Identity) -> FormatContext:
    """What a format is told of the messages of an Asterisk."""
    return FormatContext(identity=identity, topic="asterisk_ami")

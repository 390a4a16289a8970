"""The `ami` format: the event's own bytes after the identity, as app_ami_kafka publishes them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from amikafka_tail.model.event import Event
from amikafka_tail.model.payload import FormatContext
from amikafka_tail.plugins.hookspecs import API_VERSION, Register, hookimpl


@dataclass(frozen=True, kw_only=True)
class AmiOptions:
    """The format has no options."""


def ami_format(_options: AmiOptions, context: FormatContext) -> Callable[[Event], bytes]:
    """Make the renderer: `EntityID`, `SystemName` (if there is one), then the unchanged event.

    The true identity comes first, so a UserEvent with the same names cannot deceive a consumer that uses the
    first line of a name.
    """
    identity = context.identity
    front = f"EntityID: {identity.entity_id}\r\n"
    if identity.system_name:
        front += f"SystemName: {identity.system_name}\r\n"
    prefix = front.encode()

    def render(event: Event) -> bytes:
        return prefix + event.text

    return render


AMIKAFKA_API = API_VERSION


@hookimpl
def register_formats(register: Register) -> None:
    """Register the format."""
    register("ami", AmiOptions, ami_format)

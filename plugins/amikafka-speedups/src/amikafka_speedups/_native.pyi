from collections.abc import Callable
from typing import Any, final

@final
class JsonRenderer:
    """Renders an event as the format `json` does; asks `exact` where an event is odd.

    `identity` is the members of the object that say who the event is from, as they are to be written.
    """

    def __new__(
        cls,
        exact: Callable[[Any], bytes],
        entity_id: bytes,
        system_name: bytes,
        identity: bytes,
        keep_all: bool,
    ) -> JsonRenderer: ...
    def __call__(self, event: Any, /) -> bytes: ...

@final
class Envelope:
    """Returns an event's key, headers and moment in ms; asks `learn` about a kind that it has not seen."""

    def __new__(
        cls,
        learn: Callable[[Any, bytes], Any],
        headers_of: Callable[[Any, int], Any],
        choose_key: Callable[[Any, bytes], bytes | None] | None,
    ) -> Envelope: ...
    def __call__(self, event: Any, /) -> tuple[bytes | None, Any, int]: ...

from collections.abc import Callable
from typing import Any, TypeVar, final

_Event = TypeVar("_Event")
_Test = tuple[bytes, str, bytes, Callable[[bytes], bool]]

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

@final
class EventFilter:
    """Tells whether an event passes the `eventfilter` lines; asks `twin` where its first line is odd.

    A rule is a name and the tests of the includes and the excludes that concern events of that name; the
    first is for names that have none. With `must_match` one of the includes has to find an event. A test is
    a header with its colon (nothing for the whole event), a method, what every text contains that matches
    (the pattern, but for `regex`), and what `regex` asks.
    """

    def __new__(
        cls,
        twin: Callable[[Any], bool],
        must_match: bool,
        rules: tuple[tuple[bytes, tuple[_Test, ...], tuple[_Test, ...]], ...],
    ) -> EventFilter: ...
    def __call__(self, event: Any, /) -> bool: ...

def plain_events(
    type: type[_Event], blocks: list[bytes], position: int, captured_ms: int, /
) -> list[_Event] | None:
    """Return the events of blocks, the first at `position`; `None` where one needs a closer look.

    `type` has the slots `raw`, `position` and `captured_ms`; its `__init__` is not called.
    """

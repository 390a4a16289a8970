from collections.abc import Callable
from typing import Any, TypeVar, final

_Event = TypeVar("_Event")
_Test = tuple[bytes, str, bytes, Callable[[bytes], bool]]

@final
class JsonRenderer:
    """Renders an event in the format `json`; calls `exact` for an unusual event.

    `identity` is the JSON text of the members with the identity.
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
    """Returns an event's key, headers and time in ms; calls `learn` for a new kind of event."""

    def __new__(
        cls,
        learn: Callable[[Any, bytes], Any],
        headers_of: Callable[[Any, int], Any],
        choose_key: Callable[[Any, bytes], bytes | None] | None,
    ) -> Envelope: ...
    def __call__(self, event: Any, /) -> tuple[bytes | None, Any, int]: ...

@final
class EventFilter:
    """Returns whether an event passes the `eventfilter` lines; calls `twin` if its first line is unusual.

    A rule is an event name with the tests of its includes and its excludes. The first rule is for names
    without a rule of their own. With `must_match`, an event must match one of the includes. A test is a
    header with its colon (empty for the whole event), a method, a text that every match contains (the
    pattern, except for `regex`), and the function to call for `regex`.
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
    """Return the events of blocks, the first at `position`; `None` if a block is unusual.

    `type` has the slots `raw`, `position` and `captured_ms`; its `__init__` is not called.
    """

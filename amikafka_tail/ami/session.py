"""The login to the manager interface: bytes in, bytes to send out. No I/O in here.

The last thing that is asked for is `Events` with `EventMask: on`. With `brokeneventsaction` it has no answer:
a `Ping` goes with it, and once that is answered all events are on; what comes then is the journal's.

Until then only events of the class `system` are on, because Asterisk greets a session that may read those
with a FullyBooted, and nothing else shows a user's right to read: even one who may read nothing gets the
answer `Events: On` (main/manager.c, action_login, set_eventmask and action_events).
"""

from __future__ import annotations

import enum
import hashlib
from collections.abc import Sequence
from typing import Literal

from amikafka_tail.ami.framing import END, GREETING
from amikafka_tail.ami.pushing import push
from amikafka_tail.model.errors import AlreadyLoggedIn, LoginRefused, SourceDisconnected
from amikafka_tail.model.event import CRLF, decode, split_line
from amikafka_tail.model.pushed_filters import FilterLine, Pushed

BANNER = b"Asterisk Call Manager/"
MAX_ANSWER = 64 * 1024
"""Bytes that a server may send without completing an answer."""
MAX_EVENTS = 4 * 1024 * 1024
"""Bytes of events that may come before the login is complete."""
PING = b"Action: Ping\r\nActionID: amikafka-ping\r\n\r\n"


class State(enum.Enum):
    """How far the login is; the value says what Asterisk has to send next."""

    GREETING = "greeting of a manager interface"
    CHALLENGE = "answer to Challenge"
    LOGIN = "answer to Login"
    SETTINGS = "answer to CoreSettings"
    FILTERS = "answer to Filter"
    EVENTS = "answer to Ping"
    READY = "events"


class Session:
    """Logs in as one user. Feed what comes to `receive` and send what it returns, until `ready`.

    `asterisk_version` and `system_name` are then what CoreSettings says, empty where it may not be asked;
    `warnings` say what the user's rights do not allow and how to mend it. No text contains the secret.
    Asterisk is asked to filter by `filters` as far as it can, and `pushed` says what came of that.

    Raises `LoginRefused` for a name or a secret that no line of an action can hold.
    """

    def __init__(
        self,
        username: str,
        secret: str,
        auth: Literal["md5", "plain"] = "md5",
        filters: Sequence[FilterLine] = (),
    ) -> None:
        for what, value in (("username", username), ("secret", secret)):
            if not value:
                raise LoginRefused(f"the {what} is empty")
            if "\r" in value or "\n" in value:
                raise LoginRefused(f"the {what} contains the end of a line")
        self.state = State.GREETING
        self.asterisk_version = ""
        self.system_name = ""
        self.warnings: list[str] = []
        self.pushed = Pushed()
        self._username = username
        self._secret = _bytes(secret)
        self._auth = auth
        self._pushing = push(filters, self.pushed)
        self._held = b""
        self._leftover = bytearray()
        self._greeting_due = False
        self._greeted = False

    @property
    def ready(self) -> bool:
        """Whether the login is complete and all events are on."""
        return self.state is State.READY

    @property
    def leftover(self) -> bytes:
        """Once `ready`, the events and whatever else came and was no part of the login."""
        return bytes(self._leftover)

    def receive(self, data: bytes) -> bytes:
        """Take what the server sent; return what to send to it.

        Raises `LoginRefused` where a person has to act, `SourceDisconnected` where the other side is no
        manager interface or is about to go. Once `ready` all that is taken is `leftover`.
        """
        if self.ready:
            self._leftover += data
            return b""
        self._held += data
        answer = self._take_banner() if self.state is State.GREETING else b""
        if self.state is not State.GREETING:
            answer += self._take_blocks()
        if self.state is State.EVENTS:
            self._take_no_flood()
        elif len(self._held) > MAX_ANSWER:
            raise SourceDisconnected(
                f"{len(self._held)} bytes came and no end of {self.state.value}:"
                " this is not Asterisk's manager interface"
            )
        return answer

    def closed(self) -> SourceDisconnected:
        """Say what it means that the server has closed the connection now."""
        hint = ""
        if self.state is State.GREETING:
            hint = ": Asterisk does so when too many logins are waiting (authlimit in manager.conf)"
        return SourceDisconnected(f"the connection was closed instead of {self.state.value}{hint}")

    def silent(self, seconds: float) -> SourceDisconnected:
        """Say what it means that the login was not done within `seconds`."""
        hint = ""
        if self.state is State.GREETING:
            hint = "; if this is the port of tlsbindaddr in manager.conf, set tls = yes"
        return SourceDisconnected(f"there was no {self.state.value} within {seconds:g} s{hint}")

    def _take_banner(self) -> bytes:
        held = self._held
        if not held.startswith(BANNER[: len(held)]):
            hint = "; it speaks TLS: set tls = yes" if held[:2] == b"\x15\x03" else ""
            raise SourceDisconnected(
                f"this is not Asterisk's manager interface: it begins with {held[:80]!r}{hint}"
            )
        _, newline, rest = held.partition(b"\n")
        if not newline:
            return b""
        self._held = rest
        if self._auth == "md5":
            return self._ask(State.CHALLENGE, b"Action: Challenge", b"AuthType: MD5")
        return self._log_in(b"Secret: " + self._secret)

    def _take_blocks(self) -> bytes:
        """Consume the blocks that are complete; return what to send next."""
        answer = b""
        *blocks, self._held = self._held.split(END)
        for index, block in enumerate(blocks, 1):
            answer += self._take_block(block)
            if self.ready:
                self._leftover += END.join([*blocks[index:], self._held])
                self._held = b""
                break
        return answer

    def _take_no_flood(self) -> None:
        """Wait no longer for an answer that a flood is in the way of: it shows as well that events are on."""
        if len(self._leftover) + len(self._held) > MAX_EVENTS:
            self._leftover += self._held
            self._held = b""
            self.state = State.READY

    def _take_block(self, block: bytes) -> bytes:
        # Some events end with an empty line too many, which then stands before the next block.
        text = block.lstrip(CRLF)
        if text.startswith(b"Response:"):
            return self._take_response(_fields(text))
        if self.state is State.EVENTS:
            self._leftover += block + END
        elif text.startswith(b"Event:"):
            self._take_event(block)
        elif text:
            raise SourceDisconnected(f"{text[:80]!r} came instead of {self.state.value}")
        return b""

    def _take_event(self, block: bytes) -> None:
        # The greeting is written by action_login itself, so no other event can come between.
        if self._greeting_due and block.startswith(GREETING):
            self._greeted = True
        else:
            self._leftover += block + END
            if len(self._leftover) > MAX_EVENTS:
                raise SourceDisconnected(
                    f"{len(self._leftover)} bytes of events came and no {self.state.value}"
                )
        self._greeting_due = False

    def _take_response(self, fields: dict[str, str]) -> bytes:
        if fields.get("ActionID", _action_id(self.state)) != _action_id(self.state):
            return b""  # an answer to nothing that was asked
        refusal = None if fields["Response"] == "Success" else fields.get("Message", "no reason given")
        if refusal == "Asterisk is shutting down":
            raise SourceDisconnected(refusal)
        if self.state is State.CHALLENGE:
            return self._take_challenge(refusal, fields.get("Challenge", ""))
        if self.state is State.LOGIN:
            return self._take_login(refusal)
        if self.state is State.SETTINGS:
            return self._take_settings(refusal, fields)
        if self.state is State.FILTERS:
            return self._push(refusal)
        self.state = State.READY
        return b""

    def _take_challenge(self, refusal: str | None, challenge: str) -> bytes:
        if refusal is not None or not challenge:
            reason = refusal or "it is empty"
            raise LoginRefused(f"Asterisk gives no MD5 challenge ({reason}): try auth = plain")
        digest = hashlib.md5(challenge.encode() + self._secret, usedforsecurity=False).hexdigest()
        return self._log_in(b"AuthType: MD5", b"Key: " + digest.encode())

    def _take_login(self, refusal: str | None) -> bytes:
        refused = f"Asterisk refuses the login of {self._username!r}: {refusal}"
        if refusal == "Authentication failed":
            # One answer to all of it (authenticate); only Asterisk's own log tells which it was.
            raise LoginRefused(
                f"{refused}. Check in manager.conf that there is a section [{self._username}] with this"
                " secret, that its permit, deny and acl let this address in, and that `manager reload` was"
                " done since; Asterisk's log says which it is"
            )
        if refusal == "Login Already In Use":
            raise AlreadyLoggedIn(
                f"{refused}. The user is logged in elsewhere and has allowmultiplelogin = no in manager.conf"
            )
        if refusal is not None:
            raise LoginRefused(refused)
        self._greeting_due = True
        return self._ask(State.SETTINGS, b"Action: CoreSettings")

    def _take_settings(self, refusal: str | None, fields: dict[str, str]) -> bytes:
        if refusal is not None:
            self.warnings.append(
                f"the manager user {self._username!r} may not ask for Asterisk's version and system name"
                f" ({refusal}): add write = reporting, or set asterisk_version and system_name in [general]"
            )
        if not self._greeted:
            self.warnings.append(
                f"the manager user {self._username!r} may not read system events, and perhaps none at all,"
                " or Asterisk is still starting: what it may not read is not published; read = all gives"
                " everything"
            )
        self.asterisk_version = fields.get("AsteriskVersion", "")
        self.system_name = fields.get("SystemName", "")
        return self._push(None)

    def _push(self, refusal: str | None) -> bytes:
        """Take the answer to one filter, if there has been one; ask for the next, or for events."""
        try:
            fields = self._pushing.send(refusal)
        except StopIteration:
            self.warnings += self.pushed.warnings()
            on = CRLF.join([b"Action: Events", b"EventMask: on", b"ActionID: amikafka-on", b"", b""])
            return on + self._ask(State.EVENTS, b"Action: Ping")
        lines = [_bytes(f"{name}: {value}") for name, value in fields]
        return self._ask(State.FILTERS, b"Action: Filter", b"Operation: Add", *lines)

    def _log_in(self, *proof: bytes) -> bytes:
        username = b"Username: " + _bytes(self._username)
        return self._ask(State.LOGIN, b"Action: Login", username, *proof, b"Events: system")

    def _ask(self, next_state: State, *lines: bytes) -> bytes:
        self.state = next_state
        return CRLF.join([*lines, b"ActionID: " + _action_id(next_state).encode(), b"", b""])


def _action_id(state: State) -> str:
    """Return the id of the action whose answer is awaited in a state."""
    return f"amikafka-{state.name.lower()}"


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _fields(block: bytes) -> dict[str, str]:
    fields: dict[str, str] = {}
    for name, value in map(split_line, block.split(CRLF)):
        fields.setdefault(decode(name), decode(value).strip())
    return fields

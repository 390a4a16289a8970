"""The login to the manager interface: bytes in, bytes to send out. No I/O in here.

The very last action is `Events` with `EventMask: on`: what comes after it is the journal's. Until then only
events of the class `system` are on, because Asterisk greets a session that may read those with a FullyBooted
(main/manager.c, action_login), and no answer tells whether a user may read anything at all.
"""

from __future__ import annotations

import hashlib
from typing import Literal

from amikafka_tail.ami.framing import END
from amikafka_tail.errors import LoginRefused, SourceDisconnected

BANNER = b"Asterisk Call Manager/"
MAX_HELD = 64 * 1024
"""Bytes that a server may send without completing an answer."""
# ActionIDs, by which the answers are told apart.
CHALLENGE, LOGIN, SETTINGS, EVENTS = "amikafka-1", "amikafka-2", "amikafka-3", "amikafka-4"
PING = b"Action: Ping\r\nActionID: amikafka-ping\r\n\r\n"


class Session:
    """Logs in as one user. Feed what comes to `receive` and send what it returns, until `ready`.

    `leftover` is what came behind the last answer; it belongs to the events. `warnings` say what the user's
    rights do not allow and what that means.
    """

    def __init__(self, username: str, secret: str, auth: Literal["md5", "plain"] = "md5") -> None:
        for what, value in (("username", username), ("secret", secret)):
            if "\r" in value or "\n" in value:
                raise LoginRefused(f"the {what} contains the end of a line")
        self.ready = False
        self.asterisk_version = ""
        self.system_name = ""
        self.warnings: list[str] = []
        self._username = username
        self._secret = secret
        self._auth = auth
        self._held = b""
        self._greeted = False
        self._awaited = "banner"

    @property
    def leftover(self) -> bytes:
        """Bytes received and not consumed."""
        return self._held

    def receive(self, data: bytes) -> bytes:
        """Take what the server sent; return what to send to it.

        Raises `LoginRefused` where a person has to act, `SourceDisconnected` where this is no manager
        interface.
        """
        self._held += data
        answer = b""
        while not self.ready and (step := self._step()) is not None:
            answer += step
        if not self.ready and len(self._held) > MAX_HELD:
            raise SourceDisconnected(
                f"no complete answer in {len(self._held)} bytes: this is not Asterisk's manager interface"
            )
        return answer

    def _step(self) -> bytes | None:
        """Consume one answer; return what to send next, `None` where the answer is not complete."""
        if self._awaited == "banner":
            return self._take_banner()
        block, end, rest = self._held.partition(END)
        if not end:
            return None
        self._held = rest
        fields = _fields(block)
        self._greeted |= fields.get("Event") == "FullyBooted"
        if "Response" not in fields or fields.get("ActionID", self._awaited) != self._awaited:
            return b""  # an event, or an answer to nothing we asked
        return self._answered(fields)

    def _take_banner(self) -> bytes | None:
        _, newline, rest = self._held.partition(b"\n")
        if not BANNER.startswith(self._held[: len(BANNER)]) and not self._held.startswith(BANNER):
            raise SourceDisconnected(
                f"this is not Asterisk's manager interface: it begins with {self._held[:60]!r}"
                f"{_tls_hint(self._held)}"
            )
        if not newline:
            return None
        self._held = rest
        if self._auth == "md5":
            return self._ask(CHALLENGE, "Action: Challenge", "AuthType: MD5")
        return self._log_in(f"Secret: {self._secret}")

    def _answered(self, fields: dict[str, str]) -> bytes:
        refused = fields["Response"] != "Success"
        message = fields.get("Message", "no reason given")
        if self._awaited == CHALLENGE:
            if refused or "Challenge" not in fields:
                raise LoginRefused(f"Asterisk gives no MD5 challenge ({message}): try auth = plain")
            digest = hashlib.md5((fields["Challenge"] + self._secret).encode(), usedforsecurity=False)
            return self._log_in("AuthType: MD5", f"Key: {digest.hexdigest()}")
        if self._awaited == LOGIN:
            if refused:
                raise LoginRefused(
                    f"Asterisk refuses the login of {self._username!r}: {message}. Check in manager.conf that"
                    f" the section [{self._username}] is there with this secret, that its permit and deny let"
                    " this address in, and that `manager reload` was done since"
                )
            return self._ask(SETTINGS, "Action: CoreSettings")
        if self._awaited == SETTINGS:
            if refused:
                self.warnings.append(
                    f"the manager user {self._username!r} may not ask for the version and the system name"
                    f" ({message}): add write = reporting, or set asterisk_version and system_name here"
                )
            if not self._greeted:
                self.warnings.append(
                    f"the manager user {self._username!r} may not read system events, or Asterisk is still"
                    " starting: what it may not read is not published; read = all gives everything"
                )
            self.asterisk_version = fields.get("AsteriskVersion", "")
            self.system_name = fields.get("SystemName", "")
            self.ready = True
            return self._ask(EVENTS, "Action: Events", "EventMask: on")
        raise AssertionError(self._awaited)

    def _log_in(self, *proof: str) -> bytes:
        return self._ask(LOGIN, "Action: Login", f"Username: {self._username}", *proof, "Events: system")

    def _ask(self, action_id: str, *lines: str) -> bytes:
        self._awaited = action_id
        return "\r\n".join([*lines, f"ActionID: {self._awaited}", "", ""]).encode()


def _fields(block: bytes) -> dict[str, str]:
    fields: dict[str, str] = {}
    for line in block.decode("utf-8", "replace").split("\r\n"):
        name, colon, value = line.partition(":")
        if colon:
            fields.setdefault(name, value.strip())
    return fields


def _tls_hint(data: bytes) -> str:
    # A TLS server answers plain text with an alert record: type 21, version 3.x.
    return "; it speaks TLS: set tls = yes" if data[:2] == b"\x15\x03" else ""

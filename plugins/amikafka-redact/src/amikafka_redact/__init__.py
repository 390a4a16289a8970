"""The `redact` filter: removes, masks or hashes values before an event is published."""

from __future__ import annotations

import fnmatch
import hashlib
import hmac
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from amikafka_tail.api import Event, Register, decode, hookimpl

AMIKAFKA_API = "1.0"

MIN_KEY_BYTES = 16
MAX_KINDS = 2048
"""Event names that are cached: a dialplan can invent any number of names."""
PROTECTED = ("event", "privilege", "timestamp")
"""The type and the time of an event: without these there is nothing to publish."""

# As in app_ami_kafka, a line begins after any CR or LF. The event's name has none before it.
_LINE = re.compile(rb"([\r\n]+)([^\r\n]+)")
CRLF = b"\r\n"
OF_VARIABLES = (b"Variable", b"Value")
"""VarSet's headers."""
Change = Callable[[bytes], bytes]


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One `[[rule]]`: which values of which events to redact, and how."""

    action: Literal["remove", "mask", "hash"]
    """`remove`: delete the line. `mask`: each character becomes `*`. `hash`: HMAC-SHA256 with the key."""
    events: tuple[str, ...] = ("*",)
    """Names of events, or patterns such as `Agent*`; not case-sensitive."""
    headers: tuple[str, ...] = ()
    """Names of headers, or patterns such as `*CallerIDNum`; not case-sensitive."""
    variables: tuple[str, ...] = ()
    """Names of channel variables, or patterns: applies to their values in VarSet and in each ChanVariable."""
    match: str = ""
    """A regular expression: only the matching parts of a value are masked or hashed, only lines with a match
    are removed. Empty: the whole value."""
    keep_last: int = field(default=0, metadata={"minimum": 0, "maximum": 1000})
    """With `mask`: how many characters at the end stay visible."""

    def __post_init__(self) -> None:
        if not self.headers and not self.variables:
            raise ValueError("set headers or variables: the rule matches nothing")
        for name in self.headers:
            if name.lower() in PROTECTED:
                raise ValueError(f'headers: "{name}" cannot be redacted: every event needs it')
        if self.keep_last and self.action != "mask":
            raise ValueError("keep_last needs action = mask")
        try:
            re.compile(self.match)
        except re.error as error:
            raise ValueError(f'match "{self.match}" is not a regular expression: {error}') from None


@dataclass(frozen=True, kw_only=True)
class RedactOptions:
    """Options of `ami_kafka.d/redact.toml`."""

    key_file: Path | None = None
    """The key for `hash`: a file with at least 16 bytes, readable only by the service."""
    rule: tuple[Rule, ...] = ()
    """The rules. If several rules match a value, all are applied, in order."""

    def __post_init__(self) -> None:
        if any(rule.action == "hash" for rule in self.rule) and self.key_file is None:
            raise ValueError("a rule with action = hash needs key_file")


def redact(options: RedactOptions) -> Callable[[Event], bool | Event]:
    """Remove, mask or hash values of an event. Its name, privilege and timestamp are never changed."""
    if not options.rule:
        raise ValueError("no rule: add a [[rule]] to ami_kafka.d/redact.toml for each value to redact")
    key = b"" if options.key_file is None else _key(options.key_file)
    rules = [_Rule(rule, key) for rule in options.rule]
    redactors: dict[bytes, _Redactor | None] = {}

    def keep(event: Event) -> bool | Event:
        name = event.name_bytes
        try:
            redactor = redactors[name]
        except KeyError:
            if len(redactors) >= MAX_KINDS:
                redactors.clear()
            concerned = [rule for rule in rules if rule.concerns(decode(name))]
            redactor = redactors[name] = _Redactor(concerned) if concerned else None
        if redactor is None:
            return True
        raw = redactor.redacted(event.raw)
        return True if raw == event.raw else Event(raw, event.position, event.captured_ms)

    return keep


def _key(path: Path) -> bytes:
    try:
        key = path.read_bytes().strip()
    except OSError as error:
        raise ValueError(f"key_file {path}: {error.strerror}") from error
    if len(key) < MIN_KEY_BYTES:
        raise ValueError(
            f"key_file {path}: has {len(key)} bytes, a key needs at least {MIN_KEY_BYTES}:"
            f" head -c 32 /dev/urandom | base64 > {path}"
        )
    return key


class _Rule:
    """A rule with compiled patterns."""

    def __init__(self, rule: Rule, key: bytes) -> None:
        self._events = _any_of(rule.events)
        self._headers = _any_of(rule.headers)
        self._variables = _any_of(rule.variables)
        self._match = re.compile(rule.match.encode()) if rule.match else None
        self.has_variables = bool(rule.variables)
        self.removes = rule.action == "remove"
        self._change = _hash(key) if rule.action == "hash" else _mask(rule.keep_last)

    def concerns(self, name: str) -> bool:
        """Return whether the rule applies to events of a name."""
        return self._events(name)

    def is_about_header(self, name: str) -> bool:
        """Return whether the rule applies to a header."""
        return name.lower() not in PROTECTED and self._headers(name)

    def is_about_variable(self, name: bytes) -> bool:
        """Return whether the rule applies to a channel variable."""
        return self._variables(decode(name))

    def matches(self, value: bytes) -> bool:
        """Return whether a value contains anything to redact."""
        return self._match is None or self._match.search(value) is not None

    def changed(self, value: bytes) -> bytes:
        """Return the masked or hashed value."""
        if self._match is None:
            return self._change(value)
        return self._match.sub(lambda found: self._change(found[0]) if found[0] else b"", value)


class _Redactor:
    """All rules for events of one name."""

    def __init__(self, rules: list[_Rule]) -> None:
        self._rules = rules
        self._has_variables = any(rule.has_variables for rule in rules)
        self._known: dict[bytes, list[_Rule] | None] = {}
        self._variable = b""

    def redacted(self, raw: bytes) -> bytes:
        """Return the redacted text of an event."""
        self._variable = b""
        first, *lines = raw.split(CRLF)
        if raw.count(b"\r") + raw.count(b"\n") != 2 * len(lines):
            return _LINE.sub(self._found, raw)
        known = self._known
        made = [first]
        for line in lines:
            name, separator, value = line.partition(b": ")
            if known.get(name, self) is None:
                made.append(line)  # no rule applies: by far the most common case
            elif (changed := self._line(line, name, separator, value)) is not None:
                made.append(changed)
        return CRLF.join(made)

    def _found(self, found: re.Match[bytes]) -> bytes:
        changed = self._line(found[2], *found[2].partition(b": "))
        return b"" if changed is None else found[1] + changed

    def _line(self, line: bytes, name: bytes, separator: bytes, value: bytes) -> bytes | None:
        """Return the redacted line, `None` if it is removed."""
        if not separator:
            name, separator, value = line.partition(b":")
        rules = self._rules_of(name)
        if rules is None:
            return line
        if name == b"Variable":
            self._variable = value
        elif name == b"Value" and self._variable:
            rules = [*rules, *(rule for rule in self._rules if rule.is_about_variable(self._variable))]
        elif _is_channel_variable(name):
            return name + separator + self._channel_variable(value, rules)
        for rule in rules:
            if not rule.matches(value):
                continue
            if rule.removes:
                return None
            value = rule.changed(value)
        return name + separator + value

    def _rules_of(self, name: bytes) -> list[_Rule] | None:
        """Return the rules for a header, `None` if no rule can apply."""
        if name in self._known:
            return self._known[name]
        if len(self._known) >= MAX_KINDS:
            self._known.clear()
        rules = [rule for rule in self._rules if rule.is_about_header(decode(name))]
        of_variables = self._has_variables and (name in OF_VARIABLES or _is_channel_variable(name))
        self._known[name] = rules if rules or of_variables else None
        return self._known[name]

    def _channel_variable(self, value: bytes, rules: list[_Rule]) -> bytes:
        """Return `NAME=value` with the redacted value; the name is never changed."""
        variable, separator, value = value.partition(b"=")
        for rule in [*rules, *(rule for rule in self._rules if rule.is_about_variable(variable))]:
            if rule.matches(value):
                value = b"" if rule.removes else rule.changed(value)
        return variable + separator + value


def _is_channel_variable(name: bytes) -> bool:
    """Return whether a header is ChanVariable, DestChanVariable, or the old form `ChanVariable(channel)`."""
    return name.split(b"(", 1)[0].endswith(b"ChanVariable")


def _any_of(patterns: tuple[str, ...]) -> Callable[[str], bool]:
    if not patterns:
        return lambda _name: False
    whole = "|".join(fnmatch.translate(pattern) for pattern in patterns)
    matches = re.compile(whole, re.IGNORECASE).match
    return lambda name: matches(name) is not None


def _mask(keep_last: int) -> Change:
    def change(value: bytes) -> bytes:
        text = decode(value)
        hidden = max(0, len(text) - keep_last)
        return b"*" * hidden + text[hidden:].encode()

    return change


def _hash(key: bytes) -> Change:
    def change(value: bytes) -> bytes:
        return hmac.new(key, value, hashlib.sha256).hexdigest().encode() if value else value

    return change


@hookimpl
def register_filters(register: Register) -> None:
    """Register the filter."""
    register("redact", RedactOptions, redact)

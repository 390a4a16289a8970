"""Writes docs/configuration.md out of what the code declares; `make docs` runs it.

The texts are the docstrings below the fields of the options; who changes an option changes the text there.
"""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from amikafka_tail.config import kafka_conf
from amikafka_tail.config.declared import Declared, declared
from amikafka_tail.config.settings import GeneralSettings, JournalSettings, KafkaSettings, MetricsSettings
from amikafka_tail.plugins import loader
from amikafka_tail.plugins.registry import Registration

PAGE = Path(__file__).with_name("configuration.md")
FIRST_PARTY = ("avro", "cloudevents", "queuelog", "redact")
ABOUT = "<!-- Made by docs/generate_reference.py from the code: do not change it here; `make docs` makes it anew. -->"
INTRODUCTION = """\
All options, with what they are if they are not set. The file is `/etc/asterisk/ami_kafka.conf`, or what `-c` names,
in the dialect of all of `/etc/asterisk`: `[sections]`, one option a line, comments after `;`, templates, `#include`.
`amikafka check` says what is wrong with it, `systemctl reload amikafka` uses it.
[etc/ami_kafka.conf](../etc/ami_kafka.conf) is the file to begin with.

- **bytes** may be written `64m` or `10g`; **seconds** `500ms`, `5`, `2m` or `1h`.
- **yes | no** are Asterisk's words: yes, true, y, t, 1, on; no, false, n, f, 0, off.
- A **path** is absolute. A **list** is separated by commas.
- Of an option that comes twice the last counts; a section may stand there twice.
"""
EVENTFILTER = """\
Which events are published, in the syntax of manager.conf and with its meaning. Without any line, all of them. With
includes an event must match one of them; it must match no exclude.

| | |
|---|---|
| `eventfilter = REGEX` | a POSIX extended regular expression over the whole event; `!` in front excludes |
| `eventfilter(OPTIONS) = PATTERN` | `action(include)` or `action(exclude)`, `name(EVENT)`, `header(HEADER)`, `method(M)` in any order, separated by commas; M is `regex`, `exact`, `starts_with`, `ends_with`, `contains` or `none` (no pattern) |

```ini
[general]
eventfilter(action(exclude),name(RTCPSent)) =
eventfilter(action(exclude),name(RTCPReceived)) =
eventfilter(action(exclude),header(Channel),method(starts_with)) = Local/
```
"""
KAFKA_CONF = """\
These are the options of a connection in kafka.conf, the file of Asterisk's res_kafka. They may stand there, and
`connection` names it, or here. Each is a property of librdkafka; `rdkafka.PROPERTY = VALUE` sets any other.
"""
MANAGER = """\
What is left out comes from manager.conf and the files that it includes: the address and the port of Asterisk, and the
secret of the user.
"""
PLUGINS = """\
Each is a package of its own. Its options stand in a section of its name, or in a file of its name in the directory
`ami_kafka.d` beside ami_kafka.conf; tables only there. `amikafka plugins show NAME` prints the same.
"""


def page() -> str:
    """Return the text of the page."""
    # In a service systemd says where the journal is; the page tells of the usual place.
    elsewhere = os.environ.pop("STATE_DIRECTORY", None)
    try:
        return "\n".join(_lines()).rstrip() + "\n"
    finally:
        if elsewhere is not None:
            os.environ["STATE_DIRECTORY"] = elsewhere


def _lines() -> Iterator[str]:
    built_in = loader.load("")
    yield ABOUT
    yield ""
    yield "# Configuration"
    yield ""
    yield INTRODUCTION
    yield from _section("general", "Who we are, and what is published.", declared(GeneralSettings))
    yield "### eventfilter"
    yield ""
    yield EVENTFILTER
    yield from _section("kafka", "Where to.", declared(KafkaSettings))
    yield "### Options of a connection"
    yield ""
    yield KAFKA_CONF
    yield from _table(
        ("option", "property of librdkafka", "default", ""),
        [
            (f"`{name}`", f"`{each.property}`", _code(each.default or ""), each.text)
            for name, each in kafka_conf.PRODUCER_OPTIONS.items()
        ],
    )
    yield f"`{kafka_conf.PASSWORD_FILE}` names a file with the password: a systemd credential, for example."
    known = ", ".join(f"`{name}`" for name in kafka_conf.CONSUMER_OPTIONS)
    yield f"Accepted, as they may stand in a connection, and not used: `type`, {known}."
    yield ""
    yield from _of_plugin(built_in.get("source", "manager"), MANAGER)
    yield from _of_plugin(built_in.get("source", "eventlog"))
    yield from _of_plugin(built_in.get("source", "spool"))
    yield from _section(
        "journal",
        "What comes from Asterisk is kept here until Kafka has it. [Sizing the journal](operations.md#sizing-the-journal)"
        " tells how much room it needs.",
        declared(JournalSettings),
    )
    yield from _section(
        "metrics", "For Prometheus; it needs python3-prometheus-client.", declared(MetricsSettings)
    )
    yield from _of_plugin(built_in.get("format", "json"))
    yield "## Plugins"
    yield ""
    yield PLUGINS
    registry = loader.load(",".join(FIRST_PARTY))
    for registration in sorted(registry, key=lambda each: each.name):
        if registration.origin.entry_point in FIRST_PARTY:
            yield from _of_plugin(registration, level=3)


def _section(name: str, text: str, options: Sequence[Declared], *, level: int = 2) -> Iterator[str]:
    yield f"{'#' * level} [{name}]"
    yield ""
    yield text
    yield ""
    yield from _options(options)
    for each in options:
        if each.table is not None:
            yield f"Of each `[[{each.name}]]`:" if each.kind == "tables" else f"Of `[{each.name}]`:"
            yield ""
            yield from _options(declared(each.table))


def _of_plugin(registration: Registration, more: str = "", *, level: int = 2) -> Iterator[str]:
    """Yield the section of a source, a filter or a format; its module says what it is."""
    about = inspect.getdoc(sys.modules[registration.options.__module__]) or ""
    first = " ".join(about.partition("\n\n")[0].split())
    text = f"{first}\n\n{more}".strip()
    yield from _section(registration.name, text, declared(registration.options), level=level)


def _options(options: Sequence[Declared]) -> Iterator[str]:
    rows = []
    for each in options:
        # A text that is missing would be found by nobody else.
        assert each.text, f"{each.name} has no text: write a docstring below the field"
        bounds = f" {each.bounds.capitalize()}." if each.bounds else ""
        default = "must be set" if each.is_required else _code(each.default)
        rows.append((f"`{each.name}`", each.kind, default, each.text + bounds))
    yield from _table(("option", "", "default", ""), rows)


def _table(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    for row in (heading, ["---"] * len(heading), *rows):
        cells = (cell.replace("|", "\\|") for cell in row)
        yield f"| {' | '.join(cells)} |".replace("|  |", "| |")
    yield ""


def _code(text: str) -> str:
    return f"`{text}`" if text else ""


def main() -> None:
    """Write the page."""
    PAGE.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()

"""Every error that amikafka raises on purpose, with the exit code that says who can act on it."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from amikafka_tail.model.advice import for_configuration


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One thing wrong with the configuration: where it stands, what it is, and the way out.

    `str()` gives the line a person reads, for example
    `ami_kafka.conf:14: [kafka] tpoic: unknown option (did you mean "topic"?)`.
    """

    message: str
    file: Path | None = None
    line: int | None = None
    section: str | None = None
    key: str | None = None
    is_warning: bool = False
    """Whether the daemon works all the same."""

    def __str__(self) -> str:
        where = "" if self.file is None else str(self.file)
        if self.line is not None:
            where += f":{self.line}"
        what = "" if self.section is None else f"[{self.section}]"
        if self.key is not None:
            what += f" {self.key}"
        return ": ".join(part for part in (where, what.strip(), self.message) if part)


class AmikafkaError(Exception):
    """Root of all errors below. `exit_code` is from sysexits.h, for a person or systemd to act on."""

    exit_code = os.EX_SOFTWARE


class ConfigError(AmikafkaError):
    """The configuration cannot be used. Holds every problem found, not only the first."""

    exit_code = os.EX_CONFIG

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(map(str, self.problems)))


class PluginError(AmikafkaError):
    """A plugin cannot be loaded or used; the text names its distribution."""

    exit_code = os.EX_CONFIG


class TryLater(AmikafkaError):
    """A filter or a format cannot handle an event now, and trying again later may help.

    The host waits, longer each time, and calls again with the same event: nothing is lost, nothing overtakes.
    """

    exit_code = os.EX_TEMPFAIL


class SourceDisconnected(AmikafkaError):
    """The source has no connection now. Trying again later may help."""

    exit_code = os.EX_UNAVAILABLE


class LoginRefused(SourceDisconnected):
    """The source answered, and said no: credentials or rights must be mended by a person."""

    exit_code = os.EX_NOPERM


class AlreadyLoggedIn(LoginRefused):
    """The user may be logged in only once, and is."""


class InputError(AmikafkaError):
    """A file named on the command line cannot be read."""

    exit_code = os.EX_NOINPUT


class UsageError(AmikafkaError):
    """The command line asks for what cannot be done."""

    exit_code = os.EX_USAGE


class NotPermitted(AmikafkaError):
    """A user with more rights has to do this."""

    exit_code = os.EX_NOPERM


class ReloadFailed(AmikafkaError):
    """The configuration was not reloaded; the one before stays in use."""

    exit_code = os.EX_CONFIG


class ClusterError(AmikafkaError):
    """Kafka cannot be used as it is; `hint` says what may be done about it."""

    exit_code = os.EX_UNAVAILABLE

    def __init__(self, text: str, *, hint: str = "") -> None:
        super().__init__(text)
        self.hint = hint

    def explained(self, configuration: Path) -> ClusterError:
        """Return the same error with its hint in the text, for the configuration in use."""
        return ClusterError(
            f"{self}\n-> {for_configuration(self.hint, configuration)}" if self.hint else str(self)
        )


class NotRunning(AmikafkaError):
    """There is no daemon that answers."""

    def __init__(self, text: str, *, exit_code: int = os.EX_UNAVAILABLE) -> None:
        super().__init__(text)
        self.exit_code = exit_code


class NobodyListens(NotRunning):
    """There is no daemon at all."""


class JournalError(AmikafkaError):
    """The journal directory cannot be used."""

    exit_code = os.EX_CANTCREAT


class DeliveryFailed(AmikafkaError):
    """Kafka did not take a message, and trying again may help: go back to the checkpoint."""

    exit_code = os.EX_UNAVAILABLE

"""Every error that amikafka raises on purpose, each with its exit code."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from amikafka_tail.model.advice import for_configuration


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One problem of the configuration: where it is, what is wrong, and how to fix it.

    `str()` returns the line that a person reads, for example
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
    """The configuration cannot be used. Holds every problem, not only the first."""

    exit_code = os.EX_CONFIG

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(map(str, self.problems)))


class PluginError(AmikafkaError):
    """A plugin cannot be loaded or used; the text names its distribution."""

    exit_code = os.EX_CONFIG


class TryLater(AmikafkaError):
    """A filter or a format cannot handle an event now, and trying again later may help.

    The host waits, longer each time, and calls again with the same event: nothing is lost or reordered.
    """

    exit_code = os.EX_TEMPFAIL


class SourceDisconnected(AmikafkaError):
    """The source has no connection. Retrying later may help."""

    exit_code = os.EX_UNAVAILABLE


class LoginRefused(SourceDisconnected):
    """The source refused the login: a person has to fix credentials or rights."""

    exit_code = os.EX_NOPERM


class AlreadyLoggedIn(LoginRefused):
    """The user may have only one session, and has one already."""


class InputError(AmikafkaError):
    """A file named on the command line cannot be read."""

    exit_code = os.EX_NOINPUT


class UsageError(AmikafkaError):
    """The command line requests something that cannot be done."""

    exit_code = os.EX_USAGE


class NotPermitted(AmikafkaError):
    """The user lacks the rights for this command."""

    exit_code = os.EX_NOPERM


class ReloadFailed(AmikafkaError):
    """The configuration was not reloaded; the previous one stays in use."""

    exit_code = os.EX_CONFIG


class ClusterError(AmikafkaError):
    """Kafka cannot be used; `hint` says what to do about it."""

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
    """No daemon answers."""

    def __init__(self, text: str, *, exit_code: int = os.EX_UNAVAILABLE) -> None:
        super().__init__(text)
        self.exit_code = exit_code


class NobodyListens(NotRunning):
    """No daemon is running."""


class JournalError(AmikafkaError):
    """The journal directory cannot be used."""

    exit_code = os.EX_CANTCREAT


class DeliveryFailed(AmikafkaError):
    """Kafka did not accept a message, and a retry may help: go back to the checkpoint."""

    exit_code = os.EX_UNAVAILABLE

"""Result of a check."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Self

# A shorter string is no secret, and its replacement would make the texts unreadable.
_LEAST_SECRET = 6


class CheckStatus(StrEnum):
    """Status of a check."""

    OK = "ok"
    FAILED = "failed"
    SKIPPED = "skipped"
    """The check does not apply, or an earlier check that it depends on has failed."""


@dataclass(frozen=True, slots=True)
class CheckResult:
    """Result of a check. Its texts hold no secret.

    :param check: name of the check, for example ``host``. A check has several results if it checks several things.
    :param status: ``ok``, ``failed`` or ``skipped``.
    :param message: what was found.
    :param advice: what to do; empty if there is nothing to do. A result that is ``ok`` may have advice too, for example
        about a limit that matters only to some users.
    """

    check: str
    status: CheckStatus
    message: str
    advice: str = ""

    def __str__(self) -> str:
        return " ".join(filter(None, (f"{self.status}: {self.check}: {self.message}", self.advice)))

    def redacted(self, secrets: Iterable[str]) -> Self:
        """Return the same result with ``***`` in place of secrets that an error of a library may quote."""
        message, advice = self.message, self.advice
        for secret in secrets:
            if len(secret) < _LEAST_SECRET:
                continue
            message, advice = message.replace(secret, "***"), advice.replace(secret, "***")
        return replace(self, message=message, advice=advice)


def ok(check: str, message: str, advice: str = "") -> CheckResult:
    """Return the result of a check that found nothing wrong."""
    return CheckResult(check, CheckStatus.OK, message, advice)


def failed(check: str, message: str, advice: str) -> CheckResult:
    """Return the result of a check that found a fault."""
    return CheckResult(check, CheckStatus.FAILED, message, advice)


def skipped(check: str, message: str, advice: str = "") -> CheckResult:
    """Return the result of a check that was not made; the message says why."""
    return CheckResult(check, CheckStatus.SKIPPED, message, advice)

"""Errors a person can act on, each with its exit code and a stable name.

Contract: every error carries what went wrong, where, and the fix, in its message; ``exit_code`` is what the
command line returns, ``code`` the name that ``--json`` output carries. Anything else that escapes is a bug
(exit code 1). Codes follow the table in ``docs/cli.md``.

See it work: ``pytest tests/test_errors.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class SelfImproveError(Exception):
    """Base of all expected errors."""

    exit_code = 1
    code = "internal"

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class ConfigError(SelfImproveError, ValueError):
    """Wrong usage, configuration or input data. Never worth retrying."""

    exit_code, code = 2, "config"


class FingerprintError(ConfigError):
    """A finished step's recorded inputs differ from what is asked now."""

    code = "config.changed"


class IntegrityError(SelfImproveError):
    """A committed file is missing, damaged or newer than this release."""

    exit_code, code = 4, "integrity"


class PreconditionError(SelfImproveError):
    """A model, data set, device, library or permission is missing."""

    exit_code, code = 5, "precondition"


class DiskFullError(SelfImproveError):
    """No space (or quota) left; committed work is safe and the same command continues."""

    exit_code, code = 6, "disk_full"


class TooManyErrors(SelfImproveError):
    """More samples could not be judged (or drawn) than the configuration allows."""

    exit_code, code = 8, "too_many_errors"


class EngineDead(SelfImproveError):
    """A sampling or training process died and could not be brought back."""

    exit_code, code = 1, "engine_dead"


class CanaryError(SelfImproveError):
    """The served weights do not give the trained weights' log-probabilities."""

    exit_code, code = 4, "canary"


class Diverged(SelfImproveError):
    """A training's loss or weights are no longer numbers: nothing was saved."""

    exit_code, code = 1, "diverged"


class Starved(SelfImproveError):
    """Nothing survived selection: there is nothing to train on."""

    exit_code, code = 9, "starved"


class Stopped(SelfImproveError):
    """Stopped at a safe point; the same command continues."""

    exit_code, code = 75, "stopped"


class LeaseHeld(SelfImproveError):
    """Another live process owns this run."""

    exit_code, code = 76, "lease_held"


def revived(told: Mapping[str, Any]) -> SelfImproveError | None:
    """An error of ours that another process wrote down as its type, message and hint; None for any other."""
    kind = globals().get(str(told["type"]))
    if isinstance(kind, type) and issubclass(kind, SelfImproveError):
        return kind(told["message"], hint=told["hint"])
    return None

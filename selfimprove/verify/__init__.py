"""Judging: verifiers run here in killable child processes, never in the caller.

Contract: importing this package costs nothing (a worker process imports it at every start); its names load on first
use. `VerifierPool` judges, `ErrorBudget` stops a run whose samples cannot be judged, `verifier_digest` names what a
verdict depends on.

See it work: ``pytest tests/verify``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from selfimprove.verify.budget import ErrorBudget as ErrorBudget
    from selfimprove.verify.budget import verifier_digest as verifier_digest
    from selfimprove.verify.pool import VerifierPool as VerifierPool

_HOMES = {"ErrorBudget": "budget", "verifier_digest": "budget", "VerifierPool": "pool"}
__all__ = ["ErrorBudget", "VerifierPool", "verifier_digest"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)

"""The audit: does a verifier accept what is right, refuse what is not, and leave nothing behind?

Contract: verifiers run in the same pool of worker processes as in a run, never here. A file of cases
(`selfimprove.audit.cases`), or a set of problems with their own gold answers (`selfimprove.audit.dataset`), becomes
*trials*; the runner judges them, `selfimprove.audit.report` counts. `quick_audit` is the small one that a run does
before it starts. Importing this package costs nothing.

See it work: ``selfimprove verifiers check`` and ``pytest tests/audit``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from selfimprove.audit.quick import QuickAudit as QuickAudit
    from selfimprove.audit.quick import quick_audit as quick_audit

__all__ = ["QuickAudit", "quick_audit"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from selfimprove.audit import quick

    return getattr(quick, name)

"""Running code that nobody trusts: a fresh cell per check, and a trusted judge outside it.

Contract: a cell has its own PID and mount namespace, tmpfs, user, limits, landlock and seccomp rules, and no network;
it ends with its check, whatever it did. What crosses the wall is bytes that the judge takes apart itself. Names load on
first use.

See it work: ``pytest tests/sandbox``.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from selfimprove.sandbox.client import Cell as Cell
    from selfimprove.sandbox.client import CellGarbage as CellGarbage
    from selfimprove.sandbox.client import CellLost as CellLost
    from selfimprove.sandbox.client import CellTimeout as CellTimeout
    from selfimprove.sandbox.client import Ended as Ended
    from selfimprove.sandbox.client import Limits as Limits
    from selfimprove.sandbox.client import Sandbox as Sandbox
    from selfimprove.sandbox.client import SandboxUnavailable as SandboxUnavailable
    from selfimprove.sandbox.code import run_tests as run_tests
    from selfimprove.sandbox.code import task_of as task_of

_CLIENT = ("Cell", "CellGarbage", "CellLost", "CellTimeout", "Ended", "Limits", "Sandbox", "SandboxUnavailable")
_HOMES = {**dict.fromkeys(_CLIENT, "client"), "run_tests": "code", "task_of": "code"}
__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)

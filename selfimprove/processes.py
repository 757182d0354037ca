"""Processes that this one starts: how they end with it, and what those of another environment are told.

Contract: standard library only. On Linux the kernel ends a process that asked for it when its parent's thread ends;
elsewhere the ends of its pipes and sockets do.

See it work: ``pytest tests/training/test_launch.py``.
"""

from __future__ import annotations

import os
import signal
import sys

# What an interpreter would take for its own, though it belongs to the environment that starts it.
OURS = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")


def end_with_parent(number: signal.Signals = signal.SIGKILL, owner: int | None = None) -> None:
    """To be called in the process that is to end: ``number`` is sent to it when its parent is gone.

    ``owner``: the parent's id; if it is gone already, this ends the process at once.
    """
    if sys.platform != "linux":
        return
    import ctypes

    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, number)
    if owner is not None and os.getppid() != owner:
        os._exit(0)


def environment_elsewhere() -> dict[str, str]:
    """This process's environment for an interpreter of another one."""
    return {name: value for name, value in os.environ.items() if name not in OURS}

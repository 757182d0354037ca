"""Named places where a test may kill, fail or delay this process.

Contract: ``SELFIMPROVE_FAILPOINT=name:hit[:kill|raise|enospc|eio|sleep]`` acts at the ``hit``-th passage (from 1) of
the place called ``name``; without the variable a passage costs one comparison. `NAMES` lists every place, and a
passage of an unlisted name is a bug.

See it work: ``SELFIMPROVE_FAILPOINT=part.linked:2 selfimprove run quickstart`` dies after the second part.
"""

from __future__ import annotations

import errno
import os
import signal
import time

VARIABLE = "SELFIMPROVE_FAILPOINT"

NAMES = (
    "run.created",
    "lease.taken",
    "part.written",
    "part.synced",
    "marker.written",
    "marker.synced",
    "part.linked",
    "step.linked",
    "marker.dirsynced",
    "replace.written",
    "samples.received",
    "verdicts.received",
    "examples.written",
    "train.before",
    "train.after",
    "policy.loaded",
    "evaluation.committed",
    "round.before",
    "round.committed",
    "final.before",
    "finished.written",
)

_hits: dict[str, int] = {}


def failpoint(name: str) -> None:
    """Act here if the environment asks for it."""
    wanted = os.environ.get(VARIABLE)
    if not wanted:
        return
    assert name in NAMES, name
    point, _, rest = wanted.partition(":")
    hit, _, action = rest.partition(":")
    if point != name:
        return
    _hits[name] = _hits.get(name, 0) + 1
    if _hits[name] == int(hit or 1):
        _act(action or "kill", name)


def _act(action: str, name: str) -> None:
    if action == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if action == "sleep":
        time.sleep(3600)
    if action == "enospc":
        raise OSError(errno.ENOSPC, f"failpoint {name}")
    if action == "eio":
        raise OSError(errno.EIO, f"failpoint {name}")
    raise RuntimeError(f"failpoint {name}")

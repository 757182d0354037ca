"""One owner per run: a numbered lease file, a beat, and a fencing number on every commit.

Contract: `take` returns a lease or raises `LeaseHeld` (exit code 76). Leases are files ``control/lease.<n>.json``
published with put-if-absent, so of two candidates one wins. A dead owner on this machine (its process is gone) is
succeeded at once; an owner on another machine only after its beat stood still for ``patience_s`` on the candidate's
own clock: clocks of two hosts are never compared. `Lease.check` raises `LeaseHeld` once a higher number exists.

See it work: ``pytest tests/store/test_lease.py``.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from selfimprove.errors import DiskFullError, LeaseHeld, PreconditionError
from selfimprove.store.failpoints import failpoint
from selfimprove.store.files import RunFiles

BEAT_S = 10.0
PATIENCE_S = 90.0
NAME = re.compile(r"lease\.(\d+)\.json")


def this_process() -> dict[str, Any]:
    """Who we are, so that a successor on this machine can tell whether we are still alive."""
    return {"host": socket.gethostname(), "boot": _boot_id(), "pid": os.getpid(), "started": _started(os.getpid())}


def _boot_id() -> str:
    path = Path("/proc/sys/kernel/random/boot_id")
    return path.read_text().strip() if path.exists() else ""


def _started(pid: int) -> str:
    """The kernel's start time of a process: a pid alone may have been given to another one."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (FileNotFoundError, ProcessLookupError, IndexError):
        return ""


def alive_here(owner: dict[str, Any]) -> bool | None:
    """Whether the owner lives on this machine; None if it is another machine and cannot be told."""
    if owner.get("host") != socket.gethostname() or owner.get("boot") != _boot_id():
        return None
    pid = int(owner["pid"])
    if owner.get("started"):
        return _started(pid) == owner["started"]
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@dataclass
class Lease:
    """Held by this process until `release` or death."""

    files: RunFiles
    number: int
    beat_s: float = BEAT_S
    _stop: threading.Event = field(default_factory=threading.Event)

    def start(self) -> Lease:
        """Begin beating in a daemon thread."""
        threading.Thread(target=self._beat, name="lease", daemon=True).start()
        return self

    def _beat(self) -> None:
        beat = 0
        while not self._stop.wait(self.beat_s):
            beat += 1
            with _best_effort():
                self.files.replace_small("control/beat.json", json.dumps([self.number, beat]).encode())

    def check(self) -> int:
        """The fencing number to commit with. Raises LeaseHeld if another process has taken over."""
        latest = _latest(self.files)
        if latest != self.number:
            raise LeaseHeld(f"{self.files.root}: another process took this run over (lease {latest})")
        return self.number

    def release(self) -> None:
        """Give the run back: the next owner need not wait (if that cannot be written: not for long)."""
        self._stop.set()
        with _best_effort():
            self.files.put_if_absent(f"control/released.{self.number}.json", b"{}")


def _best_effort() -> contextlib.suppress:
    """On a full disk what follows is left undone: the error that people must see is the one of the work."""
    return contextlib.suppress(OSError, DiskFullError, PreconditionError)


def _latest(files: RunFiles) -> int:
    matches = (NAME.fullmatch(name) for name in files.list("control"))
    return max((int(match.group(1)) for match in matches if match), default=0)


def take(files: RunFiles, *, patience_s: float = PATIENCE_S, beat_s: float = BEAT_S) -> Lease:
    """Take the run or raise LeaseHeld naming its owner."""
    number = _latest(files)
    if number and files.read(f"control/released.{number}.json") is None:
        _await_death(files, number, patience_s)
    mine = number + 1
    body = json.dumps(this_process(), sort_keys=True).encode()
    if not files.put_if_absent(f"control/lease.{mine}.json", body):
        raise LeaseHeld(f"{files.root}: another process has just taken this run")
    failpoint("lease.taken")
    for old in range(max(1, mine - 3), mine):
        files.delete(f"control/lease.{old}.json")
        files.delete(f"control/released.{old}.json")
    return Lease(files, mine, beat_s).start()


def owner_of(files: RunFiles) -> dict[str, Any] | None:
    """Who holds the run now (alive or dead), or None if nobody does."""
    number = _latest(files)
    if not number or files.read(f"control/released.{number}.json") is not None:
        return None
    return _owner(files, number)


def _owner(files: RunFiles, number: int) -> dict[str, Any]:
    """What lease ``number`` says of its owner; of a damaged one nothing, so that its beat decides."""
    try:
        return dict(json.loads(files.read(f"control/lease.{number}.json") or b"{}"))
    except ValueError:
        return {}


def _await_death(files: RunFiles, number: int, patience_s: float) -> None:
    owner = _owner(files, number)
    alive = alive_here(owner)
    who = f"process {owner.get('pid')} on {owner.get('host')}"
    if alive:
        raise LeaseHeld(
            f"{files.root}: this run is owned by {who}", hint="wait for it, or watch it with `selfimprove status`"
        )
    if alive is None:
        beat, deadline = files.read("control/beat.json"), time.monotonic() + patience_s
        while time.monotonic() < deadline:
            time.sleep(min(1.0, patience_s / 10))
            if files.read("control/beat.json") != beat:
                raise LeaseHeld(f"{files.root}: this run is owned by {who}, which is still beating")

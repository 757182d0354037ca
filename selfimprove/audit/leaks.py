"""What an audit leaves behind on the machine: processes, files, threads, descriptors.

Contract: `Watch` compares before and after. While it watches, this process adopts orphans (Linux), so that a process
which detached itself from its parents is still found; what is left is named and then killed. Workers get a folder of
their own for temporary files: what is in it at the end was left behind by a verifier or what it ran. New entries of
the shared temporary folder and of the current one may be another program's: they are listed apart (``perhaps``).

See it work: ``pytest tests/audit/test_leaks.py``.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

SLACK = 8
"""Threads, descriptors or processes that a worker may gain between two rounds of the same trials."""

_PROC = Path("/proc")
_PATIENCE_S = 3.0  # for what a killed worker started to notice that its owner is gone
_SHOWN = 20
_WORKER = b"selfimprove.verify.worker"


@dataclass(frozen=True, slots=True)
class LeftBehind:
    """What was there afterwards and not before. ``growth`` is that of single workers between rounds of trials."""

    processes: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    threads: tuple[str, ...] = ()
    descriptors: tuple[str, ...] = ()
    growth: Mapping[str, int] | None = None
    perhaps: tuple[str, ...] = ()

    @property
    def any(self) -> bool:
        return bool(self.processes or self.files or self.threads or self.descriptors or self.growth)

    def json(self) -> dict[str, Any]:
        return {**asdict(self), "growth": dict(self.growth or {})}


class Watch:
    """``with Watch() as watch: ... watch.sample() ...``; `left` holds the result afterwards."""

    def __init__(self) -> None:
        self.left = LeftBehind()
        self._worker_counts: list[dict[int, Counter[str]]] = []

    def __enter__(self) -> Self:
        self._folders = [tempfile.gettempdir(), os.getcwd()]
        self._entries = [_entries(folder) for folder in self._folders]
        self._threads, self._descriptors = set(threading.enumerate()), _descriptors()
        self._kin = set(_kin())
        self._adopted = _adopt(True)
        self._own = tempfile.mkdtemp(prefix="selfimprove-audit-")
        os.chmod(self._own, 0o1777)  # as open as the shared one: what runs under another user may need it
        self._tmpdir = os.environ.get("TMPDIR")
        os.environ["TMPDIR"] = self._own  # workers inherit it; this process has its folder already
        return self

    def sample(self) -> None:
        """Count what each worker holds now; call it after every round of the same trials, in the same pool."""
        self._worker_counts.append({process: _held(process) for process in _kin() if _is_worker(process)})

    def __exit__(self, *_: object) -> None:
        if self._tmpdir is None:
            del os.environ["TMPDIR"]
        else:
            os.environ["TMPDIR"] = self._tmpdir
        alive = self._wait()
        processes = [_name(process) for process in alive]
        for process in alive:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        self._reap_all(alive)
        if not self._adopted:
            _adopt(False)
        files = [str(path.relative_to(self._own)) for path in sorted(Path(self._own).rglob("*"))]
        shutil.rmtree(self._own, ignore_errors=True)
        self.left = LeftBehind(
            tuple(processes[:_SHOWN]),
            tuple(files[:_SHOWN]),
            tuple(thread.name for thread in threading.enumerate() if thread not in self._threads)[:_SHOWN],
            tuple((_descriptors() - self._descriptors).elements())[:_SHOWN],
            self._growth(),
            tuple(self._new_entries())[:_SHOWN],
        )

    def _wait(self) -> list[int]:
        """Our new descendants that are alive when there was time to end; dead ones are reaped."""
        until = time.monotonic() + _PATIENCE_S
        while True:
            new = [process for process in _kin() if process not in self._kin]
            _reap(new)
            alive = [process for process in new if _alive(process)]
            if not alive or time.monotonic() > until:
                return alive
            time.sleep(0.02)

    def _reap_all(self, processes: list[int]) -> None:
        until = time.monotonic() + _PATIENCE_S
        while any(map(_exists, processes)) and time.monotonic() < until:
            _reap([process for process in _kin() if process not in self._kin])
            time.sleep(0.01)

    def _growth(self) -> dict[str, int]:
        """The most that one worker gained, of each sort, between the first and the last sample that both saw it."""
        if len(self._worker_counts) < 2:
            return {}
        first, last = self._worker_counts[0], self._worker_counts[-1]
        gained: Counter[str] = Counter()
        for process in first.keys() & last.keys():
            for sort, count in last[process].items():
                gained[sort] = max(gained[sort], count - first[process][sort])
        return {sort: count for sort, count in gained.items() if count > SLACK}

    def _new_entries(self) -> Iterator[str]:
        for folder, before in zip(self._folders, self._entries, strict=True):
            yield from (os.path.join(folder, name) for name in sorted(_entries(folder) - before))


def _entries(folder: str) -> set[str]:
    try:
        return set(os.listdir(folder))
    except OSError:
        return set()


def _descriptors(process: int | str = "self") -> Counter[str]:
    """What the open descriptors of a process lead to; nothing where there is no /proc."""
    found: Counter[str] = Counter()
    folder = _PROC / str(process) / "fd"
    for name in _entries(str(folder)):
        with contextlib.suppress(OSError):  # the one that listed them, or closed since
            target = os.readlink(folder / name)
            found[target.partition(":")[0] if ":[" in target else target] += 1
    return found


def _kin() -> dict[int, int]:
    """All descendants of this process, each with its parent."""
    parents: dict[int, int] = {}
    for name in _entries(str(_PROC)):
        if name.isdecimal() and (stat := _stat(int(name))):
            parents[int(name)] = int(stat[1])
    found: dict[int, int] = {}
    level = {os.getpid()}
    while level:
        below = {child: parent for child, parent in parents.items() if parent in level and child not in found}
        found |= below
        level = set(below)
    return found


def _stat(process: int) -> list[str]:
    """State, parent and so on of a process; nothing if it is gone."""
    try:
        return (_PROC / str(process) / "stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return []


def _alive(process: int) -> bool:
    stat = _stat(process)
    return bool(stat) and stat[0] not in "ZX"


def _exists(process: int) -> bool:
    return bool(_stat(process))


def _reap(processes: list[int]) -> None:
    for process in processes:
        stat = _stat(process)
        if stat and stat[0] == "Z" and int(stat[1]) == os.getpid():
            with contextlib.suppress(ChildProcessError):  # somebody else waited for it
                os.waitpid(process, os.WNOHANG)


def _held(process: int) -> Counter[str]:
    below = [child for child, parent in _kin().items() if parent == process]
    threads = len(_entries(str(_PROC / str(process) / "task")))
    return Counter(threads=threads, descriptors=_descriptors(process).total(), processes=len(below))


def _is_worker(process: int) -> bool:
    return _WORKER in _command(process)


def _command(process: int) -> bytes:
    try:
        return (_PROC / str(process) / "cmdline").read_bytes()
    except OSError:
        return b""


def _name(process: int) -> str:
    words = _command(process).replace(b"\0", b" ").decode(errors="replace").strip()
    return f"{process} {words[:200]}".strip()


def _adopt(on: bool) -> bool:
    """Let this process be the parent of orphaned descendants, or not; returns whether it was before. Linux only."""
    if sys.platform != "linux":
        return False
    import ctypes

    set_child_subreaper, get_child_subreaper = 36, 37
    libc, before = ctypes.CDLL(None), ctypes.c_int(0)
    libc.prctl(get_child_subreaper, ctypes.byref(before), 0, 0, 0)
    libc.prctl(set_child_subreaper, int(on), 0, 0, 0)
    return bool(before.value)

"""Peak memory of a process and everything below it: summed proportional set sizes, so that shared pages count once.

Contract: `peak` watches from a small process of its own, which is not counted. Linux only. The unit is MB (1e6 bytes).

See it work: ``python -m benchmarks million --samples 20000``.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import time
from collections.abc import Iterator
from multiprocessing.sharedctypes import Synchronized
from multiprocessing.synchronize import Event
from pathlib import Path

EVERY_S = 1.0


def parents() -> dict[int, int]:
    """Process id -> parent's, of every process that can be read."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError, IndexError):
                found[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
    return found


def tree(root: int, without: int) -> list[int]:
    """``root`` and its descendants, leaving out ``without`` and what is below it."""
    children: dict[int, list[int]] = {}
    for process, parent in parents().items():
        children.setdefault(parent, []).append(process)
    found, todo = [], [root]
    while todo:
        process = todo.pop()
        if process != without:
            found.append(process)
            todo += children.get(process, [])
    return found


def pss_mb(process: int) -> float:
    """Proportional set size; 0 for a process that is gone."""
    try:
        lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith("Pss:")), 0.0)


def by_name(processes: list[int]) -> dict[str, float]:
    """MB by command, largest first."""
    found: dict[str, float] = {}
    for process in processes:
        try:
            words = Path(f"/proc/{process}/cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        name = label(process, [word.decode(errors="replace") for word in words])
        found[name] = found.get(name, 0.0) + pss_mb(process)
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def label(process: int, words: list[str]) -> str:
    """What a process is, in a word or two."""
    if words[0].startswith("ray::"):
        return words[0].split("(")[0].removesuffix(".__init__").partition(".")[0]
    for known in ("gcs_server", "raylet", "verify.worker", "log_monitor", "agent", "monitor", "default_worker"):
        if any(known in word for word in words[:4]):
            return "ray idle worker" if known == "default_worker" else known
    return "driver" if process == os.getpid() or "spawn_main" in " ".join(words) else Path(words[0]).name


def _watch(root: int, highest: Synchronized[float], stop: Event) -> None:
    while not stop.is_set():
        now = sum(map(pss_mb, tree(root, os.getpid())))
        highest.value = max(highest.value, now)
        stop.wait(EVERY_S)


@contextlib.contextmanager
def peak() -> Iterator[list[float]]:
    """Within the block this process's tree is watched; afterwards the list holds its peak in MB."""
    context = multiprocessing.get_context("spawn")
    highest, stop, found = context.Value("d", 0.0), context.Event(), list[float]()
    watcher = context.Process(target=_watch, args=(os.getpid(), highest, stop))
    watcher.start()
    time.sleep(0.5)
    try:
        yield found
    finally:
        stop.set()
        watcher.join()
        found.append(highest.value)

"""Procedural puzzles of the reasoning-gym package (over 100 tasks): its questions and answers, as text.

Contract: needs ``pip install reasoning-gym`` (0.1.25 tried). A task with several right answers per question lists one
of them in ``answer``; ``tests`` holds what the package's own scorer needs, where that can be written down, for the
verifier ``puzzle_score``. ``task_args`` are the task's own settings; rows name the task in ``puzzle``.

See it work: ``pytest tests/problems/test_reasoning_gym.py``.
"""

from __future__ import annotations

import difflib
import importlib
import json
from collections.abc import Iterator
from typing import Any

from selfimprove.errors import PreconditionError

_TRIES_PER_PROBLEM = 20


def reasoning_gym(n: int, seed: int = 0, *, task: str, **task_args: Any) -> Iterator[dict[str, Any]]:
    """``n`` problems with distinct questions of one task (``chain_sum``, ``leg_counting``, ...).

    Raises PreconditionError without the package, ValueError for an unknown task, for settings that the task refuses
    and if it has fewer than ``n`` distinct questions.
    """
    try:
        package = importlib.import_module("reasoning_gym")
    except ModuleNotFoundError as error:
        raise PreconditionError(f"reasoning_gym needs its package ({error}): pip install reasoning-gym") from error
    tasks = package.factory.DATASETS
    if task not in tasks:
        near = difflib.get_close_matches(task, tasks, 3) or sorted(tasks)
        raise ValueError(f"no reasoning-gym task {task!r}; there are {len(tasks)}, such as {', '.join(near[:10])}")
    try:
        entries = package.create_dataset(task, size=max(1, n * _TRIES_PER_PROBLEM), seed=seed, **task_args)
    except (TypeError, ValueError, AssertionError) as error:  # its settings are checked with assert
        raise ValueError(f"reasoning-gym task {task!r} refuses {task_args}: {error}") from error
    return _rows(n, entries, task)


def _scorable(entries: Any, entry: Any, task: str) -> dict[str, Any]:
    """What the scorer needs; nothing for tasks whose entries cannot be written down, or whose answers do not score."""
    try:
        plain = json.loads(json.dumps(entry, allow_nan=False))
    except (TypeError, ValueError):
        return {}
    return {"tests": {"task": task, "entry": plain}} if entries.score_answer(plain["answer"], plain) == 1.0 else {}


def _rows(n: int, entries: Any, task: str) -> Iterator[dict[str, Any]]:
    seen: set[str] = set()
    for place in range(n * _TRIES_PER_PROBLEM):
        if len(seen) == n:
            return
        entry = entries[place]
        if entry["question"] not in seen and entry["answer"] is not None:
            seen.add(entry["question"])
            row = {"prompt": entry["question"], "answer": str(entry["answer"]), "puzzle": task}
            yield row | _scorable(entries, entry, task)
    if len(seen) < n:
        raise ValueError(f"reasoning-gym task {task!r} has only {len(seen)} distinct questions of {n}; lower n")

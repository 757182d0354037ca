"""Procedural puzzles of the reasoning-gym package (over 100 tasks): its questions and answers, as text.

Contract: needs ``pip install reasoning-gym`` (0.1.25 tried). Only the text of questions and answers is taken; the
package's own scorers are not used, because some of them evaluate what a model wrote as code: judge with a verifier.
A task with several right answers per question lists one of them. ``task_args`` are the task's own settings;
rows name the task in ``puzzle``.

See it work: ``pytest tests/problems/test_reasoning_gym.py``.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterator
from typing import Any

from selfimprove.errors import PreconditionError

_TRIES_PER_PROBLEM = 20


def reasoning_gym(n: int, seed: int = 0, *, task: str, **task_args: Any) -> Iterator[dict[str, str]]:
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


def _rows(n: int, entries: Any, task: str) -> Iterator[dict[str, str]]:
    seen: set[str] = set()
    for place in range(n * _TRIES_PER_PROBLEM):
        if len(seen) == n:
            return
        entry = entries[place]
        if entry["question"] not in seen and entry["answer"] is not None:
            seen.add(entry["question"])
            yield {"prompt": entry["question"], "answer": str(entry["answer"]), "puzzle": task}
    if len(seen) < n:
        raise ValueError(f"reasoning-gym task {task!r} has only {len(seen)} distinct questions of {n}; lower n")

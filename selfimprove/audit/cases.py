"""Files of cases: completions with the verdict they must get, one JSON object a line.

Contract: every line is checked and every fault is named as ``file:line``; a case becomes a problem and a finished
completion by its kind. Nothing of a case is ever executed here.

==========  ============================================================================================
``code``    ``task.prompt`` is the prompt, the rest of the task the problem's ``tests``
``math``    ``task.prompt`` and ``task.gold``, the problem's ``answer``
``judge``   a judging model's output, or what it is shown: the whole task is the problem's ``tests``
any other   ``task`` holds ``prompt``, ``answer``, ``tests`` and ``meta`` of the problem as they are
==========  ============================================================================================

See it work: ``selfimprove verifiers check`` and ``pytest tests/audit/test_cases.py``.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from selfimprove.audit.trials import Trial
from selfimprove.errors import ConfigError, PreconditionError
from selfimprove.plugins import suggest
from selfimprove.types import Problem, messages

CORPUS = Path(__file__).parent / "corpus"
_SHOWN = 20
_TEXTS = ("id", "kind", "category")
_REQUIRED = (*_TEXTS, "task", "completion", "must_accept")
_FLAGS = ("slow", "persist")
_KEYS = (*_REQUIRED, "why", *_FLAGS, "side_effect", "time_limit_s")
_CODE = ("tests", "io", "stdin_tests", "pytest", "test")
_PROBLEM = ("prompt", "answer", "tests", "meta")


def corpus() -> list[Path]:
    """The files of cases that come with the package."""
    return sorted(CORPUS.glob("*.jsonl"))


def read_cases(files: Sequence[Path | str]) -> list[Trial]:
    """The cases of all files as trials, in order.

    Raises ConfigError naming up to 20 bad lines, PreconditionError for a file that cannot be read.
    """
    trials: list[Trial] = []
    bad: list[str] = []
    seen: dict[str, str] = {}
    for file in files:
        before = len(trials) + len(bad)
        for number, line in _lines(Path(file)):
            place = f"{file}:{number}"
            try:
                trial = trial_of(_loads(line))
                if trial.id in seen:
                    raise ValueError(f"id {trial.id!r} was used at {seen[trial.id]}; ids are unique")
            except ValueError as error:
                bad.append(f"{place}: {error}")
                continue
            seen[trial.id] = place
            trials.append(trial)
        if len(trials) + len(bad) == before:
            raise ConfigError(f"{file} holds no cases; it needs one JSON object a line")
    if bad:
        more = [f"... and {len(bad) - _SHOWN:,} more"] if len(bad) > _SHOWN else []
        lines = "\n  ".join([*bad[:_SHOWN], *more])
        raise ConfigError(f"{len(bad):,} cases cannot be used:\n  {lines}", hint="the format: docs/audit.md")
    return trials


def trial_of(case: Any) -> Trial:
    """One case as a trial. Raises ValueError saying what is wrong with it."""
    if not isinstance(case, Mapping):
        raise ValueError(f"a case is a JSON object, not {type(case).__name__}")
    for name in case:
        if name not in _KEYS:
            raise ValueError(f"unknown key {name!r}{suggest(name, _KEYS)}")
    missing = [name for name in _REQUIRED if name not in case]
    if missing:
        raise ValueError(f"no {', '.join(missing)}")
    for name in _TEXTS:
        if not isinstance(case[name], str) or not case[name].strip():
            raise ValueError(f"{name} must be a text that is not empty, got {case[name]!r:.60}")
    for name in ("completion", "why", "side_effect"):
        if not isinstance(case.get(name, ""), str):
            raise ValueError(f"{name} must be a text, got {case[name]!r:.60}")
    for name in ("must_accept", *_FLAGS):
        if not isinstance(case.get(name, False), bool):
            raise ValueError(f"{name} must be true or false, got {case[name]!r:.60}")
    if not isinstance(case["task"], Mapping):
        raise ValueError(f"task must be an object, got {case['task']!r:.60}")
    limit, path = _limit(case.get("time_limit_s")), case.get("side_effect")
    if path is not None and not os.path.isabs(path):
        raise ValueError(f"side_effect must be an absolute path, got {path!r:.60}")
    problem = _problem(case["id"], case["kind"], case["task"], limit)
    flags = {name: case.get(name, False) for name in _FLAGS}
    return Trial(
        case["id"],
        case["kind"],
        case["category"],
        problem,
        case["completion"],
        case["must_accept"],
        case.get("why", ""),
        side_effect=path,
        time_limit_s=limit,
        **flags,
    )


def repeated(trials: Iterable[Trial]) -> list[list[Trial]]:
    """Groups of trials that ask the same (task and completion): their labels must agree."""
    groups: dict[str, list[Trial]] = {}
    for trial in trials:
        problem = trial.problem
        asked = [trial.kind, problem.text, problem.answer, problem.tests, trial.completion]
        groups.setdefault(json.dumps(asked, sort_keys=True, default=str), []).append(trial)
    return [group for group in groups.values() if len(group) > 1]


def _problem(identity: str, kind: str, task: Mapping[str, Any], limit: float | None) -> Problem:
    prompt, answer, tests, meta = _PARTS.get(kind, _plain_parts)(task)
    if not isinstance(prompt, str):
        raise ValueError(f"task.prompt must be a text, got {prompt!r:.60}")
    if kind == "code" and limit is not None:
        tests = {**tests, "time_limit_s": limit}
    return Problem(identity, messages(prompt), answer, tests, kind, meta)


def _code_parts(task: Mapping[str, Any]) -> tuple[Any, ...]:
    tests = {name: value for name, value in task.items() if name != "prompt"}
    if not any(tests.get(name) for name in _CODE):
        raise ValueError(f"a code task needs one of: {', '.join(f'task.{name}' for name in _CODE)}")
    return task.get("prompt"), None, tests, {}


def _math_parts(task: Mapping[str, Any]) -> tuple[Any, ...]:
    if task.get("gold") is None:
        raise ValueError("a math task needs task.gold")
    meta = {name: value for name, value in task.items() if name not in ("prompt", "gold")}
    return task.get("prompt"), task["gold"], None, meta


def _judge_parts(task: Mapping[str, Any]) -> tuple[Any, ...]:
    if not task:
        raise ValueError("a judge task must not be empty")
    return task.get("question", ""), task.get("reference"), dict(task), {}


def _plain_parts(task: Mapping[str, Any]) -> tuple[Any, ...]:
    unknown = [name for name in task if name not in _PROBLEM]
    if unknown:
        what = f"task.{unknown[0]} means nothing: the task of this kind holds {', '.join(_PROBLEM)}"
        raise ValueError(f"{what} (the kinds with tasks of their own are {', '.join(_PARTS)})")
    return task.get("prompt"), task.get("answer"), task.get("tests"), dict(task.get("meta") or {})


_PARTS: Mapping[str, Callable[[Mapping[str, Any]], tuple[Any, ...]]] = {
    "code": _code_parts,
    "math": _math_parts,
    "judge": _judge_parts,
}


def _limit(value: Any) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not (0 < value < math.inf):
        raise ValueError(f"time_limit_s must be a number of seconds above 0, got {value!r:.60}")
    return float(value)


def _loads(line: bytes) -> Any:
    try:
        return json.loads(line)
    except RecursionError as error:
        raise ValueError("invalid JSON: nested too deeply") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8: {error.reason} at byte {error.start + 1}") from error
    except json.JSONDecodeError as error:
        raise ValueError(f"invalid JSON at column {error.colno}: {error.msg}") from error


def _lines(file: Path) -> Iterator[tuple[int, bytes]]:
    try:
        with file.open("rb") as stream:
            for number, line in enumerate(stream, 1):
                if line.strip():
                    yield number, line
    except OSError as error:
        raise PreconditionError(f"cases {str(file)!r} cannot be read: {error.strerror or error}") from error

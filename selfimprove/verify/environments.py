"""Single-turn environments of the library `verifiers` (releases 0.1 and 0.2) as verifiers: their rubrics, unchanged.

Contract: ``load_environment(**args)`` gives an object whose ``rubric`` holds reward functions and weights, or several
such rubrics. Each function is called with what it names of ``prompt``, ``completion`` (a list of messages), ``answer``,
``info``, ``task``, ``state``, ``parser`` and the problem's own columns; the score is the weighted sum. The library
turns an exception into a reward of 0; here it stays an error. Environments of several turns, and rewards of whole
groups, are refused.

Source: verifiers 0.1.14, rubrics/rubric.py. See it work: ``pytest tests/verify/test_environments.py``.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Mapping
from typing import Any

from selfimprove.errors import ConfigError
from selfimprove.prompts import conversation
from selfimprove.types import Problem, Sample

_GROUP = {"states", "prompts", "completions", "answers", "tasks", "infos"}


def adapted(load_environment: Callable[..., Any], args: Mapping[str, Any]) -> Callable[[Problem, Sample], float]:
    """The environment's rubric as a verifier of one sample. ConfigError for one that cannot judge a single answer."""
    environment = load_environment(**args)
    if getattr(environment, "max_turns", 1) not in (1, -1) or not _single(environment):
        raise ConfigError(
            f"verifiers: {type(environment).__name__} has several turns", hint="only single-turn ones judge"
        )
    parts = _parts(environment.rubric)
    for function, _, _ in parts:
        if _GROUP & set(inspect.signature(function).parameters):
            raise ConfigError(f"verifiers: {_name(function)} scores whole groups, which is not supported")
    if not parts:
        raise ConfigError(f"verifiers: the rubric of {type(environment).__name__} has no reward function")

    def judge(problem: Problem, sample: Sample) -> float:
        said = _said(problem, sample)
        asked = [(function, weight, objects) for function, weight, objects in parts if weight]
        return sum(weight * _call(function, {**said, **objects}) for function, weight, objects in asked)

    return judge


def _single(environment: Any) -> bool:
    names = [kind.__name__ for kind in type(environment).__mro__]
    return "SingleTurnEnv" in names or "MultiTurnEnv" not in names


def _parts(rubric: Any) -> list[tuple[Callable[..., Any], float, Mapping[str, Any]]]:
    """(function, weight, the rubric's own objects) of a rubric, or of all rubrics of a group."""
    if getattr(rubric, "rubrics", None):
        return [part for one in rubric.rubrics for part in _parts(one)]
    objects = dict(getattr(rubric, "class_objects", None) or {"parser": getattr(rubric, "parser", None)})
    functions: list[Callable[..., Any]] = list(getattr(rubric, "funcs", None) or getattr(rubric, "reward_funcs", []))
    given: Any = getattr(rubric, "weights", None) or getattr(rubric, "reward_weights", None)
    weights = [float(weight) for weight in given or [1.0] * len(functions)]
    return [(function, weight, objects) for function, weight in zip(functions, weights, strict=True)]


def _said(problem: Problem, sample: Sample) -> dict[str, Any]:
    """What a rubric knows of one sample."""
    chat = problem.prompt[0].role != "text"
    prompt: Any = conversation(problem.prompt)[0] if chat else problem.text
    completion = [{"role": "assistant", "content": sample.prefix + sample.completion}]
    answer, info = "" if problem.answer is None else problem.answer, problem.meta.get("info", dict(problem.meta))
    known = {"prompt": prompt, "completion": completion, "answer": answer, "info": info, "task": problem.task}
    return {**problem.meta, **known, "state": {**known, "responses": [], "turn": 1, "is_completed": True}}


def _call(function: Callable[..., Any], objects: Mapping[str, Any]) -> float:
    parameters = inspect.signature(function).parameters
    takes_all = any(parameter.kind == parameter.VAR_KEYWORD for parameter in parameters.values())
    given = dict(objects) if takes_all else {name: value for name, value in objects.items() if name in parameters}
    found = function(**given)
    return float(asyncio.run(_awaited(found)) if inspect.isawaitable(found) else found)


async def _awaited(value: Any) -> Any:
    return await value


def _name(function: Callable[..., Any]) -> str:
    return str(getattr(function, "__name__", function))

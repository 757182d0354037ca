"""Reward functions written for other trainers, called as they are: a prefix before a spec.

Contract: each is given what its own trainer gives it, made from a problem and its samples. What it returns becomes
verdicts by the usual rules: numbers need ``verifier.threshold``, None and exceptions are errors, never failures.

=============  =====================================================================================================
``trl:``       ``fn(prompts, completions, **columns) -> list``: all samples of a problem; conversations as lists of
               messages, other prompts as texts; ``completion_ids``, and every column of the problem, repeated
``verl:``      ``compute_score(data_source, solution_str, ground_truth, extra_info)``: a number, or a dict with
               ``score``
``openrlhf:``  ``fn(queries, prompts, labels)``: a list or tensor of numbers, or a dict with ``rewards``
``verifiers:`` ``load_environment(**args)``: a single-turn environment with a rubric (`selfimprove.verify.environments`)
=============  =====================================================================================================

The known answer is called ``answer``, ``solution`` and ``ground_truth`` unless the problem has columns of these names.

Sources: TRL 1.16 GRPOTrainer (reward_funcs), verl's reward manager (default_compute_score), OpenRLHF's remote reward
model interface. See it work: ``pytest tests/verify/test_dialects.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from selfimprove.prompts import conversation
from selfimprove.types import Problem, Sample, Verdict, erring
from selfimprove.verify import environments

KINDS: Mapping[str, Literal["group", "sample"]] = {
    "trl": "group",
    "verl": "sample",
    "openrlhf": "group",
    "verifiers": "sample",
}


def adapted(dialect: str, function: Callable[..., Any], args: Mapping[str, Any]) -> Callable[..., Any]:
    """``function`` as a verifier of groups or of samples (`KINDS`); ``args`` are handed to it by name."""
    make = {"trl": _trl, "verl": _verl, "openrlhf": _openrlhf, "verifiers": environments.adapted}[dialect]
    return make(function, dict(args))


def columns_of(problem: Problem) -> dict[str, Any]:
    """What the problem's row says besides its prompt, by the names that reward functions expect."""
    found = dict.fromkeys(("answer", "solution", "ground_truth"), problem.answer)
    return {**found, "tests": problem.tests, "task": problem.task, **problem.meta}


def _trl(function: Callable[..., Any], args: dict[str, Any]) -> Callable[..., Any]:
    def judge(problem: Problem, samples: Sequence[Sample]) -> list[Any]:
        chat = problem.prompt[0].role != "text"
        texts = [sample.prefix + sample.completion for sample in samples]
        asked: Any = conversation(problem.prompt)[0] if chat else None
        said: list[Any] = [[{"role": "assistant", "content": text}] for text in texts] if chat else texts
        columns = {name: [value] * len(samples) for name, value in columns_of(problem).items()}
        found = function(
            prompts=[asked if chat else problem.text] * len(samples),
            completions=said,
            completion_ids=[list(sample.token_ids) for sample in samples],
            **{**columns, **args},
        )
        return _each(found, len(samples))

    return judge


def _verl(function: Callable[..., Any], args: dict[str, Any]) -> Callable[..., Any]:
    def judge(problem: Problem, sample: Sample) -> Any:
        extra = {**problem.meta, "index": sample.index, "tests": problem.tests}
        source = str(problem.meta.get("data_source", problem.task))
        truth = problem.meta.get("ground_truth", problem.answer if problem.answer is not None else problem.tests)
        found = function(
            data_source=source,
            solution_str=sample.prefix + sample.completion,
            ground_truth=truth,
            extra_info=extra,
            **args,
        )
        return _one(found["score"] if isinstance(found, Mapping) and "score" in found else found)

    return judge


def _openrlhf(function: Callable[..., Any], args: dict[str, Any]) -> Callable[..., Any]:
    def judge(problem: Problem, samples: Sequence[Sample]) -> list[Any]:
        prompts = [sample.prompt or problem.text for sample in samples]
        queries = [prompt + sample.completion for prompt, sample in zip(prompts, samples, strict=True)]
        found = function(queries, prompts, [problem.answer] * len(samples), **args)
        return _each(found["rewards"] if isinstance(found, Mapping) else found, len(samples))

    return judge


def _each(found: Any, count: int) -> list[Any]:
    """One result for each sample, from a list or a tensor."""
    rows = list(found.tolist() if hasattr(found, "tolist") else found)
    if len(rows) != count:
        raise ValueError(f"the reward function returned {len(rows)} rewards for {count} completions")
    return [_one(row) for row in rows]


def _one(value: Any) -> Any:
    if value is None:
        return erring("no-score", "the reward function gave None")
    plain = value.item() if hasattr(value, "item") else value
    return (
        plain if isinstance(plain, bool | int | float | Verdict) else erring("bad-return", f"no number: {plain!r:.80}")
    )

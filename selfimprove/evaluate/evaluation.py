"""From judged samples to an accuracy with its interval.

Contract: accuracy is averaged per problem first, then over problems. A truncated answer counts as wrong; an attempt
that could not be judged counts as nothing, and a problem without a judged attempt leaves the figure.

See it work: ``selfimprove eval MODEL CONFIG``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from selfimprove.evaluate.stats import pass_at_k, wilson
from selfimprove.store.groups import Groups
from selfimprove.types import Interval


@dataclass(frozen=True)
class Evaluation:
    """``outcomes`` says for each judged problem whether it counts as solved (half or more of its judged attempts).

    ``pass_at`` holds pass@k for k = 1, 2, 4, ... up to the attempts per problem (n > 1 only), ``by_task`` the accuracy
    of each task if there are several, ``tasks`` the task of each judged problem.
    """

    accuracy: Interval
    outcomes: Mapping[str, bool]
    errors: int = 0
    truncated: int = 0
    pass_at: Mapping[int, float] = field(default_factory=dict)
    by_task: Mapping[str, Interval] = field(default_factory=dict)
    tasks: Mapping[str, str] = field(default_factory=dict)


def evaluation_of(groups: Groups) -> Evaluation:
    """The evaluation of committed groups."""
    rates: dict[str, float] = {}
    tasks: dict[str, list[float]] = {}
    task_of: dict[str, str] = {}
    judged: list[tuple[int, int]] = []
    for group in groups:
        rate = group.pass_rate
        if rate is not None:
            rates[group.problem.id] = rate
            tasks.setdefault(group.problem.task, []).append(rate)
            task_of[group.problem.id] = group.problem.task
            judged.append((sum(a.outcome != "error" for a in group.attempts), len(group.passed)))
    n = len(rates)
    accuracy = wilson(sum(rates.values(), 0.0), n)
    counts = groups.counts
    outcomes = {name: rate >= 0.5 for name, rate in rates.items()}
    by_task = {task: wilson(sum(found), len(found)) for task, found in sorted(tasks.items()) if len(tasks) > 1}
    return Evaluation(
        accuracy, outcomes, counts.get("errors", 0), counts["truncated"], _pass_at(judged), by_task, task_of
    )


def _pass_at(judged: list[tuple[int, int]]) -> dict[int, float]:
    least = min((n for n, _ in judged), default=0)
    ks = [k for k in (1, 2, 4, 8, 16, 32, 64, 128) if k <= least]
    if least < 2:
        return {}
    return {k: sum(pass_at_k(n, c, k) for n, c in judged) / len(judged) for k in ks}

"""Two decisions after each round: go on from the candidate, and name it the result.

Contract: pure functions of paired held-out outcomes. A candidate is *continued from* unless it is clearly worse than
the best so far (the 95 % interval of the paired difference lies below zero). It is *named the result* if it is clearly
better than the base (interval above zero) and has the highest accuracy so far. One strict gate would stall good runs:
a real round gains one or two points, less than a few hundred problems can resolve.

See it work: ``pytest tests/test_gate.py``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist

from selfimprove.evaluate.evaluation import Evaluation
from selfimprove.evaluate.stats import paired
from selfimprove.types import Interval


@dataclass(frozen=True)
class Decision:
    """What follows from a candidate's evaluation. ``versus_base`` and ``versus_best`` are paired differences."""

    continued: bool
    named: bool
    reason: str
    versus_base: Interval | None = None
    versus_best: Interval | None = None


def difference(before: Evaluation, after: Evaluation) -> Interval:
    """Accuracy of ``after`` minus ``before``, paired over the problems that both could be judged on."""
    common = sorted(set(before.outcomes) & set(after.outcomes))
    return paired([before.outcomes[name] for name in common], [after.outcomes[name] for name in common])


def worse_tasks(before: Evaluation, after: Evaluation) -> dict[str, Interval]:
    """The tasks at which ``after`` is clearly worse, each with its difference; nothing where there is one task.

    The intervals are widened (Bonferroni) so that with many tasks, too, one in twenty is called worse by chance.
    """
    tasks = sorted(set(after.tasks.values()))
    if len(tasks) < 2:
        return {}
    z = NormalDist().inv_cdf(1 - 0.025 / len(tasks))
    found = {}
    for task in tasks:
        names = [name for name in sorted(set(before.outcomes) & set(after.outcomes)) if after.tasks[name] == task]
        change = paired([before.outcomes[name] for name in names], [after.outcomes[name] for name in names], z)
        if change.high < 0:
            found[task] = change
    return found


def decide(
    base: Evaluation | None, best: Evaluation | None, candidate: Evaluation | None, *, each_task: bool = True
) -> Decision:
    """The decisions for one candidate; without evaluations (no gate split) every candidate is taken as it comes.

    With ``each_task`` a candidate that is clearly worse at one task is neither gone on from (worse than the best) nor
    named the result (worse than the base): the mean of all tasks may hide it.
    """
    if base is None or best is None or candidate is None:
        return Decision(True, True, "no gate split: not compared")
    versus_base, versus_best = difference(base, candidate), difference(best, candidate)
    lost = worse_tasks(best, candidate) if each_task else {}
    continued = versus_best.high >= 0 and not lost
    named = versus_base.low > 0 and candidate.accuracy.value > best.accuracy.value
    named = named and not (lost or (each_task and worse_tasks(base, candidate)))
    if lost:
        reason = "clearly worse than the best so far at " + ", ".join(f"{t} ({points(i)})" for t, i in lost.items())
    elif not continued:
        reason = f"clearly worse than the best so far ({points(versus_best)})"
    elif named:
        reason = f"better than the base ({points(versus_base)})"
    else:
        reason = f"not clearly worse than the best ({points(versus_best)})"
    return Decision(continued, named, reason, versus_base, versus_best)


def points(interval: Interval) -> str:
    """An interval of a difference, in percentage points."""
    return f"{interval.value * 100:+.1f} [{interval.low * 100:+.1f}, {interval.high * 100:+.1f}] points"


def stop_reason(
    done: int,
    accuracies: Sequence[float],
    *,
    rounds: int,
    target: float | None,
    patience: int | None,
    base: float | None,
) -> str | None:
    """Why to stop after ``done`` rounds with these gate accuracies (none without a gate split), or None to go on.

    ``target``: an accuracy was reached. ``patience``: that many rounds in a row without a new highest accuracy.
    """
    if target is not None and accuracies and accuracies[-1] >= target:
        return f"target {target:.1%} reached"
    if patience is not None and accuracies:
        highest = max(range(len(accuracies)), key=lambda index: (accuracies[index], -index))
        if base is not None and base >= accuracies[highest]:
            highest = -1
        if len(accuracies) - 1 - highest >= patience:
            return f"no new highest accuracy for {patience} rounds"
    if done >= rounds:
        return "all rounds done"
    return None


def interval_json(interval: Interval | None) -> Mapping[str, float] | None:
    """An interval as the JSON object that ``status --json`` carries."""
    if interval is None:
        return None
    return {"value": interval.value, "low": interval.low, "high": interval.high, "n": interval.n}

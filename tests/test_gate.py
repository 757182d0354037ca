"""What is continued from, what is named, when to stop. Run: pytest tests/test_gate.py"""

from __future__ import annotations

from selfimprove.evaluate.evaluation import Evaluation
from selfimprove.evaluate.stats import wilson
from selfimprove.gate import decide, difference, stop_reason


def evaluation(right: int, n: int = 400, first: int = 0) -> Evaluation:
    """An evaluation that solves the problems ``first`` to ``first + right``."""
    outcomes = {f"p{i}": first <= i < first + right for i in range(n)}
    return Evaluation(wilson(right, n), outcomes)


def test_clearly_better_is_named_and_continued() -> None:
    decision = decide(evaluation(100), evaluation(100), evaluation(200))
    assert decision.continued and decision.named and "+25.0" in decision.reason


def test_a_small_gain_is_continued_but_not_named() -> None:
    decision = decide(evaluation(100), evaluation(100), evaluation(102, first=50))
    assert decision.continued and not decision.named


def test_clearly_worse_is_rolled_back() -> None:
    decision = decide(evaluation(100), evaluation(200), evaluation(120))
    assert not decision.continued and not decision.named and "clearly worse" in decision.reason


def test_slow_decay_is_stopped_because_the_best_is_the_measure() -> None:
    best, current = evaluation(300), 300
    for _ in range(40):
        current -= 3
        if not decide(evaluation(100), best, evaluation(current)).continued:
            break
    assert 250 < current < 295


def test_without_a_gate_every_candidate_is_taken() -> None:
    assert decide(None, None, None).continued and decide(None, None, None).named


def test_problems_that_could_not_be_judged_leave_the_comparison() -> None:
    before, after = evaluation(2, 4), Evaluation(wilson(1, 2), {"p0": True, "p3": True})
    assert difference(before, after).n == 2


def test_stop_rules() -> None:
    rules = {"rounds": 5, "target": 0.9, "patience": 2, "base": 0.5}
    assert stop_reason(1, [0.6], **rules) is None
    assert stop_reason(2, [0.6, 0.95], **rules) == "target 90.0% reached"
    assert stop_reason(3, [0.6, 0.6, 0.55], **rules) == "no new highest accuracy for 2 rounds"
    assert stop_reason(2, [0.4, 0.45], **rules) == "no new highest accuracy for 2 rounds"
    assert stop_reason(5, [0.6, 0.6, 0.7, 0.65, 0.71], **rules) == "all rounds done"
    assert stop_reason(5, [], rounds=5, target=None, patience=None, base=None) == "all rounds done"


def mixed(sums: int, code: int, n: int = 200) -> Evaluation:
    """An evaluation of two tasks, each with ``n`` problems of which the first ones are solved."""
    outcomes = {f"{task}{i}": i < right for task, right in (("sums", sums), ("code", code)) for i in range(n)}
    return Evaluation(wilson(sums + code, 2 * n), outcomes, tasks={name: name[:4] for name in outcomes})


def test_a_task_that_is_lost_does_not_hide_in_the_mean() -> None:
    """The mean rises by 20 points while one of two tasks falls by 20."""
    base, candidate = mixed(60, 100), mixed(180, 60)
    decision = decide(base, base, candidate)
    assert not decision.continued and not decision.named
    assert decision.reason.startswith("clearly worse than the best so far at code (-20.0 [")
    alone = decide(base, base, candidate, each_task=False)
    assert alone.continued and alone.named


def test_a_task_that_wavers_is_not_lost() -> None:
    assert decide(mixed(60, 100), mixed(60, 100), mixed(180, 97)).named


def test_worse_than_the_base_at_one_task_is_not_named() -> None:
    """It is as good as the best so far, which had lost that task already."""
    decision = decide(mixed(60, 100), mixed(100, 60), mixed(180, 60))
    assert decision.continued and not decision.named

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

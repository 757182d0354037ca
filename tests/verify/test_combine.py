"""Rules that make one verdict of several. Run: pytest tests/verify/test_combine.py"""

from __future__ import annotations

import pytest

from selfimprove.types import Verdict, erring, failing, passing
from selfimprove.verify.combine import Rule, combine, left_open

OK, NO, ERR = passing("yes", score=0.9, answer="4"), failing("no", score=0.2), erring("timeout", "late")


def rule(kind: str, count: int, settles: str = "fail", threshold: float | None = None) -> Rule:
    return Rule(kind, tuple("abc"[:count]), (3.0, 1.0, 1.0)[:count], (settles,) * count, threshold)


@pytest.mark.parametrize(
    ("kind", "verdicts", "outcome", "score"),
    [
        ("all", (OK, OK), "pass", 0.9),
        ("all", (OK, NO), "fail", 0.2),
        ("all", (NO, ERR), "fail", 0.2),
        ("all", (OK, ERR), "error", 0.0),
        ("any", (NO, OK), "pass", 0.9),
        ("any", (ERR, OK), "pass", 0.9),
        ("any", (ERR, NO), "error", 0.0),
        ("any", (NO, NO), "fail", 0.2),
        ("cascade", (NO, None), "fail", 0.2),
        ("cascade", (OK, NO), "fail", 0.2),
        ("cascade", (OK, ERR), "error", 0.0),
        ("all", (None, OK), "pass", 0.9),
        ("cascade", (None, NO), "fail", 0.2),
    ],
)
def test_rules(kind: str, verdicts: tuple[Verdict | None, ...], outcome: str, score: float) -> None:
    found = combine(rule(kind, 2), verdicts)
    assert (found.outcome, found.score) == (outcome, score)


def test_a_weighted_mean_meets_its_threshold() -> None:
    assert combine(rule("weighted", 2, threshold=0.7), (OK, NO)).score == pytest.approx((3 * 0.9 + 0.2) / 4)
    assert combine(rule("weighted", 2, threshold=0.7), (OK, NO)).outcome == "pass"
    assert combine(rule("weighted", 2, threshold=0.8), (OK, NO)).outcome == "fail"
    assert combine(rule("weighted", 2, threshold=0.0), (OK, ERR)).outcome == "error"


def test_every_reason_and_the_error_are_kept() -> None:
    found = combine(rule("all", 3), (OK, ERR, passing()))
    assert found.reason == "a: pass (yes); b: error timeout (late); c: pass"
    assert found.error == "timeout" and combine(rule("all", 2), (OK, passing())).answer == "4"


def test_a_cascade_leaves_open_what_is_not_settled() -> None:
    for settles, opened in (("fail", [OK]), ("pass", [NO]), ("both", [ERR])):
        assert [v for v in (OK, NO, ERR) if left_open(rule("cascade", 2, settles), [v])] == opened
    assert not left_open(rule("cascade", 3), [NO, None])
    assert left_open(rule("cascade", 3), [OK, None]), "the second judges another task"

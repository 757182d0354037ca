"""When too much could not be judged, and what a stored verdict depends on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from selfimprove.errors import TooManyErrors
from selfimprove.types import erring, failing, passing
from selfimprove.verify import ErrorBudget, verifier_digest
from selfimprove.verify.verdicts import TRUNCATED
from tests.verify.support import write


def test_the_budget_is_a_share_of_what_was_judged() -> None:
    budget = ErrorBudget(0.2)
    budget.add([passing()] * 40 + [failing()] * 40 + [erring("timeout", "slow")] * 20)
    assert budget.share == pytest.approx(0.2)
    with pytest.raises(TooManyErrors):
        budget.add([erring("timeout", "slow")])


def test_the_message_names_share_class_example_and_fix() -> None:
    budget = ErrorBudget(0.2, min_judged=4)
    budget.add([erring("KeyError", "'answer' (mine.py:3)")])
    with pytest.raises(
        TooManyErrors, match=r"3 of 4 samples \(75%.*allows 20%.*KeyError \(2\).*'answer' \(mine.py:3\)"
    ) as raised:
        budget.add([erring("KeyError", "another"), erring("crash"), passing()])
    assert raised.value.exit_code == 8 and raised.value.hint


def test_no_verdict_before_enough_were_judged_but_at_the_end() -> None:
    budget = ErrorBudget(0.2)
    budget.add([erring("crash")] * 19)
    with pytest.raises(TooManyErrors):
        budget.settle()
    with pytest.raises(TooManyErrors):
        budget.add([erring("crash")])


def test_truncated_samples_do_not_dilute_the_share() -> None:
    budget = ErrorBudget(0.2)
    with pytest.raises(TooManyErrors, match="10 of 20"):
        budget.add([TRUNCATED] * 1000 + [passing()] * 10 + [erring("crash")] * 10)


def test_nothing_judged_is_no_error() -> None:
    budget = ErrorBudget(0.0)
    budget.add([TRUNCATED])
    budget.settle()
    assert budget.share == 0.0


def test_the_digest_follows_what_a_verdict_depends_on(tmp_path: Path) -> None:
    spec = write(tmp_path, "def judge(problem, sample, **options): return True\n")
    base = {"name": spec, "args": {"a": 1, "b": 2}, "threshold": None, "timeout_s": 10.0, "retries": 1, "workers": None}
    digest = verifier_digest(base)
    same: list[dict[str, Any]] = [
        {"args": {"b": 2, "a": 1}},
        {"timeout_s": 1.0},
        {"retries": 0},
        {"workers": 9},
        {"memory_mb": 64},
    ]
    assert {verifier_digest({**base, **change}) for change in same} == {digest}
    other: list[dict[str, Any]] = [{"args": {"a": 1, "b": 3}}, {"args": None}, {"threshold": 0.5}, {"name": "none"}]
    assert len({digest, *(verifier_digest({**base, **change}) for change in other)}) == len(other) + 1
    (tmp_path / "moved").mkdir()
    moved = write(tmp_path / "moved", "def judge(problem, sample, **options): return True\n")
    assert verifier_digest({**base, "name": moved}) == digest
    write(tmp_path, "def judge(problem, sample, **options): return False\n")
    assert verifier_digest(base) != digest

"""The verifier that asks nothing."""

from __future__ import annotations

from selfimprove.plugins import resolve
from selfimprove.verify import VerifierPool
from tests.verify.support import judge, problem, sample


def test_it_accepts_everything() -> None:
    none = resolve("verifier", "none")
    assert none(problem(None), sample("")) is True


def test_it_runs_in_a_pool() -> None:
    with VerifierPool({"name": "none"}, workers=1) as pool:
        assert all(verdict.passed for verdict in judge(pool, ["a", "", "\x00"]))

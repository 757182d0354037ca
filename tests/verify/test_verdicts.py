"""What a verifier may return, and what becomes of it."""

from __future__ import annotations

import math
from typing import Any

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfimprove.types import Verdict, erring, failing, passing
from selfimprove.verify.verdicts import ANSWER_CHARS, MAX_STEPS, REASON_CHARS, describe, normalise, retryable


class Held:
    """Like an array scalar of a library that is not installed."""

    def __init__(self, held: Any) -> None:
        self.held = held

    def item(self) -> Any:
        return self.held


@pytest.mark.parametrize(
    ("result", "threshold", "outcome", "score"),
    [
        (True, None, "pass", 1.0),
        (False, None, "fail", 0.0),
        (True, 0.5, "pass", 1.0),
        (0.5, 0.5, "pass", 0.5),
        (0.4999, 0.5, "fail", 0.4999),
        (-3, -4.0, "pass", -3.0),
        (0, 0.5, "fail", 0.0),
        (numpy.bool_(True), None, "pass", 1.0),
        (numpy.bool_(False), None, "fail", 0.0),
        (numpy.float32(0.75), 0.5, "pass", 0.75),
        (numpy.int64(0), 0.5, "fail", 0.0),
        (numpy.array(True), None, "pass", 1.0),
        (Held(0.25), 0.5, "fail", 0.25),
        (passing("fine", score=2.0, answer="42"), None, "pass", 2.0),
        (failing("no"), None, "fail", 0.0),
        (Verdict("pass", numpy.float64(0.5)), None, "pass", 0.5),
        (Verdict("pass", True), None, "pass", 1.0),
    ],
)
def test_yes_no_and_numbers(result: object, threshold: float | None, outcome: str, score: float) -> None:
    verdict = normalise(result, threshold)
    assert (verdict.outcome, verdict.score, verdict.error) == (outcome, score, None)
    assert type(verdict.score) is float


@pytest.mark.parametrize(
    ("result", "threshold", "error"),
    [
        (0.5, None, "no-threshold"),
        (1, None, "no-threshold"),
        (numpy.float64(0.5), None, "no-threshold"),
        (math.nan, 0.5, "not-finite"),
        (math.nan, None, "not-finite"),
        (math.inf, 0.5, "not-finite"),
        (10**400, 0.5, "not-finite"),
        (numpy.float32("nan"), 0.5, "not-finite"),
        (Verdict("pass", math.nan), None, "not-finite"),
        (Verdict("pass", 1.0, steps=(0.5, math.inf)), None, "not-finite"),
        (Verdict("pass", 10**400), None, "not-finite"),
        (None, None, "bad-return"),
        ("pass", None, "bad-return"),
        (b"1", None, "bad-return"),
        ([True], None, "bad-return"),
        ({"outcome": "perhaps"}, None, "bad-return"),
        (1 + 0j, 0.5, "bad-return"),
        (numpy.array([True, False]), None, "bad-return"),
        (numpy.array([]), None, "bad-return"),
        (Held("yes"), None, "bad-return"),
        (Held(None), None, "bad-return"),
        (Held, None, "bad-return"),
        (Verdict, None, "bad-return"),
        (Verdict("passed"), None, "bad-return"),  # type: ignore[arg-type]
        (Verdict(None), None, "bad-return"),  # type: ignore[arg-type]
        (Verdict("pass", "1"), None, "bad-return"),  # type: ignore[arg-type]
        (Verdict("pass", None), None, "bad-return"),  # type: ignore[arg-type]
        (Verdict("pass", answer=42), None, "bad-return"),  # type: ignore[arg-type]
        (Verdict("pass", reason=None), None, "bad-return"),  # type: ignore[arg-type]
        (Verdict("pass", steps=3), None, "bad-return"),  # type: ignore[arg-type]
        (Verdict("pass", steps=("a",)), None, "bad-return"),  # type: ignore[arg-type]
        (Verdict("pass", steps=(1.0,) * (MAX_STEPS + 1)), None, "bad-return"),
        (erring("judge-unparsed", "said nothing"), None, "judge-unparsed"),
        (Verdict("error"), None, "error"),
    ],
)
def test_what_is_no_answer_is_an_error_and_never_a_fail(result: object, threshold: float | None, error: str) -> None:
    verdict = normalise(result, threshold)
    assert (verdict.outcome, verdict.error, verdict.score) == ("error", error, 0.0)
    assert verdict.reason or isinstance(result, Verdict)


def test_texts_are_capped_and_made_storable() -> None:
    verdict = normalise(Verdict("pass", 1.0, "a" * 10**6, "b\ud800\x00" * 10**5, steps=[1, True]))  # type: ignore[arg-type]
    assert verdict.answer is not None and len(verdict.answer) <= ANSWER_CHARS and "1000000" in verdict.answer
    assert len(verdict.reason) <= REASON_CHARS and verdict.reason.startswith("b\ufffd\ufffd")
    assert verdict.steps == (1.0, 1.0)


def test_only_errors_that_may_pass_are_tried_again() -> None:
    assert retryable(erring("timeout")) and retryable(erring("KeyError")) and retryable(erring("crash"))
    assert not any(map(retryable, [passing(), failing(), normalise(None), normalise(0.5), normalise(math.nan)]))


def test_an_exception_is_described_with_its_place_in_bounded_space() -> None:
    def fail(message: str) -> str:
        try:
            raise ValueError(message)
        except ValueError as error:
            return describe(error)

    assert fail("what went wrong").startswith("what went wrong (") and "test_verdicts.py:" in fail("x")
    assert len(fail("x" * 10**6)) <= REASON_CHARS and "test_verdicts.py:" in fail("x" * 10**6)
    assert describe(ValueError("never raised")) == "never raised"


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), st.lists, max_leaves=5))
def test_anything_at_all_gives_a_storable_verdict(result: object) -> None:
    for value in (result, Held(result), Verdict("pass", result, reason=result)):  # type: ignore[arg-type]
        verdict = normalise(value, 0.5)
        assert verdict.outcome in ("pass", "fail", "error") and math.isfinite(verdict.score)
        verdict.reason.encode()

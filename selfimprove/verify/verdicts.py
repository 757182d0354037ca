"""What a verifier returned, turned into a `Verdict`. Pure.

Contract: `normalise` accepts anything and returns a verdict that can be stored: a known outcome, a finite score,
plain strings of bounded length without lone surrogates or NULs. What is no answer at all becomes an error, never a
fail: a verifier that returned nothing has not said "wrong".

See it work: ``pytest tests/verify/test_verdicts.py``.
"""

from __future__ import annotations

import math
import traceback
from collections.abc import Mapping
from typing import Any

from selfimprove.text import clean
from selfimprove.types import Verdict, erring, failing, passing

REASON_CHARS = 500
ANSWER_CHARS = 1000
MAX_STEPS = 10_000
MAX_MEASURED = 20
TRUNCATED = failing("truncated")
"""The verdict of a sample that the policy did not end itself: no verifier is asked."""

_PASS, _FAIL = passing(), failing()
# Asking again cannot change these: the verifier answered, in a form that means nothing.
_SETTLED = frozenset({"no-threshold", "not-finite", "bad-return"})


def normalise(result: Any, threshold: float | None = None) -> Verdict:
    """The verdict that ``result`` means.

    bool: pass with score 1.0, fail with 0.0. int or float: pass if it is at least ``threshold``; without one the
    error ``no-threshold``. NaN and infinities: ``not-finite``. `Verdict`: checked and cleaned. A 0-d array or array
    scalar (anything whose ``.item()`` gives one of these) counts as what it holds. A mapping, as programs and servers
    answer: ``outcome`` or ``passed``, or else ``score``; with ``answer``, ``reason``, ``error``. Else: ``bad-return``.
    """
    if result is True:
        return _PASS
    if result is False:
        return _FAIL
    if isinstance(result, Verdict):
        return _checked(result)
    if isinstance(result, int | float):
        return _scored(result, threshold)
    if isinstance(result, Mapping):
        return _mapped(result, threshold)
    scalar = _scalar(result)
    if scalar is not None:
        return normalise(scalar, threshold)
    return erring("bad-return", f"a verifier returns bool, float or Verdict, not {_kind(result)}")


def normalise_all(result: Any, count: int, threshold: float | None = None) -> list[Verdict]:
    """The verdicts of a group: ``result`` is a list with one of what `normalise` takes for each of ``count`` samples.

    Anything else is an error of every sample.
    """
    if not isinstance(result, list | tuple) or len(result) != count:
        size = f" of {len(result)}" if isinstance(result, list | tuple) else ""
        what = f"a group verifier returns a list of {count} results, one for each sample, not {_kind(result)}{size}"
        return [erring("bad-return", what)] * count
    return [normalise(one, threshold) for one in result]


def retryable(verdict: Verdict) -> bool:
    """Whether asking the verifier again could give another outcome."""
    return verdict.outcome == "error" and verdict.error not in _SETTLED


def describe(error: BaseException) -> str:
    """One line for people: the message of an exception and where it was raised. Never raises."""
    try:
        message = str(error)
    except Exception:  # a user's exception class may fail to print itself
        message = "(its message cannot be printed)"
    frames = traceback.extract_tb(error.__traceback__, limit=-1)
    where = f" ({frames[-1].filename}:{frames[-1].lineno})" if frames else ""
    return clean(message, REASON_CHARS - min(len(where), 300)) + where[-300:]


def _mapped(said: Mapping[Any, Any], threshold: float | None) -> Verdict:
    passed, outcome, score = said.get("passed"), said.get("outcome"), said.get("score")
    if isinstance(passed, bool):
        outcome = "pass" if passed else "fail"
    number = score if isinstance(score, int | float) and not isinstance(score, bool) else None
    answer, reason = said.get("answer"), str(said.get("reason") or "")
    text = None if answer is None else str(answer)
    if outcome is None and number is not None:
        verdict = _scored(number, threshold)
        if verdict.outcome == "error":
            return verdict
        return _checked(Verdict(verdict.outcome, verdict.score, text, reason or verdict.reason))
    if outcome not in ("pass", "fail", "error"):
        return erring("bad-return", "a mapping gives outcome (pass, fail, error), passed (true, false) or score")
    if outcome == "error":
        return erring(clean(str(said.get("error") or "error"), 100), clean(reason, REASON_CHARS))
    value = float(outcome == "pass") if number is None else number
    return _checked(Verdict(outcome, value, text, reason))


def _scored(number: float, threshold: float | None) -> Verdict:
    try:
        score = float(number)
    except OverflowError:
        return erring("not-finite", "the score is too large for a float")
    if not math.isfinite(score):
        return erring("not-finite", f"the score is {score}")
    if threshold is None:
        hint = "set verifier.threshold, or return bool or Verdict"
        return erring("no-threshold", f"the verifier returned the number {score:g}: {hint}")
    reason = f"score {score:g}, threshold {threshold:g}"
    return passing(reason, score=score) if score >= threshold else failing(reason, score=score)


def _checked(verdict: Verdict) -> Verdict:
    if verdict is _PASS or verdict is _FAIL:
        return verdict
    if verdict.outcome not in ("pass", "fail", "error"):
        return erring("bad-return", f"a verdict's outcome is pass, fail or error, not {_kind(verdict.outcome)}")
    if verdict.answer is not None and not isinstance(verdict.answer, str):
        return erring("bad-return", f"a verdict's answer is a string or None, not {_kind(verdict.answer)}")
    if not isinstance(verdict.reason, str):
        return erring("bad-return", f"a verdict's reason is a string, not {_kind(verdict.reason)}")
    numbers = _floats((verdict.score, *verdict.steps)) if _is_steps(verdict.steps) else None
    if numbers is None:
        return erring("bad-return", f"a verdict's score and its steps (at most {MAX_STEPS}) are numbers")
    if not all(map(math.isfinite, numbers)):
        return erring("not-finite", "a verdict's score and steps must be finite")
    reason = clean(verdict.reason, REASON_CHARS)
    if verdict.outcome == "error":
        return erring(clean(str(verdict.error or "error"), 100), reason)
    answer = None if verdict.answer is None else clean(verdict.answer, ANSWER_CHARS)
    measured = _measured(verdict.measured)
    if measured is None:
        return erring("bad-return", f"what a verdict measured is a mapping of at most {MAX_MEASURED} names to numbers")
    return Verdict(verdict.outcome, numbers[0], answer, reason, None, tuple(numbers[1:]), 0.0, measured)


def _measured(measured: Any) -> dict[str, float] | None:
    if not isinstance(measured, Mapping) or len(measured) > MAX_MEASURED:
        return None
    numbers = _floats(tuple(measured.values()))
    if numbers is None or not all(map(math.isfinite, numbers)):
        return None
    return {clean(str(name), 100): number for name, number in zip(measured, numbers, strict=True)}


def _is_steps(steps: Any) -> bool:
    return isinstance(steps, tuple | list) and len(steps) <= MAX_STEPS


def _floats(values: tuple[Any, ...]) -> list[float] | None:
    """As Python floats (array scalars included), or None if one is no number."""
    numbers = []
    for value in values:
        plain = value if isinstance(value, int | float) else _scalar(value)
        if plain is None:
            return None
        try:
            numbers.append(float(plain))
        except OverflowError:
            numbers.append(math.inf)
    return numbers


def _scalar(value: Any) -> bool | int | float | None:
    """What a 0-d array or array scalar holds; found by its ``item`` method, so that no array library is imported."""
    item = getattr(value, "item", None)
    if isinstance(value, type) or not callable(item):
        return None
    try:
        held = item()
    except (TypeError, ValueError, RuntimeError):  # not callable without arguments, or more than one element
        return None
    return held if isinstance(held, bool | int | float) else None


def _kind(value: Any) -> str:
    return "None" if value is None else type(value).__name__

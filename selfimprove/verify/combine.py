"""Several verdicts on one sample made one, by a named rule. Pure.

Contract: a verifier that is not asked (of another task, or settled before) has no say. Nothing is lost: the combined
reason names every verifier that was asked, with its outcome. What could not be judged is never turned into a fail: a
rule that needs an errored verdict gives an error.

============  =========================================================================================
all           fail if one failed; else error if one erred; else pass. Score: the smallest
any           pass if one passed; else error if one erred; else fail. Score: the largest
weighted      the weighted mean of the scores against a threshold; error if one erred
cascade       the verdict of the last verifier asked; each is asked only of what the ones before left open
============  =========================================================================================

See it work: ``pytest tests/verify/test_combine.py``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from selfimprove.types import Outcome, Verdict, erring
from selfimprove.verify.verdicts import REASON_CHARS, clean

_OPEN = {"fail": "pass", "pass": "fail", "both": "error"}


@dataclass(frozen=True)
class Rule:
    """How the verdicts of ``names`` become one. ``weights`` and ``settles`` go with the names, one each."""

    kind: str
    names: tuple[str, ...]
    weights: tuple[float, ...]
    settles: tuple[str, ...]
    threshold: float | None = None


def rule_of(config: Any) -> Rule:
    """The rule of a `VerifierConfig`."""
    judges = config.judges
    names = tuple(judge.name.rpartition("/")[2] for judge in judges)
    return Rule(config.rule, names, tuple(j.weight for j in judges), tuple(j.settles for j in judges), config.threshold)


def left_open(rule: Rule, verdicts: Sequence[Verdict | None]) -> bool:
    """Whether the next verifier is asked of a sample with ``verdicts`` so far: did the last one asked leave it open?"""
    asked = [(place, verdict) for place, verdict in enumerate(verdicts) if verdict is not None]
    if rule.kind != "cascade" or not asked:
        return True
    place, last = asked[-1]
    return last.outcome == _OPEN[rule.settles[place]]


def combine(rule: Rule, verdicts: Sequence[Verdict | None]) -> Verdict:
    """One verdict from those of the verifiers, in their order; None for one that was not asked."""
    asked = [(name, verdict) for name, verdict in zip(rule.names, verdicts, strict=True) if verdict is not None]
    assert asked, "somebody was asked"
    found = [verdict for _, verdict in asked]
    reason = clean("; ".join(_said(name, verdict) for name, verdict in asked), REASON_CHARS)
    measured: Mapping[str, float] = {name: value for verdict in found for name, value in verdict.measured.items()}
    seconds = sum(verdict.seconds for verdict in found)
    weights = [weight for weight, verdict in zip(rule.weights, verdicts, strict=True) if verdict is not None]
    outcome, score, steps = _decided(rule, found, weights)
    if outcome == "error":
        error = next(verdict.error for verdict in reversed(found) if verdict.outcome == "error")
        return erring(error or "error", reason, seconds=seconds)
    answer = next((verdict.answer for verdict in found if verdict.answer is not None), None)
    return Verdict(outcome, score, answer, reason, None, steps, seconds, measured)


def _decided(
    rule: Rule, found: Sequence[Verdict], weights: Sequence[float]
) -> tuple[Outcome, float, tuple[float, ...]]:
    if rule.kind == "cascade":
        return found[-1].outcome, found[-1].score, found[-1].steps
    outcomes = {verdict.outcome for verdict in found}
    judged = [verdict for verdict in found if verdict.outcome != "error"]
    if rule.kind == "weighted":
        if "error" in outcomes:
            return "error", 0.0, ()
        assert rule.threshold is not None
        pairs = list(zip(weights, found, strict=True))
        score = sum(weight * verdict.score for weight, verdict in pairs) / sum(weights)
        return ("pass" if score >= rule.threshold else "fail"), score, tuple(verdict.score for verdict in found)
    decisive, other = ("fail", "pass") if rule.kind == "all" else ("pass", "fail")
    outcome: Any = decisive if decisive in outcomes else "error" if "error" in outcomes else other
    scores = [verdict.score for verdict in judged if verdict.outcome == outcome]
    score = (min if rule.kind == "all" else max)(scores, default=0.0)
    return outcome, score, next((verdict.steps for verdict in found if verdict.steps), ())


def _said(name: str, verdict: Verdict) -> str:
    why = f" {verdict.error}" if verdict.outcome == "error" else ""
    return f"{name}: {verdict.outcome}{why}{f' ({verdict.reason})' if verdict.reason else ''}"

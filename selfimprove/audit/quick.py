"""The small audit that a run does before it starts: does the verifier accept its own problems' gold answers?

Contract: the same problems every time, spread over the list; a few hundred verdicts at most. Problems that say neither
an answer, a solution nor tests are left out. The caller judges, so that this uses the run's own pool.

See it work: ``pytest tests/audit/test_quick.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from selfimprove.audit import completions
from selfimprove.audit.dataset import bad_trials, gold_trial, spread
from selfimprove.audit.trials import Trial
from selfimprove.types import Problem, Sample, Verdict

Judge = Callable[[Sequence[tuple[Problem, Sample]]], list[Verdict]]
_SHOWN = 5
_BAD = ("empty", "refused", "neighbour", "hacking")


@dataclass(frozen=True, slots=True)
class QuickAudit:
    """``audited`` problems; ``gold_failed`` (problem id -> reason) had their gold refused, ``gold_errors`` (id ->
    reason) could not be judged; ``accepted_bad`` (sort -> problem ids) accepted what is wrong for any problem."""

    audited: int = 0
    gold_failed: Mapping[str, str] = field(default_factory=dict)
    gold_errors: Mapping[str, str] = field(default_factory=dict)
    accepted_bad: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def refused(self, tolerance: float = 0.05, source: str = "") -> str | None:
        """Why a run should not start, with the fix; None if at most ``tolerance`` of the golds are refused.

        Golds that could not be judged are not refused: a run counts its errors and stops at too many.

        ``source`` names the problems' file for people.
        """
        unfit = self.gold_failed
        if not unfit or len(unfit) <= tolerance * self.audited:
            return None
        shown = [f"{identity}: {reason}" for identity, reason in list(unfit.items())[:_SHOWN]]
        more = [f"... and {len(unfit) - _SHOWN} more"] if len(unfit) > _SHOWN else []
        where = f" of {source}" if source else ""
        what = (
            f"the verifier does not accept the gold answers of {len(unfit)} of {self.audited} problems{where} looked at"
        )
        fix = "correct the answers (or data.columns), or the verifier; see all of them: "
        fix += "selfimprove verifiers check VERIFIER --problems FILE"
        return "\n  ".join([f"{what}:", *shown, *more]) + f"\n{fix}"

    def doubts(self) -> str | None:
        """What was accepted that is wrong, and what could not be judged, in one line; None if nothing."""
        sorts = [f"{sort} ({len(found)} of {self.audited})" for sort, found in self.accepted_bad.items()]
        found = [f"accepts completions that are wrong for any problem: {', '.join(sorts)}"] if sorts else []
        if self.gold_errors:
            error = next(iter(self.gold_errors.values()))
            found.append(
                f"could not judge {len(self.gold_errors)} of {self.audited} gold answers, for example: {error}"
            )
        return f"the verifier {'; it '.join(found)}" if found else None


def quick_audit(problems: Sequence[Problem], judge: Judge, limit: int = 32) -> QuickAudit:
    """Audit at most ``limit`` of ``problems``, spread over the list; ``judge`` returns one verdict for each pair.

    A gold counts as accepted if one of its forms is. Problems with tests and no solution are judged on an empty
    completion: a verifier that errs on that errs on everything.
    """
    fit = [problem for problem in problems if completions.gold(problem) or problem.tests is not None]
    places = spread(fit, limit)
    first = completions.gold(fit[places[0]])[:1] if places else []
    for trial, verdict in _judged([gold_trial(fit[places[0]], form) for form in first], judge):
        if verdict.outcome == "error":  # it may hang, or err on everything: one answer tells, a hundred tell no more
            return QuickAudit(1, {}, {trial.problem.id: _error(verdict)}, {})
    chosen = [fit[place] for place in places]
    reasons = _refused_golds(chosen, judge)
    trials = [trial for place in places for trial in bad_trials(fit, place) if trial.category in _BAD]
    accepted: dict[str, list[str]] = {}
    for trial, verdict in _judged(trials, judge):
        if verdict.passed:
            accepted.setdefault(trial.category, []).append(trial.problem.id)
        elif verdict.outcome == "error" and trial.category == "empty" and not completions.gold(trial.problem):
            reasons[trial.problem.id] = verdict
    return QuickAudit(
        len(chosen),
        {identity: verdict.reason or "refused" for identity, verdict in reasons.items() if verdict.outcome == "fail"},
        {identity: _error(verdict) for identity, verdict in reasons.items() if verdict.outcome == "error"},
        {sort: tuple(dict.fromkeys(found)) for sort, found in sorted(accepted.items())},
    )


def _refused_golds(problems: Sequence[Problem], judge: Judge) -> dict[str, Verdict]:
    """Problem id -> verdict on the first form of its gold, of those of which no form was accepted."""
    forms = {problem.id: completions.gold(problem) for problem in problems}
    refused: dict[str, Verdict] = {}
    todo = [problem for problem in problems if forms[problem.id]]
    for turn in range(max(map(len, forms.values()), default=0)):
        todo = [problem for problem in todo if len(forms[problem.id]) > turn]
        for trial, verdict in _judged([gold_trial(p, forms[p.id][turn]) for p in todo], judge):
            if verdict.passed:
                refused.pop(trial.problem.id, None)
            elif turn == 0:
                refused[trial.problem.id] = verdict
        todo = [problem for problem in todo if problem.id in refused]
    return refused


def _judged(trials: Sequence[Trial], judge: Judge) -> list[tuple[Trial, Verdict]]:
    if not trials:
        return []
    return list(zip(trials, judge([(trial.problem, trial.sample) for trial in trials]), strict=True))


def _error(verdict: Verdict) -> str:
    return f"{verdict.error}: {verdict.reason}" if verdict.reason else str(verdict.error)

"""The audit of a verifier on a data set: are its golds accepted, and what is refused?

Contract: the same problems, in the same form, as a run gets them. Of each problem one gold completion must be accepted
(any form of its answer will do) and every bad one refused.

See it work: ``selfimprove verifiers check SPEC --problems FILE``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from selfimprove.audit import completions
from selfimprove.audit.leaks import Watch
from selfimprove.audit.runner import Say, Setting, judge
from selfimprove.audit.targets import Target
from selfimprove.audit.trials import Judged, Trial
from selfimprove.types import Problem

KIND = "problems"
GOLD = "gold"
_NEIGHBOURS = 60


@dataclass(frozen=True, slots=True)
class Golds:
    """``judged`` has one trial for each problem with a gold; ``without`` problems have none."""

    judged: list[Judged]
    without: int

    @property
    def refused(self) -> list[str]:
        """Ids of problems whose own gold was not accepted every time."""
        return [one.trial.problem.id for one in self.judged if not one.accepted]


def spread(problems: Sequence[Problem], limit: int | None) -> list[int]:
    """Places of at most ``limit`` problems, evenly over the list: the same ones every time."""
    n = len(problems)
    return list(range(n)) if limit is None or limit >= n else [place * n // limit for place in range(limit)]


def gold_trial(problem: Problem, form: tuple[str, str]) -> Trial:
    return Trial(f"{problem.id}/gold-{form[0]}", KIND, GOLD, problem, form[1], True, f"the problem's own ({form[0]})")


def bad_trials(problems: Sequence[Problem], place: int) -> list[Trial]:
    """The bad completions of one problem, with those that follow it (and then the first ones) as neighbours."""
    problem = problems[place]
    others = [problems[(place + step) % len(problems)] for step in range(1, min(_NEIGHBOURS, len(problems)))]
    found = completions.bad(problem, others)
    return [
        Trial(f"{problem.id}/{name}", KIND, name.partition("-")[0], problem, text, False, "wrong whatever the problem")
        for name, text in found
    ]


def audit_problems(
    problems: Sequence[Problem], target: Target, setting: Setting, watch: Watch, say: Say, limit: int | None = None
) -> tuple[Golds, list[Judged]]:
    """The golds and the bad completions of (``limit`` of) the problems, judged."""
    places = spread(problems, limit)
    say(f"{len(places):,} of {len(problems):,} problems: the golds")
    golds = judge_golds([problems[place] for place in places], target, setting, watch, say)
    trials = [trial for place in places for trial in bad_trials(problems, place)]
    say(f"{len(trials):,} bad completions")
    return golds, judge(target, trials, setting, watch, say)


def judge_golds(problems: Sequence[Problem], target: Target, setting: Setting, watch: Watch, say: Say) -> Golds:
    """First the first form of every gold, then the other forms of those that were not accepted, one form at a time."""
    forms = {problem.id: completions.gold(problem) for problem in problems}
    found: dict[str, Judged] = {}
    todo = [problem for problem in problems if forms[problem.id]]
    for turn in range(max(map(len, forms.values()), default=0)):
        todo = [problem for problem in todo if len(forms[problem.id]) > turn]
        trials = [gold_trial(problem, forms[problem.id][turn]) for problem in todo]
        for one in judge(target, trials, setting, watch, say) if trials else []:
            identity = one.trial.problem.id
            if identity not in found or one.accepted:
                found[identity] = one
        todo = [problem for problem in todo if not found[problem.id].accepted]
    return Golds(list(found.values()), sum(not gold for gold in forms.values()))

"""How many labels of a data set are wrong, estimated from the labels alone. Pure.

Contract: an estimate from below. It counts problems whose own gold completion is not accepted, and problems that ask
the same as another one (letter case, blanks and closing punctuation aside) with another answer: of such a group all but
the commonest answer count. A label that is wrong and contradicts nothing is not seen. The interval is Wilson's.

See it work: ``pytest tests/audit/test_noise.py``.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from typing import Any

from selfimprove.audit.cases import repeated
from selfimprove.audit.completions import answer_key
from selfimprove.audit.trials import Trial
from selfimprove.evaluate.stats import wilson
from selfimprove.types import Problem

HOW_PROBLEMS = (
    "problems whose own gold is not accepted, and those that ask the same as another with another answer (all but the "
    "commonest of each group); from below: a wrong label that contradicts nothing is not seen"
)
HOW_CASES = "cases with the task and completion of another and the other label; from below, as above for problems"

_CLOSING = re.compile(r"[\s.?!:;]+$")


def label_noise(problems: Sequence[Problem], gold_failed: Collection[str]) -> dict[str, Any]:
    """The share of wrong labels among ``problems``, of which those with an id in ``gold_failed`` were refused."""
    groups: dict[Any, list[Problem]] = {}
    for problem in problems:
        groups.setdefault(_asked(problem), []).append(problem)
    contradicting = [identity for group in groups.values() for identity in _minority(group)]
    noisy = {*gold_failed, *contradicting}
    alike = sum(len(group) for group in groups.values() if len(group) > 1)
    counts = {"gold_failed": len(gold_failed), "contradicting": contradicting, "near_duplicates": alike}
    return {**_share(len(noisy), len(problems)), **counts, "how": HOW_PROBLEMS}


def case_noise(trials: Sequence[Trial]) -> dict[str, Any]:
    """The share of cases whose label contradicts that of an equal case."""
    contradicting: list[str] = []
    for group in repeated(trials):
        accepted = sum(trial.must_accept for trial in group)
        minority = accepted < len(group) - accepted
        if 0 < accepted < len(group):
            contradicting += [trial.id for trial in group if trial.must_accept == minority]
    return {**_share(len(contradicting), len(trials)), "contradicting": contradicting, "how": HOW_CASES}


def _share(noisy: int, n: int) -> dict[str, Any]:
    found = wilson(noisy, n)
    return {"share": found.value, "low": found.low, "high": found.high, "n": n}


def _minority(group: Iterable[Problem]) -> list[str]:
    answers = [(answer_key(problem), problem.id) for problem in group]
    commonest = Counter(key for key, _ in answers).most_common(1)[0][0]
    return [identity for key, identity in answers if key != commonest]


def _asked(problem: Problem) -> Any:
    return tuple((m.role, _CLOSING.sub("", " ".join(m.content.casefold().split()))) for m in problem.prompt)

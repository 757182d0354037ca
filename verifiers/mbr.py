"""Minimum Bayes risk: the samples that agree best with the others of their problem.

Contract: needs no known answer. A sample's utility is its mean similarity to the problem's other samples: F1 of words
(``words``), 1 minus the normalised edit distance (``edits``), or equality of final answers (``answers``). The ``keep``
samples of highest utility pass, or all from ``at_least`` on.

Paper: Kumar and Byrne 2004; Bertsch et al. 2023, arXiv 2310.01387. See it work: ``selfimprove run CONFIG
verifier=mbr``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from selfimprove import Problem, Sample, Verdict, answers, failing, passing

MAX_CHARS = 20_000


def mbr(
    problem: Problem,
    samples: Sequence[Sample],
    *,
    utility: str = "words",
    keep: int = 1,
    at_least: float | None = None,
) -> list[Verdict]:
    """``score`` is the utility; of equals the earlier sample passes. Raises ValueError for wrong options."""
    if utility not in UTILITIES or keep < 1:
        raise ValueError(f"utility is {utility!r} and keep {keep}: one of {', '.join(UTILITIES)}, and from 1 on")
    texts = [(sample.prefix + sample.completion)[:MAX_CHARS] for sample in samples]
    alike, size = UTILITIES[utility](texts), len(texts)
    scores = [sum(alike(i, j) for j in range(size) if j != i) / max(1, size - 1) for i in range(size)]
    ranked = sorted(range(size), key=lambda place: -scores[place])
    chosen = set(ranked[:keep]) if at_least is None else {i for i in range(size) if scores[i] >= at_least}
    return [
        (passing if place in chosen else failing)(f"mean agreement {score:.3f}", score=score)
        for place, score in enumerate(scores)
    ]


def _words(texts: Sequence[str]) -> Callable[[int, int], float]:
    bags = [Counter(text.casefold().split()) for text in texts]

    def f1(i: int, j: int) -> float:
        total = bags[i].total() + bags[j].total()
        return 2 * (bags[i] & bags[j]).total() / total if total else 1.0

    return f1


def _edits(texts: Sequence[str]) -> Callable[[int, int], float]:
    from selfimprove import edit_distance

    def alike(i: int, j: int) -> float:
        longest = max(len(texts[i]), len(texts[j]))
        return 1.0 - edit_distance(texts[i], texts[j]) / longest if longest else 1.0

    return alike


def _answers(texts: Sequence[str]) -> Callable[[int, int], float]:
    said = [answers.final(text) for text in texts]
    return lambda i, j: float(said[i] is not None and said[i] == said[j])


UTILITIES = {"words": _words, "edits": _edits, "answers": _answers}

"""Self-consistency: an answer passes if it is what most samples of its problem answer.

Contract: needs no known answer. The samples of a problem vote with their final answers, spelled one way; samples
without one have no vote and fail. ``min_share`` of all samples must agree; a tie fails for both sides.

Paper: Wang et al. 2022, arXiv 2203.11171. See it work: ``selfimprove run CONFIG verifier=majority``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from selfimprove import Problem, Sample, Verdict, answers, failing, passing


def majority(problem: Problem, samples: Sequence[Sample], *, min_share: float = 0.0) -> list[Verdict]:
    """``score`` is the share of samples with the same answer. Raises ValueError for a share outside [0, 1]."""
    if not 0 <= min_share <= 1:
        raise ValueError(f"min_share is {min_share}; it must lie between 0 and 1")
    said = [answers.final(sample.prefix + sample.completion) for sample in samples]
    votes = Counter(answer for answer in said if answer is not None)
    best = max(votes.values(), default=0)
    alone = sum(count == best for count in votes.values()) == 1
    found = []
    for answer in said:
        if answer is None:
            found.append(failing("no final answer"))
            continue
        share = votes[answer] / len(samples)
        won = votes[answer] == best and alone and share >= min_share
        verdict = passing if won else failing
        found.append(verdict(f"{votes[answer]} of {len(samples)} agree", score=share, answer=answer))
    return found

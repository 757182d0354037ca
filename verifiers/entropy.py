"""Certainty: a problem's samples pass if their answers agree enough.

Contract: needs no known answer. The entropy of the final answers of a problem, over its largest possible value (every
sample alone), is taken from 1: 1.0 if all agree, 0.0 if none do. Samples without an answer count as answers of their
own and fail.

Paper: semantic entropy, Farquhar et al. 2024 (Nature 630), on extracted answers. See it work:
``selfimprove run CONFIG verifier=entropy``.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from selfimprove import Problem, Sample, Verdict, answers, failing, passing


def entropy(problem: Problem, samples: Sequence[Sample], *, certainty: float = 0.5) -> list[Verdict]:
    """``score`` is the group's certainty, the same for all. Raises ValueError for a certainty outside [0, 1]."""
    if not 0 <= certainty <= 1:
        raise ValueError(f"certainty is {certainty}; it must lie between 0 and 1")
    said = [answers.final(sample.prefix + sample.completion) for sample in samples]
    size = len(said)
    counts = Counter(answer if answer is not None else ("none", place) for place, answer in enumerate(said))
    spread = -sum(count / size * math.log(count / size) for count in counts.values())
    score = 1.0 - spread / math.log(size) if size > 1 else 1.0
    reason = f"certainty {score:.3f}, {len(counts)} different answers of {size}"
    sure = score >= certainty
    return [
        (passing if sure and answer is not None else failing)(reason, score=score, answer=answer) for answer in said
    ]

"""Shares, differences and their 95 % intervals, good at small counts and near 0 and 1.

Contract: pure; every function gives its published source. An interval always holds its own figure.

See it work: ``pytest tests/evaluate/test_stats.py``.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence

from selfimprove.types import Interval

Z95 = 1.959963984540054


def wilson(successes: float, n: int, z: float = Z95) -> Interval:
    """A share with its score interval: ``successes`` of ``n`` problems. Without problems: 0, anywhere in [0, 1].

    Successes may be fractional (a problem solved in half of its attempts counts 0.5): the interval is then too wide,
    never too narrow.

    Raises ValueError unless 0 <= successes <= n. Source: Wilson 1927, "Probable inference, the law of succession,
    and statistical inference", JASA 22; recommended for all n by Brown, Cai & DasGupta 2001.
    """
    if not 0 <= successes <= n:
        raise ValueError(f"wilson: {successes} successes of {n} problems")
    if n == 0:
        return Interval(0.0, 0.0, 1.0, 0)
    share = successes / n
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    # Rounding may miss 0 and 1 by an ulp, where the exact bound is the share itself.
    low, high = min(centre - half, share), max(centre + half, share)
    return Interval(share, max(0.0, low) if successes else 0.0, min(1.0, high) if successes < n else 1.0, n)


def paired(before: Sequence[bool], after: Sequence[bool], z: float = Z95) -> Interval:
    """The change of a share, after - before, on the same problems: ``before[i]`` and ``after[i]`` are one problem.

    The figure is the observed difference; the interval is the adjusted Wald interval (one imaginary problem more in
    each cell that changed), which keeps its coverage for small n and few changes, cut to [-1, 1]. Without problems:
    0, anywhere in [-1, 1].

    Raises ValueError for different lengths. Source: Bonett & Price 2012, "Adjusted Wald confidence interval for a
    difference of binomial proportions based on paired data", J. Educational and Behavioral Statistics 37(4).
    """
    if len(before) != len(after):
        raise ValueError(
            f"paired: {len(before)} problems before, {len(after)} after; give the same problems in one order"
        )
    n = len(before)
    if n == 0:
        return Interval(0.0, -1.0, 1.0, 0)
    gained = sum(bool(b) and not a for a, b in zip(before, after, strict=True))
    lost = sum(bool(a) and not b for a, b in zip(before, after, strict=True))
    up, down = (gained + 1) / (n + 2), (lost + 1) / (n + 2)
    half = z * math.sqrt((up + down - (up - down) ** 2) / (n + 2))
    return Interval((gained - lost) / n, max(-1.0, up - down - half), min(1.0, up - down + half), n)


def pass_at_k(n: int, c: int, k: int) -> float:
    """The chance that ``k`` of ``n`` samples drawn without replacement hold one of the ``c`` correct ones; unbiased.

    Raises ValueError unless 0 <= c <= n and 1 <= k <= n. Source: Chen et al. 2021, arXiv 2107.03374, equation 1.
    """
    if not (0 <= c <= n and 1 <= k <= n):
        raise ValueError(f"pass_at_k: {c} correct of {n} samples, k={k}; k must be between 1 and n")
    return 1.0 - math.comb(n - c, k) / math.comb(n, k)


def maj_at_k(answers: Sequence[Hashable | None], passed: Sequence[bool], k: int | None = None) -> float:
    """Whether the answer given most often by the first ``k`` samples (default: all) is right; ties count in part.

    ``answers[i]`` is what a verifier extracted from sample i (None: nothing, no vote), ``passed[i]`` its judgement.
    Of several most frequent answers one would be drawn at random: the result is the chance that it is right, in
    [0, 1]. No vote at all is 0. Source: Wang et al. 2023, arXiv 2203.11171.

    Raises ValueError for different lengths and for a ``k`` that is not between 1 and their number.
    """
    if len(answers) != len(passed):
        raise ValueError(f"maj_at_k: {len(answers)} answers, {len(passed)} judgements")
    size = len(answers) if k is None else k
    if k is not None and not 1 <= k <= len(answers):
        raise ValueError(f"maj_at_k: k={k} with {len(answers)} samples; k must be between 1 and their number")
    votes: dict[Hashable, list[bool]] = {}
    for answer, right in zip(answers[:size], passed[:size], strict=True):
        if answer is not None:
            votes.setdefault(answer, []).append(bool(right))
    most = max(map(len, votes.values()), default=0)
    winners = [sum(judged) / len(judged) for judged in votes.values() if len(judged) == most]
    return sum(winners) / len(winners) if winners else 0.0

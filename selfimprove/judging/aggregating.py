"""Many judgements made one number: the six aggregations that methods with judges use. Pure.

Contract: inputs are what was parsed; None stands for what could not be. Nothing here decides pass or fail.

See it work: ``pytest tests/judging``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence


def mean(scores: Sequence[float | None]) -> float | None:
    """The mean of the parsed votes, if at least half of all could be parsed.

    Source: Yuan et al. 2024, arXiv 2401.10020 (mean of several sampled judgements).
    """
    parsed = [score for score in scores if score is not None]
    return sum(parsed) / len(parsed) if parsed and 2 * len(parsed) >= len(scores) else None


def expected(values: Sequence[float], logprobs: Sequence[float]) -> float:
    """The mean of ``values`` weighted by their words' probabilities, normalised over the words asked for.

    Source: Liu et al. 2023, arXiv 2303.16634 (G-Eval), section 2.
    """
    top = max(logprobs)
    weights = [math.exp(logprob - top) for logprob in logprobs]
    return sum(value * weight for value, weight in zip(values, weights, strict=True)) / sum(weights)


def consistent(first: str | None, swapped: str | None) -> float | None:
    """Answer 1's share of a pair judged in both orders: 1.0, 0.0, or 0.5 unless both orders name one winner.

    ``first`` and ``swapped`` name the winning slot (``A``, ``B``, ``C`` for a tie); in the swapped order slot A holds
    answer 2. None if an order could not be read. Source: Zheng et al. 2023, arXiv 2306.05685, section 3.4.
    """
    if first is None or swapped is None:
        return None
    return {("A", "B"): 1.0, ("B", "A"): 0.0}.get((first, swapped), 0.5)


def tournament(wins: Sequence[Sequence[float | None]]) -> list[float | None]:
    """Each answer's mean share against all others: ``wins[i][j]`` is i's share against j, None if unread.

    None for an answer of which no comparison could be read. Source: Zhang et al. 2025, arXiv 2503.03746.
    """
    shares: list[float | None] = []
    for row, line in enumerate(wins):
        read = [share for column, share in enumerate(line) if column != row and share is not None]
        shares.append(sum(read) / len(read) if read else None)
    return shares


def elo(first_wins: Sequence[Sequence[float]], rounds: int = 200) -> list[float]:
    """Strengths (mean 0) that maximise the Bradley-Terry likelihood of position-weighted wins.

    ``first_wins[i][j]`` is 1 if i won when shown before j, 0 if j won, 0.5 for a tie. A win in the position that wins
    more often weighs less. Fixed-point iteration (Hunter 2004) on half a win added to each side, so that a sweep stays
    finite. Source: Wu et al. 2024, arXiv 2407.19594, section 2.3.
    """
    size = len(first_wins)
    pairs = [(i, j) for i in range(size) for j in range(size) if i != j]
    front = sum(first_wins[i][j] for i, j in pairs)
    back = len(pairs) - front
    heavy_front = back / len(pairs) if pairs else 0.5
    won = [[0.5 if i != j else 0.0 for j in range(size)] for i in range(size)]
    for i, j in pairs:
        won[i][j] += heavy_front * first_wins[i][j]
        won[j][i] += (1 - heavy_front) * (1 - first_wins[i][j])
    strength = [1.0] * size
    for _ in range(rounds):
        fresh = []
        for i in range(size):
            games = [(won[i][j] + won[j][i]) / (strength[i] + strength[j]) for j in range(size) if j != i]
            fresh.append(sum(won[i]) / sum(games) if games else 1.0)
        scale = math.exp(sum(map(math.log, fresh)) / size) if size else 1.0
        strength = [value / scale for value in fresh]
    return [math.log(value) for value in strength]


def mutual(
    passes: Sequence[Sequence[bool]], damping: float = 0.85, rounds: int = 10
) -> tuple[list[float], list[float]]:
    """Scores of programs and of tests that raise each other: ``passes[i][j]`` says that program i passes test j.

    All begin at 1; score_i becomes (1 - d) * score_i + d * the sum of the scores of the tests that program i passes,
    and the same the other way round. The published update grows without bound, so after each round all are divided by
    one number, which changes no order; the best program and the best test come out as 1. Source: Zhang et al. 2024,
    arXiv 2410.05605 (CodeDPO), section 3.2.
    """
    programs, tests = len(passes), len(passes[0]) if passes else 0
    left, right = [1.0] * programs, [1.0] * tests
    for _ in range(rounds):
        earned = [sum(right[j] for j in range(tests) if passes[i][j]) for i in range(programs)]
        lent = [sum(left[i] for i in range(programs) if passes[i][j]) for j in range(tests)]
        left = [(1 - damping) * old + damping * new for old, new in zip(left, earned, strict=True)]
        right = [(1 - damping) * old + damping * new for old, new in zip(right, lent, strict=True)]
        largest = max([*left, *right], default=1.0)
        left, right = [value / largest for value in left], [value / largest for value in right]
    return _to_best(left), _to_best(right)


def _to_best(scores: Sequence[float]) -> list[float]:
    best = max(scores, default=0.0)
    return [score / best if best else 0.0 for score in scores]

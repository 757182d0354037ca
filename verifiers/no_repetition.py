"""The completion does not go round in circles, and has a fitting length.

Contract: linear. Of the ``n``-word sequences at most ``max_share`` may be repeats, no line of more than 20 characters
may stand there more than ``max_lines`` times, and the length must lie within ``words`` (a pair, None for no bound).

See it work: ``selfimprove run CONFIG verifier=no_repetition``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from selfimprove import Problem, Sample, Verdict, failing, passing

MAX_CHARS = 400_000


def no_repetition(
    problem: Problem,
    sample: Sample,
    *,
    n: int = 4,
    max_share: float = 0.5,
    max_lines: int = 8,
    words: Sequence[int | None] = (None, None),
) -> Verdict:
    """``score`` is 1 minus the share of repeated sequences. Raises ValueError for wrong options."""
    if n < 1 or not 0 <= max_share <= 1 or max_lines < 1 or len(words) != 2:
        raise ValueError("no_repetition: n and max_lines from 1 on, max_share between 0 and 1, words a pair")
    text = (sample.prefix + sample.completion)[:MAX_CHARS]
    said = text.casefold().split()
    low, high = words
    if (low is not None and len(said) < low) or (high is not None and len(said) > high):
        return failing(f"{len(said)} words, wanted {low} to {high}")
    sequences = [tuple(said[place : place + n]) for place in range(len(said) - n + 1)]
    share = 1 - len(set(sequences)) / len(sequences) if sequences else 0.0
    if share > max_share:
        return failing(f"{share:.0%} of its {n}-word sequences are repeats", score=1 - share)
    lines = Counter(line.strip() for line in text.split("\n") if len(line.strip()) > 20)
    line, count = max(lines.items(), key=lambda item: item[1], default=("", 0))
    if count > max_lines:
        return failing(f"a line stands there {count} times: {line[:80]!r}", score=1 - share)
    return passing(score=1 - share)

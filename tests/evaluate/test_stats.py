"""Intervals against published values and against simulation; k-sample figures against enumeration."""

import itertools
import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfimprove.evaluate import maj_at_k, paired, pass_at_k, wilson
from selfimprove.types import Interval


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_gives_the_published_values(successes: int, n: int, low: float, high: float) -> None:
    """Newcombe 1998, "Two-sided confidence intervals for the single proportion", table I, method 3."""
    found = wilson(successes, n)
    assert (round(found.low, 4), round(found.high, 4)) == (low, high)
    assert (found.value, found.n) == (successes / n, n)


def test_paired_gives_the_worked_example() -> None:
    """7 of 21 lost it, 1 gained it: adjusted cells 8/23 and 2/23, difference -6/23, standard error 0.12625."""
    before = [True] * 8 + [False] * 13
    after = [True] + [False] * 7 + [True] + [False] * 12
    found = paired(before, after)
    assert found.value == pytest.approx(-6 / 21)
    assert (round(found.low, 3), round(found.high, 3), found.n) == (-0.508, -0.013, 21)


@given(st.lists(st.tuples(st.booleans(), st.booleans()), max_size=60))
def test_intervals_hold_their_figure_and_stay_in_range(rows: list[tuple[bool, bool]]) -> None:
    before, after = [a for a, _ in rows], [b for _, b in rows]
    change, back = paired(before, after), paired(after, before)
    assert -1 <= change.low <= change.value <= change.high <= 1
    assert (back.low, back.value, back.high) == pytest.approx((-change.high, -change.value, -change.low))
    share = wilson(sum(before), len(before))
    assert 0 <= share.low <= share.value <= share.high <= 1


def test_nothing_measured_is_nothing_known() -> None:
    assert wilson(0, 0) == Interval(0.0, 0.0, 1.0, 0)
    assert paired([], []) == Interval(0.0, -1.0, 1.0, 0)
    assert wilson(20, 20).high == 1.0


@pytest.mark.parametrize("bad", [(-1, 2), (3, 2), (0, -1)])
def test_wilson_refuses_impossible_counts(bad: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="successes of"):
        wilson(*bad)


def test_paired_needs_the_same_problems() -> None:
    with pytest.raises(ValueError, match="1 problems before, 2 after"):
        paired([True], [True, False])


@pytest.mark.parametrize("n", [20, 50, 200])
def test_wilson_covers(n: int) -> None:
    """Exact coverage, averaged over shares: it swings with the share (0.92 at 0.02 of 50), but not to one side."""
    intervals = [wilson(successes, n) for successes in range(n + 1)]
    shares = [place / 500 for place in range(1, 500)]
    covered = [
        sum(
            math.comb(n, successes) * share**successes * (1 - share) ** (n - successes)
            for successes, found in enumerate(intervals)
            if found.low <= share <= found.high
        )
        for share in shares
    ]
    assert 0.945 <= sum(covered) / len(covered) <= 0.96
    assert min(covered) > 0.83


@pytest.mark.parametrize(("gain", "loss", "n"), [(0.1, 0.05, 200), (0.02, 0.0, 100), (0.3, 0.1, 30), (0.05, 0.05, 50)])
def test_paired_covers(gain: float, loss: float, n: int) -> None:
    rng = random.Random(2)
    hits = 0
    for _ in range(1500):
        draws = [rng.random() for _ in range(n)]
        before = [gain <= draw for draw in draws]
        after = [draw < gain or draw >= gain + loss for draw in draws]
        found = paired(before, after)
        hits += found.low <= gain - loss <= found.high
    assert hits / 1500 >= 0.935


@given(st.integers(1, 7), st.data())
def test_pass_at_k_is_the_share_of_draws_with_a_correct_sample(n: int, data: st.DataObject) -> None:
    c, k = data.draw(st.integers(0, n)), data.draw(st.integers(1, n))
    draws = list(itertools.combinations(range(n), k))
    assert pass_at_k(n, c, k) == pytest.approx(sum(min(draw) < c for draw in draws) / len(draws))


def test_pass_at_k_refuses_too_few_samples() -> None:
    for n, c, k in [(4, 1, 5), (4, 5, 1), (4, -1, 1), (4, 1, 0)]:
        with pytest.raises(ValueError, match="pass_at_k"):
            pass_at_k(n, c, k)
    assert pass_at_k(10_000, 1, 100) == pytest.approx(0.01)


def test_maj_at_k() -> None:
    assert maj_at_k(["4", "4", "5"], [True, True, False]) == 1.0
    assert maj_at_k(["5", "4", "5"], [False, True, False]) == 0.0
    assert maj_at_k(["4", "5"], [True, False]) == 0.5
    assert maj_at_k([None, None, "4"], [False, False, True]) == 1.0
    assert maj_at_k([None, None], [False, False]) == maj_at_k([], []) == 0.0
    assert maj_at_k(["5", "4", "4"], [False, True, True], k=1) == 0.0
    with pytest.raises(ValueError, match="k=4"):
        maj_at_k(["4"], [True], k=4)
    with pytest.raises(ValueError, match="1 answers, 2 judgements"):
        maj_at_k(["4"], [True, True])

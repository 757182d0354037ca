"""Preference pairs: correct against incorrect answers, and human against own answers.

Contract: pure and streaming, one group at a time; attempts that were cut off or not judged are on neither side.
The pairs of a problem do not depend on the other problems or on the order that attempts came in.

See it work: ``pytest tests/test_select.py -k pairs``.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Iterator
from typing import Literal

from selfimprove.equations import normalised
from selfimprove.selection import (
    Selection,
    Tally,
    bare_prompt_ids,
    completion_ids,
    fate,
    gold_source,
    in_order,
    text_of,
)
from selfimprove.types import Attempt, Group, PreferencePair, Problem

Mode = Literal["zip", "cartesian", "random"]


def pairs(
    groups: Iterable[Group], mode: Mode = "zip", k: int | None = None, rng: random.Random | None = None
) -> Selection[PreferencePair]:
    """Passed attempts preferred to failed ones of the same problem, distinct texts, at most ``k`` pairs a problem.

    ``zip`` walks both lists at once and starts the shorter one over (default ``k``: the longer list; shuffled if
    ``rng`` is given; source: Pang et al. 2024, arXiv 2404.19733). ``cartesian`` takes all combinations (with ``k``:
    the first ones, or ``k`` at random if ``rng`` is given). ``random`` draws ``k`` (default 1) combinations and
    needs ``rng``. No combination is taken twice. ``rng`` is read once, at the call.

    Raises ValueError for another mode, a ``k`` below 1 and a missing ``rng``.
    """
    if mode not in ("zip", "cartesian", "random"):
        raise ValueError(f"pairs: mode {mode!r}; use 'zip', 'cartesian' or 'random'")
    if k is not None and k < 1:
        raise ValueError(f"pairs: k must be at least 1, got {k}")
    if mode == "random" and rng is None:
        raise ValueError("pairs: mode 'random' needs rng; pass round.rng")
    root = None if rng is None else rng.getrandbits(64)
    tally = Tally()
    return Selection(_pairs(groups, mode, k, root, tally), tally)


def _pairs(
    groups: Iterable[Group], mode: Mode, k: int | None, root: int | None, tally: Tally
) -> Iterator[PreferencePair]:
    for group in groups:
        good, bad, dropped = _sides(group)
        # A generator of the problem's own: its pairs stay the same when other problems come or go.
        rng = None if root is None else random.Random(f"{root}/{group.problem.id}")
        places = _places(mode, len(good), len(bad), k, rng) if good and bad else []
        used = len({i for i, _ in places}) + len({j for _, j in places})
        left = "over_cap" if places else "unpaired"
        tally.seen += len(group.attempts)
        tally.kept += used
        tally.examples += len(places)
        tally.drop(dropped + [left] * (len(good) + len(bad) - used))
        for i, j in places:
            yield _pair(group.problem, good[i], bad[j])


def gold_over_own(groups: Iterable[Group], include_truncated: bool = False) -> Selection[PreferencePair]:
    """The human solution preferred to each own answer, right or wrong; own answers equal to it are left out.

    Answers that were cut off are left out too, unless ``include_truncated``; then they end where they were cut.
    """
    tally = Tally()
    return Selection(_gold_over_own(groups, include_truncated, tally), tally)


def _gold_over_own(groups: Iterable[Group], include_truncated: bool, tally: Tally) -> Iterator[PreferencePair]:
    for group in groups:
        seen: set[str] = set()
        for attempt in in_order(group.attempts):
            reason = _unusable(group.problem, attempt, include_truncated, seen)
            tally.seen += 1
            if reason:
                tally.dropped[reason] += 1
                continue
            tally.kept += 1
            tally.examples += 1
            yield _gold_pair(group.problem, attempt)


def _unusable(problem: Problem, attempt: Attempt, include_truncated: bool, seen: set[str]) -> str | None:
    """Why an own answer cannot be the rejected side; None (and remembered) if it can."""
    word = fate(attempt)
    # An aborted sample is not an answer cut short: the prompt did not fit and nothing was written.
    cut = attempt.sample.finish == "abort" or not include_truncated
    if word == "error" or (word == "truncated" and cut):
        return word
    if problem.demonstration is None:
        return "no_demonstration"
    text = normalised(text_of(attempt.sample))
    if text == normalised(problem.demonstration):
        return "same_as_gold"
    if text in seen:
        return "duplicate"
    seen.add(text)
    return None


def _sides(group: Group) -> tuple[list[Attempt], list[Attempt], list[str]]:
    """Passed and failed attempts with distinct texts, in sample order, and the reasons of the others."""
    sides: dict[str, list[Attempt]] = {"passed": [], "failed": []}
    seen: set[str] = set()
    dropped = []
    # Passed ones first: a text that was judged both ways stays on the passed side only.
    for attempt in sorted(in_order(group.attempts), key=lambda a: not a.passed):
        word = fate(attempt)
        if word in sides:
            text = normalised(text_of(attempt.sample))
            if text in seen:
                word = "duplicate"
            else:
                seen.add(text)
                sides[word].append(attempt)
                continue
        dropped.append(word)
    return sides["passed"], sides["failed"], dropped


def _places(mode: Mode, good: int, bad: int, k: int | None, rng: random.Random | None) -> list[tuple[int, int]]:
    """Which (passed, failed) combinations to take; none twice."""
    if mode == "zip":
        lefts, rights = list(range(good)), list(range(bad))
        if rng is not None:
            rng.shuffle(lefts)
            rng.shuffle(rights)
        count = min(k or max(good, bad), math.lcm(good, bad))
        return [(lefts[i % good], rights[i % bad]) for i in range(count)]
    wanted = min(k or (1 if mode == "random" else good * bad), good * bad)
    every = range(good * bad)
    chosen = every[:wanted] if rng is None or wanted == len(every) else rng.sample(every, wanted)
    return [divmod(place, bad) for place in chosen]


def _pair(problem: Problem, good: Attempt, bad: Attempt) -> PreferencePair:
    chosen, rejected = good.sample, bad.sample
    both_bare = bare_prompt_ids(rejected) is not None
    return PreferencePair(
        prompt=problem.prompt,
        chosen=text_of(chosen),
        rejected=text_of(rejected),
        prompt_ids=bare_prompt_ids(chosen) if both_bare else None,
        chosen_ids=completion_ids(chosen),
        rejected_ids=completion_ids(rejected),
        source=(chosen.id, rejected.id),
    )


def _gold_pair(problem: Problem, own: Attempt) -> PreferencePair:
    assert problem.demonstration is not None
    return PreferencePair(
        prompt=problem.prompt,
        chosen=problem.demonstration,
        rejected=text_of(own.sample),
        prompt_ids=bare_prompt_ids(own.sample),
        rejected_ids=completion_ids(own.sample),
        source=(gold_source(problem.id), own.sample.id),
    )

"""From judged attempts to training examples: what is kept, how often, and why the rest is not.

Contract: pure and streaming. Groups come in, examples go out one by one, nothing but the current group is held
(`distinct` also holds a digest per example). A selector is a plain function ``Group -> tuple[Attempt, ...]``; the
ones made here keep passed attempts only, in an order that does not depend on the order they came in. Attempts that
were cut off or not judged are never kept. Every stream counts while it is read: ``stream.tally``.

See it work: ``pytest tests/test_select.py``.
"""

from __future__ import annotations

import functools
import hashlib
import math
from collections import Counter
from collections.abc import Callable, Container, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeVar

from selfimprove.equations import equation_key, equations_hold, normalised
from selfimprove.pairing import gold_over_own, pairs
from selfimprove.selection import (
    Selection,
    Tally,
    fate,
    gold_source,
    in_order,
    reasons,
    row_of,
    text_of,
)
from selfimprove.types import Attempt, Demonstration, Example, Group, Problem

__all__ = [
    "Selection",
    "Selector",
    "Tally",
    "best",
    "demonstrations",
    "distinct",
    "edit_distance",
    "equation_key",
    "equations_hold",
    "farthest",
    "first",
    "funnel",
    "gold",
    "gold_over_own",
    "mix",
    "pairs",
    "passed",
    "reasons",
    "shortest",
    "weights",
]

E = TypeVar("E", bound=Example)
Key = Callable[[str], Hashable]
Split = tuple[list[Attempt], list[str]]


@dataclass(frozen=True, slots=True)
class Selector:
    """Group -> kept attempts; ``split`` also gives one reason for each attempt that is not kept."""

    split: Callable[[Group], Split]

    def __call__(self, group: Group) -> tuple[Attempt, ...]:
        return tuple(self.split(group)[0])


Select = Selector | Callable[[Group], Sequence[Attempt]]


def passed(cap: int | None = None, distinct: bool = True, key: Key | None = None) -> Selector:
    """Passed attempts in sample order, at most ``cap`` a problem (after duplicates are gone).

    Two attempts are duplicates if ``key`` of their texts is equal; by default the text with white space collapsed.
    """
    return _selector(None, cap, (key or normalised) if distinct else None)


def first(n: int = 1) -> Selector:
    """The first ``n`` passed attempts in sample order, duplicates included."""
    return _selector(None, n, None)


def best(n: int = 1, by: Literal["score", "logprob"] | Callable[[Attempt], float] = "score") -> Selector:
    """The ``n`` distinct passed attempts with the highest score (ties: the earlier sample).

    ``by="logprob"`` raises ValueError for samples drawn without log-probabilities.
    """
    if not callable(by) and by not in _RANKS:
        raise ValueError(f"best: by={by!r}; use 'score', 'logprob' or a function of an attempt")
    measure = by if callable(by) else _RANKS[by]
    return _selector(lambda attempt: -measure(attempt), n, normalised)


def shortest(n: int = 1) -> Selector:
    """The ``n`` distinct passed attempts with the fewest sampled tokens (without ids: characters).

    Source: Munkhbat et al. 2025, arXiv 2502.20122.
    """
    return _selector(_length, n, normalised)


def farthest(cap: int | None = None, key: Key = equation_key) -> Selector:
    """One passed attempt per ``key``; of two with one key, the one farther from the others kept so far.

    Far = larger sum of edit distances. ``cap`` then keeps the first ones in sample order. Cost: one edit distance
    per collision and kept solution. Source: Yuan et al. 2023, arXiv 2308.01825, and its released code.
    """
    _check_cap(cap)

    def split(group: Group) -> Split:
        candidates, dropped = _candidates(group)
        kept = _spread(candidates, key)
        dropped += ["duplicate"] * (len(candidates) - len(kept))
        kept = in_order(kept)
        over = kept[cap:] if cap is not None else []
        return kept[:cap], dropped + ["over_cap"] * len(over)

    return Selector(split)


def demonstrations(groups: Iterable[Group], select: Select | None = None) -> Selection[Demonstration]:
    """One demonstration per attempt that ``select`` keeps (default: `passed()`), group by group.

    The row trains the problem's own prompt, whatever view the policy was shown. A forced prefix is part of the
    completion. A selector of your own may keep failed attempts; ones that were cut off or not judged are dropped.
    """
    tally = Tally()
    chosen = select if isinstance(select, Selector) else Selector(_guarded(select)) if select else passed()
    return Selection(_demonstrations(groups, chosen.split, tally), tally)


def gold(problems: Iterable[Problem]) -> Selection[Demonstration]:
    """The human solutions; problems without one are counted as ``no_demonstration``. Source: ``gold/<problem id>``."""
    tally = Tally()

    def stream() -> Iterator[Demonstration]:
        for problem in problems:
            tally.seen += 1
            if problem.demonstration is None:
                tally.dropped["no_demonstration"] += 1
                continue
            tally.kept += 1
            tally.examples += 1
            yield Demonstration(problem.prompt, problem.demonstration, source=(gold_source(problem.id),))

    return Selection(stream(), tally)


def mix(*streams: Iterable[E]) -> Selection[E]:
    """All examples of all streams, one stream after the other; the tallies add up."""
    tally = Tally()

    def chained() -> Iterator[E]:
        for each in streams:
            stream = _counted(each)
            yield from stream
            tally.add(stream.tally)

    return Selection(chained(), tally)


def distinct(
    examples: Iterable[Demonstration], key: Callable[[Demonstration], Hashable] | None = None
) -> Selection[Demonstration]:
    """Each prompt with each completion once, across streams and rounds; the first one is kept.

    Completions that differ in white space only are the same. Memory: about 100 bytes per distinct example.
    """
    upstream = _counted(examples)
    mark = key or _fingerprint

    def stream() -> Iterator[Demonstration]:
        seen: set[Hashable] = set()
        for example in upstream:
            value = mark(example)
            if value in seen:
                upstream.tally.kept -= 1
                upstream.tally.examples -= 1
                upstream.tally.dropped["duplicate"] += 1
                continue
            seen.add(value)
            yield example

    return Selection(stream(), upstream.tally)


def weights(examples: Iterable[E], by: Callable[[E], float]) -> Selection[E]:
    """The same examples, weighted: ``by`` gives each row's factor on its loss.

    Raises ValueError for a weight that is negative or not finite.
    """
    upstream = _counted(examples)

    def stream() -> Iterator[E]:
        for example in upstream:
            weight = float(by(example))
            if not (math.isfinite(weight) and weight >= 0):
                raise ValueError(f"weights: {weight} for {example.source}; a weight is finite and not negative")
            yield replace(example, weight=weight)

    return Selection(stream(), upstream.tally)


def funnel(groups: Iterable[Group], kept: Container[str]) -> dict[str, int]:
    """How many attempts were kept (sample ids in ``kept``) or dropped, by `reasons`: for streams without a tally."""
    counts: Counter[str] = Counter()
    for group in groups:
        counts.update(reasons(group, kept))
    return dict(sorted(counts.items()))


def edit_distance(a: str, b: str) -> int:
    """Levenshtein distance in characters, by bit-parallel columns.

    Source: Hyyrö 2003, "A bit-vector algorithm for computing Levenshtein and Damerau edit distances".
    """
    if len(a) < len(b):
        a, b = b, a
    if not b:
        return len(a)
    masks: dict[str, int] = {}
    for place, character in enumerate(a):
        masks[character] = masks.get(character, 0) | 1 << place
    full, last, distance = (1 << len(a)) - 1, 1 << (len(a) - 1), len(a)
    rises, falls = full, 0
    for character in b:
        match = masks.get(character, 0)
        diagonal = (((match & rises) + rises) ^ rises) | match | falls
        right_rises = falls | (full & ~(diagonal | rises))
        right_falls = rises & diagonal
        distance += bool(right_rises & last) - bool(right_falls & last)
        right_rises = right_rises << 1 | 1
        rises = (right_falls << 1 | ~(diagonal | right_rises)) & full
        falls = right_rises & diagonal & full
    return distance


def _selector(rank: Callable[[Attempt], Any] | None, cap: int | None, key: Key | None) -> Selector:
    """Passed attempts by ``rank`` (lowest first, ties in sample order), one per ``key``, at most ``cap``."""
    _check_cap(cap)
    limit = math.inf if cap is None else cap

    def split(group: Group) -> Split:
        candidates, dropped = _candidates(group)
        if rank is not None:
            candidates.sort(key=rank)
        kept: list[Attempt] = []
        seen: set[Hashable] = set()
        for attempt in candidates:
            if key is not None:
                mark = key(text_of(attempt.sample))
                if mark in seen:
                    dropped.append("duplicate")
                    continue
                seen.add(mark)
            if len(kept) < limit:
                kept.append(attempt)
            else:
                dropped.append("over_cap")
        return kept, dropped

    return Selector(split)


def _candidates(group: Group) -> Split:
    """Passed attempts in sample order, and the reasons of all others."""
    candidates, dropped = [], []
    for attempt in group.attempts:
        word = fate(attempt)
        if word == "passed":
            candidates.append(attempt)
        else:
            dropped.append(word)
    return in_order(candidates), dropped


def _guarded(select: Callable[[Group], Sequence[Attempt]]) -> Callable[[Group], Split]:
    """A user's selector, held to the rule that nothing cut off or unjudged is trained on."""

    def split(group: Group) -> Split:
        kept = [attempt for attempt in select(group) if fate(attempt) in ("passed", "failed")]
        words = reasons(group, {attempt.sample.id for attempt in kept})
        return kept, [word for word in words if word != "kept"]

    return split


def _demonstrations(groups: Iterable[Group], split: Callable[[Group], Split], tally: Tally) -> Iterator[Demonstration]:
    for group in groups:
        kept, dropped = split(group)
        tally.seen += len(group.attempts)
        tally.kept += len(kept)
        tally.examples += len(kept)
        tally.drop(dropped)
        for attempt in kept:
            sample = attempt.sample
            text, prompt_ids, ids = row_of(sample)
            yield Demonstration(group.problem.prompt, text, prompt_ids, ids, 1.0, (sample.id,))


def _spread(candidates: list[Attempt], key: Key) -> list[Attempt]:
    """One attempt per key; a newcomer replaces the holder of its key if it lies farther from the other holders."""
    distance = functools.cache(edit_distance)
    holders: dict[Hashable, Attempt] = {}

    def total(text: str, others: list[str]) -> int:
        return sum(distance(min(text, other), max(text, other)) for other in others)

    for attempt in candidates:
        text = text_of(attempt.sample)
        mark = key(text)
        holder = holders.setdefault(mark, attempt)
        if text == (held := text_of(holder.sample)):
            continue
        others = [text_of(other.sample) for place, other in holders.items() if place != mark]
        if total(text, others) > total(held, others):
            holders[mark] = attempt
    return list(holders.values())


def _counted(examples: Iterable[E]) -> Selection[E]:
    """The stream itself if it counts already; any other one with each of its examples counted as seen and kept."""
    if isinstance(examples, Selection):
        return examples
    tally = Tally()

    def stream() -> Iterator[E]:
        for example in examples:
            tally.seen += 1
            tally.kept += 1
            tally.examples += 1
            yield example

    return Selection(stream(), tally)


def _fingerprint(example: Demonstration) -> bytes:
    digest = hashlib.blake2b(digest_size=16)
    for message in example.prompt:
        digest.update(f"{len(message.role)} {len(message.content)} {message.role}{message.content}".encode())
    digest.update(b"\0" + normalised(example.completion).encode("utf-8", "surrogatepass"))
    return digest.digest()


def _length(attempt: Attempt) -> tuple[int, int]:
    text = text_of(attempt.sample)
    return len(attempt.sample.token_ids) or len(text), len(text)


def _logprob(attempt: Attempt) -> float:
    if attempt.sample.logprob is None:
        raise ValueError(f"best: sample {attempt.sample.id} has no log-probability; ask for logprobs when sampling")
    return attempt.sample.logprob


def _check_cap(cap: int | None) -> None:
    if cap is not None and cap < 1:
        raise ValueError(f"at least 1 attempt must be allowed per problem, got {cap}; use None for no cap")


_RANKS: dict[str, Callable[[Attempt], float]] = {"score": lambda attempt: attempt.score, "logprob": _logprob}

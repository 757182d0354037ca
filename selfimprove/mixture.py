"""Problems of one or several sources: read, split source by source, mixed for a round.

Contract: each source keeps its own held-out problems, by hash as in `selfimprove.data.splits`, so that a figure of one
task does not depend on which others are there. A round of ``problems_per_round`` problems takes of each source by its
``weight``; without weights, by size. A problem that two sources hold belongs to the first one.

See it work: ``pytest tests/test_mixture.py``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from selfimprove import data as datasets
from selfimprove.config import ProblemSource, RunConfig
from selfimprove.data import Splits
from selfimprove.errors import ConfigError
from selfimprove.store.digest import seed_of
from selfimprove.types import Message, Problem

_PARTS = ("train", "gate", "report")


@dataclass(frozen=True)
class Mixture:
    """The problems of all sources, their splits, and the training problems of each source with its weight."""

    problems: list[Problem]
    splits: Splits
    shares: list[tuple[Sequence[Problem], float]]


def load(config: RunConfig, note: Callable[[str], None] = lambda text: None) -> Mixture:
    """Read every source; ``note`` hears of repetitions. ConfigError for rows that cannot be used, or too few."""
    sources = config.data.mixed
    found = [_problems(source, config, note) for source in sources]
    known: set[str] = set()
    for place, problems in enumerate(found):
        fresh = [problem for problem in problems if not {problem.id, _folded(problem)} & known]
        if len(fresh) < len(problems):
            note(f"{sources[place].source}: {len(problems) - len(fresh):,} problems are in a source before it")
        known.update(name for problem in fresh for name in (problem.id, _folded(problem)))
        found[place] = fresh
    sizes = [len(problems) for problems in found]
    gates = _held_out([source.gate for source in sources], sizes, config.data.gate)
    reports = _held_out([source.report for source in sources], sizes, config.data.report)
    parts = []
    for source, problems, gate, report in zip(sources, found, gates, reports, strict=True):
        try:
            parts.append(datasets.splits(problems, gate, report, config.seed))
        except ConfigError as error:
            where = f"{source.source}: " if len(sources) > 1 else ""
            raise ConfigError(f"{where}{error}", hint=error.hint) from error
    everything = [problem for problems in found for problem in problems]
    if len(parts) == 1:
        whole = parts[0]
    else:
        train, gate_, report_ = ([p for part in parts for p in getattr(part, name)] for name in _PARTS)
        whole = Splits(tuple(train), tuple(gate_), tuple(report_))
    shares: list[tuple[Sequence[Problem], float]] = []
    for source, part in zip(sources, parts, strict=True):
        shares.append((part.train, len(part.train) if source.weight is None else source.weight))
    return Mixture(everything, whole, shares)


def _folded(problem: Problem) -> str:
    """What is asked, whatever its form: a text or a message, with or without a key to tell it apart."""
    return " ".join(problem.text.split())


def _problems(source: ProblemSource, config: RunConfig, note: Callable[[str], None]) -> list[Problem]:
    columns = source.columns or config.data.columns
    loaded = datasets.read(source.source, source.args, columns.model_dump())
    for text in loaded.notes:
        note(text)
    problems = loaded.problems
    if source.task is not None:
        problems = [
            problem if problem.task != "default" else replace(problem, task=source.task) for problem in problems
        ]
    if source.chat_template_kwargs:
        problems = [_told(problem, source) for problem in problems]
    return problems


def _told(problem: Problem, source: ProblemSource) -> Problem:
    """The problem with what its template is told, which is part of what is asked."""
    if problem.prompt[0].role == "text":
        what = f"{source.source}: chat_template_kwargs are for conversations, and problem {problem.id} is a text"
        raise ConfigError(what, hint="give prompts as messages, or leave chat_template_kwargs out")
    said = Message("template", json.dumps(source.chat_template_kwargs, sort_keys=True))
    return replace(problem, prompt=(said, *problem.prompt))


def _held_out(own: Sequence[int | None], sizes: Sequence[int], total: int) -> list[int]:
    """How many each source holds out: its own count, or its share by size of what the others leave of ``total``."""
    left = max(0, total - sum(count for count in own if count is not None))
    open_sizes = [size if count is None else 0 for count, size in zip(own, sizes, strict=True)]
    shared = apportion(open_sizes, left) if any(open_sizes) else [0] * len(own)
    return [shared[place] if count is None else count for place, count in enumerate(own)]


def apportion(weights: Sequence[float], total: int) -> list[int]:
    """``total`` in whole numbers by ``weights``: the largest remainders are rounded up, the first of equal ones."""
    whole = sum(weights)
    exact = [total * weight / whole for weight in weights]
    counts = [int(share) for share in exact]
    order = sorted(range(len(weights)), key=lambda place: (counts[place] - exact[place], place))
    for place in order[: total - sum(counts)]:
        counts[place] += 1
    return counts


def asked(mixture: Mixture, config: RunConfig, index: int) -> Sequence[Problem]:
    """The training problems of round ``index``: all, or ``problems_per_round`` in a fixed shuffled order."""
    train, count = mixture.splits.train, config.problems_per_round
    weighted = any(source.weight is not None for source in config.data.mixed)
    if count is None or (count >= len(train) and not weighted):
        return train
    counts = apportion([weight for _, weight in mixture.shares], count)
    chosen = [_asked(part, n, config, index) for (part, _), n in zip(mixture.shares, counts, strict=True)]
    return [problem for part in chosen for problem in part]


def _asked(train: Sequence[Problem], count: int, config: RunConfig, index: int) -> Sequence[Problem]:
    seed, count = config.seed, min(count, len(train))
    if config.ask == "all":
        return sorted(train, key=lambda p: seed_of(seed, index, p.id))[:count]
    order = sorted(train, key=lambda p: seed_of(seed, "order", p.id))
    start = (index - 1) * count
    return [order[(start + i) % len(order)] for i in range(count)]

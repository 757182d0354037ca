"""What the benchmarks share: figures and how they are shown, pairs in turns, seconds by cause, a run's context.

Contract: `fresh` runs a function in a new process, so that no measurement inherits memory, imports or a cluster from
the one before. `Stopwatch` counts *exclusive* seconds of the functions it wraps: a cause does not contain another.

See it work: ``python -m benchmarks million --samples 20000``.
"""

from __future__ import annotations

import functools
import multiprocessing
import os
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any
from unittest.mock import patch

from selfimprove.config import RunConfig
from selfimprove.round import Context
from selfimprove.types import Problem


@dataclass(frozen=True)
class Options:
    """What the command line asks for: ``pairs`` of every comparison, ``samples`` instead of the benchmark's own."""

    pairs: int = 3
    samples: int | None = None


@dataclass(frozen=True)
class Figure:
    """One quoted number: the median of ``runs``, and the target it is held against."""

    name: str
    runs: Sequence[float]
    target: str = ""
    unit: str = ""

    @property
    def value(self) -> float:
        return median(self.runs)


@dataclass
class Result:
    """What one benchmark found. ``seconds`` holds tables: measurement -> cause -> seconds (or a count)."""

    name: str
    figures: list[Figure] = field(default_factory=list)
    seconds: dict[str, Mapping[str, float]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        figures = [{**asdict(figure), "value": figure.value} for figure in self.figures]
        return {"figures": figures, "seconds": self.seconds, "notes": self.notes}


def show(result: Result) -> str:
    """The figures as lines for people."""
    lines = [f"== {result.name}"]
    for figure in result.figures:
        runs = " ".join(f"{run:,.4g}" for run in figure.runs)
        target = f"   target {figure.target}" if figure.target else ""
        lines.append(f"{figure.name:<58} {figure.value:>9,.4g} {figure.unit:<9}{target}   [{runs}]")
    for name, causes in result.seconds.items():
        lines.append(f"  {name}: " + ", ".join(f"{cause} {spent:,.4g}" for cause, spent in causes.items()))
    return "\n".join([*lines, *(f"  note: {note}" for note in result.notes)])


def say(text: str) -> None:
    """What is being measured now, with the load of the machine."""
    print(f"[{time.strftime('%H:%M:%S')}, load {os.getloadavg()[0]:.1f}] {text}", file=sys.stderr, flush=True)


def fresh(function: Callable[..., Any], *args: Any) -> Any:
    """``function(*args)`` in a new process."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as executor:
        return executor.submit(function, *args).result()


def timed(function: Callable[[], Any]) -> float:
    """Wall seconds of one call."""
    began = time.perf_counter()
    function()
    return time.perf_counter() - began


def in_turns(pairs: int, contestants: Mapping[str, Callable[[int], Any]]) -> dict[str, list[float]]:
    """Seconds of each contestant, measured in turns; each is told the number of the turn, from 1."""
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for turn in range(1, pairs + 1):
        for name, contestant in contestants.items():
            seconds[name].append(timed(functools.partial(contestant, turn)))
            say(f"turn {turn}: {name} {seconds[name][-1]:.2f} s")
    return seconds


def ratios(above: Sequence[float], below: Sequence[float]) -> list[float]:
    """Pair by pair."""
    return [a / b for a, b in zip(above, below, strict=True)]


class Stopwatch:
    """Exclusive wall seconds by cause, of functions wrapped for as long as `on` lasts."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self._inner: list[float] = []

    @contextmanager
    def on(self, causes: Mapping[str, Sequence[tuple[Any, str]]]) -> Iterator[Stopwatch]:
        """``causes``: for each cause the ``(module or class, attribute)`` of the functions that are its work."""
        with ExitStack() as stack:
            for cause, places in causes.items():
                for owner, name in places:
                    stack.enter_context(patch.object(owner, name, self._wrapped(cause, getattr(owner, name))))
            yield self

    def _wrapped(self, cause: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            self._inner.append(0.0)
            began = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                spent = time.perf_counter() - began
                self.seconds[cause] += spent - self._inner.pop()
                if self._inner:
                    self._inner[-1] += spent

        return wrapper

    def table(self, total: float) -> dict[str, float]:
        """Seconds by cause, the rest as ``other``."""
        found = dict(sorted(self.seconds.items(), key=lambda item: -item[1]))
        return {**found, "other": total - sum(found.values())}


@contextmanager
def run_context(settings: Mapping[str, Any], folder: Path, problems: Sequence[Problem]) -> Iterator[Context]:
    """What `selfimprove.round.Round` needs, made as a run makes it, in the run directory ``folder``."""
    from selfimprove.control import Stop
    from selfimprove.data import Splits
    from selfimprove.report.progress import Progress
    from selfimprove.store.files import RunFiles
    from selfimprove.store.lease import take
    from selfimprove.workers import Workers, backend_of

    config = RunConfig.model_validate(settings)
    files = RunFiles(folder)
    files.folder("")
    workers = Workers(config, backend_of(config, folder))
    lease = take(files)
    try:
        splits = Splits(tuple(problems), (), ())
        by_id = {problem.id: problem for problem in problems}
        yield Context(config, files, lease, workers, Progress(files, "none"), Stop(), by_id, splits)
    finally:
        workers.close()
        lease.release()


def driver_causes() -> dict[str, list[tuple[Any, str]]]:
    """The work of the process that drives an `attempt`, by cause."""
    from selfimprove import pipeline
    from selfimprove.cluster import inline, on_ray
    from selfimprove.store import digest, steps, tables

    return {
        "requests and seeds": [(pipeline.Pipeline, "_take")],
        "table, parquet": [(tables, "sample_table"), (tables, "verdict_table"), (tables, "write")],
        "hash of rows": [(tables, "table_digest")],
        "commit (fsync, hash, marker)": [(steps.Step, "publish"), (digest, "digest_file")],
        "waiting for a result": [(on_ray.RayBackend, "wait")],
        "messages": [(on_ray.RayFuture, "result"), (on_ray.RayActor, "submit"), (inline.InlineActor, "submit")],
        "bookkeeping": [
            (pipeline.Pipeline, "_receive"),
            (pipeline.Pipeline, "_judged"),
            (pipeline.Pipeline, "_exchange"),
        ],
    }

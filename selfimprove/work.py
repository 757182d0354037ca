"""What the pipeline works on: what to draw, a part under way, and how a part and a step are published.

Contract: seeds depend on (run, round, step, problem, sample) alone. A part is published once, samples before their
verdicts; verdict rows stand in the order of the samples.

See it work: ``pytest tests/pipelines``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from selfimprove.store import tables
from selfimprove.store.digest import digest, seed_of
from selfimprove.store.steps import Step
from selfimprove.types import Message, Policy, Problem, Sample, SampleRequest, SamplingParams, Verdict


@dataclass(frozen=True)
class Work:
    """What to draw: ``n`` samples for each problem, shown ``prompts[i]`` instead of its own prompt.

    ``prefixes[i]``, if given, is forced at the start of the response (or scored: `SamplingParams.score`).
    ``keep_every``: samples under way are written down every so many tokens; 0 = never. ``engine``: the
    engine's options, if not the run's own.
    """

    name: str
    problems: Sequence[Problem]
    prompts: Sequence[tuple[Message, ...]]
    n: int
    params: SamplingParams
    policy: Policy
    seed: int
    part_problems: int
    view: str = ""
    prefixes: Sequence[str] = ()
    keep_every: int = 0
    engine: Mapping[str, Any] | None = None

    def parts(self) -> int:
        return -(-len(self.problems) // self.part_problems)

    def request(self, position: int) -> SampleRequest:
        """The request for the problem at ``position``; seeds depend on (run, round, step, problem, sample) alone."""
        problem, indexes = self.problems[position], tuple(range(self.n))
        seeds = tuple(seed_of(self.seed, self.name, problem.id, index) for index in indexes)
        prefix = self.prefixes[position] if self.prefixes else ""
        key = f"{self.name}/{problem.id}"
        return SampleRequest(key, problem.id, self.prompts[position], indexes, seeds, self.view, prefix)


def only(request: SampleRequest, name: str) -> SampleRequest:
    """``request`` for the one sample called ``name``."""
    place = [f"{request.key}/{index}" for index in request.indexes].index(name)
    here = slice(place, place + 1)
    return replace(request, indexes=request.indexes[here], seeds=request.seeds[here], begun=request.begun[here])


@dataclass
class Part:
    """A part under way: positions ``start`` to ``stop``, and what has come back so far.

    ``unasked`` counts samples that this verifier is not asked of; ``groups`` holds samples of problems that are not
    complete, for a verifier that judges whole groups, and ``waiting`` those of them that it will be asked of.
    """

    number: int
    start: int
    stop: int
    expected: int
    samples: dict[str, Sample] = field(default_factory=dict)
    verdicts: dict[str, Verdict] = field(default_factory=dict)
    published: bool = False
    unasked: int = 0
    groups: dict[str, list[Sample]] = field(default_factory=dict)
    waiting: dict[str, Sample] = field(default_factory=dict)

    @property
    def judged(self) -> bool:
        return len(self.verdicts) + self.unasked == self.expected


def publish_samples(step: Step, number: int, problems: int, rows: Sequence[Sample]) -> None:
    """Publish the samples of part ``number``, in (problem, index) order."""
    path = step.workdir() / f"{number:06d}.parquet"
    stamp = tables.write(path, tables.sample_table(rows))
    counts = {
        "problems": problems,
        "sampled": len(rows),
        "truncated": sum(row.truncated for row in rows),
        "tokens": sum(len(row.token_ids) for row in rows),
    }
    step.publish([path], digest=stamp, counts=counts, part=number)


def publish_verdicts(
    step: Step, number: int, problems: int, rows: Sequence[Sample], verdicts: Sequence[Verdict]
) -> None:
    """Publish the verdicts of part ``number``: ``verdicts[i]`` judges ``rows[i]``."""
    path = step.workdir() / f"{number:06d}.parquet"
    stamp = tables.write(path, tables.verdict_table([row.id for row in rows], verdicts))
    counts = {
        "problems": problems,
        "sampled": len(rows),
        "truncated": sum(row.truncated for row in rows),
        "passed": sum(v.outcome == "pass" and not row.truncated for row, v in zip(rows, verdicts, strict=True)),
        "failed": sum(v.outcome == "fail" and not row.truncated for row, v in zip(rows, verdicts, strict=True)),
        "errors": sum(v.outcome == "error" for v in verdicts),
        "tokens": sum(len(row.token_ids) for row in rows),
    }
    step.publish([path], digest=stamp, counts=counts, part=number)


def commit(step: Step, seconds: Mapping[str, float]) -> None:
    """Publish a step whose parts are all published."""
    markers = [step.parts[number] for number in sorted(step.parts)]
    names = {name for marker in markers for name in marker.counts}
    counts = {name: sum(marker.counts.get(name, 0) for marker in markers) for name in sorted(names)}
    step.publish(digest=digest([m.digest for m in markers]), counts=counts, seconds=seconds)

"""Stored samples judged again by another verifier: what flips.

Contract: nothing is sampled (a verifier that asks a model asks its questions) and nothing that the run made is changed:
the new verdicts lie beside the old ones, keyed by what judged them, so asking twice costs nothing. The run must not be
running.

See it work: ``selfimprove verify RUN --with SPEC``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selfimprove.config import RunConfig, VerifierConfig
from selfimprove.context import Context, judged_steps, read_step
from selfimprove.errors import ConfigError
from selfimprove.judged import rejudged
from selfimprove.results import named
from selfimprove.round import Round
from selfimprove.store.groups import Groups, read_samples
from selfimprove.store.steps import Step
from selfimprove.types import Attempt, Group, Policy, SamplingParams
from selfimprove.work import Work


@dataclass(frozen=True)
class Flip:
    """A sample that two verifiers judge differently."""

    sample: str
    problem: str
    before: str
    after: str
    reason: str


def rejudge(context: Context, verifier: VerifierConfig, only: str | None = None) -> dict[str, Any]:
    """Judge every judged step of the run (or those below ``only``) by ``verifier``; counts and flips for each.

    Raises ConfigError if there is no such step.
    """
    steps = []
    for key in judged_steps(context.files):
        if only is None or key == only or key.startswith(f"{only.rstrip('/')}/"):
            steps.append(_step(context, key, verifier))
    if not steps:
        raise ConfigError(f"{context.files.root}: no judged samples{f' below {only!r}' if only else ''}")
    changed = sum((Counter(step["changed"]) for step in steps), Counter[str]())
    return {"steps": steps, "samples": sum(step["samples"] for step in steps), "changed": dict(changed)}


def _step(context: Context, key: str, verifier: VerifierConfig) -> dict[str, Any]:
    samples = read_step(context.files, f"{key}/samples")
    names = [name for name in context.files.list(key) if name.startswith("verdicts-")]
    old = next((step for name in names if (step := read_step(context.files, f"{key}/{name}")) is not None), None)
    if samples is None or old is None:
        return {"step": key, "samples": 0, "changed": {}, "flips": [], "note": "not finished"}
    work = _work(context, key, samples)
    asking = Round(int(key.split("/")[1]), work.policy, named(work.policy), work.problems, context)
    groups, known = rejudged(asking, work, Step(context.files, samples.key, samples.inputs, context.lease,
                                                samples.marker, samples.parts), verifier)  # fmt: skip
    before = Groups(samples, old, {problem.id: problem for problem in work.problems})
    flips = list(_flips(before, groups))
    changed = Counter(f"{flip.before} -> {flip.after}" for flip in flips)
    shown = [{"sample": f.sample, "before": f.before, "after": f.after, "reason": f.reason} for f in flips]
    return {
        "step": key,
        "samples": groups.counts["sampled"],
        "before": _outcomes(before.counts),
        "after": _outcomes(groups.counts),
        "changed": dict(sorted(changed.items())),
        "flips": shown,
        "reused": known,
    }


def _outcomes(counts: Mapping[str, int]) -> dict[str, int]:
    return {name: counts.get(name, 0) for name in ("passed", "failed", "errors", "truncated")}


def _work(context: Context, key: str, samples: Step) -> Work:
    """The stored step as work, its problems in the order in which they were asked."""
    assert samples.marker is not None
    order: dict[str, None] = {}
    digest = ""
    for _, part in sorted(samples.parts.items()):
        for sample in read_samples(samples, part):
            order.setdefault(sample.problem_id)
            digest = sample.policy
    problems = [context.problems[identity] for identity in order if identity in context.problems]
    if len(problems) < len(order):
        raise ConfigError(f"{key}: {len(order) - len(problems)} of its problems are in the data no longer")
    n = samples.marker.counts["sampled"] // len(problems)
    first = samples.parts[min(samples.parts)].counts["problems"]
    prompts = [problem.prompt for problem in problems]
    return Work(key, problems, prompts, n, SamplingParams(), Policy("", digest), context.config.seed, first)


def _flips(before: Groups, after: Groups) -> Iterator[Flip]:
    for old, new in zip(before, after, strict=True):
        yield from _flipped(old, new)


def _flipped(old: Group, new: Group) -> Iterator[Flip]:
    for one, two in zip(old.attempts, new.attempts, strict=True):
        if one.outcome != two.outcome and not one.sample.truncated:
            yield Flip(one.sample.id, old.problem.id, one.outcome, two.outcome, _reason(two))


def _reason(attempt: Attempt) -> str:
    verdict = attempt.verdicts[0]
    return verdict.reason or verdict.error or ""


def rejudge_run(run_dir: Path, verifier: Mapping[str, Any], only: str | None = None) -> dict[str, Any]:
    """`rejudge` for a run directory: opens it, takes its lease, and ends every process it started."""
    from selfimprove.config import load_config
    from selfimprove.control import Stop
    from selfimprove.report.progress import Progress
    from selfimprove.run import Run
    from selfimprove.store.lease import take
    from selfimprove.store.runs import open_run

    files = open_run(run_dir)
    config: RunConfig = load_config([run_dir], [])
    judge = VerifierConfig.model_validate(verifier)
    lease = take(files)
    try:
        run = Run(config, files, lease, Progress(files, "none"), Stop(), None)
        try:
            return rejudge(run.prepare(), judge, only)
        finally:
            run.workers.close()
    finally:
        lease.release()


def render(found: Mapping[str, Any], limit: int) -> str:
    """The same for people: a line per step, then the first flips."""
    lines = []
    for step in found["steps"]:
        changed = ", ".join(f"{count} {what}" for what, count in step["changed"].items()) or "nothing flips"
        lines.append(f"{step['step']}: {step['samples']} samples, {changed}{' (known)' if step.get('reused') else ''}")
    shown = [flip for step in found["steps"] for flip in step["flips"]]
    for flip in shown[:limit]:
        lines.append(f"  {flip['sample']}  {flip['before']} -> {flip['after']}  {flip['reason'][:100]}".rstrip())
    if len(shown) > limit:
        lines.append(f"  ... and {len(shown) - limit} more: raise --limit, or --json")
    return "\n".join(lines)

"""What the rounds of a run share, and how one reads what an earlier one published.

Contract: reading takes no lease and changes nothing. Weights that this run made are checked before they are used.

See it work: ``pytest tests/pipelines``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from selfimprove import data as datasets
from selfimprove.config import RunConfig
from selfimprove.control import Stop
from selfimprove.report.progress import Progress
from selfimprove.store.files import RunFiles
from selfimprove.store.groups import Groups, read_samples, read_verdicts
from selfimprove.store.lease import Lease
from selfimprove.store.steps import COMMITTED, Step, check_files, read_marker, read_parts
from selfimprove.types import Policy, Problem, Sample, Verdict
from selfimprove.verify import verifier_digest
from selfimprove.workers import Workers


@dataclass
class Context:
    """What all rounds of a run share. ``problems`` holds every known problem by id."""

    config: RunConfig
    files: RunFiles
    lease: Lease
    workers: Workers
    progress: Progress
    stop: Stop
    problems: Mapping[str, Problem]
    splits: datasets.Splits
    demonstrations: Sequence[Problem] = ()


def relative(path: str, root: Path) -> str:
    """Paths inside the step are stored relative to it, so that a run directory can be moved."""
    return str(Path(path).relative_to(root)) if Path(path).is_relative_to(root) else path


def check_policy(files: RunFiles, policy: Policy) -> None:
    """Check a policy that this run made, before it is used: weights load as well with a bit flipped."""
    for place in filter(None, (policy.source, policy.adapter)):
        check_files(files, place)


def policy_of(files: RunFiles, step: Step) -> Policy:
    """The policy that a training step published."""
    assert step.marker is not None
    data, root = step.marker.data, files.local(step.key)
    adapter = str(root / data["adapter"]) if data["adapter"] else None
    return Policy(str(root / data["source"]), step.marker.digest, data["parent"], adapter)


def read_groups(context: Context, key: str) -> Groups | None:
    """The committed groups of a step, judged by the newest complete verdicts; None if there are none."""
    samples = read_step(context.files, f"{key}/samples")
    if samples is None:
        return None
    names = [name for name in context.files.list(key) if name.startswith("verdicts-")]
    judged = [step for name in names if (step := read_step(context.files, f"{key}/{name}")) is not None]
    current = [step for step in judged if step.marker and step.marker.inputs["verifier"] == _current(context)]
    chosen = current or judged
    return Groups(samples, chosen[-1] if chosen else None, context.problems)


def _current(context: Context) -> str:
    return verifier_digest(context.config.verifier.model_dump())


def read_step(files: RunFiles, key: str) -> Step | None:
    """A committed step, to read from; None if it is not committed."""
    marker = read_marker(files, f"{key}/{COMMITTED}")
    return None if marker is None else Step(files, key, marker.inputs, None, marker, read_parts(files, key))


def judged_steps(files: RunFiles) -> Iterator[str]:
    """The keys of all steps of rounds whose samples were judged, in order."""
    for place in sorted(f"rounds/{name}" for name in files.list("rounds")):
        for name in sorted(files.list(place)):
            if any(entry.startswith("verdicts-") for entry in files.list(f"{place}/{name}")):
                yield f"{place}/{name}"


def judged_samples(files: RunFiles, key: str) -> Iterator[tuple[Sample, Verdict | None]]:
    """A step's committed samples, each with its verdict by the newest complete judging; nothing if it is unfinished."""
    samples = read_step(files, f"{key}/samples")
    names = [name for name in files.list(key) if name.startswith("verdicts-")]
    verdicts = [step for name in names if (step := read_step(files, f"{key}/{name}")) is not None]
    for part, marker in sorted(samples.parts.items() if samples else ()):
        rows = read_samples(samples, marker) if samples else []
        said = read_verdicts(verdicts[-1], verdicts[-1].parts[part]) if verdicts else [None] * len(rows)
        yield from zip(rows, said, strict=True)

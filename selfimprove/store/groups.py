"""Judged samples on disk, read back group by group.

Contract: `Groups` is sized, iterable any number of times, and holds one part in memory at a time. Order is the order
in which the problems were asked; attempts are ordered by index.

See it work: ``pytest tests/store/test_groups.py``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter

from selfimprove.errors import IntegrityError
from selfimprove.store import tables
from selfimprove.store.steps import Marker, Step
from selfimprove.types import Attempt, Group, Problem, Sample, Verdict


@dataclass(frozen=True)
class Groups:
    """All attempts of one `attempt` step. ``len`` counts groups (problems)."""

    samples: Step
    verdicts: Step | None
    problems: Mapping[str, Problem]

    def __len__(self) -> int:
        return self.counts["problems"]

    @property
    def counts(self) -> Mapping[str, int]:
        """What came of it: problems, sampled, passed, failed, errors, truncated, tokens."""
        marker = (self.verdicts or self.samples).marker
        assert marker is not None, "groups are read after their step is committed"
        return marker.counts

    @property
    def digest(self) -> str:
        """The canonical digest of samples and verdicts together."""
        assert self.samples.marker is not None
        verdicts = self.verdicts.marker.digest if self.verdicts and self.verdicts.marker else ""
        return f"{self.samples.marker.digest}{verdicts}"

    def __iter__(self) -> Iterator[Group]:
        for step in (self.samples, self.verdicts):
            if step is not None and sum(part.counts["problems"] for part in step.parts.values()) != len(self):
                where = self.samples.files.local(step.key)
                hint = f"restore its parts directory from a copy, or delete {where}: the same command does it again"
                raise IntegrityError(f"{where}: markers of parts are missing", hint=hint)
        for part in sorted(self.samples.parts):
            samples = read_samples(self.samples, self.samples.parts[part])
            verdicts: Sequence[tuple[Verdict, ...]] = [()] * len(samples)
            if self.verdicts is not None:
                verdicts = [(verdict,) for verdict in read_verdicts(self.verdicts, self.verdicts.parts[part])]
            attempts = map(Attempt, samples, verdicts)
            for problem_id, rows in groupby(attempts, key=_problem_id):
                yield Group(self.problems[problem_id], tuple(rows))


_problem_id = attrgetter("sample.problem_id")


def read_samples(step: Step, marker: Marker) -> list[Sample]:
    """The samples of a committed part, in (problem, index) order."""
    return tables.samples_of(tables.read(step.path(marker.outputs[0])))


def read_verdicts(step: Step, marker: Marker) -> list[Verdict]:
    """The verdicts of a committed part, in the order of its samples."""
    return tables.verdicts_of(tables.read(step.path(marker.outputs[0])))

"""What an audit asks a verifier, and what came of it.

Contract: pure nouns. A *trial* is one completion of one problem with the verdict it must get; `Judged` is a trial with
the verdicts it got, one for each time it was judged.

See it work: ``pytest tests/audit``.
"""

from __future__ import annotations

from dataclasses import dataclass

from selfimprove.types import Problem, Sample, Verdict

GRACE_S = 1.0
"""A trial with a time limit must have its verdict this long after the limit at the latest."""


@dataclass(frozen=True, slots=True)
class Trial:
    """``must_accept`` is the right verdict and ``why`` it is right.

    ``slow`` trials use up their time limit by design and are left out of the latency. After a ``persist`` trial the
    next check must still be right. ``side_effect`` is a path that must not exist afterwards. The verdict must be there
    ``time_limit_s`` + `GRACE_S` after the start.
    """

    id: str
    kind: str
    category: str
    problem: Problem
    completion: str
    must_accept: bool
    why: str = ""
    slow: bool = False
    persist: bool = False
    side_effect: str | None = None
    time_limit_s: float | None = None

    @property
    def sample(self) -> Sample:
        """The completion as a policy would have written and ended it."""
        prompt, ids = self.problem.text, (0,)
        return Sample(f"audit/{self.id}", self.problem.id, 0, "", prompt, ids, self.completion, ids, "stop", 0, "audit")


@dataclass(frozen=True, slots=True)
class Judged:
    """A trial and its verdicts. ``trace`` says what it did to the next check, ``written`` whether its path exists."""

    trial: Trial
    verdicts: tuple[Verdict, ...]
    trace: str = ""
    written: bool = False

    @property
    def wrong(self) -> bool:
        """Judged, at least once, as it must not be."""
        mistake = "fail" if self.trial.must_accept else "pass"
        return any(verdict.outcome == mistake for verdict in self.verdicts)

    @property
    def accepted(self) -> bool:
        """Accepted every time."""
        return all(verdict.passed for verdict in self.verdicts)

    @property
    def errored(self) -> bool:
        return any(verdict.outcome == "error" for verdict in self.verdicts)

    @property
    def flaky(self) -> bool:
        return len({verdict.outcome for verdict in self.verdicts}) > 1

    @property
    def late(self) -> bool:
        limit = self.trial.time_limit_s
        return limit is not None and any(verdict.seconds > limit + GRACE_S for verdict in self.verdicts)

    @property
    def reason(self) -> str:
        """Of the verdict that is wrong, or an error, or of the first: outcome and reason in one line."""
        right = "pass" if self.trial.must_accept else "fail"
        verdict = next((verdict for verdict in self.verdicts if verdict.outcome != right), self.verdicts[0])
        said = f"{verdict.error}: {verdict.reason}" if verdict.error else verdict.reason
        return f"{verdict.outcome} ({said})" if said else verdict.outcome

"""Programs and tests that a model wrote, ranked by each other: no known answer and no known test is needed.

Contract: each sample holds a program and, where it likes, ``assert entry(...) == ...`` lines with literal values. Every
program runs against the tests of all samples, each program alone in a sandbox. A program is as good as the tests it
passes, a test as good as the programs that pass it. The best ``keep`` programs of a problem pass, or all from
``at_least`` on. Known tests in ``Problem.tests`` are not looked at, but for the name in ``entry_point``.

Paper: Zhang et al. 2024, arXiv 2410.05605 (CodeDPO). See it work: ``pytest tests/verifiers/test_mutual.py``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from selfimprove import Problem, Sample, Verdict, failing, passing, sandbox
from selfimprove.judging import aggregating
from selfimprove.sandbox import written

_DEFINED = re.compile(r"^def ([A-Za-z_]\w*)", re.M)


class mutual:
    """Options: ``keep`` or ``at_least`` (a share of the best program's score), ``damping``,
    ``max_tests`` of a problem, ``time_limit_s`` of one program on all tests, ``memory_mb``, ``isolation``.

    The verdict's ``score`` is the program's, ``steps`` says which tests it passed.
    """

    def __init__(
        self,
        keep: int = 1,
        at_least: float | None = None,
        damping: float = 0.85,
        max_tests: int = 64,
        time_limit_s: float = 5.0,
        memory_mb: int = 512,
        isolation: str = "bwrap",
    ) -> None:
        if keep < 1 or max_tests < 1 or not 0 < damping < 1:
            raise ValueError(
                f"keep is {keep}, max_tests {max_tests}, damping {damping}: from 1 on, from 1 on, in (0, 1)"
            )
        self.keep, self.at_least, self.damping, self.max_tests = keep, at_least, damping, max_tests
        self.limits = sandbox.Limits(time_limit_s, memory_mb)
        self.sandbox = sandbox.Sandbox(isolation)

    def facts(self) -> dict[str, str]:
        """Where programs run. Raises SandboxUnavailable if this machine cannot isolate them well enough."""
        return {"isolation": self.sandbox.start()}

    def __call__(self, problem: Problem, samples: Sequence[Sample]) -> list[Verdict]:
        """Raises ValueError for a problem that does not say which function is asked for."""
        entry = _entry(problem)
        texts = [sample.prefix + sample.completion for sample in samples]
        tests: dict[str, object] = {}
        for place in range(self.max_tests):  # one of each sample in turn: nobody crowds out the others
            for text in texts:
                for pair in written.pairs(text, entry)[place : place + 1]:
                    tests.setdefault(repr(pair), pair)
        chosen = list(tests.values())[: self.max_tests]
        if not chosen:
            return [failing("no sample wrote a test")] * len(samples)
        task = sandbox.task_of({"entry_point": entry, "io": chosen}, problem.text)
        ran = [sandbox.run_tests(self.sandbox, task, text, self.limits) for text in texts]
        passes = [[bool(step) for step in verdict.steps] or [False] * len(chosen) for verdict in ran]
        scores, _ = aggregating.mutual(passes, self.damping)
        scores = [score if any(row) else 0.0 for score, row in zip(scores, passes, strict=True)]
        ranked = sorted(range(len(samples)), key=lambda place: -scores[place])
        good = {p for p in ranked[: self.keep] if scores[p] > 0}
        if self.at_least is not None:
            good = {p for p in ranked if scores[p] >= self.at_least}
        found = []
        for place, row in enumerate(passes):
            said = f"rank {ranked.index(place) + 1} of {len(samples)}: {sum(row)} of {len(chosen)} tests"
            verdict = passing if place in good else failing
            found.append(verdict(said, score=scores[place], steps=[float(ok) for ok in row]))
        return found


def _entry(problem: Problem) -> str:
    named = problem.tests.get("entry_point") if isinstance(problem.tests, dict) else None
    shown = _DEFINED.search(problem.text)
    if not named and shown is None:
        raise ValueError(f"problem {problem.id!r} names no function: tests.entry_point, or `def name` in its prompt")
    return str(named) if named else str(shown and shown[1])

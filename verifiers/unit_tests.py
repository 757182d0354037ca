"""The program in a completion passes its tests, alone in a sandbox, judged from outside.

Contract: the tests stay with the judge; the candidate's functions are proxies there, and what they return is rebuilt as
plain data. A candidate that exits, crashes, hangs, floods, forges or deletes fails; an error means that the sandbox or
the problem's tests are at fault.

See it work: ``pytest tests/verifiers/test_unit_tests.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from selfimprove import Problem, Sample, Verdict, sandbox

JUDGES_CASES = ("code",)


class unit_tests:
    """Options: ``time_limit_s`` of the whole candidate (its tests may set their own), ``memory_mb``, ``disk_mb``,
    ``processes``, and ``isolation``: the weakest rung of the sandbox's ladder (``namespaces``, ``bwrap``, ``landlock``,
    ``rlimits``) that is good enough; the run records which one it got. Programs may import what is installed here;
    ``preload`` names modules that most of them need (``[numpy]``), to be imported once. ``Problem.tests`` has one of
    the forms of `selfimprove.sandbox.task_of`.

    The verdict's ``score`` is the share of tests passed, ``steps`` holds each one's result, and ``measured`` the
    seconds of CPU and the MiB that the candidate used.
    """

    def __init__(
        self,
        time_limit_s: float = 5.0,
        memory_mb: int = 512,
        disk_mb: int = 16,
        processes: int = 48,
        isolation: str = "bwrap",
        preload: Sequence[str] = (),
    ) -> None:
        self.limits = sandbox.Limits(time_limit_s, memory_mb, disk_mb, processes)
        self.sandbox = sandbox.Sandbox(isolation, preload)

    def facts(self) -> dict[str, str]:
        """Where it judges. Raises SandboxUnavailable if this machine cannot isolate programs well enough."""
        return {"isolation": self.sandbox.start()}

    def __call__(self, problem: Problem, sample: Sample) -> Verdict:
        tests = problem.tests
        prompt = problem.text
        try:
            task = sandbox.task_of(tests, prompt)
            own = tests.get("time_limit_s") if isinstance(tests, dict) else None
            limits = replace(self.limits, wall_s=min(float(own), self.limits.wall_s)) if own else self.limits
            return sandbox.run_tests(self.sandbox, task, sample.prefix + sample.completion, limits, sample.id)
        except ValueError as error:
            raise ValueError(f"problem {problem.id!r} {error}") from error

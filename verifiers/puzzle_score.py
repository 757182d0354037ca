"""The reasoning-gym package's own scorer says so: for puzzles with several right answers.

Contract: needs ``pip install reasoning-gym``. Problems come from the ``reasoning_gym`` problems, which put the task and
what its scorer needs into ``Problem.tests``. The scorer runs alone in a sandbox, because several of them evaluate what
a model wrote; an answer for those that is more than arithmetic or a list of values fails unseen. The answer stands
between the last ``<answer>`` tags, or behind a marker that `selfimprove.answers` knows; else it is the whole text.

See it work: ``pytest tests/verifiers/test_puzzle_score.py``.
"""

from __future__ import annotations

import json
import re

from selfimprove import Problem, Sample, Verdict, answers, erring, failing, passing, sandbox

ENTRY = "selfimprove.sandbox.puzzles:score"
_TAGGED = re.compile(r"<answer>(.*?)</answer>", re.S | re.I)


class puzzle_score:
    """Options: ``threshold`` of the package's score (1.0 solves it), ``time_limit_s``, ``memory_mb``, ``isolation``."""

    def __init__(
        self, threshold: float = 1.0, time_limit_s: float = 5.0, memory_mb: int = 1024, isolation: str = "bwrap"
    ) -> None:
        self.threshold = threshold
        self.limits = sandbox.Limits(time_limit_s, memory_mb)
        self.sandbox = sandbox.Sandbox(isolation, preload=["reasoning_gym", "selfimprove.sandbox.puzzles"])

    def facts(self) -> dict[str, str]:
        """Where it judges. Raises SandboxUnavailable if this machine cannot isolate scorers well enough."""
        return {"isolation": self.sandbox.start()}

    def __call__(self, problem: Problem, sample: Sample) -> Verdict:
        """Raises ValueError for a problem that does not come from the package."""
        tests = problem.tests if isinstance(problem.tests, dict) else {}
        if not isinstance(tests.get("task"), str) or not isinstance(tests.get("entry"), dict):
            raise ValueError(f"problem {problem.id!r} has no puzzle in its tests: data.source reasoning_gym gives them")
        answer = final(sample.prefix + sample.completion)
        if not answer:
            return failing("no answer")
        job = json.dumps({"task": tests["task"], "entry": tests["entry"], "answer": answer}).encode()
        cell = self.sandbox.open(ENTRY, job, self.limits)
        try:
            said = cell.receive()
        except sandbox.CellTimeout:
            said = None
        ended = cell.kill()
        reply = json.loads(said) if said else {}
        if "refused" in reply:
            return failing(reply["refused"], answer=answer)
        if "error" in reply:
            return erring("scorer", reply["error"])
        if "score" not in reply:
            return failing(f"the scorer ended: {ended.how}", answer=answer)
        score = float(reply["score"])
        return (passing if score >= self.threshold else failing)(f"score {score:g}", score=score, answer=answer)


def final(text: str) -> str:
    """The answer in a completion, as its task's scorer expects it."""
    text = text.rpartition("</think>")[2]
    tagged = _TAGGED.findall(text)
    if tagged:
        return str(tagged[-1]).strip()
    stated = answers.stated(text)
    return text.strip() if stated is None else stated.strip()

"""A verifier as the reward function of an online trainer: the same judge, the same sandbox, the same errors.

Contract: `Rewards` judges in worker processes of its own, as a run does. A completion that could not be judged has no
reward (None), never a zero. What `selfimprove export` writes uses this module.

See it work: ``pytest tests/test_export.py``.
"""

from __future__ import annotations

import atexit
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from selfimprove import data
from selfimprove.errors import ConfigError
from selfimprove.types import Problem, Sample
from selfimprove.verify import VerifierPool

PROBLEMS, VERIFIER = "problems.jsonl", "verifier.json"


class Rewards:
    """The verifier in ``config`` (a `JudgeConfig` as a dictionary) and the problems that it is asked of, by id."""

    def __init__(self, config: Mapping[str, Any], problems: Mapping[str, Problem]) -> None:
        self.problems = problems
        self._config, self._asked = config, 0
        self._pool: VerifierPool | None = None

    @classmethod
    def load(cls, folder: Path) -> Rewards:
        """From a directory that `selfimprove export` wrote."""
        config = json.loads((folder / VERIFIER).read_text())
        ids = [json.loads(line)["problem_id"] for line in (folder / PROBLEMS).read_text().splitlines()]
        found = data.read(str(folder / PROBLEMS), {}, {"key": "problem_id"}).problems
        return cls(config, dict(zip(ids, found, strict=True)))

    def __call__(self, problem_ids: Sequence[str], completions: Sequence[Any]) -> list[float | None]:
        """1.0 for a pass, 0.0 for a fail, None for an error; completions are texts or lists of messages.

        Completions of one problem that stand side by side are judged together by verifiers of groups. Raises
        ConfigError for an unknown problem.
        """
        unknown = next((identity for identity in problem_ids if identity not in self.problems), None)
        if unknown is not None:
            raise ConfigError(f"no problem has the id {unknown!r}: rewards go with the problems exported beside them")
        if self._pool is None:
            self._pool = VerifierPool(self._config)
            atexit.register(self._pool.close)
        pool, self._asked = self._pool, self._asked + 1
        items = []
        for place, (identity, said) in enumerate(zip(problem_ids, completions, strict=True)):
            text = said if isinstance(said, str) else "".join(str(message["content"]) for message in said)
            name = f"{self._asked}/{identity}/{place}"
            items.append((self.problems[identity], Sample(name, identity, place, "", "", (), text, (), "stop", 0, "")))
        pool.submit(self._asked, items)
        while pool.pending:
            for _, verdicts in pool.poll(1.0):
                return [None if v.outcome == "error" else float(v.passed) for v in verdicts]
        return []

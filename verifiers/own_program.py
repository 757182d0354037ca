"""A program of yours judges: one JSON line in, one JSON line out.

Contract: the program is started once per worker and kept. It reads ``{"problem": {...}, "sample": {...}}`` and answers
``true``, ``false``, a number (then the configuration states a threshold), or ``{"outcome" | "passed" | "score", ...}``.
A program that ends, or answers with something else, costs an error and is started again. It ends with its worker.

See it work: ``selfimprove run CONFIG verifier.name=own_program 'verifier.args={argv: ["./judge.sh"]}'``.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from typing import Any

from selfimprove import Problem, Sample, conversation, erring

MAX_LINE = 1 << 20


class own_program:
    """``argv``: the program and its arguments. Raises ValueError if there is none."""

    def __init__(self, argv: Sequence[str]) -> None:
        if isinstance(argv, str) or not argv or not all(isinstance(word, str) for word in argv):
            raise ValueError(f"own_program: argv is {argv!r}; it must be a list of words")
        self.argv = list(argv)
        self.process: subprocess.Popen[bytes] | None = None

    def __call__(self, problem: Problem, sample: Sample) -> Any:
        row = {
            "problem": {
                "id": problem.id,
                "prompt": conversation(problem.prompt)[0],
                "answer": problem.answer,
                "tests": problem.tests,
                "meta": dict(problem.meta),
            },
            "sample": {"id": sample.id, "completion": sample.prefix + sample.completion},
        }
        try:
            process = self._running()
            assert process.stdin is not None and process.stdout is not None
            process.stdin.write(json.dumps(row).encode() + b"\n")
            process.stdin.flush()
            line = process.stdout.readline(MAX_LINE)
        except OSError as error:
            self._end()
            return erring("program", f"{self.argv[0]}: {error}")
        if not line.endswith(b"\n"):
            code = self._end()
            return erring("program", f"{self.argv[0]} ended with exit code {code} instead of answering")
        try:
            said = json.loads(line)
        except ValueError:
            self._end()
            return erring("bad-answer", f"{self.argv[0]} answered {line[:80]!r}")
        if isinstance(said, bool | int | float | dict):
            return said
        return erring("bad-answer", f"{self.argv[0]} answered {line[:80]!r}")

    def _running(self) -> subprocess.Popen[bytes]:
        if self.process is None:
            self.process = subprocess.Popen(self.argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        return self.process

    def _end(self) -> int | None:
        process, self.process = self.process, None
        if process is None:
            return None
        process.kill()
        process.communicate()
        return process.returncode

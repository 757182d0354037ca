"""Samples made elsewhere, in place of an engine: they are judged, selected and trained on as if drawn here.

Contract: ``samples`` is a JSONL file with a row per sample: ``prompt`` (as in the problems' file) or ``problem_id``,
and ``completion``. With ``prompt_ids`` and ``token_ids`` (the end token among them) these very ids are trained on;
without, the text is. ``finish`` is ``stop`` unless a row says otherwise; the k-th row of a problem is its sample k. A
problem with fewer rows than are asked for is a ConfigError. Nothing is served, so there is nothing to evaluate with.

See it work: ``pytest tests/sampling/test_recorded.py``.
"""

from __future__ import annotations

import json
from collections import defaultdict, deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from selfimprove.data import problem_id
from selfimprove.errors import ConfigError, PreconditionError
from selfimprove.sampling import PUMP_SAMPLES
from selfimprove.types import Finish, Policy, Sample, SampleRequest, SamplingParams, text_of


class RecordedSampler:
    """A `Sampler` that gives back what the file in ``config["samples"]`` holds."""

    def __init__(self, config: Mapping[str, Any], model: Mapping[str, Any] | None = None) -> None:
        self._file = Path(str(config.get("samples")))
        self._rows = _read(self._file)
        self._policy = ""
        self._queue: deque[SampleRequest] = deque()

    def load(self, policy: Policy, *, canary: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Remember whose samples these are said to be."""
        self.abort()
        self._policy = policy.digest
        return {"seconds": {}, "canary": None}

    def pump(self, requests: list[SampleRequest], params: SamplingParams) -> tuple[list[Sample], int]:
        """As `Sampler.pump`. ConfigError for a problem without enough samples, and for anything but plain sampling."""
        if params.score:
            raise ConfigError(f"{self._file}: recorded samples cannot weigh texts", hint="give that verifier a policy")
        self._queue.extend(requests)
        done: list[Sample] = []
        while self._queue and len(done) < PUMP_SAMPLES:
            done += self._answer(self._queue.popleft())
        return done, sum(len(request.indexes) for request in self._queue)

    def _answer(self, request: SampleRequest) -> list[Sample]:
        rows = self._rows.get(request.problem_id, [])
        short = [index for index in request.indexes if index >= len(rows)]
        if short:
            what = f"problem {request.problem_id} has {len(rows)} samples, and sample {short[0]} is asked for"
            hint = "lower the recipe's number of samples, or leave problems without samples out of the data"
            raise ConfigError(f"{self._file}: {what}", hint=hint)
        return [self._sample(request, i, seed) for i, seed in zip(request.indexes, request.seeds, strict=True)]

    def _sample(self, request: SampleRequest, index: int, seed: int) -> Sample:
        row = self._rows[request.problem_id][index]
        return Sample(
            f"{request.key}/{index}",
            request.problem_id,
            index,
            request.view,
            text_of(request.prompt),
            tuple(row.get("prompt_ids") or ()),
            row["completion"],
            tuple(row.get("token_ids") or ()) if row.get("prompt_ids") else (),
            row.get("finish", "stop"),
            seed,
            self._policy,
        )

    def partials(self, least: int) -> dict[str, list[int]]:
        """Nothing is ever half drawn."""
        return {}

    def abort(self) -> None:
        """Drop whatever is asked for."""
        self._queue.clear()

    def score(self, rows: list[tuple[Sequence[int], Sequence[int]]]) -> list[list[float]]:
        """ConfigError: there is no model."""
        raise ConfigError(f"{self._file}: recorded samples cannot weigh texts")

    def close(self) -> None:
        """Nothing to end."""


def _read(file: Path) -> dict[str, list[dict[str, Any]]]:
    """Problem id -> its rows in file order. ConfigError naming the first bad line."""
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    try:
        lines = file.read_text().splitlines()
    except OSError as error:
        raise PreconditionError(f"sampling.samples: {error}") from error
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            identity = row.get("problem_id") or problem_id(row["prompt"], row.get("key"))
            if not isinstance(row["completion"], str) or row.get("finish", "stop") not in get_args(Finish):
                raise ValueError(f"completion must be text, finish one of {', '.join(get_args(Finish))}")
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            what = f"lacks {error}" if isinstance(error, KeyError) else str(error)
            raise ConfigError(f"{file}:{number}: {what}; a row has prompt or problem_id, and completion") from error
        found[str(identity)].append(row)
    return found

"""A sampler that calls a function instead of a model: for tests, demonstrations and measuring everything else.

Contract: the script ``fn(messages, index, seed, policy)`` returns a completion, or a completion and its finish
reason, or a number: the log-probability of what was to be scored. ``policy`` is the digest of the policy loaded last,
so that a script can get better from round to round. Token ids are the code points of the text. Nothing heavy is
imported.

See it work: ``pytest tests/sampling/test_scripted.py``.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from selfimprove.errors import ConfigError
from selfimprove.sampling import PUMP_SAMPLES, PUMP_SECONDS
from selfimprove.sampling.texts import spans
from selfimprove.types import Finish, Message, Policy, Sample, SampleRequest, SamplingParams, text_of

STOP: Finish = "stop"
Script = Callable[[tuple[Message, ...], int, int, str], "str | tuple[str, Finish] | float"]


class ScriptedSampler:
    """A `Sampler` whose completions come from the script named in ``config["script"]`` (``my.py:fn``)."""

    def __init__(self, config: Mapping[str, Any], model: Mapping[str, Any] | None = None) -> None:
        from selfimprove.plugins import resolve

        spec = config.get("script")
        if not spec:
            raise ConfigError("sampling.script: a scripted sampler needs a function", hint="script: my.py:fn")
        self._script: Script = resolve("script", spec)
        self._thinking = dict(model or {}).get("thinking")
        self._policy = ""
        self._queue: deque[SampleRequest] = deque()
        self._waiting = 0

    def load(self, policy: Policy, *, canary: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Remember the policy's digest for the script; there are no weights that a canary could check."""
        self.abort()
        self._policy = policy.digest
        return {"seconds": {}, "canary": None}

    def pump(self, requests: list[SampleRequest], params: SamplingParams) -> tuple[list[Sample], int]:
        """As `Sampler.pump`; a request is finished whole, so slightly more than `PUMP_SAMPLES` may come at once."""
        self._queue.extend(requests)
        self._waiting += sum(len(request.indexes) for request in requests)
        deadline = time.monotonic() + PUMP_SECONDS
        done: list[Sample] = []
        while self._queue and len(done) < PUMP_SAMPLES and time.monotonic() < deadline:
            request = self._queue.popleft()
            self._waiting -= len(request.indexes)
            done += self._answer(request)
        return done, self._waiting

    def _answer(self, request: SampleRequest) -> list[Sample]:
        prompt = text_of(request.prompt) + request.prefix
        prompt_ids = tuple(map(ord, prompt))
        samples = []
        for index, seed in zip(request.indexes, request.seeds, strict=True):
            said = self._script(request.prompt, index, seed, self._policy)
            logprob = float(said) if isinstance(said, int | float) else None
            text, finish = said if isinstance(said, tuple) else (said if isinstance(said, str) else "", STOP)
            closed, turns = spans(self._thinking, prompt, text, int) if self._thinking else (True, ())
            finish = finish if closed or finish != STOP else "thinking"
            sample = Sample(
                f"{request.key}/{index}",
                request.problem_id,
                index,
                request.view,
                prompt,
                prompt_ids,
                text,
                tuple(map(ord, text)),
                finish,
                seed,
                self._policy,
                request.prefix,
                request.parent,
                turns,
                logprob,
            )
            samples.append(sample)
        return samples

    def partials(self, least: int) -> dict[str, list[int]]:
        """Nothing is ever half drawn."""
        return {}

    def abort(self) -> None:
        self._queue.clear()
        self._waiting = 0

    def score(self, rows: list[tuple[Sequence[int], Sequence[int]]]) -> list[list[float]]:
        """Certainty: log-probability 0 for every token."""
        return [[0.0] * len(completion) for _, completion in rows]

    def close(self) -> None:
        self.abort()
